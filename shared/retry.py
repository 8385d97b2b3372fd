"""Retry after temporary errors: a disk that is full or read-only, and a server that does not answer."""

import errno
import logging
from collections.abc import Callable
from typing import TypeVar

from shared.filesystem import NO_SPACE_ERRNOS, READ_ONLY_ERRNOS, RETRYABLE_ERRNOS
from shared.shared_dir import SharedDir

MAX_RETRIES = 10  # failures of one step although the share itself answered right afterwards
MAX_PAUSE_S = 60.0

T = TypeVar("T")

logger = logging.getLogger(__name__)


def retry_transient(step: Callable[[], T], share: SharedDir, pause: Callable[[float], None]) -> T:
    """Run a step, and repeat it with growing pauses while the disk is full or read-only, or the server does not answer.

    All other errors are raised. So is a temporary error that came more than `MAX_RETRIES` times although the share
    itself answered right afterwards.

    Args:
        step: the step.
        share: the shared directory that the step works on.
        pause: waits for some seconds; raises an exception to end the waiting.
    """
    seconds, failures, said = 1.0, 0, None  # `said`: the errno of the last message; the free space in it varies
    while True:
        try:
            result = step()
            if said:
                logger.info("continuing")
            return result
        except OSError as error:
            if error.errno in NO_SPACE_ERRNOS:
                line = f"{share.layout.root}: no space ({error.strerror}{_free(share, error)}); waiting for free space"
            elif error.errno in READ_ONLY_ERRNOS:
                line = f"{error.filename or share.layout.root}: {error.strerror}; waiting until it is mounted writable"
            elif error.errno in RETRYABLE_ERRNOS:
                line = f"{error.filename or share.layout.root}: {error.strerror}; trying again"
            else:
                raise
            if error.errno != said:
                said = error.errno
                logger.warning("%s", line)
            if error.errno in RETRYABLE_ERRNOS:
                failures += _answers(share)  # while the whole server does not answer, this step is not at fault
                if failures > MAX_RETRIES:
                    raise
        pause(seconds)
        seconds = min(2 * seconds, MAX_PAUSE_S)


def _free(share: SharedDir, error: OSError) -> str:
    """The free space for a message. A disk with free space may lack inodes. A quota belongs to a user, not to the disk."""
    if error.errno == errno.EDQUOT:
        return ": the quota of this user or group"
    try:
        space, files = share.system.free_bytes(share.layout.root), share.system.free_files(share.layout.root)
    except OSError:
        return ", free space unknown"
    return f", {space >> 20} MiB free" + ("" if files is None else f", {files} more files possible")


def _answers(share: SharedDir) -> bool:
    try:
        share.system.list(share.layout.nodes)
        return True
    except OSError:
        return False
