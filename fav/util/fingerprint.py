"""Fingerprints of input files, so that all nodes can check that they work on the same content."""

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

from fav.errors import FavError
from fav.util.image_sequence import is_sequence, sequence_files
from fav.util.reading import opened

SAMPLES, SAMPLE_BYTES = 64, 1 << 16  # a video of 100 GB takes as long as one of 4 MB


def fingerprint(path: Path) -> str:
    """Return a hash of a file's size and of blocks at regular distances; of all its content if it is small."""
    with opened(path, str(path)) as file:
        size = os.fstat(file.fileno()).st_size
        digest = hashlib.blake2b(str(size).encode(), digest_size=16)
        for step in range(SAMPLES if size > SAMPLES * SAMPLE_BYTES else 1):
            file.seek(step * max(size - SAMPLE_BYTES, 0) // max(SAMPLES - 1, 1))
            digest.update(file.read(SAMPLE_BYTES if size > SAMPLES * SAMPLE_BYTES else -1))
    return digest.hexdigest()


def video_fingerprint(video: str) -> str:
    """Return the fingerprint of a video file, or one of all images of a numbered sequence."""
    if not is_sequence(video):
        return fingerprint(Path(video))
    return _combined(sequence_files(video))


def check_same_format(pattern: str) -> None:
    """Raise FavError unless all images of a numbered sequence begin with the same two bytes.

    An image may be a link to a file of another format, whose content would be copied into the job.
    """
    first = None
    for file in sequence_files(pattern):
        with opened(file, str(file)) as image:
            magic = image.read(2)
        if magic != (first := first or magic):
            raise FavError(
                f"{file}: expected an image like the first of the sequence, which begins with {first!r}, "
                f"got a file that begins with {magic!r}; replace it"
            )


def hash_of(path: Path | None, skip_gaps: bool = False) -> str | None:
    """Return the fingerprint of a file, or one of all files of a numbered sequence or a directory; None for None.

    A sequence ends at the first gap, unless `skip_gaps` is set.
    """
    if path is not None and skip_gaps and is_sequence(str(path)):
        return _combined(sequence_files(str(path), skip_gaps))
    if path is not None and path.is_dir():
        return _combined(sorted(file for file in path.iterdir() if file.is_file()))
    return video_fingerprint(str(path)) if path is not None else None


def _combined(files: Iterable[Path]) -> str:
    return hashlib.blake2b("".join(map(fingerprint, files)).encode(), digest_size=16).hexdigest()
