"""One run: nodes that type the same line, a coordinator that looks on, whatever goes wrong, and the verdict."""

import json
import logging
import secrets
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

from shared import attempts, results
from shared.claims import claimed, release_all
from shared.errors import EvictedError, JobQueueError, JobRemovedError, NodeUnhealthyError, StopRequested
from shared.failure_detector import FailureDetector
from shared.heartbeat import HeartbeatThread
from shared.identity import Identity
from shared.jobs import Job, all_jobs, create_job, find_job
from shared.logs import logging_to
from shared.membership import Node
from shared.notify import ChangeNotifier
from shared.paths import SharedDirPaths, Task
from shared.protocols import TaskPlan
from shared.recovery import Recovery
from shared.retry import retry_transient
from shared.settings import LEASE_S, POLL_S
from shared.shared_dir import SharedDir
from shared.worker import Worker
from tests.helpers import toy_plan as toy
from tests.simulation.world import Host, Process, SimulatedSystem, World

ROOT = Path("/share")
NAME = "toy"
STRANGERS = (
    "tmp/taxes/2025.txt",
    "tmp/host0-1-0123abcd/diary.txt",
    "notify/notes.txt",
    "notify/host0-1-0123abcd.000000001",
    "jobs/exp1/results.csv",
    "jobs/toy.0123456789ab/data.csv",
)  # files of other people, some in places that look like ours


class Told:
    """A worker's report to the world."""

    def __init__(self, world: World, agent_of, process: Process):
        self.world, self.agent, self.process = world, agent_of, process

    def begin(self, job, task) -> None:
        examined = (
            self.process.health and self.process.health.self_test
        )  # a node that failed proves itself on a task that is done
        self.world.executions[str(task)] += not examined
        self.agent().task = str(task)
        self.world.say(self.process, f"starts {task}")

    def end(self) -> None:
        self.agent().task = None

    def report_progress(self) -> None: ...
    def waiting(self) -> None: ...
    def store_health(self, health) -> None:
        self.process.health = health


class TraceHandler(logging.Handler):
    """Adds what a process of the world logs to the trace."""

    def __init__(self, world: World):
        super().__init__()
        self.world = world

    def emit(self, record: logging.LogRecord) -> None:
        self.world.say(self.world.current.process, f"logs: {record.getMessage()}")


class Play:
    """A world with a job of small tasks in it."""

    plan: type[TaskPlan] = toy.ToyPlan

    def __init__(self, seed: int, trace: bool = False):
        self.world = world = World(seed, trace)
        rnd = world.rnd
        self.links = rnd.random() < 0.75
        world.exact = self.links
        world.lease = self.lease = rnd.choice([15.0, 15.0, 40.0])
        self.chains, self.length = rnd.choice([(1, 4), (2, 4), (3, 3), (5, 1)])
        self.parts = seed % 5 == 1  # not drawn: all other seeds play as they did without
        self.poison = rnd.randrange(self.chains * self.length) if rnd.random() < 0.15 else None
        self.spec = {
            "chains": self.chains,
            "length": self.length,
            "poison": self.poison,
            **({"parts": True} if self.parts else {}),
            "slow": rnd.choice([0.0, 0.1, 3.0, 30.0]),
        }
        world.bereaved = self.start_again

    # ---- actors
    def share_on(self, host: Host) -> SharedDir:
        return SharedDir(SharedDirPaths(ROOT), SimulatedSystem(self.world, host), self.links)

    def identity(self, process: Process) -> Identity:
        host = process.host
        return Identity(
            f"{host.name}-{process.pid}-{secrets.token_hex(4)}",
            secrets.token_hex(16),
            host.name,
            f"boot {host.boot} of {host.name}",
            "",
            process.pid,
            process.pid,
        )

    def begin(self, host: Host, submits: bool, delay: float = 0.0) -> None:
        """Start one more node on a machine."""
        process = self.world.process(host)
        self.world.spawn(process, "node", lambda: self.node(process, submits, delay))

    def start_again(self, process: Process) -> None:
        """Somebody types the line again on the machine of a node that was killed; mostly."""
        if self.world.rnd.random() < 0.7:
            self.begin(process.host, True, self.world.rnd.uniform(0, 60))

    def node(self, process: Process, submits: bool, delay: float) -> None:
        """What node.py and its supervisor do."""
        share, world = self.share_on(process.host), self.world
        system = share.system
        world.sleep(delay)
        say = lambda line: world.say(process, f"says: {line}")
        if submits:
            try:
                retry_transient(lambda: self.submit(share, process), share, system.sleep)
            except JobQueueError as error:
                say(f"gives up: {error}")
                return
        for _ in range(100):
            node = Node(share, self.identity(process))
            retry_transient(node.join, share, system.sleep)
            heart = HeartbeatThread(node)
            world.spawn(process, "heart", heart.run)
            outcome = self.work(process, node, heart)
            heart.stop_event.set()
            try:
                release_all(node)
                node.leave()
            except OSError as error:
                say(f"could not leave cleanly: {error}")
            if outcome not in ("evicted", "crashed", "unwell"):
                say(f"ends: {outcome}")
                return
        raise world.broken("a node that never ends")

    def submit(self, share: SharedDir, process: Process) -> None:
        if find_job(share, NAME) is not None:
            return
        visitor = Node(share, self.identity(process))
        visitor.join()
        heart = HeartbeatThread(visitor)
        self.world.spawn(process, "visit", heart.run)
        try:
            create_job(visitor, NAME, self.lease, lambda layout: self.spec)
        finally:
            heart.stop_event.set()
            visitor.leave()

    def work(self, process: Process, node: Node, heart: HeartbeatThread) -> str:
        """A worker beside the heart; how it ended."""
        world, done, stop = self.world, [], threading.Event()
        told = Told(world, lambda: agent, process)

        def body() -> None:
            try:
                worker = Worker(node, self.plan, told, stop, NAME, health=process.health)
                done.append("well" if worker.run() else "failed")
            except EvictedError:
                done.append("evicted")
            except NodeUnhealthyError:
                done.append("unwell")
            except (JobQueueError, StopRequested) as error:
                done.append(f"error: {error}")
            except Exception:
                done.append("broken")
                raise world.broken(f"a worker went down: {traceback.format_exc()}")  # noqa: B904

        agent = world.spawn(process, "worker", body)
        world.sleep(1e9, lambda: bool(done) or not agent.alive or heart.evicted.is_set())
        if heart.evicted.is_set():
            world.end(agent)
            return "evicted"
        if done:
            return done[0]
        if agent.task:  # it was taken down in a task
            nonce = attempts.nonce()
            job = retry_transient(lambda: find_job(node.share, NAME), node.share, node.share.system.sleep)
            try:
                retry_transient(
                    lambda: attempts.record(node, job, Task.parse(agent.task), "crashed", "by the test", nonce),
                    node.share,
                    node.share.system.sleep,
                )
            except (OSError, JobRemovedError) as error:
                world.say(process, f"could not be written down: {error}")
        return "crashed"

    def coordinator(self, process: Process) -> None:
        """Looks at everything again and again, recovers by hand, and changes nothing."""
        share, world = self.share_on(process.host), self.world
        me = self.identity(process)
        for _ in range(world.rnd.randint(3, 30)):
            world.sleep(world.rnd.uniform(1, 20))
            try:
                detector = FailureDetector(share, me)
                detector.poll()
                for job in all_jobs(share):
                    job.flags(), job.flag_text("finished"), claimed(job)
                    for task in map(Task.parse, attempts.failed(job)):
                        attempts.attempts_of_task(job, task)
            except (OSError, JobQueueError) as error:
                world.say(process, f"says: {error}")
        self.recover(share, process, 1)

    def recover(self, share: SharedDir, process: Process, passes: int) -> None:
        """What `coordinator.py recover` does, so many times."""
        visitor = Node(share, self.identity(process))
        heart = HeartbeatThread(visitor)
        try:
            visitor.join()
            self.world.spawn(process, "visit", heart.run)
            recovery = Recovery(visitor, FailureDetector(share, visitor.identity))
            for _ in range(passes):
                recovery.run({job: set() for job in all_jobs(share)})
                if not self.left_behind(visitor.identity.incarnation):
                    break
                share.system.sleep(POLL_S)
            visitor.leave()
        except OSError as error:
            self.world.say(process, f"says: {error}")
        finally:
            heart.stop_event.set()

    def left_behind(self, but: str = "") -> list[str]:
        """What nodes that are gone have left on the share, or the dead still claim."""
        rooms = self.world.server.root.names["share"].names
        strangers = {"/".join(name.split("/")[:2]) for name in STRANGERS}
        left = [
            f"{room}/{name}"
            for room in ("nodes", "tmp", "notify")
            for name in rooms[room].names
            if not (but and name.startswith(but))
        ]
        named = {
            json.loads(entry.names["job.json"].data)["id"] for entry in rooms["by-name"].names.values() if entry.names
        }
        left += [f"jobs/{name}" for name in rooms["jobs"].names if name not in named]
        return [name for name in left if name not in strangers] + [
            f"claims/{name}"
            for job in rooms["jobs"].names.values()
            for name in job.names.get("claims", job).names
            if "claims" in job.names
        ]

    def is_there(self, name: str) -> bool:
        entry = self.world.server.root.names["share"]
        for part in name.split("/"):
            entry = entry and entry.names and entry.names.get(part)
        return entry is not None and bytes(entry.data) == b"not made by this program"

    # ---- the run
    def run(self) -> None:
        """Play it to the end. Violation where a promise was broken."""
        world, rnd = self.world, self.world.rnd
        with seeded(world):
            for room in SharedDirPaths(ROOT).subdirectories():
                self.make(room)
            for name in STRANGERS:
                self.make(ROOT / name, b"not made by this program")
            submitters = rnd.randint(1, 3)
            for number in range(rnd.randint(max(3, submitters), 7)):
                late = 0.0 if number < submitters else rnd.uniform(0, 120)
                self.begin(rnd.choice(world.hosts), number < submitters or rnd.random() < 0.5, late)
            watcher = world.process(rnd.choice(world.hosts))
            world.spawn(watcher, "status", lambda: self.coordinator(watcher))
            try:
                world.run()
                self.settle()
            finally:
                world.close()

    def make(self, path: Path, content: bytes | None = None) -> None:
        """A directory with those above it, or a file with that content."""
        folder = self.world.server.root
        for part in path.parts[1:]:
            if part not in folder.names:
                child = self.world.server.new(content is None or part != path.name)
                child.data += content or b"" if child.names is None else b""
                child.room = folder.room or (part if part in ("by-name", "nodes", "tmp", "notify") else "")
                folder.names[part] = child
            folder = folder.names[part]

    def settle(self) -> None:
        """The faults end, one fresh node finishes what is left, one lease passes; then everything must be right."""
        world = self.world
        if world.violation:
            raise world.violation
        while world.late:
            world._deliver_late()
        world.due.clear()
        world.full = world.away = 0.0
        world.outages = [(start, min(end, world.now)) for start, end in world.outages]
        world.staleness = 0.0
        fresh = Host(world, 9)
        self.begin(fresh, submits=True)
        world.run()
        sweeper = world.process(fresh)
        world.spawn(sweeper, "recover", lambda: self.recover(self.share_on(fresh), sweeper, int(2 * LEASE_S / POLL_S)))
        world.run()
        if world.violation:
            raise world.violation
        judge = world.process(fresh)
        world.spawn(judge, "judge", lambda: self.judge(self.share_on(fresh)))
        world.run()
        if world.violation:
            raise world.violation

    # ---- the verdict
    def judge(self, share: SharedDir) -> None:
        world, broken = self.world, self.world.broken
        job = find_job(share, NAME)
        if job is None:
            raise broken("there is no job")
        if any(process.alive for process in world.moved.values()):
            raise broken("a living node's placeholder was kept as a dead one's")
        if left := self.left_behind():
            raise broken(f"left behind: {left}")
        if lost := [name for name in STRANGERS if not self.is_there(name)]:
            raise broken(f"removed, though this program did not make it: {lost}")
        failed = {Task.parse(name) for name in attempts.failed(job)}
        for task in failed:
            if task.number != self.poison and world.crashed[str(task)] < attempts.MAX_FAILURES:
                raise broken(f"{task} failed for no good reason: {attempts.attempts_of_task(job, task)}")
            if not any(one.why in ("raised", "crashed") and one.detail for one in attempts.attempts_of_task(job, task)):
                raise broken(f"{task} failed without a reason")
        self.judge_work(self.judge_results(job, failed))

    def judge_results(self, job: Job, failed: set[Task]) -> int:
        """All results are right. Returns how many tasks the job has."""
        broken = self.world.broken
        right = toy.expected(self.chains, self.length).splitlines(keepends=True)
        for number in range(self.chains * self.length):
            task = toy.link_task(number)
            blocked = any(
                task.number // self.length == one.number // self.length and one.number <= number for one in failed
            )
            if results.is_done(job, task):
                if results.read(job, task) != right[number]:
                    raise broken(f"{task} has a wrong result: {results.read(job, task)!r}")
            elif not blocked:
                raise broken(f"{task} was neither done nor failed")
        for chain in range(self.chains if self.parts and not failed else 0):
            if results.read(job, toy.part_task(chain)) != b"".join(right[chain * self.length :][: self.length]):
                raise broken(f"part {chain} has a wrong result")
        if not failed and (results.read(job, toy.SUM) != b"".join(right) or "finished" not in job.flags()):
            raise broken("the job is not finished")
        return self.chains * self.length + 1 + (self.chains if self.parts else 0)

    def judge_work(self, tasks: int) -> None:
        """Not more tasks were run than faults can have undone."""
        world = self.world
        faults = sum(count for kind, count in world.counts.items() if kind in DISRUPTIVE)
        # A fault of a whole machine silences the hearts of all its nodes, so each of their tasks has to be run again.
        most = tasks + 3 * faults + world.struck_beside + (attempts.MAX_FAILURES if self.poison is not None else 0)
        if sum(world.executions.values()) > most:
            raise world.broken(
                f"{sum(world.executions.values())} executions of {tasks} tasks with {faults} faults: {dict(world.executions)}"
            )


DISRUPTIVE = {
    "crash before",
    "crash after",
    "crash in flight",
    "power loss",
    "worker crash",
    "pause",
    "lost reply",
    "false reply",
    "passing error",
    "server away",
    "cut",
    "false name from a cache",
    "false listing from a cache",
    "full at create",
    "full at write",
    "full at fsync",
    "full at close",
}


@contextmanager
def seeded(world: World) -> Iterator[None]:
    """Names that are random elsewhere are drawn from the world; no watcher looks at directories that do not exist."""
    token_hex = lambda size=16: f"{world.rnd.getrandbits(8 * size):0{2 * size}x}"
    # No line numbers and paths: a record that is longer where the checkout lies deeper would be written in other pieces.
    format_exc = lambda: "".join(traceback.format_exception_only(sys.exception()))
    with (
        patch.object(secrets, "token_hex", token_hex),
        patch.object(traceback, "format_exc", format_exc),
        patch.object(ChangeNotifier, "_watch", lambda notifier: None),
        logging_to(TraceHandler(world), logging.INFO if world.trace is not None else logging.CRITICAL + 1),
    ):
        yield
