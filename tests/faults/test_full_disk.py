"""A disk that is really full, of space or of inodes: a small file system of its own, real nodes, a job that waits for room."""

import errno
import os
import re
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest

import coordinator
from fav.cli.tools import main
from fav.pipeline.disk_space import BLOCK, DiskUsage, required_space
from fav.util.text import format_bytes
from shared import results
from shared.claims import claimed
from shared.jobs import Job, find_job
from shared.logs import parse
from shared.retry import retry_transient
from shared.shared_dir import SharedDir, open_share
from tests.helpers import clips
from tests.helpers import toy_plan as toy
from tests.helpers import video_jobs as films
from tests.helpers.checkout import ROOT
from tests.helpers.commands import call, refused
from tests.helpers.full_disk import said
from tests.helpers.job_system import is_clean
from tests.helpers.video_jobs import FRAMES, film_of
from tests.helpers.waiting import runs, wait_for

PAGE = 4096


def cpu_seconds(pid: int) -> float:
    """Processor time of a process and its children, those that have ended as well."""
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if pid in (int(stat.parent.name), int(fields[1])):
            ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def assert_waits(nodes: list[subprocess.Popen], seconds: float = 3.0) -> None:
    """None of the nodes exits, or is busy."""
    before = sum(cpu_seconds(node.pid) for node in nodes)
    time.sleep(seconds)
    assert [node.poll() for node in nodes] == [None] * len(nodes)
    assert sum(cpu_seconds(node.pid) for node in nodes) - before < 0.05 * seconds * len(nodes)


def end(nodes: list[subprocess.Popen]) -> None:
    for node in nodes:
        if node.poll() is None:
            node.send_signal(signal.SIGTERM)
            node.wait(30)


# ---- nodes wait, and go on
@pytest.mark.parametrize(
    "disk, fill, missing",
    [
        ("tmpfs", lambda disk: disk.leave_blocks(8), "0 MiB free"),
        pytest.param("ext4", lambda disk: disk.leave_files(8), "[0-9] more files possible", marks=pytest.mark.slow),
        pytest.param("ext4", lambda disk: disk.leave_blocks(8), "0 MiB free", marks=pytest.mark.slow),
        pytest.param("tmpfs", lambda disk: disk.leave_files(8), "[0-9] more files possible", marks=pytest.mark.slow),
    ],
    indirect=["disk"],
    ids=["tmpfs, space", "ext4, inodes", "ext4, space", "tmpfs, inodes"],
)
def test_nodes_say_what_is_missing_wait_and_finish_when_there_is_room(disk, fill, missing, tmp_path):
    """All four: pytest -m "slow or not slow" tests/faults/test_full_disk.py (40 s)."""
    share = open_share(disk.seen / "share")
    job = toy.create(share, chains=2, length=20, slow=0.02)
    outs = [tmp_path / "1.txt", tmp_path / "2.txt"]
    nodes = [disk.run("-m", "tests.helpers.toy_plan", disk.directory / "share", "toy", out=out) for out in outs]
    try:
        wait_for(lambda: len(list(job.layout.results.glob("link/*/*"))) >= 3)
        fill(disk)
        wait_for(lambda: all(said(out, "waiting for free space") for out in outs))
        assert_waits(nodes)
        assert all(re.search(rf"no space \(No space left on device, .*{missing}", out.read_text()) for out in outs)
        done = len(list(job.layout.results.glob("link/*/*")))
        assert 3 <= done < 40 and not results.is_done(job, toy.SUM)
        disk.make_room()
        assert [node.wait(60) for node in nodes] == [0, 0], [out.read_text() for out in outs]
    finally:
        end(nodes)
    assert all(out.read_text().count("no space") <= 1 + out.read_text().count("continuing") for out in outs)
    assert_finished(share, job)


def assert_finished(share: SharedDir, job: Job) -> None:
    """The job has the results of an undisturbed run, and nothing else is left."""
    assert results.read(job, toy.SUM) == toy.expected(2, 20) and "finished" in job.flags()
    assert claimed(job) == {} and list(job.layout.attempts.iterdir()) == list(job.layout.failed.iterdir()) == []
    assert is_clean(share)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, clip, style) -> bytes:
    """The film of one worker that nothing disturbed."""
    job = films.create(open_share(tmp_path_factory.mktemp("undisturbed")), clip, style, threads=1)
    assert films.work(job)
    return film_of(job).read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("disk", ["tmpfs", pytest.param("ext4", marks=pytest.mark.long)], indirect=True)
def test_full_disk_that_holds_the_logs_too_takes_neither_node_nor_coordinator_down(
    disk, clip, style, undisturbed, tmp_path
):
    share, out = open_share(disk.seen / "share"), tmp_path / "coordinator.txt"
    run = disk.run(ROOT / "coordinator.py", "run", disk.directory / "share", clip, style, "--nodes", "2", "--name", "film",
                   "--threads", "1", out=out)  # fmt: skip
    frames = lambda: len(list(share.layout.jobs.glob("*/results/frame/*/*.png")))
    try:
        wait_for(lambda: frames() >= 2 or run.poll() is not None, 60)
        logs = list(share.layout.logs.iterdir())
        disk.leave_blocks(8 * PAGE // os.statvfs(disk.seen).f_frsize)
        nodes = list(children(run.pid))
        time.sleep(6)
        assert run.poll() is None and len(nodes) == 2 and all(runs(node) for node in nodes), out.read_text()
        assert frames() < FRAMES
        disk.make_room()
        assert run.wait(90) == 0, out.read_text()
    finally:
        end([run])
    (film,) = (disk.seen / "share").glob("*.mp4")
    assert film.read_bytes() == undisturbed
    job = find_job(share, "film")
    assert claimed(job) == {} and list(job.layout.attempts.iterdir()) == [] and is_clean(share)
    assert any(
        "no space (No space left on device" in log.read_text() for log in logs
    )  # at the latest when there was room again


# ---- commands
def test_on_a_full_disk_status_tells_submit_is_refused_a_node_waits_and_clean_makes_room(disk, clip, style, tmp_path):
    root, out = disk.seen / "share", tmp_path / "node.txt"
    job = films.create(open_share(root), clip, style, name="film")
    disk.leave_blocks(0)
    told = call(coordinator.main, "status", root)
    assert told.exit_code == 0 and "film: waiting for nodes" in told.output, told.output
    refused(
        call(coordinator.main, "submit", root, clip, style, "--name", "another", "--no-space-check"),
        "no space",
        "clean",
    )
    assert list((root / "jobs").iterdir()) == [disk.seen / job.layout.root]
    node = disk.run("-m", "tests.helpers.toy_plan", disk.directory / "share", "film", out=out)
    try:
        wait_for(lambda: said(out, "waiting for free space"))
        assert call(coordinator.main, "clean", root, "--force").output.startswith("film: removed, ")
        assert (
            os.statvfs(disk.seen).f_bavail > 0
            and list((root / "tmp").glob("*.*")) == list((root / "jobs").iterdir()) == []
        )
        assert node.wait(30) == 2 and "continuing" in out.read_text() and "no job with that name" in out.read_text()
    finally:
        end([node])
    assert is_clean(open_share(root))


# ---- the estimate
def test_estimate_counts_every_kind_of_file():
    plain = required_space(1000, (640, 360))
    assert 2.5 * 640 * 360 * 1000 <= plain.size < 1.2 * 2.5 * 640 * 360 * 1000 and 1000 < plain.files < 1100
    assert required_space(1000, (640, 360), flows=64).files - plain.files == 64
    assert 64 * 330 * 1024 <= required_space(1000, (640, 360), flows=64).size - plain.size < 64 * 400 * 1024
    assert required_space(1000, (640, 360), inputs=DiskUsage(10**6, 3)) == DiskUsage(
        plain.size + 10**6, plain.files + 3
    )
    assert required_space(1000, (640, 360), crf=0).size > plain.size > required_space(1000, (640, 360), crf=40).size
    assert required_space(10, (16, 16)).size >= 60 * BLOCK  # files take whole blocks
    assert plain.fits(plain.size, plain.files) and plain.fits(plain.size, None)
    assert not plain.fits(plain.size - 1, None) and not plain.fits(plain.size, plain.files - 1)


def test_sizes_are_said_in_words():
    assert [format_bytes(size) for size in (0, 1536, 340 * 1024, 2.1 * 2**30, 999.9 * 2**30, 5 * 2**40)] == [
        "0.0 KiB",
        "1.5 KiB",
        "340 KiB",
        "2.1 GiB",
        "1000 GiB",
        "5.0 TiB",
    ]


def test_finished_job_took_no_more_room_than_was_estimated(clip, style, tmp_path):
    job = films.create(open_share(tmp_path), clip, style)
    before = used(tmp_path)
    assert films.work(job)
    estimate = required_space(FRAMES, (96, 64))
    assert estimate.size / 4 < used(tmp_path) - before < estimate.size


def used(root: Path) -> int:
    return sum(
        -(-path.stat().st_size // BLOCK) * BLOCK
        for path in root.rglob("*")
        if path.is_file() and path.stat().st_nlink == 1
    )


@pytest.mark.parametrize("blocks, files, outcome", [(None, None, "created"), (90, None, "tight"), (30, None, "refused"),
                                                    (None, 60, "tight"), (None, 20, "refused")])  # fmt: skip
def test_job_that_does_not_fit_is_refused_and_one_that_hardly_does_is_warned_of(
    disk, clip, style, blocks, files, outcome
):
    root = disk.seen / "share"
    open_share(root)
    if blocks:
        disk.leave_blocks(blocks)
    if files:
        disk.leave_files(files)
    result = call(coordinator.main, "submit", root, clip, style)
    if outcome == "refused":
        refused(result, "24 frames of 96x64", "got ", "--no-space-check", "coordinator.py clean")
        assert list((root / "jobs").iterdir()) == []
        result = call(coordinator.main, "submit", root, clip, style, "--no-space-check")
    assert result.exit_code == 0 and "created job" in result.output
    assert ("may fill up" in result.output) == (outcome == "tight")


@pytest.mark.parametrize("name", ["clip.mkv", "clip.mp4"])
def test_length_that_only_the_duration_tells_is_enough_for_an_estimate(disk, tmp_path, style, name):
    long = clips.make(tmp_path / name, *clips.X264, picture="color=red:size=64x64", rate=30, seconds=60)
    refused(call(coordinator.main, "submit", disk.seen / "share", long, style), "1800 frames of 64x64")
    assert call(coordinator.main, "submit", disk.seen / "share", long, style, "--frames", "50").exit_code == 0


def test_quota_that_is_used_up_is_called_so(tmp_path, caplog):
    errors = [OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))]

    def step():
        if errors:
            raise errors.pop()

    retry_transient(step, open_share(tmp_path), lambda seconds: None)
    assert caplog.messages == [
        f"{tmp_path}: no space (Disk quota exceeded: the quota of this user or group); waiting for free space",
        "continuing",
    ]


LINES = """
import logging, os, sys
from fav.monitor.console import LogSettings, node_log
log = logging.getLogger("fav")
with node_log(LogSettings()):
    log.info("one"), log.info("two")
    os.unlink(sys.argv[1])
    log.info("three")
"""


def test_lines_that_a_full_log_does_not_take_come_with_the_next_that_it_takes(disk, tmp_path):
    log = disk.seen / "node.log"
    log.write_bytes(b"." * PAGE)  # so that the next line needs a page
    disk.leave_blocks(0)
    (ballast,) = [path for path in (disk.seen / "ballast").iterdir() if path.stat().st_size]
    assert disk.run("-c", LINES, disk.directory / "ballast" / ballast.name, out=log).wait(60) == 0
    said = log.read_bytes().lstrip(b".").decode().splitlines()
    assert [parse(line).message for line in said] == ["one", "two", "three"]


def children(pid: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            if int(stat.read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(stat.parent.name))
    return found


@pytest.mark.parametrize("blocks, outcome", [(None, "created"), (500, "tight"), (200, "refused")])
def test_flow_job_is_compared_with_the_free_space_as_films_are(disk, clip, blocks, outcome):
    root = disk.seen / "share"
    open_share(root)
    if blocks:
        disk.leave_blocks(blocks)
    result = call(main, "flow", clip, "flow", "--share", root, "--nodes", "0")
    if outcome == "refused":
        refused(result, "expected space for up to", "in 72 files for the flow of 24 frames of 96x64", "got ", "--range")
        assert list((root / "jobs").iterdir()) == []
    else:
        assert "created job" in result.output, result.output
        assert ("may fill up" in result.output) == (outcome == "tight")


def test_flow_of_a_video_whose_length_only_the_duration_tells_is_compared_too(disk, tmp_path):
    long = clips.make(tmp_path / "clip.mkv", *clips.X264, picture="color=red:size=64x64", rate=30, seconds=60)
    refused(call(main, "flow", long, "flow", "--share", disk.seen / "share", "--nodes", "0"), "1800 frames of 64x64")
