"""Numbered image sequences, given as a printf pattern such as `frame_%04d.png`."""

import os
import re
from fnmatch import fnmatchcase
from itertools import count, pairwise, takewhile
from pathlib import Path

from fav.errors import FavError, sanitize

PICTURES = {"png", "jpg", "jpeg", "tif", "tiff", "exr", "dpx", "bmp", "webp", "ppm", "jp2"}
OUTPUTS = (".png", ".tif", ".tiff", ".exr")  # endings of numbered images that can be made
MOST_TOLD = 8  # gaps


def title(video: str) -> str:
    """What a video is called by a person: a file by its name without ending, numbered images by their directory."""
    path = Path(video)
    return (path.absolute().parent.name if is_sequence(video) else path.stem) or path.stem.replace("%", "")


def check_whole(pattern: str, stop: int | None = None) -> None:
    """FavError with the numbers that are missing among those of a sequence; None that `stop` images before it need not know."""
    numbers = sequence_numbers(pattern)
    gaps = [(a + 1, b) for a, b in pairwise(numbers) if b > a + 1]
    if not gaps or stop is not None and stop <= gaps[0][0] - numbers[0]:
        return
    told = ", ".join(f"{a}" if b == a + 1 else f"{a} to {b - 1}" for a, b in gaps[:MOST_TOLD])
    missing, more = sum(b - a for a, b in gaps), ", …" if len(gaps) > MOST_TOLD else ""
    raise FavError(
        f"{pattern}: expected images numbered without a gap from {numbers[0]} to {numbers[-1]}, but {missing} "
        f"{'is' if missing == 1 else 'are'} missing ({told}{more}); put them there, number the images anew, or say "
        f"--range 0:{gaps[0][0] - numbers[0]}"
    )


def pattern_hint(video: str) -> str:
    """What to type for the images in a directory, or those that a glob means: `; for its images say dir/frame_%04d.png`."""
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
            return f"; for numbered images say {sanitize(str(directory / f'{number[1]}{digits}.{suffix}'))}"
    return "; for numbered images say dir/frame_%04d.png"


def is_image_output(name: str) -> bool:
    """Whether a film of this name is numbered images."""
    return "%" in Path(name).name and Path(name).suffix.lower() in OUTPUTS


def check_pattern(name: Path | str, where: str = "") -> None:
    """FavError unless images of this name can be made: a pattern such as `dir/frame_%06d.png`, in a directory of their own."""
    path = Path(name)
    if not re.fullmatch(r"[^%]*%(?:0[0-9])?d[^%]*", path.name):
        raise FavError(
            f"{where}{name}: expected a pattern with one number, such as dir/frame_%06d.png, got {path.name!r}"
        )
    if path.name.startswith("."):
        raise FavError(f"{where}{name}: expected images that are no hidden files, got {path.name!r}")
    if path.parent == Path("."):
        raise FavError(f"{where}{name}: expected images in a directory of their own, such as dir/{path.name}")


def is_sequence(video: str) -> bool:
    return "%" in Path(video).name and not Path(video).exists()


def sequence_numbers(pattern: str) -> list[int]:
    """The numbers of all images of a sequence, ascending, those behind a gap as well; none if the pattern is not `%d` or `%04d`.

    FavError where one of them is a directory, a FIFO or its like, on which FFmpeg would wait.
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
                    raise FavError(f"{file.path}: expected an image of the sequence, got no regular file; move it away")
                found.append(int(match[1]))
    return sorted(found)


def sequence_files(pattern: str, behind_gaps: bool = False) -> list[Path]:
    """The files of a numbered sequence, from the lowest number up to the first gap; `behind_gaps`: all of them."""
    numbers, path = sequence_numbers(pattern), Path(pattern)
    if behind_gaps:
        return [path.parent / (path.name % number) for number in numbers]
    run = takewhile(lambda pair: pair[0] == pair[1], zip(numbers, count(numbers[0] if numbers else 0)))
    return [path.parent / (path.name % number) for number, _ in run]
