"""What claims and results rest on, as far as one machine can see it."""

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

LONGEST_NAME = 151  # of a job; nothing else that nodes name is as long
WRONG_CONTENT = "claims rest on this: use another file system, or mount it another way"


@dataclass(frozen=True)
class ScratchDir:
    """An empty directory to try things in; `hard_links`: whether the file system knows them."""

    system: FileSystem
    root: Path
    hard_links: bool

    @classmethod
    def at(cls, system: FileSystem, root: Path) -> "ScratchDir":
        """Make the directory, and find out about hard links. OSError where it cannot be written to."""
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
        """A new file, made as nodes make theirs; its content is its first name."""
        path = self.name()
        self.system.write_new(path, path.name.encode())
        return path

    def check_holds(self, path: Path, file: Path) -> bool:
        """Whether a path leads to the file that was made as `file`."""
        return self.system.read(path) == file.name.encode()


@probe("exclusive create")
def check_create(scratch: ScratchDir) -> Finding:
    path = scratch.file()
    try:
        scratch.system.write_new(path, b"second")
    except FileExistsError:
        if scratch.check_holds(path, path):
            return ok("refuses a name that is taken")
    return unfit("takes a name from another file", WRONG_CONTENT)


@probe("hard links")
def check_link(scratch: ScratchDir) -> Finding:
    if not scratch.hard_links:
        return note(
            "none",
            "nodes claim by exclusive create instead: slower, and not as safe; NFS, ext4 and xfs know hard links",
        )
    one, other, name = scratch.file(), scratch.file(), scratch.name()
    scratch.system.link(one, name)
    if not scratch.system.exists(name) or not scratch.check_holds(name, one):
        return unfit("a link that was made is not there", WRONG_CONTENT)
    try:
        scratch.system.link(other, name)
    except FileExistsError:
        if scratch.check_holds(name, one):
            if scratch.system.same_file(one, name):
                return ok("refuse a name that is taken")
            return note("two names of one file look like two files", "mount it with stable inode numbers")
    return unfit("take a name from another file", WRONG_CONTENT)


@probe("rename")
def check_rename(scratch: ScratchDir) -> Finding:
    system, one, other, name = scratch.system, scratch.file(), scratch.file(), scratch.name()
    system.rename(one, name)
    if system.exists(one) or not system.exists(name) or not scratch.check_holds(name, one):
        return unfit("a file that was moved is not where it should be", WRONG_CONTENT)
    try:
        system.rename(other, name)
    except FileExistsError:
        words = "moves, does not replace"  # nodes never need that
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
    scratch.system.os.utime(path, ns=(10**18, 10**18))  # long ago, so that there is no waiting for a clock's next tick
    before = scratch.system.mtime(path)
    scratch.system.touch(path)
    if scratch.system.mtime(path) == before:
        return unfit("a renewed modification time is not seen", WRONG_CONTENT)
    return ok("a renewed modification time is seen through a second open")


@probe("names come and go")
def check_names(scratch: ScratchDir) -> Finding:
    system, path, seen = scratch.system, scratch.name(), []

    def look() -> None:
        seen.append((system.exists(path), path.name in system.list(scratch.root)))

    look()
    system.write_new(path, b"")
    look()
    system.unlink(path)
    look()
    if seen == [(False, False), (True, True), (False, False)]:
        return ok("seen at once by the machine that makes them")
    return unfit("not seen even by the machine that makes them", WRONG_CONTENT)


@probe("long names")
def check_long_names(scratch: ScratchDir) -> Finding:
    for length in (255, LONGEST_NAME):
        if _holds_name(scratch, "n" * length):
            return ok(f"{length} bytes")
    return unfit(
        f"a name of {LONGEST_NAME} bytes is refused", "names of jobs may be that long: use another file system"
    )


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
    """JobQueueError, one line with its cure, where the directory breaks a rule that claims or results rest on.

    A full disk and a server that stumbles are not judged: nodes wait for those to pass.
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
            f"{root}: {finding.what}: {finding.figure}; {finding.cure}; {command('check-fs')} {root} tells more"
        )
