"""Machines that check a directory together find each other through it, and talk by files that appear whole.

    SHARED/check-share/<incarnation>/     one peer, as long as it takes part
        identity                          who it is, and how many peers it waits for
        pulse.<count>                     a new name every half a second: it lives
        said.<step>                       what it has to say at a step of the check
        ground/, arena/                   where things are tried; the arena of the first peer is everybody's

No clock is compared and no name is raced for: whether that works is what the check is to find out. A peer lives
while the name of its pulse changes, and the circle is closed when all see the same living peers.
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

PULSE_S = 0.5
POLL_INTERVAL_S = 0.05
LEFT = ".left"
FRESH_S = 10.0  # a pulse that changed so lately is that of a peer that comes


class PeerLostError(JobQueueError):
    """A peer did not come, went away or fell silent."""


class PeerGroup:
    """This process's place among the peers. `timeout_s`: seconds to wait for one that does not come or falls silent."""

    def __init__(self, system: FileSystem, directory: Path, wanted: int, timeout_s: float, say: Callable[[str], None]):
        self.system, self.directory, self.wanted, self.timeout_s, self.say = system, directory, wanted, timeout_s, say
        self.identity = Identity.here("check-share")
        self.me = self.identity.incarnation
        self.place = directory / self.me
        self.members = [self.me]
        self._pulses: dict[str, tuple[str, float, bool]] = {}  # peer -> its pulse, when it was new, whether it changed
        self._over = threading.Event()
        self._beating = threading.Thread(target=self._beat, daemon=True)

    @property
    def number(self) -> int:
        """This peer's place in the circle, counted from 0."""
        return self.members.index(self.me)

    @property
    def shared_dir(self) -> Path:
        """A directory of all peers."""
        return self.directory / self.members[0] / "arena"

    def __enter__(self) -> "PeerGroup":
        """OSError where the directory cannot be written to."""
        try:
            self.system.make_dirs(self.place)
            self.system.record_node(self.identity.token)
            self._write("identity", {**asdict(self.identity), "peers": self.wanted})
        except BaseException:
            self._remove()
            raise
        self._beating.start()
        return self

    def __exit__(self, *_) -> None:
        self._over.set()
        self._beating.join()
        self._remove()

    def _remove(self) -> None:
        """Remove what is ours, and what was left by those that are gone."""
        honest = FileSystem()  # whatever a test lets the checked one see
        honest.root = self.system.root
        for peer in self.system.list(self.directory):
            if peer == self.me or self._is_peer(peer) and (self._is_gone(peer) or self._silence(peer) > self.timeout_s):
                left = self.directory / f"{peer}{LEFT}"
                try:
                    self.system.rename(
                        self.directory / peer, left
                    )  # first, so that the others cannot make more files in it
                except OSError:
                    left = self.directory / peer
                honest.remove(left, lambda entry, is_directory: True)
        try:
            self.system.os.rmdir(self.directory)
        except OSError:
            pass  # others are at it, or their remains are there

    # ---- finding each other
    def join(self) -> None:
        """Wait until so many peers are there as are wanted, and all know of each other. PeerLostError if that takes too long."""
        end, told = self.system.monotonic() + self.timeout_s, None
        while len(found := self._peers()) != self.wanted:
            if self.system.monotonic() > end:
                raise PeerLostError(
                    f"{self.directory.parent}: expected {self.wanted} peers, got {len(found)} in {self.timeout_s:.0f} s "
                    f"({', '.join(found)}); type {command('check-fs')} --peers {self.wanted} on all at a time"
                )
            if found != told:
                told = found
                self.say(f"waiting for {self.wanted} peers, here are {len(found)}: {', '.join(found)}")
            self.system.sleep(POLL_INTERVAL_S)
        self.members = found
        if any(members != found for members in self.all_gather("circle", found)):
            raise PeerLostError(
                f"{self.directory.parent}: expected peers that agree on who takes part, got several circles; "
                f"start all {self.wanted} again"
            )

    def _peers(self) -> list[str]:
        """The living that look for a circle of this size and are in no other; this peer among them."""
        found = [self.me]
        for peer in self.system.list(self.directory):
            if peer != self.me and self._silence(peer) < FRESH_S and self._pulses[peer][2]:
                identity, group = self._read(peer, "identity") or {}, self._said(peer, "circle")
                if identity.get("peers") == self.wanted and (group is None or self.me in group[0]):
                    found.append(peer)
        return sorted(found)

    def _silence(self, peer: str) -> float:
        """Seconds, by this machine's clock, for which a peer's pulse has had the same name."""
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
                pass  # the next one is as good
            if self._over.wait(PULSE_S):
                return

    # ---- talking
    def tell(self, step: str, value: Any = None) -> None:
        """Say something to all, once at each step."""
        self._write(f"said.{step}", [value])

    def hear(self, step: str) -> list[Any]:
        """What the others say at a step, in the order of the members. PeerLostError where one does not come to it."""
        return [self._hear(peer, step) for peer in self.members if peer != self.me]

    def all_gather(self, step: str, value: Any = None) -> list[Any]:
        """Tell, and hear what all tell at this step, this peer among them."""
        self.tell(step, value)
        heard = self.hear(step)
        return [*heard[: self.number], value, *heard[self.number :]]

    def leave(self) -> None:
        """Wait until nobody needs our files any more."""
        self.tell("over")
        for peer in self.members:
            try:
                self._hear(peer, "over")
            except PeerLostError:
                pass  # then it needs nothing

    def _hear(self, peer: str, step: str) -> Any:
        while (said := self._said(peer, step)) is None:
            if not self.system.exists(self.directory / peer):
                raise PeerLostError(f"{peer} has left")
            if self._is_gone(peer):
                raise PeerLostError(f"{peer} has died")
            if self._silence(peer) > self.timeout_s:
                raise PeerLostError(f"{peer} has been silent for {self.timeout_s:.0f} s")
            self.system.sleep(POLL_INTERVAL_S)
        return said[0]

    def _said(self, peer: str, step: str) -> list | None:
        return self._read(peer, f"said.{step}")

    def _write(self, name: str, value: Any) -> None:
        draft = self.place / f"draft.{secrets.token_hex(8)}"
        self.system.write_new(draft, json.dumps(value).encode())
        self.system.rename(draft, self.place / name)

    def _read(self, peer: str, name: str) -> Any:
        """What a peer wrote under that name; None while it is not there, not whole, or cannot be read just now."""
        try:
            return json.loads(self.system.read(self.directory / peer / name))
        except (FileNotFoundError, NotADirectoryError, JobQueueError, *DECODE_ERRORS):
            return None
        except OSError as error:
            if error.errno not in RETRYABLE_ERRNOS:
                raise
            return None

    def _is_peer(self, peer: str) -> bool:
        """Whether a peer made the directory of that name: it says so itself."""
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
        )  # else it may be on a copy of this machine, made while it ran
