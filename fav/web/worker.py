"""A process for work with pictures: what videos and networks may do wrong there, the server survives.

Calls are done one after the other. One that takes too long, or takes the process down, fails with an error in one line; the
next one finds a new process.
"""

import signal
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing import get_context
from multiprocessing.context import SpawnProcess
from typing import Any, ParamSpec, TypeVar

from fav.errors import FavError
from shared.errors import UserError

P = ParamSpec("P")
R = TypeVar("R")
TIMEOUT_S = 300.0  # of one call: reading the index of a long film over a slow line takes its time
MOST_WAITING = 200  # calls


class BusyError(FavError):
    """So many calls wait that another one would wait too long."""


class Worker:
    """The process, begun with the first call. Functions that it calls must be importable by their name.

    Args:
        name: What it is called in errors.
        timeout_s: Seconds that a call may take.
    """

    def __init__(self, name: str, timeout_s: float = TIMEOUT_S):
        self.name, self.timeout_s = name, timeout_s
        self._calls = ThreadPoolExecutor(1, f"web {name}")
        self._waiting = threading.Semaphore(MOST_WAITING)
        self._process: SpawnProcess | None = None
        self._pipe: Any = None  # a Connection, of another type on each system

    def submit(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> "Future[R]":
        """Call a function there. The future may be cancelled before the call begins; BusyError where too many wait."""
        if not self._waiting.acquire(blocking=False):
            raise BusyError(f"{self.name}: too many pictures are asked for at once; wait a moment, then try again")
        future = self._calls.submit(self._call, function, args, kwargs)
        future.add_done_callback(lambda _: self._waiting.release())
        return future

    def close(self) -> None:
        """End the process, whatever it does."""
        self._calls.shutdown(wait=False, cancel_futures=True)
        self._end()

    def _call(self, function: Callable, args: tuple, kwargs: dict):
        process, pipe = self._begun()
        try:
            pipe.send((function, args, kwargs))
            if not pipe.poll(self.timeout_s):
                raise FavError(f"{self.name}: expected an answer within {self.timeout_s:.0f} s, got none; try again")
            failed, answer = pipe.recv()
        except (EOFError, OSError):
            process.join(1)
            self._end()
            raise FavError(f"{self.name}: the process ended unexpectedly (exit code {process.exitcode})") from None
        except FavError:
            self._end()
            raise
        if failed:
            raise answer
        return answer

    def _begun(self) -> tuple[SpawnProcess, Any]:
        if self._process is not None and self._pipe is not None and self._process.is_alive():
            return self._process, self._pipe
        context = get_context("spawn")  # a fork would copy threads' locks in whatever state
        pipe, there = context.Pipe()
        process = context.Process(target=_serve, args=(there,), daemon=True, name=f"fav web {self.name}")
        process.start()
        there.close()
        self._process, self._pipe = process, pipe
        return process, pipe

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()


def _serve(pipe: Any) -> None:
    """What the process does until the other end of the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server, which ends this process
    while True:
        try:
            function, args, kwargs = pipe.recv()
        except (EOFError, OSError):
            return
        try:
            answer = False, function(*args, **kwargs)
        except UserError as error:
            answer = True, FavError(str(error))
        except Exception as error:  # whatever a library makes of odd files
            answer = True, FavError(f"{type(error).__name__}: {error}")
        pipe.send(answer)
