"""The process that a user starts as a node: it keeps the heart beating and runs a worker beside it.

The worker is a process of its own, so that a task that crashes the interpreter, is killed for its
memory or hangs costs an attempt and not the node. The supervisor stays small: it imports no library
that could take it down, writes down what happened, and starts the next worker.
"""

import importlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Callable

from . import attempts
from .bell import Bell
from .claims import Claims, claimed
from .errors import Evicted, ShareError, Stopped
from .jobs import Job, all_jobs, find_job
from .layout import Task
from .nodes import Heart, Identity, Node
from .recovery import task_of
from .share import Share, open_share
from .worker import Worker

EXIT_FAILED, EXIT_USAGE, EXIT_EVICTED, EXIT_STOPPED = 1, 2, 75, 130
MOST_CRASHES = 3  # of workers that had not begun a task
HANG_S = 600.0  # no task goes without a sign of progress for so long ...
HANG_TIMES = 30.0  # ... or for so many times the longest pause between two signs so far


class Messenger:
    """The worker's report, sent to its supervisor; and the supervisor's word to stop, received."""

    def __init__(self, connection: Connection):
        self.connection = connection
        self.stop = threading.Event()
        self.on_stop: Callable[[], None] = lambda: os._exit(EXIT_STOPPED)  # until the loop runs: nothing is claimed
        self._lock = threading.Lock()
        self._ticked = 0.0
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        try:
            self.connection.recv()
            self.stop.set()
            self.on_stop()
            self.connection.recv()
        except (EOFError, OSError):
            os._exit(EXIT_STOPPED)  # the supervisor is gone, and nobody beats the heart any more

    def _send(self, *message) -> None:
        with self._lock:
            self.connection.send(message)

    def start(self, job: Job, task: Task) -> None:
        self._send("start", job.name, str(task))

    def tick(self) -> None:
        if time.monotonic() - self._ticked > 1:
            self._ticked = time.monotonic()
            self._send("tick")

    def end(self) -> None:
        self._send("end")

    def wait(self) -> None:
        self._send("wait")

    def say(self, line: str) -> None:
        self._send("say", line)


def _work(connection: Connection, root: str, identity: Identity, plan_for: str, only: str | None, forever: bool,
          options: dict) -> None:
    """The worker process. `plan_for` names a function `module:name` that takes (job, node, messenger, **options)."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the supervisor decides
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    messenger = Messenger(connection)
    try:
        module, _, name = plan_for.partition(":")
        make_plan = getattr(importlib.import_module(module), name)
        node = Node(open_share(Path(root)), identity)
        worker = Worker(node, lambda job, node: make_plan(job, node, messenger.say, **options), messenger, messenger.stop,
                        only, forever)
        messenger.on_stop = worker.bell.wake
        code = 0 if worker.run() else EXIT_FAILED
    except Stopped:
        code = EXIT_STOPPED
    except Evicted:
        code = EXIT_EVICTED
    except ShareError as error:
        messenger.say(f"error: {error}")
        code = EXIT_USAGE
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # not through the destructors of libraries that a task may have left in any state


class Supervisor:
    """One node: incarnation after incarnation, worker after worker, until the work is over."""

    def __init__(self, share: Share, plan_for: str, say: Callable[[str], None], only: str | None = None,
                 forever: bool = False, options: dict | None = None, about: str = "",
                 progress: Callable[[str, str], None] = lambda job, task: None):
        self.share = share
        self.plan_for = plan_for
        self.say = say
        self.only = only
        self.forever = forever
        self.options = options or {}
        self.about = about
        self.progress = progress
        self._signals = 0

    def run(self) -> int:
        """Work until done; the exit code. Call it in the main thread: it takes SIGINT and SIGTERM."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)
        crashes = 0
        while True:
            node = Node(self.share, Identity.here(self.about))
            node.join()
            try:
                code, had_task = self._run_worker(node)
            finally:
                self._leave(node)
            if code in (0, EXIT_FAILED, EXIT_USAGE, EXIT_STOPPED) or self._signals:
                return EXIT_STOPPED if self._signals else code
            if code == EXIT_EVICTED:
                self.say("this node was taken for dead (was it asleep or cut off?); joining again")
                continue
            crashes = 0 if had_task else crashes + 1
            if crashes >= MOST_CRASHES:
                self.say(f"the worker ended {crashes} times before it began a task ({_how(code)}); giving up")
                return EXIT_FAILED

    def _on_signal(self, number, frame) -> None:
        self._signals += 1
        if self._signals == 1:
            self.say("stopping after the current frame (once more to stop at once)")

    def _run_worker(self, node: Node) -> tuple[int, bool]:
        """Run one worker process to its end: its exit code, and whether it had begun a task."""
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        worker = context.Process(target=_work, args=(theirs, str(self.share.layout.root), node.identity, self.plan_for,
                                                     self.only, self.forever, self.options), daemon=True)
        worker.start()
        theirs.close()
        heart = Heart(node)
        heart.start()
        current, had_task, told, why = None, False, False, "crashed"
        silent, longest, before = 0.0, 0.0, time.monotonic()
        try:
            while True:
                message = None
                try:
                    if ours.poll(0.2):
                        message = ours.recv()
                except (EOFError, OSError):
                    worker.join()
                    break
                now = time.monotonic()
                silent += min(now - before, 1.0)  # a machine that slept has not waited for its worker
                before = now
                if message:
                    longest = max(longest, silent) if current else longest
                    silent = 0.0
                    if message[0] == "start":
                        current, had_task = message[1:], True
                        self.progress(*current)
                    elif message[0] == "end":
                        current = None
                    elif message[0] == "say":
                        self.say(message[1])
                if self._signals and not told:
                    told = True
                    try:
                        ours.send("stop")
                    except OSError:
                        pass
                if self._signals > 1 or heart.evicted.is_set():
                    worker.kill()
                elif current and silent > max(HANG_S, HANG_TIMES * longest):
                    why = "hung"
                    worker.kill()
        finally:
            heart.over.set()
            worker.kill()
            worker.join()
        if heart.evicted.is_set():
            return EXIT_EVICTED, had_task
        code = worker.exitcode
        expected = code in (0, EXIT_FAILED, EXIT_USAGE, EXIT_EVICTED, EXIT_STOPPED)
        if current and not expected and self._signals < 2:
            self._record(node, *current, why, code, silent)
        return code, had_task

    def _record(self, node: Node, job_name: str, task_name: str, why: str, code: int, silent: float) -> None:
        detail = f"no sign of progress for {silent:.0f} s" if why == "hung" else _how(code)
        self.say(f"{job_name}: {task_name} took its worker down ({detail}); the next worker goes on")
        try:
            job = find_job(self.share, job_name)
            if job is not None:
                attempts.record(node, job, task_of(task_name), why, detail)
        except OSError as error:
            self.say(f"{job_name}: that could not be written down ({error})")

    def _leave(self, node: Node) -> None:
        """Withdraw whatever the worker left claimed, then go."""
        try:
            for job in all_jobs(self.share):
                claims = Claims(node, job)
                for name, path in claimed(job).items():
                    task = task_of(name)
                    if task is not None and claims._is_ours(path):
                        claims.withdraw(task)
            Bell(node).ring()
            node.leave()
        except OSError as error:
            self.say(f"could not leave cleanly ({error}); the others will clean up after one lease")


def _how(code: int) -> str:
    """How a process ended, in words."""
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        return f"killed by {name}" + (", out of memory?" if name == "SIGKILL" else "")
    return f"exit code {code}"
