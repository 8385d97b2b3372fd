"""What claims and results rest on, as far as one machine can see it."""

import errno
import secrets
from dataclasses import dataclass
from pathlib import Path

from shared.command_names import command
from shared.errors import JobQueueError
from shared.filesystem import NO_LINKS, NO_SPACE_ERRNOS, RETRYABLE_ERRNOS, FileSystem
from shared.fscheck.finding import Finding, Probe, Verdict, failed, note, ok, probe, unfit
from shared.ownership import remove_private
from shared.shared_dir import SharedDir

LONGEST_NAME = 151  # of a job; nothing else that nodes name is as long
WRONG = "claims rest on this: use another file system, or mount it another way"


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
        ground = cls(system, root, False)
        try:
            system.link(ground.file(), ground.name())
            return cls(system, root, True)
        except OSError as error:
            if error.errno in NO_LINKS:
                return ground
            raise

    def name(self) -> Path:
        """A new path, never used again."""
        return self.root / secrets.token_hex(8)

    def file(self) -> Path:
        """A new file, made as nodes make theirs; its content is its first name."""
        path = self.name()
        self.system.write_new(path, path.name.encode())
        return path

    def holds(self, path: Path, file: Path) -> bool:
        """Whether a path leads to the file that was made as `file`."""
        return self.system.read(path) == file.name.encode()


@probe("exclusive create")
def create(ground: ScratchDir) -> Finding:
    path = ground.file()
    try:
        ground.system.write_new(path, b"second")
    except FileExistsError:
        if ground.holds(path, path):
            return ok("refuses a name that is taken")
    return unfit("takes a name from another file", WRONG)


@probe("hard links")
def link(ground: ScratchDir) -> Finding:
    if not ground.hard_links:
        return note(
            "none",
            "nodes claim by exclusive create instead: slower, and not as safe; NFS, ext4 and xfs know hard links",
        )
    one, other, name = ground.file(), ground.file(), ground.name()
    ground.system.link(one, name)
    if not ground.system.exists(name) or not ground.holds(name, one):
        return unfit("a link that was made is not there", WRONG)
    try:
        ground.system.link(other, name)
    except FileExistsError:
        if ground.holds(name, one):
            if ground.system.same_file(one, name):
                return ok("refuse a name that is taken")
            return note("two names of one file look like two files", "mount it with stable inode numbers")
    return unfit("take a name from another file", WRONG)


@probe("rename")
def rename(ground: ScratchDir) -> Finding:
    system, one, other, name = ground.system, ground.file(), ground.file(), ground.name()
    system.rename(one, name)
    if system.exists(one) or not system.exists(name) or not ground.holds(name, one):
        return unfit("a file that was moved is not where it should be", WRONG)
    try:
        system.rename(other, name)
    except FileExistsError:
        words = "moves, does not replace"  # nodes never need that
    else:
        if system.exists(other) or not ground.holds(name, other):
            return unfit("a file that was replaced is still there", WRONG)
        words = "moves, replaces"
    if ground.hard_links:
        twin = ground.name()
        system.link(name, twin)
        system.rename(name, twin)
        words += (
            ", does nothing between two names of one file"
            if system.exists(name)
            else ", makes one of two names of one file"
        )
    return ok(words)


@probe("heartbeat")
def beat(ground: ScratchDir) -> Finding:
    path = ground.file()
    ground.system.os.utime(path, ns=(10**18, 10**18))  # long ago, so that there is no waiting for a clock's next tick
    before = ground.system.mtime(path)
    ground.system.touch(path)
    if ground.system.mtime(path) == before:
        return unfit("a renewed modification time is not seen", WRONG)
    return ok("a renewed modification time is seen through a second open")


@probe("names come and go")
def names(ground: ScratchDir) -> Finding:
    system, path, seen = ground.system, ground.name(), []

    def look() -> None:
        seen.append((system.exists(path), path.name in system.list(ground.root)))

    look()
    system.write_new(path, b"")
    look()
    system.unlink(path)
    look()
    if seen == [(False, False), (True, True), (False, False)]:
        return ok("seen at once by the machine that makes them")
    return unfit("not seen even by the machine that makes them", WRONG)


@probe("long names")
def long_names(ground: ScratchDir) -> Finding:
    for length in (255, LONGEST_NAME):
        if _holds_name(ground, "n" * length):
            return ok(f"{length} bytes")
    return unfit(
        f"a name of {LONGEST_NAME} bytes is refused", "names of jobs may be that long: use another file system"
    )


def _holds_name(ground: ScratchDir, name: str) -> bool:
    try:
        ground.system.write_new(ground.root / name, b"")
    except OSError as error:
        if error.errno in (errno.ENAMETOOLONG, errno.EINVAL):
            return False
        raise
    return ground.system.exists(ground.root / name)


QUICK: tuple[Probe, ...] = (create, link, rename, beat, long_names)
NEEDED = (*QUICK, names)


def check_quickly(share: SharedDir) -> None:
    """JobQueueError, one line with its cure, where the directory breaks a rule that claims or results rest on.

    A full disk and a server that stumbles are not judged: nodes wait for those to pass.
    """
    ground = ScratchDir(share.system, share.layout.private / f"check.{secrets.token_hex(8)}", share.hard_links)
    try:
        share.system.make_dirs(ground.root)
        for probe in QUICK:
            _refuse_if_unfit(share, probe(ground))
    except OSError as error:
        _refuse_if_unfit(share, failed(error))
    finally:
        remove_private(share, ground.root.name)


def _refuse_if_unfit(share: SharedDir, finding: Finding) -> None:
    if finding.verdict is Verdict.UNFIT and finding.error not in NO_SPACE_ERRNOS | RETRYABLE_ERRNOS:
        root = share.layout.root
        raise JobQueueError(
            f"{root}: {finding.what}: {finding.figure}; {finding.cure}; {command('check-fs')} {root} tells more"
        )
