"""Numbered image sequences, given as a printf pattern such as `frame_%04d.png`."""

import os
import re
from itertools import count, takewhile
from pathlib import Path

from fav.errors import FavError


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
