"""What all commands share: errors in one line, and how they open directories and find jobs."""

import atexit
import errno
import functools
import gc
import io
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from fav.cli.log_options import log_settings
from fav.cli.options import request_of
from fav.cli.share_argument import origin_of_share
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
atexit.register(gc.freeze)  # the last collection would take 0.4 s where PyTorch was imported

EXIT_USAGE = 2
SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}  # of a command line, for click
_SPACE = "no space; free some: {clean} removes a job with its frames"
_RIGHTS = "this user is not allowed to; correct the permissions, or choose another place"
_NAME = "the file system there does not take this name; choose another one"
_SERVER = "its disk or server does not answer as it should; try again, or choose another place"
SURROUNDINGS = {  # errors of the machine that prevent reading or writing files, and the cure
    errno.ENOSPC: _SPACE,
    errno.EDQUOT: _SPACE,
    errno.EFBIG: "the file is too large for this machine; raise the limit (ulimit -f), or choose another file system",
    errno.ENOTDIR: "a file has the name of a directory; move the file away, and restore the directory",
    errno.ENAMETOOLONG: "no file can have so long a name; choose a shorter one",
    errno.ELOOP: "a symbolic link leads in a circle, or is not allowed there; correct it",
    errno.EILSEQ: _NAME,
    errno.EINVAL: _NAME,  # of an error that names a file; vfat and SMB refuse ':' and '?' so
    errno.EROFS: "mounted read-only; choose another place, or mount it writable",
    errno.EACCES: _RIGHTS,
    errno.EPERM: _RIGHTS,
    **dict.fromkeys((errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN, errno.EHOSTDOWN, errno.ENOLCK), _SERVER),
    errno.EMFILE: "too many files are open in this process; raise the limit (ulimit -n)",
    errno.ENFILE: "too many files are open on this machine; end some programs",
}


def one_line_errors(function):
    """Decorator: print errors that a user can correct in one line, and exit with 2. Others keep their traceback."""

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
            tell(f"error: {error}{origin_of_share(str(error))}", err=True)
            sys.exit(EXIT_USAGE)
        except ImportError as error:
            if is_own_module(error):
                raise
            tell(f"error: {missing_dependency_message(error)}", err=True)
            sys.exit(EXIT_USAGE)
        except OSError as error:
            if error.errno == errno.ENOENT and not _current_directory_exists():
                tell("error: the current directory was removed; change to another one, and try again", err=True)
                sys.exit(EXIT_USAGE)
            if error.errno not in SURROUNDINGS or error.errno == errno.EINVAL and not error.filename:
                raise
            cure = SURROUNDINGS[error.errno].format(clean=command("clean"))
            where = error.filename2 or error.filename or "the disk"  # of a copy, the second is what cannot be written
            tell(f"error: {_text(where)}: {error.strerror}: {cure}", err=True)
            sys.exit(EXIT_USAGE)
        except KeyboardInterrupt as error:
            tell("stopped", err=True)
            sys.exit(stopped_code(error))
        finally:
            _flush()

    return wrapped


def fail_with(complaints: Sequence[str]) -> None:
    """Print the complaints, one line each, and exit with code 2. Does nothing if there are none."""
    for complaint in complaints:
        tell(f"error: {complaint}", err=True)
    if complaints:
        sys.exit(EXIT_USAGE)


def _current_directory_exists() -> bool:
    try:
        os.getcwd()
        return True
    except FileNotFoundError:
        return False


def _text(path: object) -> str:
    return os.fsdecode(path) if isinstance(path, bytes | os.PathLike) else str(path)


def finished_film(root: Path, job: str, film: str) -> Path:
    """The film of a finished job. Raises FavError if it is gone."""
    path = root / film
    try:
        there = path.name in os.listdir(path.parent)  # not from a cache
    except OSError:
        there = False
    if not there:
        raise FavError(
            f"{path}: expected the film of {job}, found none: it was moved or removed; {command('stitch')} {root} "
            f"{job} --out {path.relative_to(root)} makes it again from its frames"
        )
    return path


def share_for(root: Path, video: str, style: Path) -> SharedDir:
    """Open a shared directory, or make one, after checking the video and the style of the job."""
    from fav.pipeline.arguments import check_arguments

    check_arguments(video, style_file(style), root)
    return open_share(root)


def open_existing(root: Path) -> SharedDir:
    """Open an existing shared directory."""
    return open_share(root, new=False)


def open_read_only(root: Path) -> SharedDir:
    """Open a shared directory without changing it. It may be read-only, or another user's."""
    return open_share(root, read_only=True)


def submit_and_print(context: click.Context, share: SharedDir, video: str, style: Path, values: dict) -> Job:
    """Create the job, or join it, and print which."""
    joined = submit_and_notify(share, request_of(context, video, style, values))
    if film := None if joined.created else joined.job.flag_text("finished"):
        for note in joined.notes:  # about repairs, if any
            logger.info("%s", note)
        tell(f"already done: {finished_film(share.layout.root, joined.job.name, film)}")
        return joined.job
    tell(f"{'created' if joined.created else 'joined'} job {joined.job.name}")
    if joined.created and share.creation_notice:  # who joins an existing job has the right directory
        logger.info("%s", share.creation_notice)
    for note in joined.notes:
        logger.info("%s", note)
    return joined.job
