"""Whole jobs on real NFS, under all failures that a lab can make: the same bytes as without, and nothing left behind.

    FAV_NFS_LAB=/path/to/run.sh python -m pytest -q -m nfs tests/integration/nfs

boots a server and several clients for each case, as root; about an hour on two cores. FAV_NFS_TABLE=FILE keeps the table of
what each took. All clients mount with the kernel's default options: caches of attributes, names and misses are on.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from shared import attempts, results
from shared.claims import claimed
from shared.jobs import Job, all_jobs
from shared.shared_dir import open_share
from tests.helpers import nfs_lab as lab
from tests.helpers import toy_plan as toy
from tests.helpers.checkout import ROOT

pytestmark = [
    pytest.mark.nfs,
    pytest.mark.skipif(not lab.LAB, reason="FAV_NFS_LAB does not name the run.sh of an NFS lab"),
    pytest.mark.skipif(os.getuid() != 0, reason="the NFS lab needs root"),
]

VERSIONS = ["3", "4.2"]
CHAINS, SLOW, TOY_NODES, FILM_NODES = 8, 0.5, 4, 3
AMIDST = 5  # so many results must be there before the first event and come after the last, else it struck no work

# Node 1 tells when work has begun.
NARROWEST = 160  # pixels: the film that tells how fast this machine is
CUE = "so many results are there"
WATCH = f"""
if [ $NODE = 1 ]; then (
    until [ $(find $SHARED/film/jobs -path '*/results/*' -type f 2>/dev/null | wc -l) -ge {AMIDST + 1} ]; do sleep 1; done
    echo "{CUE}"
) & fi
"""
# Node 1 fills the disk then, and makes room some time after it was told that there is none.
BALLAST = WATCH.replace(
    ") & fi",
    """
    for block in 64k 1k; do dd if=/dev/zero of=$SHARED/ballast.$block bs=$block conv=fsync 2>/dev/null; done
    echo "ballast: the disk is full"
    for _ in $(seq 90); do grep -q "no space" $OUT/said && break; sleep 1; done
    sleep 12
    rm $SHARED/ballast.*
    echo "ballast: there is room again"
) & fi""",
)


@dataclass(frozen=True)
class Case:
    """`events` of the lab, each with its seconds after the moment at which work has begun; `lost` nodes are silent for longer
    than a lease. `work` is how much there is, in seconds: of a toy job for each node, of a film's frames for this machine alone (which is
    faster than the nodes together). `beside` is what the shells of the nodes do beside it."""

    events: tuple[tuple[float, str], ...] = ()
    options: tuple[str, ...] = ()
    lost: frozenset[int] = frozenset()
    work: int = 20
    beside: str = WATCH

    @property
    def killed(self) -> set[int]:
        return {int(event.split(":")[1]) for _, event in self.events if event.startswith("kill:")}


HOUR_APART = ("--skew", "1:3600", "--skew", "2:-3600")
TOY = {
    "plain": Case(work=8),
    "server stopped for 20 s": Case(((3, "server-stop:20"),)),
    "server crashed, off for 5 s, replies 20 ms late": Case(((3, "server-crash:5"),), ("--delay-ms", "20"), work=12),
    "one node cut off for 35 s": Case(((5, "net:2:35"),), lost=frozenset({2}), work=45),
    "one node frozen for 35 s": Case(((5, "freeze:2:35"),), lost=frozenset({2}), work=45),
    "one node killed": Case(((5, "kill:3"),), lost=frozenset({3})),
    "clocks an hour apart, one node killed": Case(((5, "kill:3"),), HOUR_APART, lost=frozenset({3})),
    "disk full for a while": Case((), ("-z", "16M"), beside=BALLAST),
}
FILM = {
    "plain": Case(),
    "server stopped for 20 s, then crashed, off for 5 s, replies 10 ms late": Case(
        ((5, "server-stop:20"), (50, "server-crash:5")), ("--delay-ms", "10"), work=75
    ),
    "one node cut off for 35 s": Case(((10, "net:2:35"),), lost=frozenset({2}), work=120),
    "one node frozen for 35 s": Case(((10, "freeze:2:35"),), lost=frozenset({2}), work=120),
    "clocks an hour apart, one node killed": Case(((10, "kill:3"),), HOUR_APART, lost=frozenset({3}), work=30),
    "disk full for a while": Case((), ("-z", "24M"), beside=BALLAST),
}


# ---- running a case
def run_case(case: Case, command: str, out: Path, *options: str, **where) -> tuple[lab.Run, Job]:
    """Run a job under a case's events, which must strike while it is being worked on: the run, and the job as it was left."""
    script = f"mkdir -p $SHARED/film\n{case.beside}\nset -o pipefail\n{command} 2>&1 | tee $OUT/said"
    run = lab.run(script, out / "run", *options, *case.options, cwd=ROOT, cue=CUE, events=case.events, **where)
    jobs = all_jobs(open_share(run.share))
    assert len(jobs) == 1, run.told()
    times = sorted(path.stat().st_mtime for path in jobs[0].layout.results.rglob("*.*"))
    moments = [line.at for line in run.lines if line.who == "event" or line.text.startswith("ballast")]
    if case.events or case.beside == BALLAST:
        assert moments and times[AMIDST - 1] < moments[0] and moments[-1] < times[-AMIDST], (
            f"not struck amidst work:\n{run.told()}"
        )
    return run, jobs[0]


def check_end(case: Case, run: lab.Run, job: Job, nodes: int) -> None:
    """Every node ended well, only the lost lost anything, all of it was taken up by others, and nothing is left."""
    told = run.told()
    assert run.codes == {node: "0" for node in range(1, nodes + 1) if node not in case.killed}, told
    assert "finished" in job.flags() and claimed(job) == {} and attempts.failed(job) == [], told
    layout = job.share.layout
    assert [path for room in (layout.nodes, layout.tmp, layout.notify) for path in room.iterdir()] == [], told
    assert [path.name for path in layout.jobs.iterdir()] == [job.manifest.id], told
    tried = [
        attempt
        for path in job.layout.attempts.glob("*/*/*")
        for attempt in attempts.attempts_of_task(job, task_of(path))
    ]
    assert {(attempt.why, attempt.who.partition("-")[0]) for attempt in tried} == {
        ("vanished", f"node{node}") for node in case.lost
    }, f"{tried}\n{told}"
    assert bool(run.said("recovered")) == bool(case.lost), told
    assert {line.who for line in run.said("considered this node dead")} == {
        f"node{node}" for node in case.lost - case.killed
    }, told
    if case.beside == BALLAST:
        assert len({line.who for line in run.said("no space")}) > 1 and run.said("continuing"), told


def task_of(path: Path) -> toy.Task:
    """The task whose attempts are recorded in that directory."""
    return toy.Task(path.parent.parent.name, int(path.name))


# ---- the job layer alone
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", TOY)
def test_toy_job_of_four_nodes_comes_to_the_same_sum(name, version, tmp_path, note):
    case = TOY[name]
    length = round(TOY_NODES * case.work / CHAINS / SLOW)
    command = f"{sys.executable} -m tests.helpers.nfs_toy_node $SHARED/film {CHAINS} {length} {SLOW}"
    run, job = run_case(case, command, tmp_path, nodes=TOY_NODES, version=version)
    check_end(case, run, job, TOY_NODES)
    assert results.read(job, toy.SUM) == toy.expected(CHAINS, length), run.told()
    assert results.count(job, "link", range(CHAINS * length)) == CHAINS * length
    note("toy", name, version, f"{run.over - run.up:.0f}")


@pytest.mark.parametrize("version", VERSIONS)
def test_job_added_while_a_node_waits_is_begun_within_ten_seconds(version, tmp_path, note):
    """Three jobs by another machine, the node idle for longer before each; from manifest to first result by the server's clock."""
    create = (
        "import sys; from pathlib import Path; from shared.shared_dir import open_share; from tests.helpers import toy_plan as toy; "
        "toy.create(open_share(Path(sys.argv[1])), sys.argv[2], chains=1, length=1)"
    )
    command = f"""
mkdir -p $SHARED/film
if [ $NODE = 1 ]; then
    {sys.executable} -m tests.helpers.toy_plan $SHARED/film --forever & node=$!
    until ls $SHARED/film | grep -q over; do sleep 1; done
    kill $node
    wait $node || true
else
    for idle in 15 30 60; do sleep $idle; {sys.executable} -c '{create}' $SHARED/film after-$idle-s; done
    sleep 20
    touch $SHARED/film/over
fi"""
    run = lab.run(command, tmp_path / "run", nodes=2, version=version, cwd=ROOT)
    jobs = all_jobs(open_share(run.share))
    took = [
        min(path.stat().st_mtime for path in job.layout.results.rglob("link/*/*")) - job.layout.manifest.stat().st_mtime
        for job in jobs
    ]
    assert len(jobs) == 3 and max(took) < 10, f"{took}\n{run.told()}"
    note("toy", "a new job is begun, at most", version, f"{max(took):.1f}")


# ---- whole films
@pytest.fixture(scope="session")
def clip(tmp_path_factory) -> Path:
    """The sample clip."""
    path = tmp_path_factory.mktemp("clip") / "sample.mp4"
    subprocess.run([sys.executable, "-m", "fav", "sample", str(path)], cwd=ROOT, check=True)
    return path


@pytest.fixture(scope="session")
def film_here(clip, tmp_path_factory) -> Callable[[int], tuple[list[str], bytes]]:
    """By the seconds that its frames take this machine alone: the words that make a film of the clip, and the film that they give."""
    took = {}

    @cache
    def make(width: int) -> tuple[list[str], bytes]:
        share = tmp_path_factory.mktemp("share")
        words = [
            str(clip),
            str(ROOT / "styles" / "starry_night.safetensors"),
            "--width",
            str(width),
            "--flow",
            "deepflow",
            "--threads",
            "1",
            "--lease",
            "15",
            "--out",
            "film.mp4",
        ]
        subprocess.run([sys.executable, str(ROOT / "node.py"), str(share), *words], check=True)
        times = [path.stat().st_mtime for path in share.glob("jobs/*/results/frame/*/*")]
        took[width] = max(times) - min(times)
        return words, (share / "film.mp4").read_bytes()

    def taking(seconds: int) -> tuple[list[str], bytes]:
        make(NARROWEST)
        return make(round(NARROWEST * max(seconds / took[NARROWEST], 1) ** 0.5 / 32) * 32)

    return taking


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", FILM)
def test_film_of_three_nodes_is_the_same_byte_for_byte(name, version, film_here, tmp_path, note):
    case = FILM[name]
    words, expected = film_here(case.work)
    command = f"{sys.executable} node.py $SHARED/film {' '.join(words)}"
    run, job = run_case(case, command, tmp_path, "--mem", "1500M", nodes=FILM_NODES, version=version)
    check_end(case, run, job, FILM_NODES)
    assert (run.share / "film.mp4").read_bytes() == expected, run.told()
    assert len(run.said("created job")) == 1 and len(run.said("joined job")) == FILM_NODES - 1, run.told()
    note("film", name, version, f"{run.over - run.up:.0f}")


# ---- the tests of the job system itself
@pytest.mark.parametrize("version", VERSIONS)
def test_tests_of_the_job_system_pass_on_a_mount(version, tmp_path, note):
    units = [f"tests/unit/test_{module}.py" for module in ("claims", "jobs", "recovery", "results", "shared_dir")]
    files = " ".join([*units, "tests/integration/test_worker.py"])
    command = f"mkdir $SHARED/film $SHARED/tests; FAV_TEST_MOUNT=$SHARED/tests {sys.executable} -m pytest -q -p no:cacheprovider {files}"
    run = lab.run(command, tmp_path / "run", nodes=1, version=version, cwd=ROOT, seconds=900)
    assert run.codes == {1: "0"} and run.said(" passed"), run.told()
    note(
        "tests of the job system",
        "one client",
        version,
        f"{run.over - run.up:.0f} ({run.said(' passed')[-1].text.split(',')[0]})",
    )
