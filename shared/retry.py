"""Weather: a disk that is full or mounted read-only, and a server that stumbles. They pass; nothing is lost by waiting."""

import errno
import logging
from collections.abc import Callable
from typing import TypeVar

from shared.filesystem import NO_SPACE_ERRNOS, READ_ONLY_ERRNOS, RETRYABLE_ERRNOS
from shared.shared_dir import SharedDir

MAX_RETRIES = 10  # failures of one step right after which the share itself could be reached
MAX_PAUSE_S = 60.0

T = TypeVar("T")

logger = logging.getLogger(__name__)


def retry_transient(step: Callable[[], T], share: SharedDir, pause: Callable[[float], None]) -> T:
    """Do a step; while the disk is full or closed, wait with growing pauses; while the server stumbles, try again.

    `pause` waits some seconds and raises where waiting is to end. Any other error is the caller's; so is one that
    usually passes and came more than `MAX_RETRIES` times although the share itself answered right afterwards.
    """
    seconds, passing, said = 1.0, 0, None  # what was said is known by its error: the room that is left goes up and down
    while True:
        try:
            result = step()
            if said:
                logger.info("going on")
            return result
        except OSError as error:
            if error.errno in NO_SPACE_ERRNOS:
                line = f"{share.layout.root}: no room ({error.strerror}{_free(share, error)}); waiting until somebody makes some"
            elif error.errno in READ_ONLY_ERRNOS:
                line = f"{error.filename or share.layout.root}: {error.strerror}; waiting until somebody mounts it writable"
            elif error.errno in RETRYABLE_ERRNOS:
                line = f"{error.filename or share.layout.root}: {error.strerror}; trying again"
            else:
                raise
            if error.errno != said:
                said = error.errno
                logger.warning("%s", line)
            if error.errno in RETRYABLE_ERRNOS:
                passing += _answers(share)  # a try while the whole server is away tells nothing of this step
                if passing > MAX_RETRIES:
                    raise
        pause(seconds)
        seconds = min(2 * seconds, MAX_PAUSE_S)


def _free(share: SharedDir, error: OSError) -> str:
    """What is left, in words: a disk may be out of inodes, and have space. A quota is of the user, not of the disk."""
    if error.errno == errno.EDQUOT:
        return ": the quota of this user or group"
    try:
        space, files = share.system.free_bytes(share.layout.root), share.system.free_files(share.layout.root)
    except OSError:
        return ", how much is left is unknown"
    return f", {space >> 20} MiB free" + ("" if files is None else f", room for {files} more files")


def _answers(share: SharedDir) -> bool:
    try:
        share.system.list(share.layout.nodes)
        return True
    except OSError:
        return False
