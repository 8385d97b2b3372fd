"""Estimate the disk space of a job in the shared directory before it is created; pure.

The figures are upper ends of measurements from 320x180 to 1280x720. PNGs of busy styles took 1.9 to 2.3 bytes per pixel
(noise takes 3), and published flow took 0.3 to 1.4. Films took 0.1 to 0.13 bytes per pixel and frame with crf 18, and
0.7 with crf 0.
"""

from dataclasses import dataclass

FRAME, FLOW = 2.5, 1.5  # bytes per pixel
FILM, HALVING_STEPS = 0.2, 6  # bytes per pixel at crf 18; steps of crf that halve the size of a film
BLOCK = 4096  # bytes of the smallest file on disk
INDEX_BYTES = 64  # per frame
MIN_SEGMENT = 48  # frames of a segment of the film
SMALL_FILES = 50  # directories, manifest, flags, placeholders, logs, temporary files


@dataclass(frozen=True)
class DiskUsage:
    """Disk space: bytes and files (inodes)."""

    size: int
    files: int

    def fits(self, size: int, files: int | None) -> bool:
        """Whether it fits into `size` free bytes and `files` free inodes (None: the file system has no limit)."""
        return self.size <= size and (files is None or self.files <= files)

    @property
    def half(self) -> "DiskUsage":
        return DiskUsage(self.size // 2, self.files // 2)


def required_space(
    frames: int,
    size: tuple[int, int],
    flows: int = 0,
    crf: int = 18,
    inputs: DiskUsage = DiskUsage(0, 0),
    film_size: tuple[int, int] | None = None,
    film: float | None = None,
) -> DiskUsage:
    """Estimate the largest disk usage of a job.

    Args:
        frames: number of stylized frames.
        size: (width, height) of a stylized frame.
        flows: number of frames whose flow is published.
        crf: quality of an H.264 film; ignored with `film`.
        inputs: disk usage of copied inputs.
        film_size: (width, height) of the film; None: `size`.
        film: bytes per pixel and frame of a film in another codec.
    """
    pixels, film_pixels = (width * height for width, height in (size, film_size or size))
    results = frames * _blocks(FRAME * pixels) + flows * _blocks(FLOW * pixels)
    film = min(FILM * 2 ** ((18 - crf) / HALVING_STEPS), FRAME) if film is None else film
    films = 2 * _blocks(frames * film_pixels * film)  # the film and its segments
    rest = _blocks(frames * INDEX_BYTES) + SMALL_FILES * BLOCK
    return DiskUsage(
        results + films + rest + inputs.size,
        frames + flows + frames // 100 + frames // MIN_SEGMENT + SMALL_FILES + inputs.files,
    )


def _blocks(size: float) -> int:
    """`size` in bytes, rounded up to whole blocks."""
    return -int(-size // BLOCK) * BLOCK
