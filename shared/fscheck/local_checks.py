"""Checks of the properties that claims and results need, on one machine."""

import errno
import secrets
from dataclasses import dataclass
from pathlib import Path

from shared.command_names import command
from shared.errors import JobQueueError
from shared.filesystem import NO_LINKS, NO_SPACE_ERRNOS, RETRYABLE_ERRNOS, FileSystem
from shared.fscheck.finding import Finding, Probe, Verdict, failed, note, ok, probe, unfit
from shared.ownership import remove_temporary
from shared.shared_dir import SharedDir

LONGEST_NAME = 151  # bytes of a job's name, the longest name that nodes use
WRONG_CONTENT = "claims need this: use another file system, or mount it another way"


@dataclass(frozen=True)
class ScratchDir:
    """An empty directory for the checks. `hard_links`: whether the file system supports them."""

    system: FileSystem
    root: Path
    hard_links: bool

    @classmethod
    def at(cls, system: FileSystem, root: Path) -> "ScratchDir":
        """Make the directory and test for hard links. Raises OSError if it cannot be written to."""
        system.make_dirs(root)
        scratch = cls(system, root, False)
        try:
            system.link(scratch.file(), scratch.name())
            return cls(system, root, True)
        except OSError as error:
            if error.errno in NO_LINKS:
                return scratch
            raise

    def name(self) -> Path:
        """A new path, never used again."""
        return self.root / secrets.token_hex(8)

    def file(self) -> Path:
        """A new file, made like those of nodes; its content is its first name."""
        path = self.name()
        self.system.write_new(path, path.name.encode())
        return path

    def check_holds(self, path: Path, file: Path) -> bool:
        """Whether a path has the file that was made as `file`."""
        return self.system.read(path) == file.name.encode()


@probe("exclusive create")
def check_create(scratch: ScratchDir) -> Finding:
    path = scratch.file()
    try:
        scratch.system.write_new(path, b"second")
    except FileExistsError:
        if scratch.check_holds(path, path):
            return ok("refuses a name that is taken")
    return unfit("replaces a file that has the name", WRONG_CONTENT)


@probe("hard links")
def check_link(scratch: ScratchDir) -> Finding:
    if not scratch.hard_links:
        return note(
            "none",
            "nodes claim by exclusive create instead: slower, and not as safe; NFS, ext4 and xfs support hard links",
        )
    one, other, name = scratch.file(), scratch.file(), scratch.name()
    scratch.system.link(one, name)
    if not scratch.system.exists(name) or not scratch.check_holds(name, one):
        return unfit("a new link is missing", WRONG_CONTENT)
    try:
        scratch.system.link(other, name)
    except FileExistsError:
        if scratch.check_holds(name, one):
            if scratch.system.same_file(one, name):
                return ok("refuse a name that is taken")
            return note("two names of one file look like two files", "mount it with stable inode numbers")
    return unfit("replace a file that has the name", WRONG_CONTENT)


@probe("rename")
def check_rename(scratch: ScratchDir) -> Finding:
    system, one, other, name = scratch.system, scratch.file(), scratch.file(), scratch.name()
    system.rename(one, name)
    if system.exists(one) or not system.exists(name) or not scratch.check_holds(name, one):
        return unfit("a renamed file does not have its new name alone", WRONG_CONTENT)
    try:
        system.rename(other, name)
    except FileExistsError:
        words = "moves, does not replace"  # nodes never replace files
    else:
        if system.exists(other) or not scratch.check_holds(name, other):
            return unfit("a file that was replaced is still there", WRONG_CONTENT)
        words = "moves, replaces"
    if scratch.hard_links:
        twin = scratch.name()
        system.link(name, twin)
        system.rename(name, twin)
        words += (
            ", does nothing between two names of one file"
            if system.exists(name)
            else ", makes one of two names of one file"
        )
    return ok(words)


@probe("heartbeat")
def check_heartbeat(scratch: ScratchDir) -> Finding:
    path = scratch.file()
    scratch.system.os.utime(path, ns=(10**18, 10**18))  # long ago: then the next time differs, however coarse the clock
    before = scratch.system.mtime(path)
    scratch.system.touch(path)
    if scratch.system.mtime(path) == before:
        return unfit("a renewed modification time is not seen", WRONG_CONTENT)
    return ok("a renewed modification time is seen through a second open")


@probe("names come and go")
def check_names(scratch: ScratchDir) -> Finding:
    system, path, seen = scratch.system, scratch.name(), []

    def observe() -> None:
        seen.append((system.exists(path), path.name in system.list(scratch.root)))

    observe()
    system.write_new(path, b"")
    observe()
    system.unlink(path)
    observe()
    if seen == [(False, False), (True, True), (False, False)]:
        return ok("this machine sees its own changes at once")
    return unfit("this machine does not see its own changes", WRONG_CONTENT)


@probe("long names")
def check_long_names(scratch: ScratchDir) -> Finding:
    for length in (255, LONGEST_NAME):
        if _holds_name(scratch, "n" * length):
            return ok(f"{length} bytes")
    return unfit(f"a name of {LONGEST_NAME} bytes is refused", "job names may be that long: use another file system")


def _holds_name(scratch: ScratchDir, name: str) -> bool:
    try:
        scratch.system.write_new(scratch.root / name, b"")
    except OSError as error:
        if error.errno in (errno.ENAMETOOLONG, errno.EINVAL):
            return False
        raise
    return scratch.system.exists(scratch.root / name)


QUICK: tuple[Probe, ...] = (check_create, check_link, check_rename, check_heartbeat, check_long_names)
NEEDED = (*QUICK, check_names)


def check_quickly(share: SharedDir) -> None:
    """Raise JobQueueError if the directory lacks a property that claims or results need.

    A full disk and a server that does not answer are no reason: nodes wait for those.
    """
    scratch = ScratchDir(share.system, share.layout.tmp / f"check.{secrets.token_hex(8)}", share.hard_links)
    try:
        share.system.make_dirs(scratch.root)
        for probe in QUICK:
            _refuse_if_unfit(share, probe(scratch))
    except OSError as error:
        _refuse_if_unfit(share, failed(error))
    finally:
        remove_temporary(share, scratch.root.name)


def _refuse_if_unfit(share: SharedDir, finding: Finding) -> None:
    if finding.verdict is Verdict.UNFIT and finding.error not in NO_SPACE_ERRNOS | RETRYABLE_ERRNOS:
        root = share.layout.root
        raise JobQueueError(
            f"{root}: {finding.what}: {finding.figure}; {finding.cure}; {command('check-fs')} {root} has more"
        )
