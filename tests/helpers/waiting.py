"""Waiting for what other processes do."""

import time
from pathlib import Path


def wait_for(condition, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.02)


def runs(pid: int | str) -> bool:
    """Whether there is such a process, and it is not a dead one that its parent has not buried."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
