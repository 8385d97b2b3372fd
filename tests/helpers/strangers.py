"""What strangers lay down on a share, and a look at it afterwards: nothing of it may have changed.

A `Thing` is one entry of a file system. `lay` makes it. `look` writes down all that can be seen of it: type, content,
mode, owner, time of its last change, where a link leads, and the same of all that lies in it.
"""

import hashlib
import json
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from shared.identity import VERSION, Identity
from shared.jobs import Manifest

ROOMS = ("nodes", "tmp", "notify", "logs", "by-name", "jobs")
MARKER = "fav-share.json"
NAMES = (*ROOMS, "control", MARKER)  # that are ours in a shared directory
OLD = 1_500_000_000_123_456_789  # when strangers changed their files last, in ns: whoever touches one is found out

HEX12, HEX16 = "0a1b2c3d4e5f", "0123456789abcdef"
GONE, OTHER = "gone-4711-0a1b2c3d", "other-4712-1a2b3c4d"  # names of two nodes
IDENTITY = Identity(
    **{**vars(Identity.here()), "incarnation": OTHER, "host": "elsewhere", "boot": "another"}
).to_bytes()


def manifest(name: str, version: int = VERSION, lease: float = 15.0, **spec) -> bytes:
    """The manifest of a job of that name."""
    return Manifest(f"{name}.{HEX12}", name, spec or {"chains": 1, "length": 2}, lease, version).to_bytes()


NEWER = manifest("toy", VERSION + 1)
CONTENTS = (b"", b"secret\n", b"\0\xff" * 3000, GONE.encode(), IDENTITY, NEWER, manifest("toy"), manifest("other"),
            json.dumps({"version": 1}).encode())  # fmt: skip


@dataclass(frozen=True)
class Thing:
    """One entry: a file, directory, link, fifo, or hard link to a file of the world outside (`to`).

    The `to` of a link is where it leads, with HOME for the directory of outside files.
    """

    kind: str
    content: bytes = b""
    to: str = ""
    mode: int | None = None
    owner: int | None = None
    inside: tuple[tuple[str, "Thing"], ...] = ()

    def of(self, name: str) -> "Thing | None":
        """What lies in it under that name."""
        return dict(self.inside).get(name)


def file(content: bytes = b"secret\n", **fields) -> Thing:
    return Thing("file", content, **fields)


def directory(mode: int = 0o755, **inside: Thing) -> Thing:
    return Thing("directory", mode=mode, inside=tuple(inside.items()))


def holding(*inside: tuple[str, Thing], mode: int = 0o755) -> Thing:
    """A directory of entries whose names are no words."""
    return Thing("directory", mode=mode, inside=inside)


def link(to: str) -> Thing:
    return Thing("link", to=to)


FIFO = Thing("fifo")


def lay(thing: Thing, path: Path, home: Path) -> Path:
    """Make it, with all that is in it; its time is an old one."""
    if thing.kind == "file":
        path.write_bytes(thing.content)
    elif thing.kind == "link":
        path.symlink_to(thing.to.replace("HOME", str(home)))
    elif thing.kind == "fifo":
        os.mkfifo(path)
    elif thing.kind == "hard":
        os.link(home / thing.to, path)
        return path  # its mode, owner and time are those of the file outside
    else:
        path.mkdir()
        for name, inner in thing.inside:
            lay(inner, path / name, home)
    if thing.owner is not None and os.getuid() == 0:
        os.lchown(path, thing.owner, thing.owner + 1)
    if thing.mode is not None and thing.kind != "link":
        path.chmod(thing.mode)
    os.utime(path, ns=(OLD, OLD), follow_symlinks=False)
    return path


def make_home(home: Path) -> Path:
    """The world outside: files that links in the share may lead to, many of them under names that our rooms have."""
    results = directory(
        link=holding(("0000", holding(("0000000.txt", file()), ("notes.txt", file())))),
        flow=holding(("0000", holding(("0000000.png", file()))), ("run1.dat", file())),
    )
    return lay(holding(
        ("thesis.tex", file(b"\\begin{document}", mode=0o600)), ("empty", file(b"", mode=0o666)),
        ("secrets", directory(0o700, key=file(mode=0o600))),
        ("void", directory(0o700)), ("results", results), ("flow", directory(mine=file())),
        ("creator", file(GONE.encode())), (HEX16, file()),
        ("job.json", file(manifest("toy"))), ("draft", holding((HEX16, file()), mode=0o777)),
        ("link.0000000", file(IDENTITY)),
        (GONE, file(IDENTITY)), (f"{GONE}.000000007", file(b"")), ("toy", holding(("job.json", file(manifest("toy"))))),
        (f"toy.{HEX12}", holding(("creator", file(GONE.encode())), ("results", results)))), home, home)  # fmt: skip


# ---- looking
def look(path: Path, timed: bool = True) -> dict[str, tuple]:
    """All that can be seen of an entry and of what is in it, by path. Not `timed`: without the time of the entry."""
    info = os.lstat(path)
    seen = [stat.filemode(info.st_mode), info.st_uid, info.st_gid]
    if timed:
        seen.append(info.st_mtime_ns)
    found = {str(path): ()}
    if stat.S_ISLNK(info.st_mode):
        seen.append(os.readlink(path))
    elif stat.S_ISREG(info.st_mode):
        seen.append(hashlib.sha256(path.read_bytes()).hexdigest())
    elif stat.S_ISDIR(info.st_mode):
        for name in sorted(os.listdir(path)):
            found |= look(path / name)
    return found | {str(path): tuple(seen)}


def differences(before: dict[str, tuple], after: dict[str, tuple]) -> list[str]:
    """What is gone, new, or changed, one line each."""
    gone = [f"gone: {path} {before[path]}" for path in before if path not in after]
    new = [f"new: {path} {after[path]}" for path in after if path not in before]
    return (
        gone
        + new
        + [
            f"changed: {path}: {before[path]} -> {after[path]}"
            for path in before
            if after.get(path, before[path]) != before[path]
        ]
    )


class Watched:
    """Strangers' entries, as they are now. `outside` is watched whole but for `share`, and so is each of the paths."""

    def __init__(self, outside: Path, share: Path, paths: list[Path], untimed: set[Path] = frozenset()):
        self.outside, self.share, self.paths, self.untimed = outside, share, paths, untimed
        self.before = self._look()

    def _look(self) -> dict[str, tuple]:
        found: dict[str, tuple] = {}
        for path in [*(path for path in self.outside.iterdir() if path != self.share), *self.paths]:
            if os.path.lexists(path):
                found |= look(path, path not in self.untimed)
        outside, share = os.lstat(self.outside), os.lstat(self.share)
        return found | {
            str(self.outside): (stat.filemode(outside.st_mode), outside.st_mtime_ns),
            str(self.share): (stat.filemode(share.st_mode), share.st_uid, share.st_gid),
        }

    def changes(self) -> list[str]:
        return differences(self.before, self._look())

    def unharmed(self) -> None:
        changed = self.changes()
        assert not changed, "\n".join(["of what the program did not make:", *changed])
