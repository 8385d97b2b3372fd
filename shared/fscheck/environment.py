"""Facts about the directory that nodes do not depend on: permissions, free space, speed, unusual behavior."""

import fcntl
import grp
import os
import pwd
import stat
import statistics
import threading
import time
import unicodedata
from collections.abc import Callable
from pathlib import Path

from shared.filesystem import FileSystem
from shared.fscheck.finding import Finding, note, ok, probe, unfit
from shared.fscheck.local_checks import ScratchDir
from shared.mount import Mount

LITTLE_BYTES, FEW_FILES = 1 << 30, 10_000
RATE_S = 0.3  # for which a rate is measured
LOCK_S = 15.0  # maximum wait for a lock: a server that has just started delays locks for its grace period
LOCKS = ("flock", "lockf")
CLOCKS_S = 60.0  # difference of clocks that is reported
REPLACED = 100  # how often a file is replaced while a thread reads it
REPLACE_S = 5.0  # maximum time for it: on a busy disk, each replacement may take seconds
READ_PAUSE_S = 0.001  # between two reads, so that the reader leaves the processor to others


@probe("mount")
def mounted(mount: Mount | None, alone: bool) -> Finding:
    if mount is None:
        return ok("unknown: this system does not report it")
    figure, warnings = f"{mount.kind} {mount.source} {','.join(mount.options)}", mount.warnings()
    if mount.is_incoherent and not alone:
        return unfit(figure, "; ".join(warnings))
    return note(figure, "; ".join(warnings)) if warnings else ok(figure)


@probe("who may write")
def permissions(system: FileSystem, share: Path) -> Finding:
    info = system.os.stat(share)
    mode, group = info.st_mode, _name(grp.getgrgid, info.st_gid)
    figure = f"{stat.filemode(mode)} {_name(pwd.getpwuid, info.st_uid)}:{group}"
    if mode & stat.S_ISVTX:
        return unfit(f"{figure}: sticky", "users could not take over each other's tasks: chmod -t, or use one below it")
    if mode & stat.S_IWOTH:
        return ok(f"{figure}: everybody")
    if mode & stat.S_IWGRP:
        return ok(f"{figure}: group {group}")
    return ok(f"{figure}: this user alone (chgrp GROUP, chmod g+rwxs for others)")


def _name(lookup: Callable, number: int) -> str:
    try:
        return lookup(number)[0]
    except KeyError:
        return str(number)


@probe("free space")
def free_space(scratch: ScratchDir) -> Finding:
    free, files = scratch.system.free_bytes(scratch.root), scratch.system.free_files(scratch.root)
    figure = f"{free / 2**30:.1f} GiB, " + ("files without limit" if files is None else f"{files:,} files")
    if free < LITTLE_BYTES or files is not None and files < FEW_FILES:
        return note(figure, "that is little for a film; on a full disk, nodes wait for free space")
    return ok(figure)


@probe("fsync")
def sync(scratch: ScratchDir) -> Finding:
    took = []
    for _ in range(5):
        began = time.perf_counter()
        scratch.system.write_new(scratch.name(), bytes(1 << 16))
        took.append(time.perf_counter() - began)
    figure = f"{1000 * statistics.median(took):.1f} ms for a file of 64 KiB"
    directory = scratch.system.os.open(scratch.root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        scratch.system.os.fsync(directory)
    except OSError as error:  # nodes do not need it: a result that was lost in a crash is made again
        return ok(f"{figure}; not for directories ({error.strerror})")
    finally:
        scratch.system.os.close(directory)
    return ok(f"{figure}; directories, too")


@probe("rate")
def rate(scratch: ScratchDir) -> Finding:
    first = scratch.file()
    steps: dict[str, Callable[[], object]] = {"created and synced": lambda: scratch.file()}
    if scratch.hard_links:
        steps["linked"] = lambda: scratch.system.link(first, scratch.name())
    steps["renewed"] = lambda: scratch.system.touch(first)
    return ok(", ".join(f"{word} {_per_second(step):,.0f}/s" for word, step in steps.items()))


def _per_second(step: Callable[[], object]) -> float:
    began, count = time.perf_counter(), 0
    while (took := time.perf_counter() - began) < RATE_S and count < 2000:
        step()
        count += 1
    return count / took


@probe("replaced while read")
def replace_while_read(scratch: ScratchDir) -> Finding:
    """Nodes never replace a file; other programs do."""
    name, contents, stop, unexpected = (
        scratch.file(),
        {bytes([65 + n]) * (n + 1) * 1000 for n in range(2)},
        threading.Event(),
        [],
    )
    contents.add(scratch.system.read(name))

    def read() -> None:
        while not stop.wait(READ_PAUSE_S):
            try:
                if scratch.system.read(name) not in contents:
                    unexpected.append("half a file")
            except OSError as error:
                unexpected.append(error.strerror)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    replaced, end = 0, time.monotonic() + REPLACE_S
    try:
        while replaced < REPLACED and time.monotonic() < end:
            new = scratch.name()
            scratch.system.write_new(new, bytes([65 + replaced % 2]) * (replaced % 2 + 1) * 1000)
            scratch.system.rename(new, name)
            replaced += 1
    except FileExistsError:
        return ok("a taken name is refused")
    finally:
        stop.set()
        reader.join()
    if unexpected:
        return note(
            f"{len(unexpected)} reads got: {unexpected[0]}", "nodes never replace a file; edit none that is in use"
        )
    return ok(f"{replaced} times, and a reader always got a complete file")


@probe("removed while open")
def unlink_while_open(scratch: ScratchDir) -> Finding:
    path, os_ = scratch.file(), scratch.system.os
    fd = os_.open(path, os.O_RDONLY)
    try:
        scratch.system.unlink(path)
        left = [name for name in os_.listdir(scratch.root) if name.startswith(".nfs")]
        try:
            whole = os_.read(fd, 100) == path.name.encode()
        except OSError:
            whole = False
    finally:
        os_.close(fd)
    if not whole:
        return note("its content is gone", "nodes read whole files at once; other programs may fail")
    return ok("its content stays" + (" (as .nfs… until it is closed)" if left else ""))


@probe("letter case")
def case_sensitivity(scratch: ScratchDir) -> Finding:
    scratch.system.write_new(scratch.root / "Film", b"")
    accented = "\N{LATIN SMALL LETTER E WITH ACUTE}"
    try:
        scratch.system.write_new(scratch.root / accented, b"")
        one_accent = scratch.system.exists(scratch.root / unicodedata.normalize("NFD", accented))
    except OSError as error:
        return note(f"names with other than ASCII characters are refused ({error.strerror})", "give films ASCII names")
    if scratch.system.exists(scratch.root / "film"):
        return note("names are case-insensitive", "do not give two jobs names that differ only in case")
    return ok(
        "names are case-sensitive; " + ("accents are normalized" if one_accent else "names are kept byte for byte")
    )


@probe("locks")
def locks(scratch: ScratchDir) -> Finding:
    """Nodes use no locks on the shared directory; other programs do."""

    def lock(name: str) -> str:
        with open(scratch.file(), "r+b") as file:
            getattr(fcntl, name)(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return "works"

    answers = [call_with_timeout(lock, name) for name in LOCKS]
    figure = ", ".join(f"{name}: {answer}" for name, answer in zip(LOCKS, answers))
    return ok(figure) if set(answers) == {"works"} else note(figure, "nodes need none; other programs may")


def call_with_timeout(attempt: Callable[[str], str], name: str) -> str:
    """Call `attempt(name)` in a thread: its answer, its error, or a timeout. A dead lock server blocks its caller for ever."""
    answers = []

    def run() -> None:
        try:
            answers.append(attempt(name))
        except OSError as error:
            answers.append(error.strerror)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(LOCK_S)
    return answers[0] if answers else f"no answer in {LOCK_S:.0f} s"


def offset(scratch: ScratchDir) -> float:
    """Seconds by which the clock of the file system is ahead of this machine's. For display only."""
    path, before = scratch.file(), time.time()
    scratch.system.touch(path)
    return scratch.system.mtime(path) / 1e9 - (before + time.time()) / 2


@probe("clock")
def clock(scratch: ScratchDir) -> Finding:
    ahead = offset(scratch)
    figure = f"the server's is {abs(ahead):.2f} s {'ahead' if ahead > 0 else 'behind'}"
    if abs(ahead) > CLOCKS_S:
        return note(figure, "nodes compare no clocks, but times in logs will differ")
    return ok(figure)


INFO_CHECKS = (free_space, sync, rate, replace_while_read, unlink_while_open, case_sensitivity, locks, clock)
