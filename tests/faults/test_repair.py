"""A finished job of which something is lost or damaged: who finds it, what is said, and that the film comes back byte for byte."""

import json
import os
import shutil
import struct
import subprocess
import threading
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

import coordinator
from fav.errors import FavError
from fav.flow.io import SCALE_KEY, decode_flow, encode_flow
from fav.monitor import actions
from fav.monitor.snapshot import SnapshotReader
from fav.monitor.text import lines
from fav.pipeline.artifacts import JobArtifacts
from fav.pipeline.checked_json import without_checksum
from fav.pipeline.delivery import evaluation_name
from fav.pipeline.plan import VideoPlan, make_plan
from fav.pipeline.repair import missing, repair
from fav.pipeline.task_names import (
    encode_task,
    flow_task,
    frame_task,
    index_task,
    measure_task,
    report_task,
    stitch_task,
    warmup_task,
)
from fav.util.images import HEAD_END, SIGNATURE, decode_png, encode_png
from shared import attempts, results
from shared.command_names import command
from shared.heartbeat import temporary_member
from shared.jobs import Job, find_job
from shared.paths import Task
from shared.shared_dir import open_share
from shared.worker import Worker
from tests.helpers import toy_plan as toy
from tests.helpers.toy_plan import RecordingEvents
from tests.helpers.video_jobs import create, film_of, frames_of, work

COUNT = 6


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def made(tmp_path_factory, clip, style, **options) -> Job:
    job = create(open_share(tmp_path_factory.mktemp("made")), clip, style, name="film", **options)
    assert work(job)
    return job


@pytest.fixture(scope="module")
def plain(tmp_path_factory, clip, style) -> Job:
    return made(tmp_path_factory, clip, style, frames=COUNT)


@pytest.fixture(scope="module")
def chunked(tmp_path_factory, clip, style) -> Job:
    return made(tmp_path_factory, clip, style, chunk=8, no_cuts=True)


@pytest.fixture(scope="module")
def measured(tmp_path_factory, clip, style) -> Job:
    painting = tmp_path_factory.mktemp("painting") / "stripes.png"
    cv2.imwrite(str(painting), np.full((96, 96, 3), (20, 90, 220), np.uint8))
    return made(tmp_path_factory, clip, style, frames=COUNT, evaluate=painting)


@pytest.fixture
def copied(tmp_path):
    """Copies a job with all of its share; what was one file with two names is so in the copy."""

    def copy(job: Job) -> Job:
        shutil.rmtree(tmp_path / "share", ignore_errors=True)
        subprocess.run(["cp", "-a", job.share.layout.root, tmp_path / "share"], check=True)
        return find_job(open_share(tmp_path / "share"), job.name)

    return copy


@pytest.fixture
def job(copied, plain) -> Job:
    return copied(plain)


def call(job: Job, command: str, *words, code: int = 0) -> str:
    done = CliRunner().invoke(coordinator.main, [command, str(job.share.layout.root), *map(str, words)])
    assert done.exit_code == code and "Traceback" not in done.output, done.output
    return done.output


def path(job: Job, task) -> Path:
    return job.layout.result(task)


def flip(file: Path) -> None:
    """One bit, in the midst of it."""
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 4
    with open(file, "r+b") as same:  # the same file under each of its names
        same.write(data)


def cut(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def replaced(file: Path, make) -> None:
    file.unlink()
    make(file)


def assert_repaired(job: Job, original: Job, **here) -> None:
    """Nodes make what is missing, and the film is the one that it was, under its own name alone."""
    assert "finished" not in job.flags()
    assert work(job, **here)
    assert film_of(job).read_bytes() == film_of(original).read_bytes()
    assert [film.name for film in job.share.layout.root.glob("*.mp4")] == [film_of(original).name]
    assert path(job, stitch_task(JobArtifacts(job).spec)).read_bytes() == film_of(original).read_bytes()
    assert all(np.array_equal(*pair) for pair in zip(frames_of(job), frames_of(original), strict=True))
    assert attempts.failed(job) == [] and missing(JobArtifacts(job)) == []


# ---- what retry finds
def linked(file: Path) -> None:
    """A link to the picture that was there."""
    file.rename(file.parent.parent / file.name)
    file.symlink_to(Path("..") / file.name)


BAD = {
    "flipped": flip,
    "cut": cut,
    "empty": lambda file: os.truncate(file, 0),
    "of another size": lambda file: file.write_bytes(encode_png(np.zeros((4, 4, 3), np.uint8))),
    "of another depth": lambda file: file.write_bytes(encode_png(np.zeros((64, 96, 3), np.uint16))),
    "whole chunks without a picture": lambda file: file.write_bytes(SIGNATURE + chunk(b"IEND", b"")),
    "a directory": lambda file: replaced(file, Path.mkdir),
    "a FIFO": lambda file: replaced(file, os.mkfifo),
    "a link": linked,
}  # fmt: skip
GONE = {"removed": Path.unlink, "another program's": lambda file: file.rename(file.with_suffix(".jpg"))}


def test_retry_opens_a_finished_job_with_one_bad_frame_and_the_film_comes_back(job, plain):
    flip(path(job, frame_task(3)))
    told = call(job, "retry")
    assert (
        "film: frame 3 did not read back (PNG: " in told
        and "film: 1 frame to be made again: 3; start nodes (node.py " in told
    )
    assert_repaired(job, plain)
    assert "all 9 results read back, and none is missing" in call(job, "retry")


@pytest.mark.parametrize("first", [0, 5])
def test_every_way_in_which_a_frame_is_bad_is_found(job, plain, first):
    for number, damage in enumerate([*BAD.values(), *GONE.values()][first : first + COUNT]):
        damage(path(job, frame_task(number)))
    told = call(job, "retry")
    assert (
        told.count("did not read back (") == (6, 4)[first > 0] and "6 frames to be made again: 0, 1, 2, 3, 4, …" in told
    )
    assert_repaired(job, plain)


@pytest.mark.parametrize("how", ["flip", "cut"])
def test_segment_that_is_bad_is_set_aside_and_a_film_that_is_there_stays(job, plain, how):
    {"flip": flip, "cut": cut}[how](path(job, encode_task(0)))
    told = call(job, "retry")
    assert "film: film segment 0 did not read back (" in told and "made again" not in told
    assert "finished" in job.flags() and not path(job, encode_task(0)).exists()
    assert "done: " in call(job, "stitch")
    assert film_of(job).with_stem("film-2").read_bytes() == film_of(plain).read_bytes()


@pytest.mark.parametrize("how", ["flip", "cut"])
def test_segment_that_is_bad_is_made_again_where_the_film_is_gone_too(job, plain, how):
    {"flip": flip, "cut": cut}[how](path(job, encode_task(0)))
    path(job, stitch_task(JobArtifacts(job).spec)).unlink()
    film_of(job).unlink()
    call(job, "retry")
    assert_repaired(job, plain)


def test_whole_job_stays_finished_and_untouched(job):
    look = lambda: {
        file: (file.lstat().st_ino, file.lstat().st_mtime_ns) for file in job.layout.root.rglob("*") if file.is_file()
    }
    before = look()
    assert "film: all 9 results read back, and none is missing" in call(job, "retry")
    assert look() == before and "finished" in job.flags() and film_of(job).exists()


def test_several_at_once_are_all_found_and_told(job, plain):
    flip(path(job, frame_task(0)))
    cut(path(job, frame_task(4)))
    path(job, frame_task(5)).unlink()
    told = call(job, "retry")
    assert told.count("did not read back") == 2 and "3 frames to be made again: 0, 4, 5; start nodes" in told
    assert_repaired(job, plain)


@pytest.mark.parametrize(
    "damage", [flip, lambda file: shutil.rmtree(file.parent.parent), lambda file: file.write_text("[" * 9999)]
)
def test_index_is_made_again(job, plain, damage):
    damage(path(job, index_task(0)))
    assert "1 index segment to be made again: 0" in call(job, "retry")
    assert_repaired(job, plain)


def test_pieces_in_the_midst_of_an_index_are_made_again(root, clip, style, plain, monkeypatch):
    monkeypatch.setattr("fav.stylize.indexing.SEGMENT_FRAMES", 1)
    root.mkdir(exist_ok=True)
    job = create(open_share(root), clip, style, name="film", frames=COUNT)
    assert work(job)
    flip(path(job, index_task(1)))
    path(job, index_task(3)).unlink()
    assert "index segment 1 does not read back" in call(job, "status")
    told = call(job, "retry")
    assert "index segment 1 did not read back" in told and "2 index segments to be made again: 1, 3; " in told
    assert_repaired(job, plain)


def test_record_with_any_bit_flipped_is_not_taken_for_another_one(job):
    data = path(job, index_task(0)).read_bytes()
    wanted = {name: value for name, value in json.loads(data).items() if name != "checksum"}
    for place in range(len(data)):
        changed = bytearray(data)
        changed[place] ^= 1
        try:
            assert {
                name: value for name, value in without_checksum(bytes(changed)).items() if name != "checksum"
            } == wanted or b'"checksum"' not in changed
        except ValueError:
            pass


def test_damaged_frame_is_found_though_the_index_is_lost(job, plain):
    path(job, index_task(0)).unlink()
    flip(path(job, frame_task(2)))
    path(job, frame_task(3)).unlink()
    assert "frame 2 did not read back" in call(job, "retry")
    assert_repaired(job, plain)


def test_directory_of_frames_that_is_gone_is_made_again(job, plain):
    shutil.rmtree(path(job, frame_task(0)).parent)
    assert "6 frames to be made again: 0, 1, 2, 3, 4, …" in call(job, "retry")
    assert_repaired(job, plain)


@pytest.mark.parametrize("level", [0, 1, 2])
def test_directory_of_results_that_is_something_else_is_named_and_its_advice_works(job, plain, level):
    place = [path(job, frame_task(0)).parent, *path(job, frame_task(0)).parent.parents][level]
    away = job.share.layout.root / "away"
    place.rename(away)
    place.symlink_to(away) if level else place.write_text("a file")
    told = call(job, "retry", code=2)
    what = "a symbolic link" if level else "a file"
    assert f"{place}: expected a directory, got {what}; move it away" in told and len(told.splitlines()) == 1
    assert "finished" in job.flags()
    place.unlink()
    call(job, "retry")
    if level == 0:
        assert_repaired(job, plain)


def test_all_results_gone_is_a_film_from_the_beginning(job, plain):
    shutil.rmtree(job.layout.results)
    film_of(job).unlink()
    call(job, "retry")
    assert_repaired(job, plain)


@pytest.mark.parametrize("damage", [flip, lambda file: replaced(file, Path.mkdir)])
def test_film_of_the_job_is_stitched_again(job, plain, damage):
    damage(path(job, stitch_task(JobArtifacts(job).spec)))
    assert "the film to be made again" in call(job, "retry")
    assert_repaired(job, plain)


def test_film_that_was_stitched_before_checksums_were_written_down_is_decoded(job, plain):
    shutil.rmtree(job.layout.results / "print")
    assert "none is missing" in call(job, "retry")
    cut(path(job, stitch_task(JobArtifacts(job).spec)))
    assert "the film did not read back" in call(job, "retry")
    assert_repaired(job, plain)


def test_film_that_its_user_moved_away_is_shown_again(job, plain, tmp_path):
    film_of(job).rename(tmp_path / "mine.mp4")
    assert f"its film was delivered again: {film_of(job)}" in call(job, "retry")
    assert film_of(job).read_bytes() == film_of(plain).read_bytes() == (tmp_path / "mine.mp4").read_bytes()
    assert "finished" in job.flags()


def test_file_that_its_user_put_in_the_films_place_stays(job, plain):
    replaced(film_of(job), lambda file: file.write_text("another film"))
    told = call(job, "retry")
    assert "expected the film of film, got another file" in told and film_of(job).read_text() == "another film"
    film_of(job).unlink()  # as the line says
    assert "its film was delivered again" in call(job, "retry")
    assert film_of(job).read_bytes() == film_of(plain).read_bytes()


def test_damaged_film_under_a_users_file_never_replaces_that(job, plain):
    flip(path(job, stitch_task(JobArtifacts(job).spec)))
    replaced(film_of(job), lambda file: file.write_text("another film"))
    call(job, "retry")
    assert work(job)
    assert film_of(job).read_text() == "another film"
    assert film_of(job).with_stem("film-2").read_bytes() == film_of(plain).read_bytes()


def test_copy_of_the_film_where_links_are_not_known_keeps_its_name(job, plain):
    film = path(job, stitch_task(JobArtifacts(job).spec))
    replaced(film_of(job), lambda file: shutil.copy(film, file))
    film.unlink()
    call(job, "retry")
    assert_repaired(job, plain)


def test_film_gone_and_frames_damaged(job, plain):
    film_of(job).unlink()
    path(job, stitch_task(JobArtifacts(job).spec)).unlink()
    flip(path(job, frame_task(1)))
    path(job, frame_task(2)).unlink()
    told = call(job, "retry")
    assert "2 frames to be made again: 1, 2; the film to be made again; start nodes" in told
    assert_repaired(job, plain)


def test_frame_in_a_chunk_and_in_a_lead_in_are_made_again_alone(copied, chunked):
    job = copied(chunked)
    lead = next(warmup_task(run.frame(2)) for run in runs_of(job) if run.warmup)
    flip(path(job, lead))
    path(job, frame_task(12)).unlink()
    assert "1 frame to be made again: 12; 1 warmup frame to be made again: " in call(job, "retry")
    report = RecordingEvents()
    with temporary_member(job.share) as node:
        assert Worker(node, lambda job, node: make_plan(job, node), report, threading.Event(), job.name).run()
    assert sorted(report.tasks) == sorted([str(lead), str(frame_task(12))])
    assert film_of(job).read_bytes() == film_of(chunked).read_bytes()
    assert all(np.array_equal(*pair) for pair in zip(frames_of(job), frames_of(chunked), strict=True))


def runs_of(job: Job) -> list:
    artifacts = JobArtifacts(job)
    artifacts.load_new_segments()
    return artifacts.timeline.chains


@pytest.mark.parametrize("damage", [Path.unlink, flip])
def test_evaluation_is_made_again_under_its_own_name(copied, measured, damage):
    job = copied(measured)
    for task in (measure_task(0), report_task(".json"), report_task(".txt")):
        damage(path(job, task))
    assert "1 evaluation window to be made again: 0; 2 evaluation reports to be made again: .txt, .json; " in call(
        job, "retry"
    )
    assert_repaired(job, measured)
    names = sorted(file.name for file in job.share.layout.root.glob("film.evaluation*"))
    assert (
        names == sorted(file.name for file in measured.share.layout.root.glob("film.evaluation*")) and len(names) == 4
    )
    assert (
        evaluation_name(film_of(job), ".json").read_bytes() == evaluation_name(film_of(measured), ".json").read_bytes()
    )


def test_failed_evaluation_of_a_finished_job_is_opened_anew_by_retry(copied, measured):
    job = copied(measured)
    for suffix in (".txt", ".csv", ".json", ".png"):
        path(job, report_task(suffix)).unlink()
        evaluation_name(film_of(job), suffix).unlink()
    path(job, measure_task(0)).unlink()
    with temporary_member(job.share) as node:
        for number in range(3):
            attempts.record(node, job, measure_task(0), "raised", "ValueError: no", f"{number:016}")
    told = call(job, "retry")
    assert "1 failed task(s) reopened" in told and "1 evaluation window to be made again: 0" in told
    assert_repaired(job, measured)


def test_kept_flow_that_does_not_read_back_is_set_aside_and_the_job_stays_finished(job, plain):
    path(job, flow_task(3)).parent.mkdir(parents=True)
    path(job, flow_task(3)).write_bytes(SIGNATURE + chunk(b"IEND", b""))
    assert "flow 3 did not read back" in call(job, "retry")
    assert not path(job, flow_task(3)).exists() and "finished" in job.flags()


# ---- other ways in
AGAIN = ("--frames", COUNT, "--name", "film")


@pytest.mark.parametrize("damage", [damage for name, damage in BAD.items() if name != "flipped"],
                         ids=[name for name in BAD if name != "flipped"])  # fmt: skip
def test_same_line_again_repairs_what_its_head_and_end_tell(job, plain, clip, style, damage):
    damage(path(job, frame_task(3)))
    told = call(job, "submit", clip, style, *AGAIN)
    assert "frame 3 did not read back" in told and "1 frame to be made again: 3" in told
    assert_repaired(job, plain)


@pytest.mark.parametrize("task", [frame_task(2), index_task(0), Task("stitch", 0, ".mp4")],
                         ids=str)  # fmt: skip
def test_same_line_again_repairs_what_is_missing(job, plain, clip, style, task):
    path(job, task).unlink()
    assert "to be made again" in call(job, "submit", clip, style, *AGAIN)
    if task.kind == "stitch":
        film_of(job).unlink()
    assert_repaired(job, plain)


def test_same_line_again_repairs_a_film_that_is_none(job, plain, clip, style):
    film = path(job, stitch_task(JobArtifacts(job).spec))
    film.write_bytes(b"")
    assert "the film to be made again" in call(job, "submit", clip, style, *AGAIN)
    assert_repaired(job, plain)


def test_same_line_again_reads_no_whole_picture_and_no_whole_film(job, clip, style, monkeypatch):
    def never(*_):
        raise AssertionError("read whole")

    flip(path(job, frame_task(3)))  # in the midst of it: only who reads all of it can see that
    with monkeypatch.context() as patched:
        patched.setattr(JobArtifacts, "stylized_frame", never)
        patched.setattr("fav.pipeline.repair.problem_of_file", never)
        told = call(job, "submit", clip, style, *AGAIN)
    retry = f"{command('retry')} {job.share.layout.root} film"
    assert f"none of its 9 results is missing or truncated ({retry} reads all of them back)" in told
    assert "finished" in job.flags() and "frame 3 did not read back" in call(job, "retry")


def test_kept_flow_that_is_cut_off_is_found_by_the_same_line(job, clip, style):
    flow = path(job, flow_task(3))
    flow.parent.mkdir(parents=True)
    flow.write_bytes(encode_flow(np.zeros((64, 96, 2), np.float32), np.ones((64, 96), np.uint8)))
    assert "is missing or truncated" in call(job, "submit", clip, style, *AGAIN)
    cut(flow)
    assert "flow 3 did not read back" in call(job, "submit", clip, style, *AGAIN)
    assert not flow.exists() and "finished" in job.flags()


def test_other_ways_to_type_the_same_line_repair_too(job, plain, clip, style):
    cut(path(job, frame_task(3)))
    with temporary_member(job.share) as node:  # the nodes of `run` are processes; how they do it is tested above
        from fav.pipeline.request import Request
        from fav.pipeline.submit import submit

        joined = submit(node, Request(str(clip), style, given=frozenset({"frames", "name"}), frames=COUNT, name="film"))
    assert not joined.created and "frame 3 did not read back" in joined.notes[0]
    assert_repaired(job, plain)


def test_stitch_that_finds_a_damaged_frame_opens_the_job_and_its_advice_works(job, plain):
    flip(path(job, frame_task(3)))
    flip(path(job, frame_task(5)))
    told = call(job, "stitch", "--crf", "30", code=2)  # a film like the first one would be made of its segments
    assert "frame 3 did not read back" in told and "frame 5 did not read back" in told
    assert "start nodes (node.py " in told.splitlines()[-1] and told.splitlines()[-1].startswith("error: ")
    assert_repaired(job, plain)
    assert "done: " in call(job, "stitch")
    assert film_of(job).with_stem("film-2").read_bytes() == film_of(plain).read_bytes()


def test_stitch_that_misses_a_frame_opens_the_job(job, plain):
    path(job, frame_task(3)).unlink()
    film_of(job).unlink()
    told = call(job, "stitch", "--out", "film.mp4", code=2)
    assert "expected all frames to be there, got 1 frame missing: 3; start nodes (node.py " in told
    assert_repaired(job, plain)


def test_stitch_names_the_step_that_a_cancelled_job_needs(share_of_half):
    job = share_of_half
    call(job, "cancel")
    assert "coordinator.py retry" in call(job, "stitch", code=2)
    call(job, "retry")
    call(job, "pause")
    assert "coordinator.py resume" in call(job, "stitch", code=2)


@pytest.fixture
def share_of_half(job) -> Job:
    job.clear_flag("finished")
    path(job, frame_task(5)).unlink()
    return job


def test_job_whose_video_is_gone_is_left_as_it_is(job):
    flip(path(job, frame_task(3)))
    before, video = path(job, frame_task(3)).read_bytes(), job.layout.inputs / "video.mp4"
    video.rename(video.with_suffix(".away"))
    told = call(job, "retry", code=2)
    assert "1 frame not reading back: 3; to make that again: " in told and "restore the file" in told
    assert path(job, frame_task(3)).read_bytes() == before and "finished" in job.flags()
    video.with_suffix(".away").rename(video)
    assert "1 frame to be made again: 3" in call(job, "retry")


# ---- what is told
def test_status_tells_what_a_finished_job_lacks(job):
    root = job.share.layout.root
    assert call(job, "status").startswith("film: finished\n")
    path(job, frame_task(3)).unlink()
    cure = f"coordinator.py retry {root} film makes it again"
    assert f"film: finished; 1 frame missing: 3; {cure}\n" in call(job, "status")
    (state,) = json.loads(call(job, "status", "--json"))["jobs"]
    assert state["state"] == "finished" and state["missing"] == [str(frame_task(3))] and cure in state["lacks"]
    assert f"film: finished, 1 frame missing: 3; {cure}, {COUNT - 1} of {COUNT} frames" in call(
        job, "status", "--watch"
    )
    (now,) = json.loads(call(job, "status", "--watch", "--json"))["jobs"]
    assert now["missing"] == [str(frame_task(3))] and now["counts"]["frame"] == [COUNT - 1, COUNT]
    path(job, frame_task(4)).unlink()
    assert "; 2 frames missing: 3, 4; " in call(job, "status") and "makes them again" in call(job, "status")


def test_status_tells_a_lost_and_a_damaged_index(job):
    flip(path(job, index_task(0)))
    for words in ((), ("--watch",)):
        assert "index segment 0 does not read back" in call(job, "status", *words)
    path(job, index_task(0)).unlink()
    for words in ((), ("--watch",)):
        assert "1 index segment missing: 0" in call(job, "status", *words)


def test_watch_sees_a_job_that_was_opened_anew(job):
    reader = SnapshotReader(job.share)
    assert reader.read().jobs[0].counts["frame"] == (COUNT, COUNT)
    path(job, frame_task(3)).unlink()
    call(job, "retry")
    (now,) = reader.read().jobs
    assert now.state == "waiting for nodes" and now.counts["frame"] == (COUNT - 1, COUNT) and now.lacks == ""


def test_key_of_the_watch_opens_a_job_with_missing_frames(job, plain):
    path(job, frame_task(3)).unlink()
    now = SnapshotReader(job.share).read()
    assert "1 frame missing: 3" in lines(now)[0]
    assert actions.retry(job.share, now, "another job") == 0
    assert actions.retry(job.share, now) == 1
    assert_repaired(job, plain)


def test_preview_and_report_say_what_they_leave_out(job):
    assert "with 6 stylized frames" in call(job, "preview")
    path(job, encode_task(0)).unlink()
    flip(path(job, frame_task(1)))
    path(job, frame_task(3)).unlink()
    path(job, frame_task(4)).unlink()
    told = call(job, "preview")
    words = "3 of 6 frames are left out: 2 missing (3, 4), 1 that does not read back (1)"
    assert f"film: {words}; coordinator.py retry {job.share.layout.root} film makes them again\n" in told
    assert "with 3 stylized frames" in told
    told = call(job, "report")
    assert words in told and words in film_of(job).with_suffix(".report.html").read_text()


def test_preview_of_a_finished_job_without_its_index_names_the_cure(job):
    flip(path(job, index_task(0)))
    assert "makes it again" in call(job, "preview", code=2)
    path(job, index_task(0)).unlink()
    told = call(job, "preview", code=2)
    assert "1 index segment missing: 0; coordinator.py retry" in told and "wait a little" not in told
    call(job, "retry")
    assert work(job)


def test_preview_of_a_whole_job_says_nothing_of_the_kind(job):
    assert "left out" not in call(job, "preview")


# ---- nodes and operators at the same moment
def test_node_that_finishes_while_a_frame_is_taken_away_does_not_leave_the_job_finished(job, plain):
    """Between the node's last look at the frames and its mark."""
    job.clear_flag("finished")
    mark, taken = Job.set_flag, []

    def late(self, node, name, word=""):
        if not taken:
            taken.append(name)
            path(job, frame_task(3)).unlink()
            job.clear_flag("finished")  # as the operator does, a moment too early
        mark(self, node, name, word)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Job, "set_flag", late)
        assert work(job)
    assert taken == ["finished"] and film_of(job).read_bytes() == film_of(plain).read_bytes()
    assert "finished" in job.flags() and missing(JobArtifacts(job)) == []


def test_node_that_has_counted_all_frames_looks_again_before_it_says_finished(job):
    job.clear_flag("finished")
    with temporary_member(job.share) as node:
        plan = make_plan(job, node)
        assert list(plan.candidates()) == []
        path(job, frame_task(3)).unlink()
        assert plan.finalize() is None
        assert [str(task) for task in plan.candidates()] == [str(frame_task(3))]


def test_second_operator_does_not_take_away_what_was_made_again(job, plain):
    flip(path(job, frame_task(3)))
    artifacts = JobArtifacts(job)
    from fav.pipeline.repair import _reopened, check

    damaged, _ = check(artifacts)  # what the second one has seen
    call(job, "retry")
    assert_repaired(job, plain)
    with temporary_member(job.share) as node:
        assert _reopened(node, artifacts, damaged) == []
    assert "finished" in job.flags() and missing(JobArtifacts(job)) == []


def test_operator_that_died_before_he_took_the_mark_away_is_followed_by_the_next(job, plain):
    flip(path(job, frame_task(3)))
    with pytest.MonkeyPatch.context() as patch, temporary_member(job.share) as node:
        patch.setattr(Job, "clear_flag", lambda job, mark: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            repair(node, job)
    assert "finished" in job.flags() and "1 frame missing: 3" in call(job, "status")
    call(job, "retry")
    assert_repaired(job, plain)


def test_damage_again_and_again_uses_up_no_attempts(job, plain):
    for _ in range(4):
        flip(path(job, frame_task(3)))
        assert "1 frame to be made again: 3" in call(job, "retry")
        assert_repaired(job, plain)
        assert attempts.attempts_of_task(job, frame_task(3)) == []


def test_node_that_waits_takes_a_job_on_again_that_was_finished(root, clock, caplog):
    root.mkdir(exist_ok=True)
    share = open_share(root, clock)
    job = toy.create(share, chains=1, length=2)
    report = RecordingEvents()
    with temporary_member(share) as node:
        worker = Worker(node, lambda job, node: toy.ToyPlan(job, node), report, threading.Event())
        assert worker.run() and "toy: finished: the sum" in caplog.messages
        job.layout.result(toy.SUM).unlink()
        job.clear_flag("finished")
        clock.now += 60
        worker._refresh_jobs()  # as one with --forever does
        clock.now += 60
        assert worker.run() and results.read(job, toy.SUM) == toy.expected(1, 2)
        call(job, "clean", "toy")
        clock.now += 60
        worker._refresh_jobs()
        assert not [line for line in caplog.messages if "removed" in line] and worker.states == {}


def test_mark_that_is_a_strangers_directory_is_named(job):
    replaced(job.layout.flag("finished"), Path.mkdir)
    path(job, frame_task(3)).unlink()
    assert "expected a flag of the job that can be removed" in call(job, "retry", code=2)


# ---- results that pass their checksums
def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def head(width: int, height: int, depth: int = 8, color: int = 2) -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0))


TURNED = chunk(b"eXIf", b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0")
FORGED = {
    "IEND alone": lambda png: SIGNATURE + chunk(b"IEND", b""),
    "text before a head of another size": lambda png: SIGNATURE + chunk(b"tEXt", struct.pack(">II", 96, 64)) + head(4, 4) + encode_png(np.zeros((4, 4, 3), np.uint8))[HEAD_END:],
    "turned by a quarter": lambda png: png[:HEAD_END] + TURNED + png[HEAD_END:],
    "a second picture": lambda png: png[:HEAD_END] + chunk(b"acTL", struct.pack(">II", 2, 0)) + chunk(b"fcTL", struct.pack(">IIIIIHHBB", 0, 4, 4, 0, 0, 1, 1, 0, 0)) + png[HEAD_END:],
}  # fmt: skip


@pytest.mark.parametrize("forged", FORGED)
def test_planted_picture_costs_the_next_frame_no_attempt_and_is_set_aside(clip, style, root, plain, forged):
    root.mkdir(exist_ok=True)
    job = create(open_share(root), clip, style, name="film", frames=COUNT)
    place = path(job, frame_task(0))
    place.parent.mkdir(parents=True)
    place.write_bytes(FORGED[forged](path(plain, frame_task(0)).read_bytes()))
    assert work(job)
    assert film_of(job).read_bytes() == film_of(plain).read_bytes()
    assert [attempt.why for attempt in attempts.attempts_of_task(job, frame_task(0))] == ["damaged"]
    assert attempts.attempts_of_task(job, frame_task(1)) == [] == attempts.failed(job)


def test_file_of_another_kind_in_place_of_a_frame_is_not_counted_as_that_frame(job, plain):
    for number in range(1, COUNT):
        path(job, frame_task(number)).unlink()
    place = path(job, frame_task(0)).with_suffix(".jpg")
    path(job, frame_task(0)).rename(place)
    job.clear_flag("finished")
    assert_repaired(job, plain)
    assert list(attempts.attempts_of_job(job)) == [] and place.exists()


def test_planted_flow_is_set_aside_and_made_again(job, plain):
    path(job, frame_task(3)).unlink()
    path(job, flow_task(3)).parent.mkdir(parents=True)
    path(job, flow_task(3)).write_bytes(SIGNATURE + chunk(b"IEND", b""))
    job.clear_flag("finished")
    assert work(job)
    assert (
        film_of(job).read_bytes() == film_of(plain).read_bytes() and attempts.attempts_of_task(job, frame_task(3)) == []
    )


def test_nobody_makes_flow_for_frames_that_are_there(job, monkeypatch):
    import dataclasses

    from fav import flow as flows
    from shared.claims import Claims

    monkeypatch.setitem(flows.METHODS, "dis", dataclasses.replace(flows.METHODS["dis"], is_expensive=True))
    path(job, frame_task(1)).unlink()
    job.clear_flag("finished")
    with temporary_member(job.share) as painter, temporary_member(job.share) as helper:
        plan = VideoPlan(job, helper)
        assert [str(task) for task in plan.candidates()] == [str(frame_task(1))]
        Claims(painter, job).claim(frame_task(1))
        assert list(plan.candidates()) == []


WHOLE = encode_png(np.arange(8 * 6 * 3, dtype=np.uint8).reshape(6, 8, 3), {"a": "b"})
FLOW = encode_flow(np.zeros((6, 8, 2), np.float32), np.ones((6, 8), np.uint8))
KINDS = st.sampled_from(
    [
        b"IHDR",
        b"IDAT",
        b"IEND",
        b"iTXt",
        b"tEXt",
        b"PLTE",
        b"tRNS",
        b"eXIf",
        b"acTL",
        b"fcTL",
        b"fdAT",
        b"iCCP",
        b"zTXt",
        b"\0\0\0\0",
    ]
)
BODIES = st.one_of(st.binary(max_size=30), st.sampled_from([struct.pack(">IIBBBBB", *size, depth, color, 0, 0, lace) for size in ((8, 6), (6, 8), (1, 1))
                                                            for depth in (1, 8, 16) for color in (0, 2, 3, 6) for lace in (0, 1)]
                   + [TURNED[8:-4], zlib.compress(bytes(6 * 25)), zlib.compress(bytes(6 * 49)), SCALE_KEY.encode() + b"\0\0\0\0\0" + b"256.0"]))  # fmt: skip


def parts(png: bytes) -> list[bytes]:
    found, at = [], len(SIGNATURE)
    while at < len(png):
        size = 12 + struct.unpack_from(">I", png, at)[0]
        found.append(png[at : at + size])
        at += size
    return found


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(
    base=st.sampled_from([WHOLE, FLOW]),
    added=st.lists(st.tuples(st.integers(0, 4), KINDS, BODIES), max_size=4),
    dropped=st.sets(st.integers(0, 4), max_size=2),
)
def test_whole_chunks_of_any_kind_are_a_picture_of_ours_or_one_error(base, added, dropped):
    chunks = [part for number, part in enumerate(parts(base)) if number not in dropped]
    for place, kind, body in added:
        chunks.insert(place, chunk(kind, body))
    data = SIGNATURE + b"".join(chunks)
    for read in (lambda: decode_png(data, (8, 6)), lambda: decode_flow(data, (8, 6))[0]):
        try:
            picture = read()
        except FavError as error:
            assert len(str(error)) < 300 and len(str(error).splitlines()) == 1
        else:
            assert picture.shape[:2] == (6, 8)
