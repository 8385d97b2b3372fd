"""What the commands have in common: errors in one line, and words for times."""

import errno
import functools
import os
import sys
from pathlib import Path

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
