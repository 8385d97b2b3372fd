"""What the screen shows of jobs that real nodes work on; the forecast against films whose end can be counted in the head."""

import asyncio
import json
import signal
import stat
import subprocess
import sys
import time

import pytest
from click.testing import CliRunner
from textual.widgets import DataTable

import coordinator
from fav.monitor import actions
from fav.monitor.eta import WINDOW_S, ThroughputEstimator, encode_seconds, estimate_seconds_left
from fav.monitor.snapshot import JobStatus, NodeStatus, SnapshotReader
from fav.monitor.text import lines
from fav.monitor.tui import StatusApp
from fav.pipeline.artifacts import JobArtifacts
from fav.pipeline.task_names import frame_task
from fav.util.safe_path import resolve_input
from shared.attempts import failed, record
from shared.claims import claimed
from shared.heartbeat import temporary_member
from shared.shared_dir import open_share
from tests.helpers.checkout import ROOT
from tests.helpers.video_jobs import FRAMES, create, make_clip, start_node, work
from tests.helpers.waiting import wait_for


# ---- the forecast
def paced(rate: float, active_workers: int, seconds: int = 20) -> ThroughputEstimator:
    """`active_workers` nodes that made `rate` frames a second, all together."""
    pace = ThroughputEstimator()
    for now in range(seconds + 1):
        pace.observe(now, int(rate * now), active_workers)
    return pace


def test_one_long_shot_is_no_faster_with_many_nodes():
    assert estimate_seconds_left([100], paced(rate=1, active_workers=1)) == pytest.approx(100)
    assert estimate_seconds_left([100], paced(rate=8, active_workers=8)) == pytest.approx(
        100
    )  # each of the eight makes 1 a second
    assert estimate_seconds_left([100] * 8, paced(rate=8, active_workers=8)) == pytest.approx(100)


def test_the_longest_shots_are_taken_first_and_the_film_is_stitched_at_last():
    pace = paced(rate=2, active_workers=2)
    assert estimate_seconds_left([3, 3, 2, 2, 2], pace) == pytest.approx(7)  # 3 + 2 + 2 beside 3 + 2
    assert estimate_seconds_left([3, 3], pace, stitch_s=4) == pytest.approx(7) and estimate_seconds_left(
        [], pace, 4
    ) == pytest.approx(4)
    assert estimate_seconds_left([1] * 20_000, pace) == pytest.approx(10_000)
    assert encode_seconds(200, (1000, 1000)) == pytest.approx(2 * encode_seconds(100, (1000, 1000)))


def test_what_was_long_ago_does_not_count():
    pace = ThroughputEstimator()
    for now in range(1000):
        pace.observe(now, now if now < 500 else 500 + 4 * (now - 500), active_workers=1)
    assert pace.rate == pytest.approx(4) and len(pace._seen) <= WINDOW_S + 2


def test_slow_frames_are_waited_for_before_the_past_is_forgotten():
    pace = ThroughputEstimator()
    for minute in range(60):
        pace.observe(60 * minute, minute // 10, active_workers=1)  # a frame in ten minutes
    assert pace.seconds_per_frame == pytest.approx(600, rel=0.2)


def test_nothing_is_said_before_a_frame_was_done():
    assert (
        ThroughputEstimator().rate is None
        and ThroughputEstimator().seconds_per_frame is None
        and estimate_seconds_left([3], ThroughputEstimator()) is None
    )
    pace = ThroughputEstimator()
    pace.observe(0, 0, 1)
    pace.observe(5, 0, 1)
    assert pace.rate is None and estimate_seconds_left([3], pace) is None


# ---- the look
@pytest.mark.slow
def test_the_look_shows_who_does_what_and_whose_frames_came(share, tmp_path, style):
    clip = make_clip(tmp_path / "large.mp4", size="1280x720")  # there is time to look
    job = create(share, clip, style, name="film")
    reader = SnapshotReader(share)
    before = reader.read()
    assert [(one.state, one.counts["frame"], one.left) for one in before.jobs] == [
        ("waiting for nodes", (0, None), None)
    ]
    node = start_node(share, "--job", "film")
    seen = []
    try:
        while node.poll() is None:
            seen.append(reader.read())
    finally:
        node.communicate()
    now = reader.read()
    assert [(one.state, one.counts["frame"], one.chains) for one in now.jobs] == [
        ("finished", (FRAMES, FRAMES), (2, 2))
    ]
    working = [one for look in seen for one in look.nodes if one.state == NodeStatus.BUSY]
    assert working and all(one.tasks[0].startswith("film ") for one in working)
    assert max(one.frames for one in working) > FRAMES // 2 and JobStatus.RUNNING in {
        look.jobs[0].state for look in seen
    }
    assert claimed(job) == {} and now.nodes == ()


def test_a_dead_node_is_dead_and_what_failed_is_named(share, clip, style):
    create(share, clip, style, name="film")
    node = start_node(share, "--job", "film", "--forever")
    reader = SnapshotReader(share, "film")
    wait_for(lambda: any(one.state == NodeStatus.BUSY for one in reader.read().nodes), 60)
    node.send_signal(signal.SIGKILL)  # its worker ends with it; a node whose worker ends first leaves, and joins again
    node.communicate()
    assert [one.state for one in reader.read().nodes] == [NodeStatus.DEAD]


def spoiled(share, clip, style):
    """A job whose frame 3 has failed."""
    job = create(share, clip, style, name="film")
    with temporary_member(share) as node:
        for number in range(3):
            record(node, job, frame_task(3), "raised", "ValueError: three", f"{number:016}")
    return job


# ---- the screen
def test_the_screen_shows_it_and_its_keys_work(share, clip, style):
    job = spoiled(share, clip, style)
    assert not work(job)

    async def session():
        app = StatusApp(SnapshotReader(share), every=0.2)
        async with app.run_test(size=(140, 40)) as pilot:
            while app.now is None:
                await asyncio.sleep(0.05)
            await pilot.pause()
            text = app.export_screenshot().replace("&#160;", " ")
            assert "film" in text and "failed" in text and "frame.0000003" in text and f" of {FRAMES}" in text
            assert app.query_one(DataTable).row_count == 0
            await pilot.press("r")
            end = time.monotonic() + 20
            while failed(job) and time.monotonic() < end:
                await asyncio.sleep(0.05)
            assert failed(job) == []
            await pilot.press("q")
        assert app.return_code == 0

    asyncio.run(session())


def test_the_node_under_the_cursor_is_drained(share, clip, style):
    create(share, clip, style, name="film")
    node = start_node(share, "--forever")
    wait_for(lambda: SnapshotReader(share).read().nodes)

    async def session():
        app = StatusApp(SnapshotReader(share), every=0.2)
        async with app.run_test(size=(140, 40)) as pilot:
            while not app.query_one(DataTable).row_count:
                await asyncio.sleep(0.05)
            await pilot.press("d")
            end = time.monotonic() + 30
            while node.poll() is None and time.monotonic() < end:
                await asyncio.sleep(0.1)

    asyncio.run(session())
    assert "stopping after the current frame" in node.communicate(timeout=10)[0] and node.returncode == 130


def test_what_keys_write_has_the_modes_of_the_share_though_it_was_opened_to_look(share, clip, style):
    job, root = create(share, clip, style, name="film"), share.layout.root
    root.chmod(0o770)
    opened = open_share(root, read_only=True)
    assert actions.pause_or_resume(opened) == ["film is paused"]
    actions.drain(opened, "host-1-0123abcd")
    made = {
        path: stat.S_IMODE(path.stat().st_mode)
        for path in (job.layout.flag("paused"), share.layout.control, *share.layout.control.iterdir())
    }
    assert sorted(made.values()) == [0o660, 0o660, 0o770]


def test_key_that_cannot_be_followed_is_answered_with_the_reason(share, clip, style):
    job = create(share, clip, style, name="film")
    assert work(job)
    frame = job.layout.result(frame_task(3))
    frame.unlink()
    resolve_input(share.layout.root, JobArtifacts(job).spec.video).unlink()

    async def session():
        app = StatusApp(SnapshotReader(open_share(share.layout.root, read_only=True)), every=0.2)
        async with app.run_test(size=(140, 40)) as pilot:
            while app.now is None or not app.now.jobs[0].missing:
                await asyncio.sleep(0.05)
            await pilot.press("r")
            end = time.monotonic() + 20
            while not app._notifications and time.monotonic() < end:
                await asyncio.sleep(0.05)
            assert ["1 frame missing: 3; to make that again" in one.message for one in app._notifications] == [True]
            await pilot.press("q")
        assert app.return_code == 0

    asyncio.run(session())
    assert "finished" in job.flags()


def test_without_a_terminal_there_are_lines_and_json_for_scripts(share, clip, style):
    assert work(create(share, clip, style, name="film"))
    watched = CliRunner().invoke(coordinator.main, ["status", str(share.layout.root), "--watch"])
    assert watched.exit_code == 0 and watched.output == f"film: finished, {FRAMES} of {FRAMES} frames\n"
    told = CliRunner().invoke(coordinator.main, ["status", str(share.layout.root), "--watch", "--json"])
    record = json.loads(told.output)
    assert record["jobs"][0]["counts"]["frame"] == [FRAMES, FRAMES] and record["jobs"][0]["chains"] == [2, 2]


@pytest.mark.slow
def test_watching_ends_with_the_job(share, clip, style):
    create(share, clip, style, name="film")
    words = [
        sys.executable,
        str(ROOT / "coordinator.py"),
        "status",
        str(share.layout.root),
        "--watch",
        "--every",
        "0.2",
    ]
    watching = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    first = watching.stdout.readline()  # before there is a node
    node = start_node(share, "--job", "film")
    node.communicate(timeout=120)
    output, _ = watching.communicate(timeout=60)
    assert watching.returncode == 0 and output.splitlines()[-1] == f"film: finished, {FRAMES} of {FRAMES} frames"
    assert "film: waiting for nodes" in first


def test_lines_name_complaints(share, clip, style):
    create(share, clip, style, name="film")
    share.layout.name("strange").touch()
    told = lines(SnapshotReader(share).read())
    assert len(told) == 2 and told[1].startswith("error: ") and "strange" in told[1]
