"""What the commands have in common: errors in one line, and words for sizes and times."""

import errno
import functools
import sys

import click

from shared.errors import ShareError

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


def duration(seconds: float | None) -> str:
    """`42 s`, `3 min 20 s`, `2 h 5 min`; `?` for None."""
    if seconds is None:
        return "?"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
