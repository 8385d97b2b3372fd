"""What the content of inputs is known by, so that all nodes work on the same ones."""

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

from fav.errors import FavError
from fav.util.image_sequence import is_sequence, sequence_files
from fav.util.reading import opened

SAMPLES, SAMPLE_BYTES = 64, 1 << 16  # a video of 100 GB takes no longer than one of 4 MB


def fingerprint(path: Path) -> str:
    """What a file's content is known by: its size and a hash of blocks spread evenly over it."""
    with opened(path, str(path)) as file:
        size = os.fstat(file.fileno()).st_size
        digest = hashlib.blake2b(str(size).encode(), digest_size=16)
        for step in range(SAMPLES if size > SAMPLES * SAMPLE_BYTES else 1):
            file.seek(step * max(size - SAMPLE_BYTES, 0) // max(SAMPLES - 1, 1))
            digest.update(file.read(SAMPLE_BYTES if size > SAMPLES * SAMPLE_BYTES else -1))
    return digest.hexdigest()


def video_fingerprint(video: str) -> str:
    """The fingerprint of a video file, or of all images of a numbered sequence together."""
    if not is_sequence(video):
        return fingerprint(Path(video))
    return _joined(sequence_files(video))


def check_alike(pattern: str) -> None:
    """FavError where an image of a numbered sequence begins otherwise than the first one: it may be a link to a file of
    another kind, whose content would go into the job."""
    first = None
    for file in sequence_files(pattern):
        with opened(file, str(file)) as image:
            begins = image.read(2)
        if begins != (first := first or begins):
            raise FavError(
                f"{file}: expected an image like the first of the sequence, which begins with {first!r}, "
                f"got a file that begins with {begins!r}; put the right one there"
            )


def hash_of(path: Path | None, behind_gaps: bool = False) -> str | None:
    """The fingerprint of a file, of all images of a numbered sequence, or of all files of a directory (SPyNet's six) together;
    None for None. Without `behind_gaps`, a sequence ends at the first gap."""
    if path is not None and behind_gaps and is_sequence(str(path)):
        return _joined(sequence_files(str(path), behind_gaps))
    if path is not None and path.is_dir():
        return _joined(sorted(file for file in path.iterdir() if file.is_file()))
    return video_fingerprint(str(path)) if path is not None else None


def _joined(files: Iterable[Path]) -> str:
    return hashlib.blake2b("".join(map(fingerprint, files)).encode(), digest_size=16).hexdigest()
