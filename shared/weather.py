"""Weather: a full disk and a server that stumbles. Both pass; nothing is lost by waiting."""

from typing import Callable, TypeVar

from .share import Share
from .system import FULL, PASSING

MOST_PASSING = 10  # tries of one step whose error usually passes, while the share itself can be reached
LONGEST_PAUSE_S = 60.0

T = TypeVar("T")


def weathered(step: Callable[[], T], share: Share, say: Callable[[str], None], pause: Callable[[float], None]) -> T:
    """Do a step; while the disk is full, wait with growing pauses; while the server stumbles, try again.

    `pause` waits some seconds and raises where waiting is to end. Any other error is the caller's; so is one that
    usually passes and did not in `MOST_PASSING` tries, though the share answers.
    """
    seconds, passing, said = 1.0, 0, None
    while True:
        try:
            result = step()
            if said:
                say("going on")
            return result
        except OSError as error:
            if error.errno in FULL:
                line = f"{share.layout.root}: no room ({error.strerror}, {_free(share)} free); waiting until somebody makes some"
            elif error.errno in PASSING:
                passing += 1
                if passing > MOST_PASSING and _answers(share):
                    raise
                line = f"{error.filename or share.layout.root}: {error.strerror}; trying again"
            else:
                raise
            if line != said:
                said = line
                say(line)
        pause(seconds)
        seconds = min(2 * seconds, LONGEST_PAUSE_S)


def _free(share: Share) -> str:
    try:
        return f"{share.system.free_bytes(share.layout.root) >> 20} MiB"
    except OSError:
        return "unknown"


def _answers(share: Share) -> bool:
    try:
        share.system.list(share.layout.nodes)
        return True
    except OSError:
        return False
