"""Numbered image sequences, given as a printf pattern such as `frame_%04d.png`."""

import os
import re
from fnmatch import fnmatchcase
from itertools import count, pairwise, takewhile
from pathlib import Path

from fav.errors import FavError, sanitize

PICTURES = {"png", "jpg", "jpeg", "tif", "tiff", "exr", "dpx", "bmp", "webp", "ppm", "jp2"}
OUTPUTS = (".png", ".tif", ".tiff", ".exr")  # suffixes of numbered images that can be written
MAX_LISTED = 8  # gaps in an error message


def title(video: str) -> str:
    """Return a title for a video: the name of a file without its suffix, or the directory of numbered images."""
    path = Path(video)
    return (path.absolute().parent.name if is_sequence(video) else path.stem) or path.stem.replace("%", "")


def check_no_gaps(pattern: str, stop: int | None = None) -> None:
    """Raise FavError, with the missing numbers, if a sequence has gaps.

    Args:
        pattern: The sequence.
        stop: The number of images that are needed; gaps after them are allowed. None: all images are needed.
    """
    numbers = sequence_numbers(pattern)
    gaps = [(a + 1, b) for a, b in pairwise(numbers) if b > a + 1]
    if not gaps or stop is not None and stop <= gaps[0][0] - numbers[0]:
        return
    listed = ", ".join(f"{a}" if b == a + 1 else f"{a} to {b - 1}" for a, b in gaps[:MAX_LISTED])
    missing, more = sum(b - a for a, b in gaps), ", …" if len(gaps) > MAX_LISTED else ""
    raise FavError(
        f"{pattern}: expected images numbered without a gap from {numbers[0]} to {numbers[-1]}, but {missing} "
        f"{'is' if missing == 1 else 'are'} missing ({listed}{more}); add them, renumber the images, or use "
        f"--range 0:{gaps[0][0] - numbers[0]}"
    )


def pattern_hint(video: str) -> str:
    """Return a hint how to give the images of a directory or a glob: `; for numbered images use dir/frame_%04d.png`."""
    path = Path(video)
    directory = path if path.is_dir() else path.parent
    names = (
        sorted(name for name in os.listdir(directory) if path.is_dir() or fnmatchcase(name, path.name))
        if directory.is_dir()
        else []
    )
    for name in names:
        stem, dot, suffix = name.rpartition(".")
        number = re.fullmatch(r"(.*?)([0-9]+)", stem)
        if dot and suffix.lower() in PICTURES and number and "%" not in name:
            digits = f"%0{len(number[2])}d" if len(number[2]) < 10 and number[2][0] == "0" else "%d"
            return f"; for numbered images use {sanitize(str(directory / f'{number[1]}{digits}.{suffix}'))}"
    return "; for numbered images use dir/frame_%04d.png"


def is_image_output(name: str) -> bool:
    """Whether a film of this name is written as numbered images."""
    return "%" in Path(name).name and Path(name).suffix.lower() in OUTPUTS


def check_pattern(name: Path | str, where: str = "") -> None:
    """Raise FavError unless this is a valid pattern for output images, such as `dir/frame_%06d.png`.

    Args:
        name: The pattern. The images need a directory of their own.
        where: The beginning of the error message.
    """
    path = Path(name)
    if not re.fullmatch(r"[^%]*%(?:0[0-9])?d[^%]*", path.name):
        raise FavError(
            f"{where}{name}: expected a pattern with one number, such as dir/frame_%06d.png, got {path.name!r}"
        )
    if path.name.startswith("."):
        raise FavError(f"{where}{name}: expected a pattern that does not begin with a dot, got {path.name!r}")
    if path.parent == Path("."):
        raise FavError(f"{where}{name}: expected images in a directory of their own, such as dir/{path.name}")


def is_sequence(video: str) -> bool:
    """Whether this is a pattern of numbered images, not an existing file."""
    return "%" in Path(video).name and not Path(video).exists()


def sequence_numbers(pattern: str) -> list[int]:
    """Return the numbers of all images of a sequence, ascending, also after gaps.

    The result is empty unless the pattern has one number such as `%d` or `%04d`.

    Raises:
        FavError: An image is not a regular file. FFmpeg would wait for a FIFO.
    """
    parts = re.fullmatch(r"([^%]*)%(?:0[0-9])?d([^%]*)", Path(pattern).name)
    if parts is None or not Path(pattern).parent.is_dir():
        return []
    number = re.compile(re.escape(parts[1]) + "([0-9]+)" + re.escape(parts[2]))
    found = []
    with os.scandir(Path(pattern).parent) as files:
        for file in files:
            match = number.fullmatch(file.name)
            if match and Path(pattern).name % int(match[1]) == match[0]:
                if not file.is_file():
                    raise FavError(
                        f"{file.path}: expected an image of the sequence, got something other than a regular file; "
                        f"move it away"
                    )
                found.append(int(match[1]))
    return sorted(found)


def other_numbers_note(pattern: str) -> str | None:
    """A note on images that are numbered in another way, which the pattern leaves out: `f_9.png` for `f_%02d.png`."""
    prefix, _, suffix = re.sub("%(?:0[0-9])?d", "\0", Path(pattern).name).partition("\0")
    number = re.compile(re.escape(prefix) + "(-?[0-9]+)" + re.escape(suffix))
    directory = Path(pattern).parent
    matches = [match for match in map(number.fullmatch, sorted(os.listdir(directory))) if match]
    others = [match[0] for match in matches if match[1][0] == "-" or Path(pattern).name % int(match[1]) != match[0]]
    if not others:
        return None
    return (
        f"left out: {len(others)} image{'s'[: len(others) != 1]} whose number is written in another way than "
        f"{sanitize(Path(pattern).name)} does, such as {sanitize(others[0])}"
    )


def sequence_files(pattern: str, skip_gaps: bool = False) -> list[Path]:
    """Return the files of a numbered sequence, from the lowest number to the first gap; with `skip_gaps`, all files."""
    numbers, path = sequence_numbers(pattern), Path(pattern)
    if skip_gaps:
        return [path.parent / (path.name % number) for number in numbers]
    consecutive = takewhile(lambda pair: pair[0] == pair[1], zip(numbers, count(numbers[0] if numbers else 0)))
    return [path.parent / (path.name % number) for number, _ in consecutive]
