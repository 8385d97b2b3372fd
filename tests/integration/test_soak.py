"""Six nodes for half an hour, one of which is killed every few seconds: every film is the undisturbed one.

    pytest -s -m long tests/integration/test_soak.py        FAV_SOAK_MINUTES=3 for a short one, FAV_SOAK_SEED=N for the same choices again

It ends with a table. A recovery that took long had to wait for a worker that is up: on a busy machine all others may be
starting, for minutes. The table says for how much of the slowest recovery that was so.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import pytest

from shared import attempts
from shared.claims import claimed
from shared.jobs import Job, all_jobs
from shared.settings import MIN_LEASE_S
from shared.shared_dir import SharedDir, open_share
from tests.helpers import video_jobs as films
from tests.helpers.checkout import ROOT
from tests.helpers.video_jobs import create, film_of, work

MINUTES = float(os.environ.get("FAV_SOAK_MINUTES", "30"))
NODES = 6
PAUSE_S = (1.0, 8.0)  # between two kills
PATIENCE_S = 600.0  # for one film
VICTIMS = (
    "node",
    "node",
    "worker",
    "supervisor",
)  # a worker that is killed may be its task's fault, and counts as that


@dataclass
class Death:
    """A kill: the token of who held claims then, and which; later, for how long no worker was up to recover them."""

    token: str
    when: float
    tasks: set[str]
    alone: float = 0.0
    clock: str = field(default_factory=lambda: time.strftime("%H:%M:%S"))


@dataclass
class Soak:
    """The nodes at work, and what was counted."""

    share: SharedDir
    chance: random.Random
    log: Path
    nodes: list[subprocess.Popen] = field(default_factory=list)
    deaths: list[Death] = field(default_factory=list)
    kill_at: float = 0.0  # on the monotonic clock
    counts: Counter = field(default_factory=Counter)
    recoveries: list[tuple[float, Death]] = field(
        default_factory=list
    )  # seconds from a kill until the claims are no longer the dead one's
    looked: float = field(default_factory=time.monotonic)

    def keep_company(self) -> None:
        """Bury who has ended, and start others in their place."""
        for node in [node for node in self.nodes if node.poll() is not None]:
            self.counts["nodes that gave up"] += node.returncode > 0
            self.nodes.remove(node)
        while len(self.nodes) < NODES:
            command = [sys.executable, str(ROOT / "node.py"), str(self.share.layout.root), "--forever", "--cores", "1"]
            with open(self.log, "ab") as log:
                self.nodes.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log))
            self.counts["joins"] += 1

    def kill_one(self, job: Job) -> None:
        node, victim = self.chance.choice(self.nodes), self.chance.choice(VICTIMS)
        workers = descendants(node.pid)
        held = {name: token for name, token in owners(job).items() if token[1] == node.pid}
        if held and victim != "worker":
            self.deaths.append(Death(next(iter(held.values()))[0], time.monotonic(), set(held)))
        for pid in {"node": [*workers, node.pid], "worker": workers, "supervisor": [node.pid]}[victim]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.counts[f"kills of a {victim}"] += 1
        self.counts["kills"] += 1

    def see_recoveries(self, job: Job) -> None:
        there = {name: token for name, (token, _) in owners(job).items()}
        since, self.looked = self.looked, time.monotonic()
        for death in list(self.deaths):
            if not any(there.get(name) == death.token for name in death.tasks):
                self.recoveries.append((self.looked - death.when, death))
                self.deaths.remove(death)
            elif not self.somebody_is_up():
                death.alone += self.looked - max(since, death.when)

    def somebody_is_up(self) -> bool:
        """Whether a worker has started: until then it shows another title, or that of its interpreter."""
        pids = [pid for node in self.nodes for pid in descendants(node.pid)]
        return any(title(pid).startswith("fav node ") and title(pid) != "fav node starting" for pid in pids)

    def run(self, job: Job) -> None:
        """Kill and join until the film is finished."""
        end = time.monotonic() + PATIENCE_S
        while "finished" not in job.flags():
            assert time.monotonic() < end, f"{job.name} is not finished after {PATIENCE_S:g} s; see {self.log}"
            self.keep_company()
            # Else a slow machine would have no node that lives long enough to start; what the dead have claimed is no sign.
            if time.monotonic() >= self.kill_at and claimed(job) and self.somebody_is_up():
                self.kill_one(job)
                self.kill_at = time.monotonic() + self.chance.uniform(*PAUSE_S)
            self.see_recoveries(job)
            if failed := attempts.failed(job):  # three kills of its worker: nobody can tell them from a deadly task
                self.counts["tasks opened anew"] += len(failed)
                attempts.reopen(job)
            time.sleep(0.05)


def owners(job: Job) -> dict[str, tuple[str, int]]:
    """Token and process of the owner of each claimed task."""
    found = {}
    for name, path in claimed(job).items():
        try:
            owner = json.loads(path.read_bytes())
            found[name] = owner["token"], owner["pid"]
        except FileNotFoundError:
            pass
    return found


def descendants(pid: int) -> list[int]:
    found = [pid]
    for one in found:
        try:
            found += map(int, Path(f"/proc/{one}/task/{one}/children").read_text().split())
        except OSError:
            pass
    return found[1:]


def title(pid: int) -> str:
    """What the list of processes shows of a process; nothing where it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").strip("\0")
    except OSError:
        return ""


def records(job: Job) -> int:
    return sum(path.is_file() for path in job.layout.attempts.rglob("*"))


@pytest.mark.long
def test_films_made_while_nodes_are_killed_all_the_time_are_the_undisturbed_one(tmp_path, root, style):
    seed = int(os.environ.get("FAV_SOAK_SEED", random.randrange(10**6)))
    print(f"\nFAV_SOAK_SEED={seed}")
    clip = films.make_clip(tmp_path / "clip.mp4")
    options = {"lease": MIN_LEASE_S, "threads": 1, "scale": 3.0}  # large enough for deaths in the midst of a frame
    (tmp_path / "calm").mkdir()
    calm = create(open_share(tmp_path / "calm"), clip, style, **options)
    assert work(calm)
    expected = film_of(calm).read_bytes()
    root.mkdir(exist_ok=True)
    share = open_share(root)
    soak = Soak(share, random.Random(seed), tmp_path / "nodes.log")
    began = time.monotonic()
    try:
        while time.monotonic() - began < 60 * MINUTES:
            job = create(share, clip, style, name=f"film-{soak.counts['films']}", **options)
            soak.run(job)
            assert film_of(job).read_bytes() == expected, f"{film_of(job)} differs; seed {seed}"
            soak.counts["films"] += 1
            soak.counts["frames"] += films.FRAMES
            soak.counts["executions that came to nothing"] += records(job)
        for node in soak.nodes:
            node.terminate()
        for node in soak.nodes:
            node.wait(60)
    finally:
        for node in soak.nodes:
            for pid in (*descendants(node.pid), node.pid):
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            node.wait()
    assert (
        subprocess.run([sys.executable, str(ROOT / "node.py"), str(root)], timeout=120).returncode == 0
    )  # buries the last dead
    print(f"{'minutes':32}{(time.monotonic() - began) / 60:8.1f}")
    for name in sorted(soak.counts):
        print(f"{name:32}{soak.counts[name]:8}")
    if soak.recoveries:
        slowest, death = max(soak.recoveries, key=lambda one: one[0])
        print(f"{'median recovery, seconds':32}{median(seconds for seconds, _ in soak.recoveries):8.1f}")
        print(f"{'slowest recovery, seconds':32}{slowest:8.1f}  (killed at {death.clock}: {', '.join(death.tasks)})")
        print(f"{'  of it without a worker up':32}{death.alone:8.1f}")
    assert not any(claimed(job) for job in all_jobs(share))
    assert not any(os.listdir(room) for room in (share.layout.nodes, share.layout.notify))
    assert (
        soak.counts["executions that came to nothing"] <= 2 * soak.counts["kills"]
    )  # at a hand-over a node holds two claims
