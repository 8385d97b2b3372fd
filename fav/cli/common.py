"""What the commands have in common: errors in one line, and words for times."""

import errno
import functools
import io
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from fav.cli.log_options import log_settings
from fav.cli.options import request_of
from fav.errors import FavError
from fav.model.bundled_styles import style_file
from fav.monitor.console import _flush, command_log, tell
from fav.pipeline.job_control import submit_and_notify
from fav.pipeline.job_files import open_share
from shared.command_names import command
from shared.errors import UserError, is_own_module, missing_dependency_message
from shared.jobs import Job
from shared.shared_dir import SharedDir
from shared.terminal import ended_by_signals, stopped_code

logger = logging.getLogger(__name__)

EXIT_USAGE = 2
SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}  # of a command line, for click
_ROOM = "no space; free some: {clean} removes a job with its frames"
_RIGHTS = "this user may not; correct the permissions, or choose another place"
_SERVER = "its disk or server does not answer as it should; try again, or choose another place"
SURROUNDINGS = {  # what of a machine keeps files from being read or written, and the cure
    errno.ENOSPC: _ROOM,
    errno.EDQUOT: _ROOM,
    errno.EFBIG: "larger than a file may be here; raise the limit (ulimit -f), or choose another file system",
    errno.ENOTDIR: "something else has the place of a directory; move it away, and the directory itself back",
    errno.EROFS: "mounted read-only; choose another place, or mount it writable",
    errno.EACCES: _RIGHTS,
    errno.EPERM: _RIGHTS,
    **dict.fromkeys((errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN, errno.EHOSTDOWN, errno.ENOLCK), _SERVER),
    errno.EMFILE: "too many files are open in this process; raise the limit (ulimit -n)",
    errno.ENFILE: "too many files are open on this machine; end what opens them",
}


def one_line_errors(function):
    """Turn what a user can cure into one line and exit code 2; anything else keeps its traceback."""

    @functools.wraps(function)
    def wrapped(*args, **kwargs):
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")  # file names need not be text
        with command_log(log_settings()):
            return told_in_one_line(*args, **kwargs)

    def told_in_one_line(*args, **kwargs):
        try:
            with ended_by_signals():
                return function(*args, **kwargs)
        except UserError as error:
            tell(f"error: {error}", err=True)
            sys.exit(EXIT_USAGE)
        except ImportError as error:
            if is_own_module(error):
                raise
            tell(f"error: {missing_dependency_message(error)}", err=True)
            sys.exit(EXIT_USAGE)
        except OSError as error:
            if error.errno not in SURROUNDINGS:
                raise
            cure = SURROUNDINGS[error.errno].format(clean=command("clean"))
            tell(f"error: {_text(error.filename or 'the disk')}: {error.strerror}: {cure}", err=True)
            sys.exit(EXIT_USAGE)
        except KeyboardInterrupt as error:
            tell("stopped", err=True)
            sys.exit(stopped_code(error))
        finally:
            _flush()

    return wrapped


def fail_with(complaints: Sequence[str]) -> None:
    """Say what could not be read, one line each, and end the command with exit code 2; nothing where there is none."""
    for complaint in complaints:
        tell(f"error: {complaint}", err=True)
    if complaints:
        sys.exit(EXIT_USAGE)


def _text(path: object) -> str:
    return os.fsdecode(path) if isinstance(path, bytes | os.PathLike) else str(path)


def finished_film(root: Path, job: str, film: str) -> Path:
    """The film of a finished job; FavError where it is not there any more."""
    path = root / film
    try:
        there = path.name in os.listdir(path.parent)  # not of a cache
    except OSError:
        there = False
    if not there:
        raise FavError(
            f"{path}: expected the film of {job}, found none: it was moved or removed; {command('stitch')} {root} "
            f"{job} --out {path.relative_to(root)} makes it again of its frames"
        )
    return path


def share_for(root: Path, video: str, style: Path) -> SharedDir:
    """A shared directory, which becomes one here if it is none, after a look at what a job is to be made of."""
    from fav.pipeline.arguments import check_arguments

    check_arguments(video, style_file(style), root)
    return open_share(root)


def open_existing(root: Path) -> SharedDir:
    """A shared directory that is one already."""
    return open_share(root, new=False)


def open_read_only(root: Path) -> SharedDir:
    """A shared directory in which nothing is changed; it may be read-only, or another user's."""
    return open_share(root, read_only=True)


def submit_and_print(context: click.Context, share: SharedDir, video: str, style: Path, values: dict) -> Job:
    """Create the job, or join it, and say so."""
    joined = submit_and_notify(share, request_of(context, video, style, values))
    if film := None if joined.created else joined.job.flag_text("finished"):
        for note in joined.notes:  # of what was repaired, if anything was
            logger.info("%s", note)
        tell(f"already done: {finished_film(share.layout.root, joined.job.name, film)}")
        return joined.job
    tell(f"{'created' if joined.created else 'joined'} job {joined.job.name}")
    if joined.created and share.creation_notice:  # who joins others is in the right place
        logger.info("%s", share.creation_notice)
    for note in joined.notes:
        logger.info("%s", note)
    return joined.job
