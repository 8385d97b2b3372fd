"""How soon changes become visible: the first peer of a group makes changes, the others wait until they see them."""

import errno
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.filesystem import RETRYABLE_ERRNOS, FileSystem
from shared.fscheck.finding import Finding, note, ok, probe, unfit
from shared.fscheck.local_checks import ScratchDir
from shared.fscheck.peer_group import POLL_INTERVAL_S, PeerGroup
from shared.membership import Node
from shared.notify import ChangeNotifier
from shared.paths import SharedDirPaths
from shared.shared_dir import SharedDir

LIMIT_S = 65.0  # an NFS client may cache attributes for 60 s
NOTEWORTHY_DELAY_S = 10.0  # a longer delay is reported
TICK_S = 0.1  # an NFS 3 client that looks between two changes within one tick of the server misses the second
LONG_AGO = 10**18  # ns
HEARTBEAT = "heartbeat, opened"
CURE = "mount it without nocto, with attribute caching of at most 60 s, or use another file system"


@dataclass(frozen=True)
class VisibilityTest:
    """One change of one name.

    Attributes:
        what: the property's name.
        needed: whether nodes wait for such changes.
        prepare: called by the first peer before the change.
        change: called by the first peer.
        observe: what the other peers see.
    """

    what: str
    needed: bool
    prepare: Callable[[Path], Any]
    change: Callable[[Path], Any]
    observe: Callable[[Path], Any]


def changes(system: FileSystem, notifier: ChangeNotifier) -> list[VisibilityTest]:
    """The changes to test. Each gets its own directory: an NFS client that opens one refreshes all names in it."""

    def nothing(path: Path) -> None:
        pass

    def new(path: Path) -> None:
        system.write_new(path, b"new")

    def old(path: Path) -> None:
        system.write_new(path, b"old")
        system.os.utime(path, ns=(LONG_AGO, LONG_AGO))

    def recreate(path: Path) -> None:
        new(path.with_name("new"))
        system.rename(path, path.with_name("aside"))
        system.sleep(TICK_S)
        system.rename(path.with_name("new"), path)

    def listed(path: Path) -> bool:
        return path.name in system.list(path.parent)

    def by_name(path: Path) -> int | None:
        try:
            return system.os.stat(path).st_mtime_ns
        except FileNotFoundError:
            return 0

    return [
        VisibilityTest("new name, listed", True, nothing, new, listed),
        VisibilityTest("new name, opened", True, nothing, new, system.exists),
        VisibilityTest("  … without opening", False, nothing, new, by_name),
        VisibilityTest("removed name", True, old, system.unlink, system.exists),
        VisibilityTest("name made again", True, old, recreate, system.read),
        VisibilityTest(HEARTBEAT, True, old, system.touch, system.mtime),
        VisibilityTest("  … by stat alone", False, old, system.touch, by_name),
        VisibilityTest("notification", False, nothing, lambda path: notifier.notify(), lambda path: notifier.wait(0.0)),
    ]


def watch(group: PeerGroup, scratch: ScratchDir) -> tuple[list[Finding], float]:
    """Measure the delay of all changes.

    A delay begins when the observing peer sends that it is ready, so it includes the time of that message.

    Returns:
        The findings, and the seconds until the slowest peer saw a heartbeat (at most LIMIT_S).
    """
    system, place = scratch.system, group.shared_dir / "sight"
    notifier = ChangeNotifier(Node(SharedDir(SharedDirPaths(place), system, scratch.hard_links), group.identity))
    found = changes(system, notifier)
    paths = [place / str(number) / "name" for number in range(len(found))]
    if group.number == 0:
        for change, path in zip(found, paths):
            system.make_dirs(path.parent)
            change.prepare(path)
        system.make_dirs(notifier.node.share.layout.notify)
    group.all_gather("laid")
    try:
        notifier.wait(POLL_INTERVAL_S)  # starts its watcher
        before = [change.observe(path) for change, path in zip(found, paths)]
        group.all_gather("seen before")
        if group.number == 0:
            group.receive("looking")
            for change, path in zip(found, paths):
                change.change(path)
            delays: list[float | None] = [0.0] * len(found)
        else:
            delays = _measure(group, system, found, paths, before)
        answers = group.all_gather("seen", delays)
    finally:
        notifier.close()
    slowest = [None if None in column else max(column) for column in zip(*answers)]
    heartbeat = next(delay for change, delay in zip(found, slowest) if change.what == HEARTBEAT)
    return [_seen(change, delay) for change, delay in zip(found, slowest)], LIMIT_S if heartbeat is None else heartbeat


def _measure(
    group: PeerGroup, system: FileSystem, found: list[VisibilityTest], paths: list[Path], before: list[Any]
) -> list[float | None]:
    """Seconds until each change was seen, None if it was not seen in `LIMIT_S`."""
    began = system.monotonic()
    delays: list[float | None] = [None] * len(found)
    group.send("looking")
    while None in delays and system.monotonic() - began < LIMIT_S:
        for number, delay in enumerate(delays):
            if delay is None and _now(found[number], paths[number]) not in (before[number], None):
                delays[number] = system.monotonic() - began
        group.require_members()
        system.sleep(POLL_INTERVAL_S)
    return delays


def _now(change: VisibilityTest, path: Path) -> Any:
    try:
        return change.observe(path)
    except OSError as error:
        if error.errno not in RETRYABLE_ERRNOS | {errno.ENOENT}:
            raise
        return None


def _seen(change: VisibilityTest, delay: float | None) -> Finding:
    @probe(change.what)
    def finding() -> Finding:
        if delay is None:
            figure = f"not seen by others in {LIMIT_S:.0f} s"
            return unfit(figure, CURE) if change.needed else ok(f"{figure}; nodes do not wait for it")
        figure = f"seen by others after {delay:.2f} s" if delay < 1 else f"seen by others after {delay:.0f} s"
        if not change.needed:
            return ok(figure if delay < NOTEWORTHY_DELAY_S else f"{figure}; nodes do not wait for it")
        return note(figure, "work may be delayed by that time") if delay > NOTEWORTHY_DELAY_S else ok(figure)

    return finding()
