"""A small file system of its own that can be filled up."""

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tests.helpers.checkout import ROOT

KINDS = {  # how a file system is made at a directory ({disk}), in the shell of a mount namespace of its own
    "tmpfs": "mount -t tmpfs -o size=8m,nr_inodes=500 none {disk}",
    "ext4": "truncate -s 12M {disk}.img && mkfs.ext4 -q -F -m 0 -O ^has_journal -N 1024 {disk}.img && mount -o loop {disk}.img {disk}",
}


class Disk:
    """A small file system that only its own processes see, and this one through one of them; gone when that ends."""

    def __init__(self, kind: str, directory: Path):
        directory.mkdir()
        script = f"{KINDS[kind].format(disk=directory)} && mkdir {directory}/share && echo made && exec cat"
        into = ["--map-root-user"] if os.getuid() else []
        self.holder = subprocess.Popen(
            ["unshare", "--mount", *into, "sh", "-c", script],
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        if self.holder.stdout.readline() != "made\n":
            pytest.skip(f"no {kind} can be mounted here: {self.holder.communicate()[1].strip()[-100:]}")
        self.directory = directory
        self.seen = Path(f"/proc/{self.holder.pid}/root{directory}")  # from without
        self._ballast = self.seen / "ballast"
        self._ballast.mkdir()

    def run(self, *words, out: Path) -> subprocess.Popen:
        """A process that sees the disk; what it says goes to `out`, which is not on it."""
        into = ["--user", "--preserve-credentials"] if os.getuid() else []
        enter = ["nsenter", "--target", str(self.holder.pid), "--mount", *into, "--"]
        with open(out, "ab") as file:
            return subprocess.Popen(
                [*enter, sys.executable, *map(str, words)],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
            )

    def leave_blocks(self, count: int) -> None:
        """Fill the disk up to so many blocks, a file each at most."""
        for part in range(20):  # others write meanwhile: what does not fit takes nothing
            info = os.statvfs(self.seen)
            more = (info.f_bavail - count) * info.f_frsize
            with open(self._ballast / f"space {part}", "wb") as file, suppress(OSError):
                if more <= 0:
                    return
                os.posix_fallocate(file.fileno(), 0, more)

    def leave_files(self, count: int) -> None:
        """Fill the disk up to so many inodes."""
        with suppress(OSError):  # others make files meanwhile
            for number in range(os.statvfs(self.seen).f_favail - count):
                (self._ballast / f"file {number}").touch()

    def make_room(self) -> None:
        for path in self._ballast.iterdir():
            path.unlink()

    def end(self) -> None:
        self.holder.communicate()


def said(out: Path, word: str) -> bool:
    return out.exists() and word in out.read_text()
