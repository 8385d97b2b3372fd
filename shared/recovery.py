"""Recovery: finds the placeholders of dead nodes and removes them, so that their tasks are open again."""

from .attempts import settle
from .claims import claimed, nonce, take_away
from .errors import ShareError
from .jobs import Job
from .layout import Task
from .nodes import Identity, Node, Observer, read_identity, sweep


def task_of(name: str) -> Task | None:
    """The task that a placeholder's name stands for, without its suffix; None for a stranger's file."""
    kind, _, number = name.rpartition(".")
    return Task(kind, int(number)) if kind and number.isdigit() and str(Task(kind, int(number))) == name else None


class Recovery:
    """What one node does about the others' deaths."""

    def __init__(self, node: Node, observer: Observer):
        self.node = node
        self.observer = observer
        self.recovered = 0
        self._unreadable: dict[str, float] = {}  # path of an empty or malformed placeholder -> first seen

    def run(self, jobs: dict[Job, set[Task]], now_dead: frozenset[str] = frozenset()) -> int:
        """One pass over the given jobs (each with the tasks that this node holds itself).

        `now_dead` are hosts whose nodes the operator declares dead. Returns how many orphans were
        removed. Also sweeps the dead, whose last trace is then gone.
        """
        seen = [(job, name, path) for job in jobs for name, path in claimed(job).items()]
        self.observer.look()  # after the placeholders were listed: their owners joined before that
        before = self.recovered
        for job, name, path in seen:
            task = task_of(name)
            if task is not None:
                self._judge(job, task, path, jobs[job], now_dead)
        self._sweep_dead(jobs, now_dead)
        return self.recovered - before

    def _judge(self, job: Job, task: Task, path, held: set[Task], now_dead: frozenset[str]) -> None:
        try:
            owner = read_identity(self.node.share, path)
        except (ShareError, OSError):
            owner = None
        if owner is None:
            self._judge_unreadable(job, task, path)
        elif owner.token == self.node.identity.token:
            if not any(str(task) == str(mine) for mine in held):  # a link back that came too late
                take_away(self.node, path, self.node.draft(), owner.token, keep=False)
        elif owner.host in now_dead or self.observer.dead(owner, job.manifest.lease):
            self._remove(job, task, path, owner.token)

    def _judge_unreadable(self, job: Job, task: Task, path) -> None:
        # Created without hard links and not yet written, or by a stranger: it gets one lease.
        clock = self.node.share.system.monotonic()
        if not self.node.share.system.exists(path):
            self._unreadable.pop(str(path), None)
        elif clock - self._unreadable.setdefault(str(path), clock) >= job.manifest.lease:
            self._remove(job, task, path, "0" * 32)

    def _remove(self, job: Job, task: Task, path, token: str) -> None:
        place = job.layout.attempts_of(task)
        self.node.share.system.make_dirs(place)
        # The record of the attempt *is* the placeholder, moved: if we die here, nothing counts twice.
        if take_away(self.node, path, place / f"{token}.{nonce()}", token, keep=True):
            self.recovered += 1
            settle(self.node, job, task)

    def _sweep_dead(self, jobs: dict[Job, set[Task]], now_dead: frozenset[str]) -> None:
        lease = max((job.manifest.lease for job in jobs), default=None)
        for name in self.observer.nodes():
            if name == self.node.identity.incarnation:
                continue
            try:
                identity = read_identity(self.node.share, self.node.share.layout.heart(name))
            except (ShareError, OSError):
                continue
            if identity is None:
                continue
            gone = self.observer.process_gone(identity) or identity.host in now_dead
            if (gone or lease and self.observer.dead(identity, lease)) and not self._owns_any(identity, jobs):
                sweep(self.node.share, name)

    def _owns_any(self, identity: Identity, jobs: dict[Job, set[Task]]) -> bool:
        for job in jobs:
            for path in claimed(job).values():
                try:
                    owner = read_identity(self.node.share, path)
                except (ShareError, OSError):
                    continue
                if owner is not None and owner.token == identity.token:
                    return True
        return False
