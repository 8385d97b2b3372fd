"""How a directory is mounted, and which mount options cause problems."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

LOCAL = {
    "ext2",
    "ext3",
    "ext4",
    "xfs",
    "btrfs",
    "tmpfs",
    "zfs",
    "f2fs",
    "jfs",
    "overlay",
    "ramfs",
    "bcachefs",
    "vfat",
    "exfat",
}
VOLATILE = {"tmpfs", "ramfs", "overlay"}  # in memory, or in one container
LONGEST_CACHE_S = 60  # of NFS attributes by default; the default lease is made for it

# option -> why it is bad. Options of the server's export (async) cannot be seen from here.
BAD_OPTIONS = {
    "soft": "an unreachable server causes errors instead of pauses; mount it hard",
    "softerr": "an unreachable server causes errors instead of pauses; mount it hard",
    "nolock": "file locks stay on this machine; nodes need none, other programs may",
    "noserverino": "one file with two names looks like two files; mount it with serverino",
    "nobarrier": "a power loss may destroy synced files; mount it with barriers",
}
INCOHERENT_OPTIONS = {  # suitable for the nodes of one machine
    "nocto": "opening a file does not ask the server, so other machines' changes are seen late; mount it without nocto",
    "cache=loose": "other machines' changes are seen late or never; mount it with cache=none or strict",
    "cache=fscache": "other machines' changes are seen late or never; mount it with cache=none or strict",
}
CACHE_OPTIONS = ("acregmax", "acdirmax", "acregmin", "acdirmin", "actimeo")


@dataclass(frozen=True)
class Mount:
    """One line of the kernel's table of mounts. `options` are those of the mount and of the file system."""

    kind: str
    source: str
    options: tuple[str, ...]

    @property
    def local(self) -> bool:
        """Whether this is a local file system, where the kernel reports all changes; not NFS, SMB or FUSE."""
        return self.kind in LOCAL

    @property
    def is_incoherent(self) -> bool:
        """Whether its options delay other machines' changes without limit."""
        return any(option in INCOHERENT_OPTIONS for option in self.options)

    def warnings(self) -> list[str]:
        """The problems of this mount, one line each with the cure."""
        bad = BAD_OPTIONS | INCOHERENT_OPTIONS
        lines = [f"{option}: {bad[option]}" for option in self.options if option in bad]
        for option in self.options:
            name, _, value = option.partition("=")
            if name in CACHE_OPTIONS and value.isdecimal() and int(value) > LONGEST_CACHE_S:
                lines.append(f"{option}: changes may be seen that many seconds late; use at most {LONGEST_CACHE_S}")
        if self.kind in VOLATILE:
            lines.append(f"{self.kind}: other machines do not see it, and a restart may empty it")
        return list(dict.fromkeys(lines))


def mount_of(path: Path, table: str | None = None) -> Mount | None:
    """The mount of a path, None if the kernel does not report it. `table` is the content of mountinfo."""
    found, longest, resolved = None, -1, str(path.resolve())
    for line in _lines(table):
        before, _, after = line.partition(" - ")
        fields, (kind, *source, options) = before.split(), after.split()
        point = _point(fields)
        inside = resolved == point or resolved.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= longest:  # a later mount on the same point hides the earlier
            found, longest = (
                Mount(kind, " ".join(source), tuple(dict.fromkeys(f"{fields[5]},{options}".split(",")))),
                len(point),
            )
    return found


def is_mount_point(path: Path) -> bool:
    """Whether something is mounted at exactly this path, also a bind mount. False if the kernel does not report it."""
    resolved = str(path.resolve())
    return any(_point(line.split()) == resolved for line in _lines(None))


def _lines(table: str | None) -> list[str]:
    try:
        return (table if table is not None else os.fsdecode(Path("/proc/self/mountinfo").read_bytes())).splitlines()
    except OSError:
        return []


def _point(fields: list[str]) -> str:
    """The mount point of a line of the table. Special characters are written there as three octal digits."""
    return re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), fields[4])
