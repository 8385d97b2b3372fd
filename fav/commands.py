"""What the commands have in common: errors in one line, words for sizes and times, and files that are new and whole."""

import errno
import functools
import os
import shutil
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator

import click

from shared.errors import ShareError, is_ours, lacking

from .errors import FavError

EXIT_USAGE = 2


def one_line_errors(function):
    """Turn what a user can cure into one line and exit code 2; anything else keeps its traceback."""
    @functools.wraps(function)
    def wrapped(*args, **kwargs):
        for stream in (sys.stdout, sys.stderr):
            stream.reconfigure(errors="backslashreplace")  # file names need not be text
        try:
            return function(*args, **kwargs)
        except (FavError, ShareError) as error:
            click.echo(f"error: {error}", err=True)
            sys.exit(EXIT_USAGE)
        except ImportError as error:
            if is_ours(error):
                raise
            click.echo(f"error: {lacking(error)}", err=True)
            sys.exit(EXIT_USAGE)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            click.echo(f"error: {error.filename or 'the disk'}: no room ({error.strerror}); make some: coordinator.py clean "
                       f"removes a job with its frames", err=True)
            sys.exit(EXIT_USAGE)
        except KeyboardInterrupt:
            click.echo("stopped", err=True)
            sys.exit(130)
    return wrapped


def film_at(root: Path, job: str, film: str) -> Path:
    """The film of a finished job; FavError where it is not there any more."""
    path = root / film
    try:
        there = path.name in os.listdir(path.parent)  # not of a cache
    except OSError:
        there = False
    if not there:
        raise FavError(f"{path}: expected the film of {job}, found none: it was moved or removed; coordinator.py stitch {root} "
                       f"{job} --out {path.relative_to(root)} makes it again of its frames")
    return path


def duration(seconds: float | None) -> str:
    """`42 s`, `3 min 20 s`, `2 h 5 min`; `?` for None."""
    if seconds is None:
        return "?"
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60} min"


@contextmanager
def whole(out: Path) -> Iterator[Path]:
    """A private path beside `out` that becomes it in one step when all went well, and vanishes otherwise.

    What is there already is replaced; FavError, before anything is made, where that is a directory.
    """
    if out.is_dir():
        raise FavError(f"{out}: expected a place for a file, got a directory of that name; move it away")
    private = out.with_name(f".{os.getpid()}.{out.name}")
    try:
        yield private
        private.replace(out)
    finally:
        shutil.rmtree(private) if private.is_dir() else private.unlink(missing_ok=True)


def new(out: Path) -> Path:
    """A name that may be written to; nothing is ever replaced, least of all the input."""
    if not out.parent.is_dir():
        raise FavError(f"{out}: expected an existing directory to write to, but there is no {out.parent}")
    if out.exists():
        raise FavError(f"{out}: expected a new name, but the file exists; choose another, or remove it first")
    return out
