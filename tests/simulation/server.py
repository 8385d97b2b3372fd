"""A file server in memory, and clients that show it to nodes as NFS clients do: late, now and then."""

import errno
import os
import stat
from pathlib import Path
from types import SimpleNamespace

LOOKUP_S = 55.0  # as long may a client believe what it once knew of a name
LISTING_S = 8.0  # and of a directory's names
ROOMS = {"nodes", "tmp", "notify", "by-name", "claims", "results", "attempts", "failed"}


class Inode:
    __slots__ = ("ino", "names", "data", "synced", "mtime", "nlink", "room", "silence")

    def __init__(self, ino: int, is_dir: bool, now: int):
        self.ino = ino
        self.names: dict[str, Inode] | None = {} if is_dir else None
        self.data = bytearray()
        self.synced = 0  # bytes that outlast a power loss of the client that wrote them
        self.mtime = now
        self.nlink = 1
        self.silence = 0.0  # the longest time between two signs of life, of a heartbeat file
        self.room = ""  # names, claims, results, ...: the room of the layout that it lies in

    def __str__(self) -> str:
        return f"<{self.ino}>"


class Server:
    """What is true."""

    def __init__(self, now):
        self.now = now  # -> ns, by the server's own clock
        self.last = 0
        self.root = self.new(True)

    def new(self, is_dir: bool) -> Inode:
        self.last += 1
        return Inode(self.last, is_dir, self.now())


def fail(code: int, path) -> OSError:
    return OSError(code, os.strerror(code), str(path))


class Handle:
    __slots__ = ("inode", "at", "writes")

    def __init__(self, inode: Inode, writes: bool):
        self.inode, self.at, self.writes = inode, 0, writes


class Client:
    """One machine's view of the server; stands for the module `os`. Every call is one step of the world."""

    def __init__(self, world, host):
        self.world = world
        self.server: Server = world.server
        self.host = host
        self.seen: dict[int, dict[str, tuple[Inode | None, float]]] = {}  # directory -> name -> what it was, and when
        self.listings: dict[int, tuple[list[str], float]] = {}
        self.handles: dict[int, Handle] = {}
        self.last = 100

    def __getattr__(self, name):
        return getattr(os, name)  # constants

    # ---- names
    def _lookup(self, folder: Inode, name: str) -> Inode | None:
        truth = folder.names.get(name)
        world = self.world
        if world.staleness:
            seen = self.seen.setdefault(folder.ino, {})
            known = seen.get(name)
            if known and world.now - known[1] < LOOKUP_S and world.rnd.random() < world.staleness:
                if known[0] is None or known[0].nlink:  # else the server says ESTALE
                    world.count("name from a cache")
                    world.count("false name from a cache" if known[0] is not truth else "")
                    return known[0]
            seen[name] = truth, world.now
        return truth

    def _folder(self, path, dir_fd: int | None = None) -> tuple[Inode, str]:
        """The directory of a path, and the last name of it."""
        return self._below(self._start(dir_fd), path)

    def _start(self, dir_fd: int | None) -> Inode:
        """The directory in which a path begins; a step that is on its way keeps it when its handle is closed."""
        return self.handles[dir_fd].inode if dir_fd is not None else self.server.root

    def _below(self, folder: Inode, path) -> tuple[Inode, str]:
        *parents, name = str(path).strip("/").split("/")
        for parent in parents:
            folder = self._lookup(folder, parent)
            if folder is None:
                raise fail(errno.ENOENT, path)
            if folder.names is None:
                raise fail(errno.ENOTDIR, path)
        return folder, name

    def _know(self, folder: Inode, name: str, inode: Inode | None) -> None:
        """What this client did itself, it knows."""
        self.seen.setdefault(folder.ino, {})[name] = inode, self.world.now
        self.listings.pop(folder.ino, None)

    def _find(self, path, dir_fd: int | None = None) -> Inode:
        folder, name = self._folder(path, dir_fd)
        inode = self._lookup(folder, name)
        if inode is None:
            raise fail(errno.ENOENT, path)
        return inode

    def _add(self, folder: Inode, name: str, inode: Inode, before: str | None = None) -> None:
        inode.room = folder.room or (name if inode.names is not None and name in ROOMS else "")
        self.world.appears(inode, name, before)
        folder.names[name] = inode
        folder.mtime = self.server.now()
        self._know(folder, name, inode)

    def _drop(self, folder: Inode, name: str) -> Inode:
        inode = folder.names.pop(name)
        folder.mtime = self.server.now()
        self._know(folder, name, None)
        return inode

    # ---- files
    def open(self, path, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        return self.world.step(
            self, "create" if flags & os.O_CREAT else "open", path, lambda: self._open(path, flags, dir_fd)
        )

    def _open(self, path, flags: int, dir_fd: int | None) -> int:
        writes = bool(flags & (os.O_WRONLY | os.O_RDWR))
        if flags & os.O_CREAT:
            folder, name = self._folder(path, dir_fd)
            if self._lookup(folder, name) is not None or name in folder.names:
                raise fail(errno.EEXIST, path)
            inode = self.server.new(False)
            self._add(folder, name, inode)
        else:
            inode = self._find(path, dir_fd) if str(path) != "/" else self.server.root
            if flags & os.O_DIRECTORY:
                if inode.names is None:
                    raise fail(errno.ENOTDIR, path)
                if (
                    not self.world.staleness or self.world.rnd.random() < 0.5
                ):  # v3, two changes within one tick: only listing helps
                    self.seen.pop(inode.ino, None)  # names are asked for again in a directory that was just opened
        self.last += 1
        self.handles[self.last] = Handle(inode, writes)
        return self.last

    def close(self, fd: int) -> None:
        handle = self.handles.pop(fd)
        if handle.writes:
            self.world.step(self, "close", handle.inode, lambda: None)

    def read(self, fd: int, size: int) -> bytes:
        handle = self.handles[fd]

        def read() -> bytes:
            part = bytes(handle.inode.data[handle.at : handle.at + size])
            handle.at += len(part)
            return part

        return self.world.step(self, "read", handle.inode, read)

    def write(self, fd: int, data) -> int:
        handle = self.handles[fd]
        part = bytes(data[: self.world.rnd.randint(1, len(data))])  # others may see the first half

        def write() -> int:
            self.world.written(handle.inode)
            handle.inode.data += part
            handle.inode.mtime = self.server.now()
            self.host.unsynced.add(handle.inode)
            return len(part)

        return self.world.step(self, "write", handle.inode, write)

    def fsync(self, fd: int) -> None:
        inode = self.handles[fd].inode

        def fsync() -> None:
            inode.synced = len(inode.data)
            self.host.unsynced.discard(inode)

        self.world.step(self, "fsync", inode, fsync)

    def lose(self, inode: Inode) -> None:
        """What was written and not synced is gone: a power loss, or an fsync that failed."""
        del inode.data[inode.synced :]
        self.host.unsynced.discard(inode)

    def fstat(self, fd: int):
        return self._info(self.handles[fd].inode)  # as of opening: fresh

    def stat(self, path, *, dir_fd: int | None = None, follow_symlinks: bool = True):
        if isinstance(path, int):
            return self.fstat(path)
        return self.world.step(self, "stat", path, lambda: self._stat(path, dir_fd))

    def _stat(self, path, dir_fd: int | None):
        inode = self._find(path, dir_fd)
        if inode.room == "claims":  # so it is seen where there are no links
            self.world.taken(Path(path).name)
        return self._info(inode)

    def _info(self, inode: Inode):
        kind = stat.S_IFREG | 0o600 if inode.names is None else stat.S_IFDIR | 0o700
        return SimpleNamespace(
            st_mode=kind,
            st_ino=inode.ino,
            st_dev=1,
            st_size=len(inode.data),
            st_mtime_ns=inode.mtime,
            st_uid=0,
            st_gid=0,
            st_nlink=inode.nlink,
        )

    def listdir(self, fd: int) -> list[str]:
        return self.world.step(self, "listdir", self.handles[fd].inode, lambda: self._listdir(self.handles[fd].inode))

    def _listdir(self, folder: Inode) -> list[str]:
        known, world = self.listings.get(folder.ino), self.world
        if known and world.staleness and world.now - known[1] < LISTING_S and world.rnd.random() < world.staleness:
            world.count("listing from a cache")
            world.count("false listing from a cache" if known[0] != list(folder.names) else "")
            return list(known[0])
        self.listings[folder.ino] = list(folder.names), world.now
        self.seen.pop(folder.ino, None)
        return list(folder.names)

    def utime(self, path) -> None:
        def utime() -> None:
            inode = self._find(path)
            inode.silence = self.world.silence(inode)
            inode.mtime = self.server.now()

        self.world.step(self, "utime", path, utime)

    def link(self, old, new, *, follow_symlinks: bool = True) -> None:
        self.world.step(self, "link", new, lambda: self._link(old, new), lied=errno.EEXIST)

    def _link(self, old, new) -> None:
        inode = self._find(old)
        folder, name = self._folder(new)
        if self._lookup(folder, name) is not None or name in folder.names:
            self.seen.get(folder.ino, {}).pop(name, None)
            if name in folder.names:
                self.world.taken(name)
            raise fail(errno.EEXIST, new)
        inode.nlink += 1
        self._add(folder, name, inode)

    def rename(self, old, new) -> None:
        self.world.step(self, "rename", new, lambda: self._rename(old, new), lied=errno.ENOENT, source=old)

    def _rename(self, old, new) -> None:
        folder, name = self._folder(old)
        if self._lookup(folder, name) is None or name not in folder.names:
            self._know(folder, name, None)
            raise fail(errno.ENOENT, old)
        target, final = self._folder(new)
        if target.names.get(final) is folder.names[name]:
            return  # two names of one file: nothing happens, and success is reported
        if final in target.names:
            if target.names[final].names:
                raise fail(errno.ENOTEMPTY, new)
            self.world.goes(target, target.names[final], folder.names[name])
            self._drop(target, final).nlink -= 1
        if (folder.room, target.room) != ("attempts", "claims"):  # there it is put back
            self.world.goes(folder, folder.names[name])
        self._add(target, final, self._drop(folder, name), name)

    def unlink(self, path, *, dir_fd: int | None = None) -> None:
        start = self._start(dir_fd)
        self.world.step(self, "unlink", path, lambda: self._unlink(path, start), lied=errno.ENOENT)

    def _unlink(self, path, start: Inode) -> None:
        folder, name = self._below(start, path)
        if self._lookup(folder, name) is None or name not in folder.names:
            self._know(folder, name, None)
            raise fail(errno.ENOENT, path)
        if folder.names[name].names is not None:
            raise fail(errno.EISDIR, path)
        self.world.goes(folder, folder.names[name])
        self._drop(folder, name).nlink -= 1

    def mkdir(self, path, mode: int = 0o777) -> None:
        self.world.step(self, "mkdir", path, lambda: self._mkdir(path), lied=errno.EEXIST)

    def _mkdir(self, path) -> None:
        folder, name = self._folder(path)
        if name in folder.names:
            self.seen.get(folder.ino, {}).pop(name, None)
            raise fail(errno.EEXIST, path)
        self._add(folder, name, self.server.new(True))

    def rmdir(self, path, *, dir_fd: int | None = None) -> None:
        start = self._start(dir_fd)
        self.world.step(self, "rmdir", path, lambda: self._rmdir(path, start), lied=errno.ENOENT)

    def _rmdir(self, path, start: Inode) -> None:
        folder, name = self._below(start, path)
        if name not in folder.names:
            raise fail(errno.ENOENT, path)
        if folder.names[name].names:
            raise fail(errno.ENOTEMPTY, path)
        self._drop(folder, name).nlink -= 1

    def chmod(self, target, mode: int) -> None: ...

    def chown(self, target, uid: int, gid: int) -> None: ...

    def getuid(self) -> int:
        return 0

    def statvfs(self, path):
        return self.world.step(
            self,
            "statvfs",
            path,
            lambda: SimpleNamespace(
                f_bavail=0 if self.world.full else 1 << 20,
                f_frsize=4096,
                f_favail=1 << 20,
                f_files=1 << 21,
                f_ffree=1 << 20,
            ),
        )
