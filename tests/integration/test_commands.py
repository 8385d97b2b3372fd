"""The commands as they are typed: bad input is one clear line before any work starts, and help is there."""

import os
import pickle
import re
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

import coordinator
import node as node_command
from fav.cli.tools import main as fav_main
from shared.jobs import all_jobs
from shared.logs import LOG_HEAD
from tests.helpers import toy_plan as toy
from tests.helpers import video_jobs as films
from tests.helpers.checkout import ROOT
from tests.helpers.commands import call, refused
from tests.helpers.job_system import join
from tests.helpers.video_jobs import FRAMES, create, film_of, probe, work


class Payload:
    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_bad_videos_are_refused_in_one_line(share, style, tmp_path):
    (tmp_path / "text.mp4").write_text("this is no video")
    subprocess.run(
        ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "sine=440:duration=1", str(tmp_path / "sound.mp4")], check=True
    )
    (tmp_path / "empty.mp4").touch()
    for name in ("missing.mp4", "text.mp4", "sound.mp4", "empty.mp4", "im_%04d.png"):
        refused(call(coordinator.main, "submit", share.layout.root, tmp_path / name, style), name)
    refused(call(coordinator.main, "submit", share.layout.root, tmp_path, style), tmp_path.name)
    assert all_jobs(share) == [] and list(share.layout.jobs.iterdir()) == []


def test_bad_styles_are_refused_in_one_line_and_no_code_is_run(share, clip, tmp_path):
    (tmp_path / "text.safetensors").write_text("this is no model")
    (tmp_path / "text.pth").write_text("this is no model")
    (tmp_path / "text.t7").write_text("this is no model")
    (tmp_path / "empty.pth").touch()
    torch.save({"1.weight": torch.zeros(3, 3, 3, 3)}, tmp_path / "other.pth")
    torch.save({"1.weight": Payload(tmp_path / "ran")}, tmp_path / "code.pth")
    (tmp_path / "code.pickle.pth").write_bytes(pickle.dumps(Payload(tmp_path / "ran")))
    films.make_style(tmp_path / "image.safetensors", in_channels=3)
    for name in ("missing.pth", "text.safetensors", "text.pth", "text.t7", "empty.pth", "other.pth", "code.pth",
                 "code.pickle.pth", "image.safetensors"):  # fmt: skip
        refused(call(coordinator.main, "submit", share.layout.root, clip, tmp_path / name), name)
    assert not (tmp_path / "ran").exists()
    assert list(share.layout.jobs.iterdir()) == []


@pytest.mark.parametrize("options, words", [
    (["--flow", "spynet"], ["spynet", "--flow-weights"]),
    (["--flow", "deepflow2"], ["deepflow2", "deepmatching"]),
    (["--init-frame", "a.png", "--first-frame-style", "b.pth"], ["--init-frame", "--first-frame-style"]),
    (["--init-frame", "missing.png"], ["missing.png"]),
    (["--no-cuts", "--read-cuts", "c.csv"], ["--no-cuts", "--read-cuts"]),
    (["--read-cuts", "missing.csv"], ["missing.csv"]),
    (["--width", "100", "--scale", "0.5"], ["--width", "--scale"]),
    (["--range", "9:3"], ["--range", "9:3"]),
    (["--range", "1000:"], ["--range", "1000", "24"]),
    (["--occlusion-erode", "4"], ["--occlusion-erode", "odd"]),
    (["--out", "film.webm"], ["film.webm", ".mp4"]),
    (["--out", "../film.mp4"], ["../film.mp4"]),
    (["--name", "../x"], ["../x"]),
])  # fmt: skip
def test_bad_options_are_refused_in_one_line(share, clip, style, options, words):
    refused(call(coordinator.main, "submit", share.layout.root, clip, style, *options), *words)
    assert list(share.layout.jobs.iterdir()) == []


@pytest.mark.parametrize("content", ["x\n", "5\nhello\n", "-1\n", "9\n5\n", "1000000\n", "5.5\n", "\0\1\2"])
def test_cut_files_with_nonsense_are_refused_in_one_line(share, clip, style, tmp_path, content):
    (tmp_path / "cuts.csv").write_text(f"# cuts\n3\n{content}")
    refused(
        call(coordinator.main, "submit", share.layout.root, clip, style, "--read-cuts", tmp_path / "cuts.csv"),
        "cuts.csv",
    )


def test_bad_shared_directories_are_refused_in_one_line(clip, style, tmp_path):
    (tmp_path / "file").touch()
    sticky = tmp_path / "sticky"
    sticky.mkdir()
    sticky.chmod(0o1777)
    for name in ("missing", "file", "sticky"):
        for command in ((coordinator.main, "submit"), (coordinator.main, "run"), (node_command.main,)):
            refused(call(*command, tmp_path / name, clip, style), name)


def test_read_only_and_full_directories_are_refused_in_one_line(clip, style, tmp_path):
    if os.getuid() != 0:
        pytest.skip("needs root to mount a small file system")
    for options, fill, word in (("ro,mode=755", False, "writable"), ("size=64k,mode=755", True, "free some space")):
        mount = tmp_path / word.replace(" ", "")
        mount.mkdir()
        script = (
            f"mount -t tmpfs -o {options} tmpfs {mount} || exit 77; "
            + (f"dd if=/dev/zero of={mount}/fill bs=4k 2> /dev/null; " if fill else "")
            + f"{sys.executable} {ROOT}/coordinator.py submit {mount} {clip} {style}"
        )
        done = subprocess.run(["unshare", "--mount", "bash", "-c", script], capture_output=True, text=True)
        if done.returncode == 77 or done.stderr.startswith("unshare:"):
            pytest.skip("this machine lets nobody mount a tmpfs")
        assert done.returncode == 2 and done.stderr.startswith("error: ") and word in done.stderr, done
        assert len(done.stderr.strip().splitlines()) == 1


def test_joining_with_other_options_says_which_differ(share, clip, style, tmp_path):
    create(share, clip, style, crf=20, name="job")
    submit = ("submit", share.layout.root, clip, style, "--name", "job")
    refused(call(coordinator.main, *submit), "--crf 20, not no --crf", "stitch")
    assert "joined job job" in call(coordinator.main, *submit, "--crf", "20").output
    refused(
        call(coordinator.main, *submit, "--crf", "30", "--reverse"),
        "--crf 20, not --crf 30",
        "no --reverse, not --reverse",
    )
    other = films.make_style(tmp_path / "other.safetensors", seed=9)
    refused(call(coordinator.main, "submit", share.layout.root, clip, other, "--name", "job"), "has another style")


def test_existing_film_is_never_overwritten(share, clip, style):
    (share.layout.root / "film.mp4").write_text("precious")
    refused(call(coordinator.main, "submit", share.layout.root, clip, style, "--out", "film.mp4"), "film.mp4", "exists")
    assert (share.layout.root / "film.mp4").read_text() == "precious"


@pytest.mark.parametrize("command", [
    (node_command.main,), (coordinator.main,), *[(coordinator.main, name) for name in coordinator.main.commands],
    (fav_main,), *[(fav_main, name) for name in fav_main.commands],
])  # fmt: skip
def test_every_command_has_help(command):
    result = call(*command, "-h")
    assert result.exit_code == 0 and len(result.output.splitlines()) > 4


def test_node_with_a_video_and_no_style_is_a_usage_error(share, clip):
    result = call(node_command.main, share.layout.root, clip)
    assert result.exit_code == 2 and "without a style" in result.output


def test_run_makes_a_film_with_two_nodes_and_says_where(share, clip, style):
    done = subprocess.run([sys.executable, str(ROOT / "coordinator.py"), "run", str(share.layout.root), str(clip), str(style),
                           "--nodes", "2"], capture_output=True, text=True, timeout=120)  # fmt: skip
    assert done.returncode == 0, done.stderr
    (film,) = share.layout.root.glob("*.mp4")
    assert f"done: {film}" in done.stdout and f"{FRAMES} of {FRAMES} frames" in done.stdout
    again = call(coordinator.main, "run", share.layout.root, clip, style)
    assert again.exit_code == 0 and f"done: {film}" in again.output


def test_status_stitch_clean_of_a_finished_job(share, clip, style):
    job = create(share, clip, style, frames=4)
    assert "frame    0 of ?" in call(coordinator.main, "status", share.layout.root).output
    refused(call(coordinator.main, "clean", share.layout.root), "not finished")
    refused(call(coordinator.main, "stitch", share.layout.root), "at frame 0")
    assert work(job)
    told = call(coordinator.main, "status", share.layout.root).output
    assert "finished" in told and "frame    4 of 4" in told and str(film_of(job)) in told
    result = call(coordinator.main, "stitch", share.layout.root, "--crf", "40")
    again = film_of(job).with_stem(film_of(job).stem + "-2")
    assert result.exit_code == 0 and str(again) in result.output
    assert probe(again, "stream=nb_read_frames") == "4"
    assert call(coordinator.main, "clean", share.layout.root).exit_code == 0
    assert film_of(job).exists() and not job.layout.root.exists() and all_jobs(share) == []


def test_status_json_is_json(share, clip, style):
    import json

    create(share, clip, style)
    told = json.loads(call(coordinator.main, "status", share.layout.root, "--json").output)
    assert told["jobs"][0]["counts"]["frame"] == [0, None]


def test_cancel_and_retry(share, clip, style):
    job = create(share, clip, style, frames=2)
    assert call(coordinator.main, "cancel", share.layout.root).exit_code == 0
    assert not work(job)
    assert call(coordinator.main, "retry", share.layout.root).exit_code == 0
    assert work(job)


def test_failed_task_is_shown_and_retried(share, clip, style):
    job = create(share, clip, style, frames=2)
    from shared import attempts
    from shared.heartbeat import temporary_member

    with temporary_member(share) as node:
        for _ in range(3):
            attempts.record(
                node,
                job,
                toy.Task("frame", 0),
                "raised",
                "Traceback\nMemoryError: no room for the network",
                attempts.nonce(),
            )
    told = call(coordinator.main, "status", share.layout.root).output
    assert "frame.0000000 failed after 3 attempts: MemoryError: no room for the network" in told
    assert "1 failed task" in call(coordinator.main, "retry", share.layout.root).output
    assert work(job)


def test_recover_removes_the_placeholders_of_a_host_that_is_off(share, clip, style):
    from shared.claims import Claims

    job = create(share, clip, style)
    Claims(join(share, host="switched-off"), job).claim(toy.Task("index", 0, ".json"))
    assert "1 task(s) are claimed" in call(coordinator.main, "recover", share.layout.root).output
    done = call(coordinator.main, "recover", share.layout.root, "--assume-dead", "switched-off")
    assert done.exit_code == 0 and "recovered 1 task(s)" in done.output
    # Its former name works, too. A host that has no node, as after a typing error, is reported.
    done = call(coordinator.main, "recover", share.layout.root, "--now", "switched-of")
    assert done.exit_code == 2 and "recovered 0 task(s)" in done.output
    assert "switched-of: expected the host of a node, found no node there" in done.output


def test_recover_takes_the_task_that_a_node_claims_meanwhile_and_the_node_too(share, monkeypatch):
    from shared.claims import Claims, claimed
    from shared.failure_detector import FailureDetector

    job, owner, poll = toy.create(share, chains=1, length=3), join(share, host="switched-off"), FailureDetector.poll
    (mine := Claims(owner, job)).claim(toy.link_task(0))

    def late(detector) -> None:  # the claims are listed by then
        poll(detector)
        if owner.heartbeat_file.exists():
            mine.claim(toy.link_task(1))

    monkeypatch.setattr(FailureDetector, "poll", late)
    done = call(coordinator.main, "recover", share.layout.root, "--assume-dead", "switched-off")
    assert done.exit_code == 0 and done.output.endswith("recovered 2 task(s)\n"), done.output
    assert claimed(job) == {} and not owner.heartbeat_file.exists()


def test_flow_command_writes_flo_and_picture(tmp_path):
    import cv2

    from fav.flow.io import read_flo

    picture = np.random.default_rng(0).integers(0, 255, (64, 96, 3), np.uint8)
    picture = cv2.GaussianBlur(picture, (9, 9), 2)
    cv2.imwrite(str(tmp_path / "a.png"), picture)
    cv2.imwrite(str(tmp_path / "b.png"), np.roll(picture, 2, axis=1))
    assert call(fav_main, "flow", tmp_path / "a.png", tmp_path / "b.png", tmp_path / "out.flo").exit_code == 0
    assert np.median(read_flo(tmp_path / "out.flo")[..., 0]) == pytest.approx(2, abs=0.3)
    assert cv2.imread(str(tmp_path / "out.png")).shape == (64, 96, 3)
    refused(call(fav_main, "flow", tmp_path / "a.png", tmp_path / "missing.png", tmp_path / "other.flo"), "missing.png")


def test_single_steps_never_overwrite_a_file(clip, style, tmp_path):
    before = clip.read_bytes()
    refused(call(fav_main, "stylize", clip, style, clip, "--frames", 2), clip.name, "exists")
    assert clip.read_bytes() == before
    (tmp_path / "a.png").write_text("precious")
    refused(call(fav_main, "flow", tmp_path / "a.png", tmp_path / "a.png", tmp_path / "a.flo"), "a.png", "exists")
    refused(call(fav_main, "sample", clip), "exists")
    refused(call(fav_main, "convert", style, style), "exists")


def test_device_that_is_not_there_is_refused_before_a_job_is_made(share, clip, style):
    refused(call(node_command.main, share.layout.root, clip, style, "--device", "gpu"), "gpu", "cuda:0")
    assert all_jobs(share) == []


def test_options_of_a_job_without_a_video_are_a_usage_error(share):
    result = call(node_command.main, share.layout.root, "--width", 100)
    assert result.exit_code == 2 and "--width" in result.output


def test_missing_local_video_is_one_line(share, clip, style, tmp_path):
    create(share, clip, style)
    done = subprocess.run([sys.executable, str(ROOT / "node.py"), str(share.layout.root), "--job", "clip--tiny", "--local-video",
                           str(tmp_path / "none.mp4")], capture_output=True, text=True, timeout=60)  # fmt: skip
    assert done.returncode == 2 and "none.mp4" in done.stdout and "Traceback" not in done.stdout + done.stderr


def served(share) -> subprocess.CompletedProcess:
    """What a node of all jobs says, and how it ends."""
    words = [sys.executable, str(ROOT / "node.py"), str(share.layout.root)]
    return subprocess.run(words, capture_output=True, text=True, timeout=60)


@pytest.mark.slow
def test_node_that_finds_no_open_job_says_so(share, clip, style):
    assert work(create(share, clip, style, frames=1))
    told = served(share)
    assert told.returncode == 0 and "no jobs to work on" in told.stdout


def test_node_of_all_jobs_says_what_it_works_on_and_what_came_of_it(share, clip, style):
    create(share, clip, style, frames=1)
    told = served(share)
    assert (
        told.returncode == 0
        and "working on clip--tiny-1f" in told.stdout
        and "finished: clip--tiny-1f.mp4" in told.stdout
    )


def test_convert_command_makes_our_file(style, tmp_path):
    from fav.model.checkpoints import load_style

    torch.save(load_style(style).state_dict(), tmp_path / "style.pth")
    result = call(fav_main, "convert", tmp_path / "style.pth", tmp_path / "out.safetensors")
    assert result.exit_code == 0, result.output
    assert load_style(tmp_path / "out.safetensors", in_channels=7)


@pytest.mark.slow
def test_sample_command_makes_a_clip_with_sound(tmp_path):
    assert call(fav_main, "sample", tmp_path / "sample.mp4").exit_code == 0
    assert int(probe(tmp_path / "sample.mp4", "stream=nb_read_frames")) > 50
    assert probe(tmp_path / "sample.mp4", "stream=codec_type", "a:0") == "audio"


def test_mistyped_command_is_answered_with_the_closest_one():
    for main in (coordinator.main, fav_main):
        told = call(main, "stauts")
        assert told.exit_code == 2 and "No such command 'stauts'. Did you mean status" in told.output
        assert "Did you mean" not in call(main, "qqqqqq").output


@pytest.mark.parametrize(
    "words, expected",
    [
        (("--strength", "60%"), "expected a number from 0 to 1, got '60%'"),
        (("--strength", "nan"), "expected a number from 0 to 1, got 'nan'"),
        (("--width", "320x180"), "expected a whole number from "),
        (("--priority", "high"), "expected a whole number from -999 to 999, got 'high'"),
    ],
)
def test_numbers_are_refused_in_words(share, clip, style, words, expected):
    told = call(coordinator.main, "submit", share.layout.root, clip, style, *words)
    assert told.exit_code == 2 and f"Invalid value for '{words[0]}': {expected}" in told.output
    assert all_jobs(share) == []


def test_submit_says_that_no_node_works_here(share, clip, style):
    told = call(coordinator.main, "submit", share.layout.root, clip, style, "--name", "one").output
    assert f"no node works in {share.layout.root}; start one: node.py {share.layout.root}" in told
    join(share, host="elsewhere")
    told = call(coordinator.main, "submit", share.layout.root, clip, style, "--name", "two").output
    assert "created job two" in told and "no node works" not in told


def test_resume_says_where_there_is_nothing_to_resume(share, clip, style):
    job = create(share, clip, style)
    assert call(coordinator.main, "resume", share.layout.root).output == f"{job.name}: was not paused\n"
    assert "paused" in call(coordinator.main, "pause", share.layout.root).output
    assert call(coordinator.main, "resume", share.layout.root).output == f"{job.name}: resumed\n"
    call(coordinator.main, "cancel", share.layout.root)
    refused(call(coordinator.main, "resume", share.layout.root), "expected a paused job, got one that is over")


def test_status_shows_several_jobs_as_a_table(share, clip, style):
    from shared.claims import Claims

    done, open_job = create(share, clip, style, name="a-done"), create(share, clip, style, name="b-open")
    work(done)
    Claims(join(share), open_job).claim(toy.Task("index", 0, ".json"))
    told = call(coordinator.main, "status", share.layout.root).output
    lines = told.splitlines()
    (first,) = (number for number, line in enumerate(lines) if "b-open" in line)
    (second,) = (number for number, line in enumerate(lines) if "a-done" in line)
    assert first < second and "running" in lines[first]
    assert "finished" in lines[second] and f"{FRAMES} of {FRAMES}" in lines[second] and "100 %" in lines[second]
    assert "nodes: 1 busy" in told and "JOB tells more of a job" in told
    assert (
        "index" not in told
        and "index    1 of 1" in call(coordinator.main, "status", share.layout.root, "a-done").output
    )


def test_clean_says_what_it_freed_and_where_the_film_stays(share, clip, style):
    job = create(share, clip, style, name="one")
    work(job)
    trees = job.layout.root, share.layout.name(job.name)
    files = [path.stat() for tree in trees for path in tree.rglob("*") if path.is_file()]
    links = Counter(info.st_ino for info in files)  # a file that has a name elsewhere, as the film, is still there
    freed = sum({info.st_ino: info.st_size for info in files if links[info.st_ino] == info.st_nlink}.values())
    ours, other = share.layout.logs / "one.here.0.log", share.layout.logs / "one.two.here.0.log"
    ours.write_text(f"{LOG_HEAD}\n2026-01-01T00:00:00+00:00 info - one - started: fav on here, job one: node.py\n")
    other.write_text(f"{LOG_HEAD}\n2026-01-01T00:00:00+00:00 info - one - started: fav on here, job one.two: node.py\n")
    (share.layout.logs / "one.notes.log").write_text("somebody's own notes, job one: none")
    told = call(coordinator.main, "clean", share.layout.root).output
    said = re.fullmatch(rf"one: removed, (\d+) KiB freed; the film stays: {re.escape(str(film_of(job)))}\n", told)
    assert said and abs(int(said[1]) - freed / 1024) < 2, (told, freed)
    assert {path.name for path in share.layout.logs.iterdir()} == {other.name, "one.notes.log"}


def test_clean_bears_with_another_clean_of_the_same_jobs(share, monkeypatch):
    from fav.pipeline import job_control
    from shared.filesystem import FileSystem

    job, really, cleaned = toy.create(share, chains=1, length=1), FileSystem.exists, []
    call(coordinator.main, "cancel", share.layout.root)

    def late(system: FileSystem, path: Path) -> bool:
        there = really(system, path)
        if path == job.layout.flag("cancelled") and not cleaned:
            cleaned.append(path)
            job_control.clean(share, job.name)
        return there

    monkeypatch.setattr(FileSystem, "exists", late)
    done = call(coordinator.main, "clean", share.layout.root, "--finished")
    assert cleaned and done.exit_code == 0 and done.output.startswith("toy: removed"), done.output
    assert all_jobs(share) == [] and not job.layout.root.exists()


def test_clean_removes_all_jobs_that_have_been_over_for_long(share, clip, style):
    old, new, going = (create(share, clip, style, name=name) for name in ("old", "new", "going"))
    for job in (old, new):
        call(coordinator.main, "cancel", share.layout.root, job.name)
    two_days_ago = time.time() - 2 * 86400
    os.utime(old.layout.flag("cancelled"), (two_days_ago, two_days_ago))
    clean = lambda *words: call(coordinator.main, "clean", share.layout.root, *words).output
    assert clean("--finished", "--older-than", "1").startswith("old: removed")
    assert {job.name for job in all_jobs(share)} == {"new", "going"}
    assert clean("--finished").startswith("new: removed")
    assert clean("--finished") == "no jobs to remove\n"
    assert [job.name for job in all_jobs(share)] == [going.name]
    refused(
        call(coordinator.main, "clean", share.layout.root, "going", "--finished"), "--finished: expected without JOB"
    )
    refused(call(coordinator.main, "clean", share.layout.root, "--older-than", "1"), "--older-than: expected with")
