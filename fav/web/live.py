"""One reader of the shared directory for all browsers, so that its cost does not grow with the number of browsers.

It reads only while a page is open, and at most a quarter of the time.
"""

import asyncio
import json
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from fav.monitor.snapshot import Snapshot, SnapshotReader
from shared.errors import UserError
from shared.shared_dir import SharedDir

logger = logging.getLogger(__name__)

EVERY_S = 2.0  # between two snapshots
REST = 3.0  # pause after a snapshot, in multiples of its duration: at most a quarter of the time is spent reading
LINGER_S = 20.0  # how long reading continues after the last browser has disconnected, for the next page
PING_S = 15.0  # interval of empty events; without them, a disconnected browser would not be noticed


class Live:
    """The state of a share as pages show it.

    Args:
        share: The shared directory, opened for reading.
        render: Turns a snapshot into cards, as plain values, by their keys.
        every_s: Seconds between two snapshots.
    """

    def __init__(self, share: SharedDir, render: Callable[[Snapshot], dict[str, dict]], every_s: float = EVERY_S):
        self.share, self.render, self.every_s = share, render, every_s
        self.looks = 0
        self.snapshot: Snapshot | None = None
        self.trouble: str | None = None
        self._cards: dict[str, dict] = {}
        self._reader = SnapshotReader(share)
        self._changed = threading.Condition()
        self._queues: set[tuple[asyncio.AbstractEventLoop, asyncio.Queue]] = set()
        self._wanted_until = 0.0
        self._now = threading.Event()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="web live", daemon=True)

    def start(self) -> None:
        self._wanted_until = time.monotonic() + LINGER_S
        self._thread.start()

    def close(self) -> None:
        self._closing = True
        self._now.set()
        for loop, queue in list(self._queues):
            loop.call_soon_threadsafe(queue.put_nowait, None)

    def look_now(self) -> None:
        """Read a snapshot at once, because something has changed."""
        self._wanted_until = max(self._wanted_until, time.monotonic() + LINGER_S)
        self._now.set()

    def cards(self, wait_s: float = 0.0) -> dict[str, dict]:
        """The latest cards.

        If there are none, or they are old, this waits for a new snapshot, up to `wait_s` seconds.
        """
        idle = time.monotonic() > self._wanted_until
        with self._changed:
            seen = self.looks
            self.look_now()
            if self.snapshot is None and self.trouble is None or idle:
                self._changed.wait_for(lambda: self.looks > seen or self._closing, wait_s)
            return dict(self._cards)

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[asyncio.Queue]:
        """A queue of events. The first one has all cards; the last one is None, when the server ends."""
        entry = asyncio.get_running_loop(), asyncio.Queue()
        with self._changed:
            entry[1].put_nowait(self._event(self._cards, [], whole=True))
            self._queues.add(entry)
        self.look_now()
        try:
            yield entry[1]
        finally:
            with self._changed:
                self._queues.discard(entry)

    async def events(self) -> AsyncIterator[bytes]:
        """The events of one browser, as server-sent events."""
        async with self.listening() as queue:
            while True:
                try:
                    event = await asyncio.wait_for(queue.get(), PING_S)
                except TimeoutError:
                    yield b": still here\n\n"
                    continue
                if event is None:
                    return
                yield f"data: {json.dumps(event)}\n\n".encode()

    def _run(self) -> None:
        while not self._closing:
            began = time.monotonic()
            if self._queues or began < self._wanted_until:
                self._look()
                self._now.clear()
                if self._closing:
                    return
                took = time.monotonic() - began
                self._now.wait(max(self.every_s, REST * took))
            else:
                self._now.wait()
                self._now.clear()

    def _look(self) -> None:
        try:
            self.share.check()
            snapshot, trouble = self._reader.read(), None
            cards = self.render(snapshot)
        except (UserError, OSError) as error:
            snapshot, trouble, cards = self.snapshot, str(error), self._cards
        except Exception:  # an error in one snapshot must not end the thread
            logger.exception("cannot read a snapshot of %s", self.share.layout.root)
            snapshot, trouble, cards = (
                self.snapshot,
                "the state could not be read; the output of `fav web` has the details",
                self._cards,
            )
        with self._changed:
            fresh = {key: card for key, card in cards.items() if self._cards.get(key) != card}
            gone = [key for key in self._cards if key not in cards]
            told = fresh or gone or trouble != self.trouble or not self.looks
            self.snapshot, self.trouble, self._cards = snapshot, trouble, cards
            self.looks += 1
            self._changed.notify_all()
            event = self._event(fresh, gone, whole=False)
            for loop, queue in self._queues if told else ():
                loop.call_soon_threadsafe(queue.put_nowait, event)

    def _event(self, cards: dict[str, dict], gone: list[str], whole: bool) -> dict:
        return {"whole": whole, "cards": cards, "gone": gone, "trouble": self.trouble, "read": self.looks > 0}
