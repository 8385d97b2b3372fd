"""`fav train SHARED …`: a training is a job. Any node goes on where another one died, to the same bytes."""

import json
import os
import re
import signal
import threading
from pathlib import Path

import pytest
import torch

import coordinator
from fav.cli.plans import make_plan
from fav.cli.tools import main
from fav.cli.train_job import find_film
from fav.model.checkpoints import save_style, style_facts
from fav.monitor.progress import tracker_of
from fav.monitor.snapshot import SnapshotReader
from fav.pipeline.film_request import check_film, film_record, options_of
from fav.pipeline.job_files import open_share
from fav.pipeline.request import Request
from fav.pipeline.training_files import StyleBundle, badness, best_of, bundle_of
from fav.pipeline.training_job import FILES, KEPT, sheet_task, states, train_task, training_of, unpack
from fav.training.config import FITTED_ITERATIONS, TrainingConfig, TrainingInputs
from fav.training.job_submit import TrainingRequest, submit_training
from shared import results
from shared.attempts import attempts_of_job
from shared.claims import claimed, claims_of
from shared.errors import JobQueueError
from shared.heartbeat import temporary_member
from shared.jobs import Job, find_job
from shared.shared_dir import SharedDir
from shared.worker import Worker
from tests.helpers.commands import call, refused
from tests.helpers.networks import random_network
from tests.helpers.toy_plan import RecordingEvents
from tests.helpers.training_material import TINY, small_training
from tests.helpers.video_jobs import film_of, start_node
from tests.helpers.waiting import wait_for


@pytest.fixture(autouse=True)
def threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def share(root: Path) -> SharedDir:
    root.mkdir(exist_ok=True)
    return open_share(root)


@pytest.fixture
def words(painting, photos, loss_network) -> list[str]:
    """A small training, without SHARED; only the job is made."""
    return [*small_training(painting, photos, loss_network), "--nodes", "0"]


def submitted(share: SharedDir, words: list[str], *more, name: str = "train--stripes") -> Job:
    result = call(main, "train", share.layout.root, *words, *more)
    assert result.exit_code == 0 and "Traceback" not in result.output, result.output
    job = find_job(share, name)
    assert job is not None, result.output
    return job


def work(job: Job, events: RecordingEvents | None = None, **here) -> bool:
    """Work on a job in this process until it is over; whether it is finished."""
    with temporary_member(job.share) as node:
        plan_for = lambda job, node: make_plan(job, node, **here)
        return Worker(node, plan_for, events or RecordingEvents(), threading.Event(), job.name).run()


def delivered(share: SharedDir, stem: str = "stripes") -> dict[str, bytes]:
    return {suffix: (share.layout.root / f"{stem}{suffix}").read_bytes() for suffix in FILES}


def test_a_training_is_a_job_whose_end_is_a_style(share, words):
    result = call(main, "train", share.layout.root, *words)
    assert result.exit_code == 0 and "created job train--stripes" in result.output, result.output
    assert re.search(r"copied into the job: 26 files, \d", result.output)
    assert "nodes learn it: " in result.output
    job, events = find_job(share, "train--stripes"), RecordingEvents()
    assert work(job, events)
    assert events.tasks == ["train.0000000", "sheet.0000000", "train.0000001", "style.0000000"]
    facts = style_facts(share.layout.root / "stripes.safetensors")
    assert (facts.arch, facts.metadata["style"], facts.metadata["iterations"]) == (TINY, "stripes.png", "4")
    assert "minutes" not in facts.metadata and str(share.layout.root) not in str(facts.metadata)
    assert facts.metadata["command"].startswith("fav train stripes.png 'photos of '")
    files = delivered(share)
    assert files[".sheet.png"][:4] == files[".losses.png"][:4] == b"\x89PNG"
    assert len(files[".losses.csv"].splitlines()) == 5
    assert files[".verdict.txt"].startswith(b"stripes, seed 0: the style is not ready: ")
    assert results.read(job, sheet_task(0, 0), 1 << 24)[:4] == b"\x89PNG"
    shown = call(coordinator.main, "status", share.layout.root)
    assert "iteration 4 of 4" in shown.output and "the style is not ready" in shown.output, shown.output
    assert call(coordinator.main, "report", share.layout.root, job.name).exit_code == 0
    again = call(main, "train", share.layout.root, *words)
    assert again.exit_code == 0 and "joined job train--stripes" in again.output and "done: " in again.output


@pytest.mark.slow
def test_a_node_killed_in_mid_task_changes_no_byte(share, words, tmp_path):
    """Two real nodes, of which one is killed; the other goes on from the published state."""
    (tmp_path / "calm").mkdir()
    calm = open_share(tmp_path / "calm")
    longer = [*words, "--iterations", "6", "--batch", "12", "--crop", "64"]
    assert work(submitted(calm, longer))
    job = submitted(share, longer)
    nodes = [start_node(share, "--job", job.name) for _ in range(2)]
    try:
        wait_for(lambda: "train.0000001" in claimed(job), 120)
        wait_for(lambda: "train.0000000" not in claimed(job))
        owner = next(claim.owner for claim in claims_of(job) if claim.task == "train.0000001")
        victim = next(node for node in nodes if node.pid == owner.pid)
        victim.send_signal(signal.SIGKILL)
        survivor = next(node for node in nodes if node is not victim)
        assert survivor.wait(timeout=120) == 0, survivor.stdout.read()
    finally:
        for node in nodes:
            node.kill()
            node.communicate()
    assert [str(task) for task, _ in attempts_of_job(job)] == ["train.0000001"], "it was at work on it"
    assert delivered(share) == delivered(calm)
    state = lambda one: unpack(results.read(one, train_task(0, 2), 1 << 24))[0]
    assert state(job) == state(find_job(calm, job.name))


@pytest.mark.slow
def test_only_the_latest_states_are_kept_and_a_damaged_one_is_made_again(share, words):
    job, plans = submitted(share, words, "--iterations", 8), []

    class Damaging(RecordingEvents):
        """When the second sheet begins, damages the state, as a disk may, and forgets it, as another node."""

        def begin(self, job, task):
            super().begin(job, task)
            if self.tasks.count("sheet.0000001") == 1 and str(task) == "sheet.0000001":
                path = job.layout.result(train_task(0, 1))
                os.truncate(path, path.stat().st_size // 2)
                plans[0].invalidate_cache()

    def plan_for(job, node):
        plans.append(make_plan(job, node))
        return plans[-1]

    events = Damaging()
    with temporary_member(share) as node:
        assert Worker(node, plan_for, events, threading.Event(), job.name).run()
    assert events.tasks.count("train.0000001") == 2 and events.tasks.count("train.0000002") == 1
    assert len(states(job, 0)) == KEPT and max(states(job, 0)) == 3
    assert [attempt.why for _, attempt in attempts_of_job(job)] == ["damaged"]


@pytest.mark.slow
def test_seeds_are_learned_side_by_side_and_the_best_is_kept(share, words):
    job = submitted(share, words, "--seeds", 2, "--iterations", 2)
    assert [chain.label for chain in training_of(job).chains] == ["stripes, seed 0", "stripes, seed 1"]
    assert work(job)
    bundles = {chain: bundle_of(job, chain) for chain in range(2)}
    best = best_of(bundles)
    assert bundles[0].files[".safetensors"] != bundles[1].files[".safetensors"]
    assert delivered(share)[".safetensors"] == bundles[best].files[".safetensors"]
    assert badness(bundles[best].measures) <= badness(bundles[1 - best].measures)


def test_the_best_has_the_fewest_faults_and_then_the_least_values():
    made = lambda *pairs: StyleBundle({}, {"measures": {str(number): pair for number, pair in enumerate(pairs)}})
    assert best_of({0: made((2, 1), (0.1, 1)), 1: made((0.9, 1), (0.9, 1)), 2: made((0.5, 1), (0.9, 1))}) == 2
    assert best_of({3: made((0.5, 1)), 4: made((0.5, 1))}) == 3


def test_progress_is_seen_in_status_and_in_the_report(share, words):
    job = submitted(share, words, "--seeds", 2)
    root = share.layout.root

    class Stopping(RecordingEvents):
        def begin(self, job, task):
            super().begin(job, task)
            if str(task) == "train.0000001":
                raise JobQueueError("enough")

    with pytest.raises(JobQueueError, match="enough"):
        work(job, Stopping())
    now = SnapshotReader(share, once=True).read().jobs[0]
    assert now.counts == {"iteration": (2, 8), "style": (0, 2)} and len(now.learning) == 2
    shown = call(coordinator.main, "status", root, job.name)
    assert "iteration 2 of 8" in shown.output, shown.output
    assert re.search(r"stripes, seed 0: 2 of 4 iterations; style \S+, content \S+, .*; sheet .*\.png", shown.output)
    watched = call(coordinator.main, "status", root, "--json")
    assert json.loads(watched.output)["jobs"][0]["learning"] == [*now.learning]
    assert tracker_of(job).poll(at_once=True)[:2] == (2, 8)
    page = call(coordinator.main, "report", root, job.name)
    assert page.exit_code == 0, page.output
    html = (root / "stripes.report.html").read_text()
    assert "stripes, seed 1" in html and "data:image/png;base64," in html and "<polyline" in html


def test_commands_for_films_say_that_a_training_is_none(share, words):
    job = submitted(share, words)
    for command in ("stitch", "preview"):
        refused(call(coordinator.main, command, share.layout.root, job.name), "expected one that makes a film")
    assert call(coordinator.main, "cancel", share.layout.root, job.name).exit_code == 0
    assert call(coordinator.main, "clean", share.layout.root, job.name).exit_code == 0
    assert not job.layout.root.exists() and not find_job(share, job.name)


def test_a_changed_input_is_refused_by_a_node(share, words):
    job = submitted(share, words)
    record = training_of(job)
    style = share.layout.root / record.chains[0].style_image
    style.write_bytes((share.layout.root / record.photos / "03.png").read_bytes())
    with pytest.raises(JobQueueError, match="style has another content"):
        work(job)


def test_what_cannot_be_is_one_line_before_a_job_is_made(share, words, tmp_path):
    root = share.layout.root
    before = sorted(root.rglob("*"))
    train = lambda *options: call(main, "train", *options)
    refused(train(root, *words, "--minutes", 3), "--minutes: expected without SHARED; a job counts --iterations")
    refused(train(root, *words, "--device", "cpu"), "--device: expected without SHARED; each node has its own")
    refused(train(*words, "--nodes", 2), "--nodes: expected with SHARED")
    refused(train(root), "got no painting to learn from")
    refused(train(root, tmp_path / "gone.png", *words[1:]), "gone.png")
    refused(train(root, words[0], words[0], *words[2:]), "expected paintings with different names")
    refused(train(root, *words[:2], "/elsewhere/a.safetensors", *words[2:]), "expected a name inside SHARED")
    refused(train(root, *words, "--iterations", 5000, "--task-iterations", 1), "--task-iterations: expected at least 5")
    refused(train(root, *words, "--arch", "c9s1-4"), "expected 3 channels at the end")
    (root / "stripes.sheet.png").write_text("precious")
    refused(train(root, *words), "stripes.sheet.png: expected a free name for the new style")
    (root / "stripes.sheet.png").unlink()
    assert sorted(root.rglob("*")) == before
    submitted(share, words)
    refused(train(root, *words, "--name", "train--stripes", "--style-weight", 3), "style-weight was 10.0, not 3.0")
    assert "created job train--stripes-2" in train(root, *words, "again.safetensors", "--style-weight", 3).output


def test_a_film_follows_its_style(share, words, clip, painting, photos, loss_network, tmp_path):
    save_style(random_network(TINY), tmp_path / "init.safetensors", dtype=torch.float32)
    film = Request(str(clip), painting, frames=3, threads=1, given=frozenset({"frames", "threads"}))
    check_film(film)
    request = TrainingRequest(
        TrainingInputs(painting, photos, str(loss_network), init=tmp_path / "init.safetensors"),
        (painting,),
        TrainingConfig("stripes.png", arch=TINY, crop=32, style_size=96, precision="float32"),
        1,
        ("new.safetensors",),
        threads=1,
        film=lambda share, layout, note: film_record(share, layout, film, note),
        film_options=options_of(film),
    )
    with temporary_member(share) as node:
        first, again = submit_training(node, request), submit_training(node, request)
    assert first.created and not again.created and again.job.manifest.id == first.job.manifest.id
    assert work(first.job)
    made = find_film(first.job)
    assert made.name == "clip--stripes-3f" and "the film is job clip--stripes-3f" in [
        *SnapshotReader(share, once=True).job(first.job).learning
    ]
    assert style_facts(share.layout.root / "new.safetensors").metadata["began_with"] == "init.safetensors"
    assert work(made) and film_of(made) == share.layout.root / "clip--stripes-3f.mp4" and film_of(made).stat().st_size


@pytest.mark.slow
def test_a_film_of_a_painting_is_queued_behind_the_style(share, clip, painting, loss_network):
    root = share.layout.root
    line = ("submit", root, clip, painting, "--loss-network", loss_network, "--frames", 3)
    refused(call(coordinator.main, *line, "--mask", painting), "--mask: expected with a trained style, got a painting")
    result = call(coordinator.main, *line)
    assert result.exit_code == 0 and "created job train--stripes" in result.output, result.output
    assert "the film follows when the style is learned: clip--stripes-3f" in result.output
    record = training_of(find_job(share, "train--stripes"))
    assert record.film["options"]["frames"] == 3 and (root / record.film["video"]).read_bytes() == clip.read_bytes()
    assert record.chains[0].init and record.iterations == FITTED_ITERATIONS
    assert "joined job train--stripes" in call(coordinator.main, *line).output
