"""The process that a user starts as a node: it renews the heartbeat and runs a worker process.

The worker is a separate process. So a task that crashes the interpreter, runs out of memory or hangs costs
one attempt, and the node continues. The supervisor imports no library that could crash it. It records what
happened and starts the next worker.
"""

import gc
import importlib
import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import ModuleType

from setproctitle import setproctitle

from shared import attempts
from shared.claims import release_all
from shared.control import ControlCommand, ControlListener
from shared.errors import (
    EvictedError,
    JobQueueError,
    NodeUnhealthyError,
    SourcesReplaced,
    StopRequested,
    UserError,
    is_own_module,
    missing_dependency_message,
)
from shared.heartbeat import HeartbeatThread
from shared.identity import Identity
from shared.jobs import Job, find_job
from shared.logs import FIELDS, ContextFilter, set_defaults, set_level
from shared.membership import Node
from shared.node_health import NodeHealth
from shared.notify import ChangeNotifier
from shared.paths import JobFiles, Task
from shared.retry import retry_transient
from shared.shared_dir import SharedDir, open_share
from shared.source_hash import ROOT, Sources, SourceWatcher
from shared.task_monitor import TaskProgressMonitor, TaskProgressWriter
from shared.terminal import HALT, LEAVE, halt, is_ignored
from shared.worker import Worker

logger = logging.getLogger(__name__)

EXIT_FAILED, EXIT_USAGE, EXIT_CRASHED, EXIT_UNWELL, EXIT_EVICTED, EXIT_UPDATED, EXIT_STOPPED = 1, 2, 70, 71, 75, 76, 130
EXPECTED = (0, EXIT_FAILED, EXIT_USAGE, EXIT_UNWELL, EXIT_EVICTED, EXIT_UPDATED, EXIT_STOPPED)
AT_ONCE_S = 0.2  # a stop signal handled this soon after SIGCONT was sent before it
MAX_CRASHES = 3  # of workers in a row that had ended no task, and whose crash was not recorded for a task


class SupervisorChannel:
    """The connection of a worker to its supervisor: progress in shared memory; log records and the stop request as messages."""

    def __init__(self, connection: Connection, memory):
        self.connection, self.progress_writer = connection, TaskProgressWriter(memory)
        self.report_progress, self.end = self.progress_writer.report_progress, self.progress_writer.end
        self.stop = threading.Event()
        self.on_stop: Callable[[], None] = lambda: os._exit(EXIT_STOPPED)  # until the loop runs: nothing is claimed
        self._lock = threading.Lock()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        try:
            self.connection.recv()
            self.stop.set()
            self.on_stop()
            self.connection.recv()
        except (EOFError, OSError):
            os.killpg(0, signal.SIGKILL)  # the supervisor is gone, so nobody renews the heartbeat

    def begin(self, job: Job, task: Task) -> None:
        setproctitle(f"fav node {job.name} {task.kind} {task.number}")
        self.progress_writer.begin(job.name, task, job.manifest.id)

    def waiting(self) -> None:
        if not self.progress_writer.busy:  # a task that waits for the disk is still in progress
            setproctitle("fav node waiting")
        self.progress_writer.waiting()

    def log(self, fields: dict) -> None:
        self._send("log", fields)

    def store_health(self, health: NodeHealth) -> None:
        self._send("remember", health)

    def _send(self, *message) -> None:
        with self._lock:
            self.connection.send(message)


class ChannelHandler(logging.Handler):
    """Sends a worker's log records to its supervisor, which writes them, also after the worker was killed.

    Only plain values are sent: the supervisor need not import the types that libraries add to records.
    """

    def __init__(self, channel: SupervisorChannel):
        super().__init__()
        self.channel = channel
        self.addFilter(ContextFilter())

    def emit(self, record: logging.LogRecord) -> None:
        try:
            names = ("name", "levelno", "levelname", "created", *FIELDS)
            text = record.exc_text or (
                logging.Formatter().formatException(record.exc_info) if record.exc_info else None
            )
            fields = {name: getattr(record, name) for name in names}
            self.channel.log(fields | {"msg": record.getMessage(), "exc_text": text})
        except Exception:
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:
        pass  # the supervisor is gone, and this worker ends soon


def _write_record(fields: dict) -> None:
    """Log a worker's record in this process."""
    record = logging.makeLogRecord(fields)
    logging.getLogger(record.name).handle(record)


def _import(name: str) -> ModuleType:
    """Import a module without garbage collection, which would take an eighth of the time of PyTorch's import."""
    gc.disable()
    try:
        return importlib.import_module(name)
    finally:
        gc.freeze()  # collections need not look at what was imported
        gc.enable()


def _worker_main(
    connection: Connection,
    memory,
    root: str,
    hard_links: bool,
    files: JobFiles,
    identity: Identity,
    plan_for: str,
    only: str | None,
    forever: bool,
    options: dict,
    health: NodeHealth,
    sources: Sources,
    log_level: int,
) -> None:
    """Run the worker process.

    `plan_for` names a function `module:name` that takes (job, node, **options). `sources` are the supervisor's.
    """
    os.setpgid(0, 0)  # Ctrl-C goes to the supervisor only; and programs started by a task are killed with the worker
    for number in LEAVE:  # Slurm and systemd send them to all processes; until now they were blocked
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, LEAVE)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(
        signal.SIGTTOU, signal.SIG_IGN
    )  # the new process group is in the background, where `stty tostop` would stop it
    setproctitle("fav node starting")
    messenger = SupervisorChannel(connection, memory)
    logging.getLogger().addHandler(ChannelHandler(messenger))
    set_level(log_level)
    set_defaults(node=identity.incarnation, job=only)
    try:
        if sources.replaced():
            raise SourcesReplaced
        module, _, name = plan_for.partition(":")
        make_plan = getattr(_import(module), name)
        node = Node(open_share(Path(root), hard_links=hard_links, files=files), identity)
        worker = Worker(
            node,
            lambda job, node: make_plan(job, node, **options),
            messenger,
            messenger.stop,
            only,
            forever,
            health,
            sources.replaced,
        )
        messenger.on_stop = worker.notifier.wake_up
        code = 0 if worker.run() else EXIT_FAILED
    except StopRequested:
        code = EXIT_STOPPED
    except EvictedError:
        code = EXIT_EVICTED
    except SourcesReplaced:
        code = EXIT_UPDATED
    except NodeUnhealthyError as error:
        logger.warning("%s", error)
        code = EXIT_UNWELL
    except UserError as error:
        logger.error("%s", error)
        code = EXIT_USAGE
    except Exception as error:
        if sources.replaced():
            os._exit(EXIT_UPDATED)
        if isinstance(error, ImportError) and not is_own_module(error):
            logger.error("%s", missing_dependency_message(error))
            os._exit(EXIT_USAGE)
        logger.critical("the worker ends: %s", traceback.format_exception_only(error)[-1].strip(), exc_info=True)
        code = EXIT_CRASHED
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):  # a log on a full disk
            stream.flush()
    os._exit(code)  # without the destructors of libraries, whose state is unknown after a task


class Supervisor:
    """One node. It joins, runs worker processes until the work is done, and joins again if it was evicted."""

    def __init__(
        self,
        share: SharedDir,
        plan_for: str,
        only: str | None = None,
        forever: bool = False,
        options: dict | None = None,
        about: str = "",
        label: str = "",
    ):
        self.share = share
        self.plan_for = plan_for
        self.only = only
        self.forever = forever
        self.options = options or {}
        self.about, self.label = about, label
        self.health = NodeHealth()
        self._control = ControlListener(share)
        self._signals = 0  # 1: leave after the current task; 2: at once
        self._worker: BaseProcess | None = None  # while it runs
        self._continued = float("-inf")  # time of the last SIGCONT
        self._sources = SourceWatcher(Sources())

    def run(self) -> int:
        """Work until done. Returns the exit code. Sets signal handlers, so it must run in the main thread."""
        for number in LEAVE:
            if number in (signal.SIGINT, signal.SIGTERM) or not is_ignored(number):
                signal.signal(number, self._on_signal)
        for number in HALT:
            if not is_ignored(number):
                signal.signal(number, self._on_halt)
        signal.signal(signal.SIGCONT, self._on_continue)
        self._sources.start()
        crashes = 0
        while True:
            if self._updated():
                return EXIT_UPDATED
            node = Node(self.share, Identity.here(self.about, self.label))
            set_defaults(node=node.identity.incarnation, job=self.only)
            try:
                self._retry_transient(node.join)
            except StopRequested:
                return EXIT_STOPPED
            try:
                self._control.add_name(node.identity.incarnation)
                code, harmless = self._run_worker(node)
            finally:
                self._leave(node)
            if self._signals:
                return EXIT_STOPPED
            if code in (0, EXIT_FAILED):
                return code
            if self._updated():
                return EXIT_UPDATED
            if code in (EXIT_USAGE, EXIT_STOPPED):
                return code
            if code == EXIT_EVICTED:
                self.share.check()
                logger.warning(
                    "the others considered this node dead (was it suspended or disconnected?); joining again"
                )
                continue
            crashes = 0 if harmless else crashes + 1
            if crashes >= MAX_CRASHES:
                logger.error(
                    "the worker ended %d times before it had finished a task (%s); giving up",
                    crashes,
                    _describe_exit(code),
                )
                return EXIT_FAILED

    def _on_signal(self, number, frame) -> None:
        if number == signal.SIGQUIT and self._signals >= LEAVE[number]:  # the user repeats it: this process hangs
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        if number == signal.SIGHUP:
            self._signals = max(self._signals, LEAVE[number])
        else:
            self._signals += LEAVE[number]  # no logging here: the interrupted code may be writing a line

    def _on_halt(self, number, frame) -> None:
        """Stop together with the worker, and continue together."""
        _signal(self._worker, signal.SIGSTOP)
        if time.monotonic() - self._continued > AT_ONCE_S:
            halt(number)
        _signal(self._worker, signal.SIGCONT)

    def _on_continue(self, number, frame) -> None:
        self._continued = time.monotonic()

    def _updated(self) -> bool:
        """Whether the sources were replaced, so that no new worker can start. Logs it."""
        if not (self._sources.replaced.is_set() or self._sources.sources.replaced()):
            return False
        logger.warning("%s: the program was updated; start this node again", ROOT)
        return True

    def _retry_transient(self, step: Callable[[], None]) -> None:
        retry_transient(step, self.share, self._pause)

    def _pause(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self._signals:
                raise StopRequested("asked to stop")
            time.sleep(0.1)

    def _run_worker(self, node: Node) -> tuple[int | None, bool]:
        """Run one worker process to its end.

        Returns:
            Its exit code, and whether it made progress: it ended a task, or its crash was recorded for a task.
        """
        self.health.self_test = None  # the previous worker may have ended during a self-test
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        memory = TaskProgressWriter.memory(context)
        arguments = (
            theirs,
            memory,
            str(self.share.layout.root),
            self.share.hard_links,
            self.share.files,
            node.identity,
            self.plan_for,
            self.only,
            self.forever,
            self.options,
            self.health,
            self._sources.sources,
            logger.getEffectiveLevel(),
        )
        worker = context.Process(target=_worker_main, args=arguments, daemon=True)
        # Ctrl-C while the worker starts is sent to both. The worker inherits the mask; this process gets the signal afterwards.
        with _blocked(LEAVE):
            resource_tracker.ensure_running()  # when it starts one, it unblocks some signals
            signal.pthread_sigmask(signal.SIG_BLOCK, LEAVE)
            worker.start()
            self._worker = worker
        theirs.close()
        heartbeat = HeartbeatThread(node)
        heartbeat.start()
        monitor, asked, why = TaskProgressMonitor(memory), False, "crashed"
        try:
            while True:
                message = None
                try:
                    if ours.poll(0.2):
                        message = ours.recv()
                except (EOFError, OSError):
                    worker.join()
                    break
                monitor.poll(heartbeat.is_reachable)
                if message and message[0] == "log":
                    _write_record(message[1])
                elif message:
                    self.health = message[1]
                self._signals = max(self._signals, self._control.signals)
                if (self._signals or self._sources.replaced.is_set()) and not asked:
                    asked = True
                    logger.info("%s", self._leaving_message())
                    try:
                        ours.send("stop")
                    except OSError:
                        pass
                if self._signals > 1 or heartbeat.evicted.is_set():
                    _kill(worker)
                elif monitor.is_hung:
                    why = "hung"
                    _kill(worker)
        finally:
            heartbeat.stop_event.set()
            _kill(worker)
            worker.join()
            self._worker = None
        monitor.poll(heartbeat.is_reachable)
        ended_task = monitor.ended > 0
        if heartbeat.evicted.is_set():
            return EXIT_EVICTED, ended_task
        code = worker.exitcode
        if monitor.task and code not in EXPECTED and self._signals < 2:
            how = f"no progress for {monitor.silent_for:.0f} s" if why == "hung" else _describe_exit(code)
            return code, self._record_crash(node, *monitor.task, why, how) or ended_task
        return code, ended_task or code in (EXIT_UNWELL, EXIT_UPDATED)

    def _leaving_message(self) -> str:
        """Why this node leaves, and when."""
        if not self._signals:
            return "the program was updated; stopping after the current frame"
        asked = self._control.signals
        by = f"asked by the operator ({ControlCommand(asked).verb}): " if asked == self._signals else ""
        return f"{by}stopping after the current frame (repeat the request to stop at once)"

    def _record_crash(self, node: Node, job_name: str, task_name: str, job_id: str, why: str, detail: str) -> bool:
        """Record that a task, or a self-test, crashed its worker. Returns False if that was not possible."""
        logger.warning(
            "%s: %s crashed its worker (%s); the next worker continues",
            job_name,
            task_name,
            detail,
            extra={"job": job_name, "task": task_name},
        )
        if self.health.self_test:
            self.health.self_test_failed(detail)
            return True
        self.health.failed(job_id, task_name, detail, self.share.system.monotonic())
        nonce = attempts.nonce()

        def write() -> None:
            job = find_job(self.share, job_name)
            if job is not None:
                attempts.record(node, job, Task.from_name(task_name), why, detail, nonce)

        try:
            self._retry_transient(write)
            return True
        except StopRequested:
            pass
        except (OSError, JobQueueError) as error:
            logger.warning("%s: that could not be recorded (%s)", job_name, error, extra={"job": job_name})
        return False

    def _leave(self, node: Node) -> None:
        """Give up the claims that the worker left, then leave."""
        try:
            release_all(node)
            ChangeNotifier(node).notify()
            self._control.acknowledge()
            node.leave()
        except OSError as error:
            logger.warning("could not leave cleanly (%s); other nodes will clean up after one lease", error)


@contextmanager
def _blocked(numbers: Iterable[int]) -> Iterator[None]:
    """Let signals to this thread wait. Another thread may take one; then its handler runs in the main thread as well."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _kill(worker: BaseProcess) -> None:
    """Kill a worker and all programs that it has started."""
    worker.kill()
    if worker.pid is not None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(worker.pid, signal.SIGKILL)


def _signal(worker: BaseProcess | None, number: int) -> None:
    """Send a signal to a worker, and to all programs that it has started."""
    if worker is not None and worker.pid is not None and worker.is_alive():
        for send in (os.kill, os.killpg):  # it may not have its own process group yet
            with suppress(ProcessLookupError, PermissionError):
                send(worker.pid, number)


def _describe_exit(code: int | None) -> str:
    """A description of how a process ended."""
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        return f"killed by {name}" + (", out of memory?" if name == "SIGKILL" else "")
    return f"exit code {code}"
