"""Time, order and faults: who runs next, and what goes wrong, drawn from a seed."""

import errno
import json
import random
import threading
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from greenlet import getcurrent, greenlet

from shared.filesystem import FileSystem
from shared.settings import HEARTBEAT_S, POLL_S
from tests.simulation.server import Client, Inode, Server, fail

MOST_STEPS = (
    100_000  # of one run: a healthy one ends after some thousand, or when seven nodes wait for slow tasks, after 50,000
)
WRITES = {"create", "write", "fsync", "close", "link", "rename", "unlink", "mkdir", "utime"}
LIES = {"link", "rename", "unlink", "mkdir", "rmdir"}  # a repeated one may be told that it was done already
FULL_AT = {"create": 0.3, "write": 0.3, "fsync": 0.9, "close": 0.3, "mkdir": 0.2, "link": 0.1, "rename": 0.1}
# Each kind of fault: how often it strikes in a run that has it, at most.
FAULTS = {
    "crash before": 3,
    "crash after": 2,
    "crash in flight": 2,
    "power loss": 2,
    "worker crash": 2,
    "pause": 2,
    "lost reply": 4,
    "false reply": 3,
    "stale": 0,
    "full": 2,
    "passing error": 5,
    "server away": 1,
    "cut": 2,
    "clocks": 3,
}
EVERY_FAULT = [kind for kind in FAULTS if kind not in ("stale", "full", "clocks")] + [
    "name from a cache",
    "listing from a cache",
    "false listing from a cache",
    "full at create",
    "full at write",
    "full at fsync",
    "full at close",
    "clock jump",
    "clocks differ",
    "clocks drift",
    "soft mount",
]


class Violation(BaseException):
    """The protocol broke a promise. No Exception: a worker would take it for a failed attempt."""


class Dead(BaseException):
    """Thrown into an agent whose process is killed; nothing that it still tries has an effect."""


class Host:
    """A machine: its clocks, its cache of the share, its processes."""

    def __init__(self, world: "World", number: int):
        rnd = world.rnd
        self.name = f"host{number}"
        self.drift, self.offset, self.began = 1.0, 0.0, rnd.uniform(0, 1e5)
        if "clocks" in world.kinds:
            self.drift, self.offset = rnd.uniform(0.99, 1.01), rnd.uniform(-4, 4) * 3600
        self.cut = 0.0  # until when nothing of it reaches the server
        self.unsynced: set[Inode] = set()
        self.processes: list[Process] = []
        self.noted: set[str] = set()  # tokens of the nodes that were started on it
        self.boot = 0
        self.client = Client(world, self)

    def at_work(self) -> int:
        """How many of its nodes are in a task."""
        return sum(agent.task is not None for process in self.processes for agent in process.agents if agent.alive)


class Process:
    """What dies and stands still as one: a node with its heart and its worker."""

    def __init__(self, host: Host, pid: int):
        self.host, self.pid = host, pid
        self.alive, self.frozen = True, 0.0
        self.agents: list[Agent] = []
        self.health = None
        self.label = f"{host.name}/{pid}"


class Agent:
    """One thread of control."""

    def __init__(self, world: "World", process: Process, role: str, body: Callable[[], None]):
        self.process, self.role = process, role
        self.alive, self.wake_up, self.until = True, world.now, None
        self.task = None  # that it runs
        self.greenlet = greenlet(lambda: self._run(world, body), world.hub)

    def _run(self, world: "World", body: Callable[[], None]) -> None:
        try:
            body()
        except Dead:
            pass
        except Violation:
            pass  # the world knows
        except Exception as error:
            world.violation = world.violation or Violation(f"{self.role}: {''.join(traceback.format_exception(error))}")
        finally:
            self.alive = False


class SimulatedSystem(FileSystem):
    """A node's door to its machine in the world."""

    def __init__(self, world: "World", host: Host):
        super().__init__(host.client)
        self.world, self.host = world, host

    def monotonic(self) -> float:
        return self.host.began + self.world.now * self.host.drift

    def wall(self) -> float:
        return self.world.now + self.host.offset

    def sleep(self, seconds: float) -> None:
        self.world.sleep(seconds / self.host.drift)

    def wait(self, event: threading.Event, seconds: float) -> bool:
        self.world.sleep(seconds / self.host.drift, event.is_set)
        return event.is_set()

    def note(self, token: str) -> None:
        self.host.noted.add(token)

    def started_here(self, token: str) -> bool:
        return token in self.host.noted

    def process_gone(self, pid: int, start: int) -> bool:
        return not any(process.alive and process.pid == pid for process in self.host.processes)


class World:
    def __init__(self, seed: int, trace: bool = False):
        self.rnd = random.Random(seed)
        self.now = 0.0
        self.hub = getcurrent()
        self.trace: list[str] | None = [] if trace else None
        self.counts: Counter[str] = Counter()
        self.steps = 0
        self.violation: Violation | None = None
        self.agents: list[Agent] = []
        self.executions: Counter[str] = Counter()
        self.crashed: Counter[str] = Counter()  # executions in which the worker was taken down, by task
        self.struck_beside = (
            0  # executions under way on a machine when a fault struck all of it, beside the first each time
        )
        self.pids = 1000
        self.bereaved: Callable[[Process], None] = lambda process: None  # told of every process that is killed
        every = list(FAULTS)
        self.kinds = set(self.rnd.sample(every, self.rnd.choice([0, 1, 2, 3, 4, 6, len(every)])))
        if self.kinds:
            self.kinds |= {kind for kind in ("stale", "full") if self.rnd.random() < 0.3}
        horizon = self.rnd.choice([300, 800, 2000])
        self.due = {
            kind: sorted(
                self.rnd.randrange(horizon) for _ in range(self.rnd.randint(1, most))
            )  # the steps after which it strikes
            for kind, most in FAULTS.items()
            if kind in self.kinds and most
        }
        self.slow = self.rnd.choice([0.002, 0.02, 0.3])  # the longest step of the file server, usually
        self.lag = self.rnd.choice([0.0, 0.02, 0.1])  # the share of steps that take seconds
        self.ambush = self.rnd.random() < 0.7  # whether who moves a placeholder does it at the worst moment
        self.staleness = self.rnd.choice([0.3, 1.0]) if "stale" in self.kinds else 0.0
        self.soft = self.rnd.random() < 0.5
        self.away = 0.0  # until when the server is
        self.outages: list[tuple[float, float]] = []  # when it was or will be
        self.full = 0.0  # until when there is no room
        self.done: set[str] = set()  # tasks that have a result
        self.moved: dict[
            tuple[Inode, str], Process
        ] = {}  # placeholders (owner, task) moved by mistake, by whom, and not put back yet
        self.may_be_removed: Callable[[Inode, Inode], bool] = lambda folder, inode: False  # results that a plan removes
        self.exact = True  # whether links are known, so that nothing at all may be replaced
        self.late: list[tuple[float, Agent, Callable[[], None]]] = []  # steps of the dead that are still on their way
        self.server = Server(lambda: int((self.now + 1e6) * 1e9))
        self.hosts = [Host(self, number) for number in range(self.rnd.choice([1, 2, 2, 3]))]
        if "clocks" in self.kinds:
            self.counts["clocks differ"] += len(self.hosts) > 1
            self.counts["clocks drift"] += 1

    # ---- who runs
    def process(self, host: Host) -> Process:
        self.pids += 1
        process = Process(host, self.pids)
        host.processes.append(process)
        return process

    def spawn(self, process: Process, role: str, body: Callable[[], None]) -> Agent:
        agent = Agent(self, process, role, body)
        process.agents.append(agent)
        self.agents.append(agent)
        return agent

    def run(self) -> None:
        """Let the agents run, one at a time, until none is left."""
        while not self.violation:
            chosen, soonest, ended = None, float("inf"), False
            for agent in self.agents:
                if not agent.alive:
                    ended = True
                    continue
                due = self.now if agent.until is not None and agent.until() else agent.wake_up
                due = max(due, agent.process.frozen)
                if due < soonest:
                    chosen, soonest = agent, due
            if ended:
                self.agents = [agent for agent in self.agents if agent.alive]
            if chosen is None:
                return
            while self.late and self.late[0][0] <= soonest:
                self._deliver_late()
            self.now = max(self.now, soonest)
            self.current = chosen
            chosen.greenlet.switch()

    def close(self) -> None:
        """Unwind what is left of a run that was broken off; else it would be unwound in the midst of another one."""
        for agent in self.agents:
            if agent.greenlet:
                self.current = agent
                agent.greenlet.throw(Dead)

    def sleep(self, seconds: float, until: Callable[[], bool] | None = None) -> None:
        """Called by an agent: go on after so long, or when something has become true."""
        agent = self.current
        if self.violation:
            raise Dead
        agent.wake_up, agent.until = self.now + seconds, until
        self.hub.switch()
        agent.until = None
        if not agent.alive:
            raise Dead

    def kill(self, process: Process) -> None:
        self.say(process, "is killed")
        process.alive = False
        for agent in list(process.agents):
            self.end(agent)
        self.bereaved(process)

    def end(self, agent: Agent) -> None:
        """Kill one agent; if it is the one that runs, it finds out by itself."""
        agent.alive = False
        self._excuse(agent.process)
        if agent is not self.current and agent.greenlet:
            current, self.current = self.current, agent
            agent.greenlet.parent = getcurrent()
            agent.greenlet.throw(Dead)
            self.current = current

    # ---- what goes wrong
    def count(self, what: str) -> None:
        self.counts[what] += 1

    def say(self, process: Process, line: str) -> None:
        if self.trace is not None:
            self.trace.append(f"{self.now:10.3f}  {process.label:<12} {line}")

    def _strikes(self, kind: str, agent: Agent, op: str, path) -> bool:
        """Whether a fault that is due strikes here: rather where something is at stake than at any other step."""
        due = self.due[kind]
        if not due or due[0] > self.steps:
            return False
        at_stake = agent.task or "/claims" in str(path) or "/results" in str(path)
        if self.rnd.random() > (0.5 if at_stake else 0.15 if op in WRITES else 0.02) or not self._fits(kind, agent, op):
            return False
        due.pop(0)
        self.count(kind)
        return True

    def _fits(self, kind: str, agent: Agent, op: str) -> bool:
        return {"worker crash": agent.role == "worker", "false reply": op in LIES, "crash in flight": op in WRITES}.get(
            kind, True
        )

    def step(self, client: Client, op: str, path, effect: Callable, lied: int | None = None, source=None):
        """One call of an agent at the file server: others run first, then it happens, or something else does."""
        agent = self.current
        if not agent.alive or self.violation:
            raise Dead
        self.steps += 1
        if self.steps > MOST_STEPS:
            raise self.broken(f"it goes on for ever: {self.steps} steps in {self.now:.0f} s")
        rnd = self.rnd
        self.sleep(rnd.uniform(0, 7) if self.lag and rnd.random() < self.lag else self.slow * rnd.random() ** 3)
        if self.ambush and op == "rename" and source.parent.name == "claims" and rnd.random() < 0.7:
            self._until_another_lies_there(source)
        self._reach_server(client, path)
        for kind in self._drawn(agent, op, path):
            outcome = self._strike(kind, agent, client, op, path, effect, lied)
            if outcome is not None:
                self._excuse(agent.process)
                self._tell(agent, op, path, source, kind)
                raise outcome
        try:
            result = effect()
        except OSError as error:
            self._tell(agent, op, path, source, errno.errorcode[error.errno])
            raise
        except Violation as violation:
            self._tell(agent, op, path, source, f"!!! {violation}")
            raise
        self._tell(agent, op, path, source, "")
        return result

    def _until_another_lies_there(self, placeholder: Path) -> None:
        *folders, name = placeholder.parts[1:]
        folder = self.server.root
        for part in folders:
            folder = folder.names[part]
        now = folder.names.get(name)
        self.sleep(self.rnd.uniform(5, 120), lambda: folder.names.get(name) not in (now, None))

    def _tell(self, agent: Agent, op: str, path, source, outcome: str) -> None:
        if self.trace is not None:
            where = str(path).removeprefix("/share/")
            where = where if source is None else f"{str(source).removeprefix('/share/')} -> {where}"
            self.say(agent.process, f"{agent.role:<10} {op:<8} {where}  {outcome}")

    def _reach_server(self, client: Client, path) -> None:
        """Wait while the server is away or the network is cut; with a soft mount, not for ever."""
        while (until := max(self.away, client.host.cut)) > self.now:
            if self.soft and until - self.now > 10:
                self.count("soft mount")
                self.sleep(10)
                self._excuse(self.current.process)
                raise fail(errno.EIO, path)
            self.sleep(until - self.now)

    def _drawn(self, agent: Agent, op: str, path) -> list[str]:
        if self.full > self.now and self.rnd.random() < FULL_AT.get(op, 0):
            return ["full"]
        for kind in self.due:
            if self._strikes(kind, agent, op, path):
                return [kind]
        return []

    def _strike(self, kind: str, agent: Agent, client: Client, op: str, path, effect, lied) -> BaseException | None:
        """Let it happen. What the agent gets instead of an answer; None: it gets one."""
        rnd, process, lease = self.rnd, agent.process, self.lease
        if kind in ("crash before", "crash after", "crash in flight"):
            if kind == "crash after":
                self._try(effect)
            elif kind == "crash in flight":
                self.late.append((self.now + rnd.uniform(0, 3 * lease) * rnd.random() ** 3, agent, effect))
                self.late.sort(key=lambda one: one[0])
            self.kill(process)
            return Dead()
        if kind == "power loss":
            self._strike_beside(client.host)
            for inode in sorted(client.host.unsynced, key=lambda inode: inode.ino):
                client.lose(inode)
            client.host.boot += 1
            client.seen.clear()
            client.listings.clear()
            for other in client.host.processes:
                if other.alive:
                    self.kill(other)
            return Dead()
        if kind == "worker crash":
            self._excuse(process)
            if agent.task:
                self.crashed[agent.task] += 1
            agent.alive = False
            return Dead()
        if kind == "pause":
            process.frozen = self.now + rnd.uniform(0.5, 4) * lease
            self.say(process, f"stands still for {process.frozen - self.now:.0f} s")
            if rnd.random() < 0.5:
                self.sleep(0)  # before it happens
            return None
        if kind == "lost reply":
            self._try(effect)
            return fail(rnd.choice([errno.EIO, errno.ETIMEDOUT]), path)
        if kind == "false reply":
            return fail(lied, path) if self._try(effect) else None
        if kind == "passing error":
            return fail(rnd.choice([errno.EIO, errno.ESTALE, errno.EAGAIN]), path)
        if kind == "server away":
            start, self.away = max(self.now, self.away), self.now + rnd.uniform(0.2, 3) * lease
            self.outages.append((start, max(start, self.away)))
            self._reach_server(client, path)
            return None
        if kind == "cut":
            client.host.cut = self.now + (length := rnd.uniform(0.5, 3) * lease)
            if length > lease - HEARTBEAT_S - POLL_S:  # a shorter one silences no heart for a lease
                self._strike_beside(client.host)
            if rnd.random() < 0.5:
                self._reach_server(client, path)
            return None
        if kind == "clocks":
            client.host.offset += rnd.uniform(-2, 2) * 3600
            self.count("clock jump")
            return None
        if kind == "full":
            if self.full <= self.now:
                self.full = self.now + rnd.uniform(1, 90)
                self.say(process, "(the disk is full from now on)")
                return None
            self.count(f"full at {op}")
            if op in ("write", "fsync") and isinstance(path, Inode):
                client.lose(path)
            return fail(rnd.choice([errno.ENOSPC, errno.EDQUOT]), path)
        return None

    def _strike_beside(self, host: Host) -> None:
        """A fault ends the tasks under way on a whole machine: count those beside the first."""
        self.struck_beside += max(host.at_work() - 1, 0)

    def _try(self, effect: Callable) -> bool:
        """Let a step happen of which nobody hears."""
        try:
            effect()
            return True
        except OSError:
            return False

    def _deliver_late(self) -> None:
        at, dead, effect = self.late.pop(0)
        self.now = max(self.now, at)
        current, self.current = self.current, dead
        if self._try(effect) and self.trace is not None:
            self.trace.append(f"{self.now:10.3f}  (a step of a dead process arrives)")
        self.current = current

    # ---- what must never happen
    def broken(self, promise: str) -> Violation:
        self.violation = self.violation or Violation(promise)
        return self.violation

    def appears(self, inode: Inode, name: str, before: str | None) -> None:
        """A file appears under a name; `before` is the one that it had, where it was moved."""
        if inode.names is not None:
            return
        if inode.room == "results" and inode.synced < max(len(inode.data), 1):
            raise self.broken(f"a result appeared that was not whole and synced: {bytes(inode.data)!r}")
        if inode.room == "results":
            self.done.add(self.current.task)
        if inode.room == "attempts" and inode.data.startswith(b'{"incarnation"') and inode.data.endswith(b"}\n"):
            owner = json.loads(inode.data)
            if name.startswith(owner["token"]):
                self._was_dead(owner)
            else:
                self.count("wrong placeholder moved")
                self.moved[inode, before] = self.current.process
        if inode.room == "claims":
            self.moved.pop((inode, name), None)

    def taken(self, task: str) -> None:
        """Who moved a placeholder sees that a third one has the task by now: the second lost its claim, and nothing else."""
        mine = self.current.process
        self.moved = {
            placeholder: other
            for placeholder, other in self.moved.items()
            if other is not mine or placeholder[1] != task
        }

    def _excuse(self, process: Process) -> None:
        """It was told of an error, or lost an agent, and may leave to others what it has begun."""
        self.moved = {placeholder: other for placeholder, other in self.moved.items() if other is not process}

    def _was_dead(self, owner: dict) -> None:
        """The record of a vanished owner appears: it must have vanished, or once have been silent for a lease."""
        heart = self.server.root.names["share"].names["nodes"].names.get(owner["incarnation"])
        alive = any(process.alive and process.pid == owner["pid"] for host in self.hosts for process in host.processes)
        if heart and alive and self.silence(heart) < 0.9 * self.lease:
            raise self.broken(
                f"{owner['incarnation']} was taken for dead and was never silent for {0.9 * self.lease:.1f} s"
            )

    def silence(self, heart: Inode) -> float:
        """The longest time for which a heart was not heard, while the server was there."""
        last = heart.mtime / 1e9 - 1e6
        away = sum(max(min(end, self.now) - max(start, last), 0) for start, end in self.outages)
        return max(heart.silence, self.now - last - away)

    def goes(self, folder: Inode, inode: Inode, replaced_by: Inode | None = None) -> None:
        if inode.names is not None:
            return
        if folder.room == "results" and replaced_by is None and self.may_be_removed(folder, inode):
            return
        if folder.room == "results" and (self.exact or replaced_by is None or replaced_by.data != inode.data):
            raise self.broken(f"a published result was {'replaced' if replaced_by else 'removed'}")
        if folder.room == "by-name" and self.exact:
            raise self.broken("a job lost its name")
        if folder.room == "attempts":
            for moved, task in [
                one for one, process in self.moved.items() if one[0] is inode and process is self.current.process
            ]:
                if task not in self.done:  # else its owner has nothing to lose
                    raise self.broken("a living node's placeholder was thrown away")
                del self.moved[moved, task]

    def written(self, inode: Inode) -> None:
        if inode.room == "results":
            raise self.broken("a published result was written to")
