"""A group of machines that check a directory together. They communicate through renamed files in it.

    SHARED/check-share/<incarnation>/     one peer, as long as it takes part
        identity                          who it is, and how many peers it waits for
        pulse.<count>                     its heartbeat: a new name every half a second
        said.<step>                       its message at a step of the check
        ground/, arena/                   scratch directories; all peers share the arena of the first peer

The group compares no clocks and needs no race for a name: the check does not know yet whether these work. A peer is
alive while the name of its heartbeat changes. The group is complete when all peers see the same live peers.
"""

import json
import secrets
import threading
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from shared.command_names import command
from shared.errors import JobQueueError
from shared.filesystem import RETRYABLE_ERRNOS, FileSystem
from shared.identity import DECODE_ERRORS, Identity

JOIN_TRIES = 3
PULSE_S = 0.5
POLL_INTERVAL_S = 0.05
LEFT = ".left"
FRESH_S = 10.0  # a heartbeat that changed this recently is of a live peer


class UncheckedError(JobQueueError):
    """Not all could be checked."""


class PeerLostError(UncheckedError):
    """A peer did not join, left, or became silent."""


class PeerGroup:
    """This process as a member of the group. `timeout_s`: maximum seconds to wait for a missing or silent peer."""

    def __init__(self, system: FileSystem, directory: Path, wanted: int, timeout_s: float, say: Callable[[str], None]):
        self.system, self.directory, self.wanted, self.timeout_s, self.say = system, directory, wanted, timeout_s, say
        self.identity = Identity.here("check-share")
        self.me = self.identity.incarnation
        self.place = directory / self.me
        self.members = [self.me]
        self._pulses: dict[
            str, tuple[str, float, bool]
        ] = {}  # peer -> heartbeat, time of its change, whether it changed
        self._stop = threading.Event()
        self._heartbeat = threading.Thread(target=self._beat, daemon=True)

    @property
    def number(self) -> int:
        """This peer's index in the group, from 0."""
        return self.members.index(self.me)

    @property
    def shared_dir(self) -> Path:
        """A directory of all peers."""
        return self.directory / self.members[0] / "arena"

    def __enter__(self) -> "PeerGroup":
        """Raise OSError if the directory cannot be written to."""
        try:
            self._make_place()
            self.system.record_node(self.identity.token)
            self._write("identity", {**asdict(self.identity), "peers": self.wanted})
        except BaseException:
            self._remove()
            raise
        self._heartbeat.start()
        return self

    def __exit__(self, *_) -> None:
        self._stop.set()
        self._heartbeat.join()
        self._remove()

    def _make_place(self) -> None:
        for left in reversed(range(JOIN_TRIES)):
            try:
                return self.system.make_dirs(self.place, below=self.directory.parent)
            except FileNotFoundError:  # the last peer of another check removed the directory of all meanwhile
                if not left:
                    raise

    def _remove(self) -> None:
        """Remove our files, and those of dead peers."""
        real = FileSystem()  # tests replace `self.system` by one that misbehaves
        real.root = self.system.root
        for peer in self.system.list(self.directory):
            if peer == self.me or self._is_peer(peer) and (self._is_gone(peer) or self._silence(peer) > self.timeout_s):
                left = self.directory / f"{peer}{LEFT}"
                try:
                    self.system.rename(
                        self.directory / peer, left
                    )  # first, so that others cannot make more files in it
                except OSError:
                    left = self.directory / peer
                real.remove(left, lambda entry, is_directory: True)
        try:
            self.system.os.rmdir(self.directory)
        except OSError:
            pass  # others still use it, or left files in it

    # ---- joining
    def join(self) -> None:
        """Wait until the wanted number of peers have joined, and all see each other. Raises PeerLostError on timeout."""
        end, reported = self.system.monotonic() + self.timeout_s, None
        while len(found := self._peers()) != self.wanted:
            if self.system.monotonic() > end:
                raise PeerLostError(
                    f"{self.directory.parent}: expected {self.wanted} peers, got {len(found)} in {self.timeout_s:.0f} s "
                    f"({', '.join(found)}); run {command('check-fs')} --peers {self.wanted} on all at the same time"
                )
            if found != reported:
                reported = found
                self.say(f"waiting for {self.wanted} peers, {len(found)} joined: {', '.join(found)}")
            self.system.sleep(POLL_INTERVAL_S)
        self.members = found
        if any(members != found for members in self.all_gather("circle", found)):
            raise PeerLostError(
                f"{self.directory.parent}: expected peers that see the same group, got several groups; "
                f"start all {self.wanted} again"
            )

    def _peers(self) -> list[str]:
        """The live peers that want a group of this size and are in no other group, including this one."""
        found = [self.me]
        for peer in self.system.list(self.directory):
            if peer != self.me and self._silence(peer) < FRESH_S and self._pulses[peer][2]:
                identity, group = self._read(peer, "identity") or {}, self._said(peer, "circle")
                if identity.get("peers") == self.wanted and (group is None or self.me in group[0]):
                    found.append(peer)
        return sorted(found)

    def _silence(self, peer: str) -> float:
        """Seconds on this machine's clock since a peer's heartbeat changed."""
        names = self.system.list(self.directory / peer)
        pulse = max((name for name in names if name.startswith("pulse.")), default="")
        now = self.system.monotonic()
        before = self._pulses.get(peer)
        if before is None or before[0] != pulse:
            self._pulses[peer] = pulse, now, before is not None
        return now - self._pulses[peer][1]

    def _beat(self) -> None:
        count = 0
        while True:
            count += 1
            try:
                self.system.write_new(self.place / f"pulse.{count:09d}", b"")
                self.system.unlink(self.place / f"pulse.{count - 1:09d}")
            except OSError:
                pass  # the next one comes soon
            if self._stop.wait(PULSE_S):
                return

    def require_directories(self) -> None:
        """Raise PeerLostError if the directory of a member is gone, and its files with it."""
        for peer in self.members:
            if not self.system.exists(self.directory / peer):
                raise PeerLostError(
                    "the other peers took this one for dead (was it suspended or disconnected?)"
                    if peer == self.me
                    else f"{peer} has left"
                )

    def require_members(self) -> None:
        """Raise PeerLostError if another member has left or died, or is silent for too long."""
        for peer in self.members:
            if peer != self.me:
                self._require(peer)

    def _require(self, peer: str) -> None:
        if not self.system.exists(self.directory / peer):
            raise PeerLostError(f"{peer} has left")
        if self._is_gone(peer):
            raise PeerLostError(f"{peer} has died")
        if self._silence(peer) > self.timeout_s:
            raise PeerLostError(f"{peer} has been silent for {self.timeout_s:.0f} s")

    # ---- messages
    def send(self, step: str, value: Any = None) -> None:
        """Send a message to all peers, once per step."""
        self._write(f"said.{step}", [value])

    def receive(self, step: str) -> list[Any]:
        """The other peers' messages at a step, in the order of the members. Raises PeerLostError if one is missing."""
        return [self._receive(peer, step) for peer in self.members if peer != self.me]

    def all_gather(self, step: str, value: Any = None) -> list[Any]:
        """Send a message, and return the messages of all peers at this step, including this one's."""
        self.send(step, value)
        received = self.receive(step)
        return [*received[: self.number], value, *received[self.number :]]

    def leave(self) -> None:
        """Wait until no peer needs our files any more."""
        self.send("over")
        for peer in self.members:
            try:
                self._receive(peer, "over")
            except PeerLostError:
                pass  # then it needs no files

    def _receive(self, peer: str, step: str) -> Any:
        while (said := self._said(peer, step)) is None:
            self._require(peer)
            self.system.sleep(POLL_INTERVAL_S)
        return said[0]

    def _said(self, peer: str, step: str) -> list | None:
        return self._read(peer, f"said.{step}")

    def _write(self, name: str, value: Any) -> None:
        draft = self.place / f"draft.{secrets.token_hex(8)}"
        self.system.write_new(draft, json.dumps(value).encode())
        self.system.rename(draft, self.place / name)

    def _read(self, peer: str, name: str) -> Any:
        """The content of a peer's file; None while it is missing, incomplete, or cannot be read."""
        try:
            return json.loads(self.system.read(self.directory / peer / name))
        except (FileNotFoundError, NotADirectoryError, JobQueueError, *DECODE_ERRORS):
            return None
        except OSError as error:
            if error.errno not in RETRYABLE_ERRNOS:
                raise
            return None

    def _is_peer(self, peer: str) -> bool:
        """Whether a peer made the directory with that name: its identity file has the same name."""
        identity = self._identity(peer)
        return identity is not None and peer.removesuffix(LEFT) == identity.incarnation

    def _identity(self, peer: str) -> Identity | None:
        try:
            return Identity.from_bytes(json.dumps(self._read(peer, "identity")).encode(), self.directory / peer)
        except (JobQueueError, OSError):
            return None

    def _is_gone(self, peer: str) -> bool:
        identity = self._identity(peer)
        return (
            identity is not None
            and identity.same_boot(self.identity)
            and self.system.process_gone(identity.pid, identity.start)
            and self.system.started_here(identity.token)
        )  # otherwise it may run on a clone of this machine
