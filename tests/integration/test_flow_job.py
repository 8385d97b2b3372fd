"""`fav flow VIDEO OUT_DIR --share SHARED`: a job whose files have the same bytes as those of one process."""

import shutil
import signal
import time

import pytest
from click.testing import CliRunner

from fav import flow as flows
from fav.cli.tools import main
from fav.errors import FavError
from fav.monitor.snapshot import SnapshotReader
from fav.pipeline.flow_plan import FlowPlan
from fav.pipeline.flow_submit import submit_flow
from fav.pipeline.job_control import clean, retry
from fav.pipeline.job_files import open_share
from fav.pipeline.task_names import backward_task, forward_task, trust_task
from fav.stylize.flow_export import export_flow
from shared import results
from shared.heartbeat import temporary_member
from shared.jobs import find_job
from tests.helpers.video_jobs import FRAMES, start_node, work


@pytest.fixture(scope="module")
def expected(tmp_path_factory, clip) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("flow")
    export_flow(clip, out, flows.make("dis"), size=(48, 32))
    return contents(out)


def contents(directory) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in directory.iterdir()}


def create(share, clip, out="flow", **options):
    with temporary_member(share) as node:
        return submit_flow(node, str(clip), out, frozenset(options), **options)


@pytest.fixture
def share(tmp_path):
    (tmp_path / "share").mkdir()
    return open_share(tmp_path / "share")


def test_a_job_writes_the_files_of_one_process(share, clip, expected, tmp_path):
    job = create(share, clip, width=48).job
    assert work(job)
    assert contents(share.layout.root / "flow") == expected
    snapshot = SnapshotReader(share, once=True).job(job)
    assert snapshot.state == "finished" and snapshot.counts == {"index": (1, 1), "frame": (FRAMES, FRAMES)}
    again = create(share, clip, width=48)
    assert not again.created and again.job.layout.root == job.layout.root
    with pytest.raises(FavError, match="writes these files to"):
        create(share, clip, "elsewhere", width=48)
    clean(share, job.name)
    assert contents(share.layout.root / "flow") == expected


@pytest.mark.slow
def test_two_nodes_of_which_one_is_killed_write_the_same_bytes(share, clip, expected):
    job = create(share, clip, width=48).job
    first, second = start_node(share), start_node(share)
    try:
        while not results.completed_in_shard(job, "trust", 0) and first.poll() is None:
            time.sleep(0.02)
        first.send_signal(signal.SIGKILL)
        assert second.wait(60) == 0
    finally:
        for node in (first, second):
            node.kill()
            node.wait()
    assert job.flag_text("finished") == "flow" and contents(share.layout.root / "flow") == expected


def test_a_node_goes_on_from_flow_that_a_killed_one_published(share, clip, expected):
    job = create(share, clip, width=48).job
    with temporary_member(share) as node:
        plan = FlowPlan(job, node)
        results.publish_bytes(node, job, (task := next(plan.candidates())), plan.run(task, lambda: None))  # the index
        plan.published(task, ours=True)
        results.publish_bytes(node, job, backward_task(5), expected["bwd_000005.flo"])
        computed = []
        plan._flow = lambda *pair: computed.append(1) or flows.make("dis")(*pair)
        assert plan.run(trust_task(5), lambda: None) == expected["reliable_000005.pgm"]
    assert len(computed) == 1 and results.is_done(job, forward_task(4))


def test_removed_and_damaged_results_are_made_again(share, clip, expected):
    job = create(share, clip, width=48).job
    assert work(job)
    directory = share.layout.root / "flow"
    (directory / "fwd_000003.flo").unlink()
    assert "delivered again" in retry(share, job.name)[-1] and contents(directory) == expected
    shutil.rmtree(directory)
    job.layout.result(backward_task(7)).unlink()
    job.layout.result(trust_task(9)).write_bytes(b"P5\n1 1\n255\n\0")
    assert any("to be made again" in line for line in retry(share, job.name))
    assert work(job) and contents(directory) == expected


def test_files_of_others_are_never_replaced(share, clip, expected):
    job = create(share, clip, width=48).job
    mine = share.layout.root / "flow"
    mine.mkdir()
    (mine / "bwd_000001.flo").write_text("mine")
    assert work(job)
    assert contents(mine) == {"bwd_000001.flo": b"mine"} and contents(share.layout.root / "flow-2") == expected


def line(share, clip, *words) -> list[str]:
    return ["flow", str(clip), "flow", "--share", str(share.layout.root), "--width", "48", "--method", "dis", *words]


@pytest.mark.slow
def test_the_command_makes_the_job_and_works_on_it(share, clip, expected):
    run = CliRunner().invoke(main, line(share, clip))
    assert run.exit_code == 0 and "done: " in run.output, run.output
    assert contents(share.layout.root / "flow") == expected


def test_the_command_makes_a_job_for_other_nodes(share, clip, expected):
    run = CliRunner().invoke(main, line(share, clip, "--nodes", "0"))
    assert run.exit_code == 0 and "created job clip--flow-dis-48w" in run.output, run.output
    assert work(find_job(share, "clip--flow-dis-48w"))
    assert "done: " in CliRunner().invoke(main, line(share, clip, "--nodes", "0")).output
    for command in ("preview", "stitch"):
        run = CliRunner().invoke(main, [command, str(share.layout.root)])
        assert run.exit_code == 2 and "got one that writes flow to files" in run.output, run.output


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--nodes", "2"], "--nodes: expected with --share"),
        (["--share", "SHARE", "--range", "99:"], "--range: expected a START below"),
        (["--share", "SHARE", "--flow", "spynet"], "expected weights"),
    ],
)
def test_what_cannot_be_is_refused_before_any_work(share, clip, words, told):
    words = [str(share.layout.root) if word == "SHARE" else word for word in words]
    run = CliRunner().invoke(main, ["flow", str(clip), "flow", *words])
    assert run.exit_code == 2 and told in run.output and run.output.count("\n") == 1, run.output
    assert not (share.layout.root / "flow").exists()


def test_an_existing_directory_is_refused(share, clip):
    (share.layout.root / "flow").mkdir()
    (share.layout.root / "flow" / "mine").write_text("mine")
    with pytest.raises(FavError, match="expected a new directory"):
        create(share, clip)
