"""What the commands have in common: errors in one line, and words for times."""

import errno
import functools
import os
import sys
from pathlib import Path

from fav.errors import FavError
from fav.monitor.console import _flush, tell
from shared.errors import ShareError, is_ours, lacking
from shared.terminal import ended_by_signals, stopped_code

EXIT_USAGE = 2
_ROOM = "no room; make some: coordinator.py clean removes a job with its frames"
_RIGHTS = "this user may not; correct the permissions, or choose another place"
SURROUNDINGS = {  # what of a machine keeps files from being read or written, and the cure
    errno.ENOSPC: _ROOM,
    errno.EDQUOT: _ROOM,
    errno.EFBIG: "larger than a file may be here; raise the limit (ulimit -f), or choose another file system",
    errno.ENOTDIR: "something else has the place of a directory; move it away, and the directory itself back",
    errno.EROFS: "mounted read-only; choose another place, or mount it writable",
    errno.EACCES: _RIGHTS,
    errno.EPERM: _RIGHTS,
    errno.EIO: "its disk or server does not answer as it should; try again, or choose another place",
    errno.EMFILE: "too many files are open in this process; raise the limit (ulimit -n)",
    errno.ENFILE: "too many files are open on this machine; end what opens them",
}


def one_line_errors(function):
    """Turn what a user can cure into one line and exit code 2; anything else keeps its traceback."""
    @functools.wraps(function)
    def wrapped(*args, **kwargs):
        for stream in filter(None, (sys.stdout, sys.stderr)):
            stream.reconfigure(errors="backslashreplace")  # file names need not be text
        try:
            with ended_by_signals():
                return function(*args, **kwargs)
        except (FavError, ShareError) as error:
            tell(f"error: {error}", err=True)
            sys.exit(EXIT_USAGE)
        except ImportError as error:
            if is_ours(error):
                raise
            tell(f"error: {lacking(error)}", err=True)
            sys.exit(EXIT_USAGE)
        except OSError as error:
            if error.errno not in SURROUNDINGS:
                raise
            tell(f"error: {_text(error.filename or 'the disk')}: {error.strerror}: {SURROUNDINGS[error.errno]}", err=True)
            sys.exit(EXIT_USAGE)
        except KeyboardInterrupt as error:
            tell("stopped", err=True)
            sys.exit(stopped_code(error))
        finally:
            _flush()
    return wrapped


def _text(path: object) -> str:
    return os.fsdecode(path) if isinstance(path, bytes | os.PathLike) else str(path)


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
