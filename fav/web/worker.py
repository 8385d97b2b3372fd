"""A process for work with pictures, so that the server survives crashes of decoders and networks.

Calls run one after the other. If a call takes too long or crashes the process, it fails with an error of one line, and the
next call starts a new process.
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
TIMEOUT_S = 300.0  # of one call: reading the index of a long film over a slow network takes minutes
MOST_WAITING = 200  # maximum number of waiting calls


class BusyError(FavError):
    """Too many calls are waiting."""


class Worker:
    """The process, which the first call starts. It can call only functions of modules.

    Args:
        name: Its name in errors.
        timeout_s: The maximum duration of a call, in seconds.
    """

    def __init__(self, name: str, timeout_s: float = TIMEOUT_S):
        self.name, self.timeout_s = name, timeout_s
        self._calls = ThreadPoolExecutor(1, f"web {name}")
        self._waiting = threading.Semaphore(MOST_WAITING)
        self._process: SpawnProcess | None = None
        self._pipe: Any = None  # a Connection, of another type on each system

    def submit(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> "Future[R]":
        """Call a function in the process. The future can be cancelled before the call starts.

        Raises:
            BusyError: Too many calls are waiting.
        """
        if not self._waiting.acquire(blocking=False):
            raise BusyError(f"{self.name}: too many pictures are requested at once; wait a moment, then try again")
        future = self._calls.submit(self._call, function, args, kwargs)
        future.add_done_callback(lambda _: self._waiting.release())
        return future

    def close(self) -> None:
        """Kill the process, also during a call."""
        self._calls.shutdown(wait=False, cancel_futures=True)
        self._end()

    def _call(self, function: Callable, args: tuple, kwargs: dict):
        process, pipe = self._running()
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

    def _running(self) -> tuple[SpawnProcess, Any]:
        if self._process is not None and self._pipe is not None and self._process.is_alive():
            return self._process, self._pipe
        context = get_context("spawn")  # a fork would copy locks that other threads hold
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
    """Serve calls until the other end of the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the server handles Ctrl-C, and ends this process
    while True:
        try:
            function, args, kwargs = pipe.recv()
        except (EOFError, OSError):
            return
        try:
            answer = False, function(*args, **kwargs)
        except UserError as error:
            answer = True, FavError(str(error))
        except Exception as error:  # libraries raise various exceptions for damaged files
            answer = True, FavError(f"{type(error).__name__}: {error}")
        pipe.send(answer)
