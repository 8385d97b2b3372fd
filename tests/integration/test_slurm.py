"""Nodes that a real Slurm starts, cancels, requeues and runs out of time for: the film is the same."""

import math
import re
import subprocess
import sys
import time

import pytest

from fav.pipeline.artifacts import JobArtifacts
from fav.pipeline.progress import progress
from shared.heartbeat import temporary_member
from shared.shared_dir import open_share
from tests.helpers.checkout import ROOT
from tests.helpers.slurm_rig import Slurm, missing
from tests.helpers.training_material import small_training
from tests.helpers.video_jobs import create, film_of, make_clip, work
from tests.helpers.waiting import wait_for

pytestmark = [pytest.mark.slurm, pytest.mark.skipif(missing() is not None, reason=str(missing()))]
SCRIPT = ROOT / "bin" / "node.sbatch"
PATIENCE_S = 900.0  # on a busy machine; on one that is not, a film takes half a minute


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    rig = Slurm(tmp_path_factory.mktemp("slurm"))
    rig.start()
    yield rig
    rig.stop()


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return make_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", size="1280x720")


@pytest.fixture(scope="module")
def style():
    return ROOT / "styles" / "starry_night.safetensors"  # half a second a frame: there is time to cancel nodes


@pytest.fixture(scope="module")
def expected(tmp_path_factory, clip, style):
    """The film as one process makes it."""
    job = create(open_share(tmp_path_factory.mktemp("share")), clip, style, threads=1)
    assert work(job)
    return film_of(job).read_bytes()


@pytest.fixture
def job(tmp_path, clip, style):
    return create(open_share(tmp_path), clip, style, threads=1, name="film")


def frames(job) -> int:
    return progress(JobArtifacts(job))["frame"][0]


def over(slurm, number: str) -> bool:
    return not slurm.states(number)


def test_tasks_of_a_slurm_job_are_nodes(slurm, job, expected):
    number = slurm.submit(SCRIPT, job.share.layout.root, "--job", "film", options=("--ntasks", 2, "--cpus-per-task", 1))
    wait_for(lambda: over(slurm, number), PATIENCE_S)
    assert film_of(job).read_bytes() == expected, slurm.said(number)
    assert slurm.said(number).count("done: ") == 2


def test_scaled_up_while_it_runs_and_one_node_cancelled(slurm, job, expected):
    words = job.share.layout.root, "--job", "film"
    first = slurm.submit(SCRIPT, *words, options=("--array", 1))
    wait_for(lambda: frames(job) > 2, PATIENCE_S)
    second = slurm.submit(SCRIPT, *words, options=("--array", "1-2"))
    wait_for(lambda: "RUNNING" in slurm.states(second).values(), 120)
    slurm.call("scancel", f"{first}_1")
    wait_for(lambda: over(slurm, first) and over(slurm, second), PATIENCE_S)
    assert film_of(job).read_bytes() == expected, slurm.said(first) + slurm.said(second)


def test_requeued_nodes_go_on(slurm, job, expected):
    number = slurm.submit(SCRIPT, job.share.layout.root, "--job", "film", options=("--array", 1))
    wait_for(lambda: frames(job) > 2, PATIENCE_S)
    before = frames(job)
    slurm.call("scontrol", "requeue", f"{number}_1")
    slurm.hurry(f"{number}_1")
    wait_for(lambda: over(slurm, number), PATIENCE_S)
    assert film_of(job).read_bytes() == expected, slurm.said(number)
    assert before > 2 and re.search(r"Restarts=[1-9]", slurm.call("scontrol", "show", "job", number))


def test_when_the_time_is_over_the_same_slurm_job_goes_on_later(slurm, job, expected):
    """The job is paused when its first frames are there, and the time set so that it is nearly over then."""
    began = time.monotonic()
    number = slurm.submit(
        SCRIPT,
        job.share.layout.root,
        "--job",
        "film",
        "--cores",
        1,
        options=("--array", 1, "--time", 60, "--signal", "B:USR1@40"),
    )
    wait_for(lambda: frames(job) > 2, PATIENCE_S)
    with temporary_member(job.share) as operator:
        job.set_flag(operator, "paused")
    minutes = math.ceil((time.monotonic() - began + 30) / 60)
    slurm.call("scontrol", "update", f"JobId={number}_1", f"TimeLimit={minutes}")
    wait_for(lambda: "stopping after" in slurm.said(number), 180)
    job.clear_flag("paused")
    slurm.hurry(f"{number}_1", "TimeLimit=60")
    wait_for(lambda: over(slurm, number), PATIENCE_S)
    assert film_of(job).read_bytes() == expected, slurm.said(number)
    assert re.search(
        r"Restarts=[1-9]", slurm.call("scontrol", "show", "job", number)
    ) and "stopping after" in slurm.said(number)


def test_more_nodes_than_tasks_cost_nothing_and_each_gets_its_gres(slurm, job, expected):
    number = slurm.submit(
        SCRIPT, job.share.layout.root, "--job", "film", options=("--array", "1-8", "--gres", "card:1")
    )
    wait_for(
        lambda: list(slurm.states(number).values()).count("RUNNING") == slurm.computers, 60
    )  # one card in each computer
    wait_for(lambda: over(slurm, number), PATIENCE_S)
    assert film_of(job).read_bytes() == expected, slurm.said(number)
    assert "JobQueueError" not in slurm.said(number) and "Traceback" not in slurm.said(number)


def test_the_coordinator_queues_and_follows(slurm, tmp_path, clip, style, expected):
    words = [sys.executable, ROOT / "coordinator.py", "run", tmp_path, clip, style, "--name", "film", "--threads", 1]
    run = lambda *more: subprocess.run(
        list(map(str, [*words, *more])), env=slurm.environment, capture_output=True, text=True
    )
    done = run("--slurm", 2, "--sbatch", "--cpus-per-task=1 --partition=lab")
    assert done.returncode == 0 and "scancel" in done.stdout and f"done: {tmp_path}/film.mp4" in done.stdout, done
    assert (tmp_path / "film.mp4").read_bytes() == expected
    assert len(list((tmp_path / "logs").glob("film.slurm.*_[12].log"))) == 2
    refused = run("--name", "another", "--slurm", 2, "--sbatch", "--partition=nowhere")
    assert (
        refused.returncode == 2
        and "expected Slurm to queue the nodes, got" in refused.stderr
        and "scancel" not in refused.stdout
    )


def test_slurm_learns_a_style(slurm, root, painting, photos, loss_network):
    root.mkdir()
    words = [*small_training(painting, photos, loss_network), "--slurm", "1", "--sbatch", "--cpus-per-task=1"]
    line = [sys.executable, "-m", "fav", "train", str(root), *words]
    done = subprocess.run(line, cwd=ROOT, env=slurm.environment, capture_output=True, text=True)
    assert done.returncode == 0 and "scancel" in done.stdout, done
    assert f"done: {root}/stripes.safetensors" in done.stdout, done


def test_not_typed_in_a_checkout_it_says_so(slurm, job, tmp_path):
    number = slurm.submit(SCRIPT, job.share.layout.root, options=("--chdir", tmp_path))
    wait_for(lambda: over(slurm, number), PATIENCE_S)
    assert "type sbatch in the checkout" in slurm.said(number)
