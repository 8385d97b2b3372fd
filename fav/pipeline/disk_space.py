"""How much room a film takes on the shared directory, estimated before any of it is there; pure.

The figures are sane upper ends of what stylized frames take, for pictures of any size: PNGs of busy styles were
measured from 320x180 to 1280x720 at 1.9 to 2.3 bytes a pixel (noise takes 3), flow that travels at 0.3 to 1.4, and
films in quality 18 at 0.1 to 0.13 bytes a pixel and frame, in quality 0 at 0.7.
"""

from dataclasses import dataclass

FRAME, FLOW = 2.5, 1.5  # bytes a pixel
FILM, HALVED_BY = 0.2, 6  # bytes a pixel at crf 18, and the steps of crf that halve a film
BLOCK = 4096  # what the smallest file takes
PER_FRAME = 64  # bytes of the index
SEGMENT = 48  # frames of a segment of the film, at least
SMALL_FILES = 50  # directories, manifest, marks, placeholders, logs, drafts


@dataclass(frozen=True)
class DiskUsage:
    """Bytes and files (inodes)."""

    size: int
    files: int

    def fits(self, size: int, files: int | None) -> bool:
        """Whether there is room for it where so much is free; `files` None where they are not counted."""
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
    """What a film of so many frames of `size` (width, height) takes until it is done, of which `flows` have flow that travels.

    `film_size` is that of the film, where it is another. `film` is what it takes, in bytes a pixel, where it is not H.264 of the
    quality `crf`."""
    pixels, shown = (width * height for width, height in (size, film_size or size))
    pictures = frames * _blocks(FRAME * pixels) + flows * _blocks(FLOW * pixels)
    film = min(FILM * 2 ** ((18 - crf) / HALVED_BY), FRAME) if film is None else film
    whole = 2 * _blocks(frames * shown * film)  # and its segments
    rest = _blocks(frames * PER_FRAME) + SMALL_FILES * BLOCK
    return DiskUsage(
        pictures + whole + rest + inputs.size,
        frames + flows + frames // 100 + frames // SEGMENT + SMALL_FILES + inputs.files,
    )


def _blocks(size: float) -> int:
    return -int(-size // BLOCK) * BLOCK
