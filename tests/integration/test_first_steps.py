"""What a newcomer types, and what is said. The cases were found by people who tried the program for the first time.

| They typed | Before | Now |
|---|---|---|
| the whole film after a small test (M1) | the test was the answer | another job, of another name (`test_job_naming.py`) |
| a finished job's line with another strength or codec | the first film, later a refusal | a job of its own with the same frames (`test_job_naming.py`) |
| a wish to see styles (M2) | nothing | `fav try`, `fav styles`, names without a path (`test_try_styles.py`) |
| `fav try` of a photo, a style first, a wrong name | errors of other things | one picture; "VIDEO comes before STYLE"; "did you mean" |
| `status`, a year later (M3) | no video, style or options | all of it, with fingerprints; the film's comment, too (`test_film_comment.py`) |
| a large video (M4) | copied without a word | a line says whether, and how much |
| arguments in another order (m8) | true, but no cure | "the order is …"; for `evaluate`, too |
| another video of a job's name (m9) | options that were not typed | "is of another video" |
| a finished job's line (m10) | joined, stitching, done | "already done: FILM" |
| a line after `clean` (m11) | refused | a numbered film; `clean` says where the first one is |
| names of a hosts file (m12) | host names only | names everywhere (`test_control.py`) |
| words and numbers that disagree (m13) | | one estimate, standard words, cures with the whole line |
| `träum ünd.mp4` (m14) | `tr_um_nd` | `träum_ünd`; a refused name gets one that would do. Films lie in SHARED itself; `--out films/a.mp4` |
| `fav train` for minutes (m15) | "done" of noise | an opening line, a verdict, and what to type next (`test_training_verdict.py`) |
| "is it steady?" (m16) | figures | each with its limit, and what it rests on |
| a test of 320 pixels (m17) | a look that is not the film's | a note, and the `--style-scale` that fits |
| `check-share --peers 2` on one machine | "fit", exit 0 | on a network mount: 2, not all was checked (`test_check_share.py`) |
| a new shared directory | a frightening line | "made a new shared directory (ext4, on this machine)", and when that is wrong |
| `install.sh` | no word of its size or removal | both, before the download |
| macOS, Windows | nothing | docs/how-to/install.md: not supported; WSL is |
"""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

import coordinator
from fav.cli.node import node as node_command
from fav.cli.tools import main as fav
from fav.util.images import encode_png, read_image
from shared.jobs import all_jobs, find_job
from tests.helpers.checkout import ROOT
from tests.helpers.clips import make
from tests.helpers.commands import call, refused
from tests.helpers.video_jobs import FRAMES, make_clip, make_moving, work


@pytest.fixture
def done(share, root, clip, style):
    """A finished job of three frames, in half the size."""
    call(coordinator.main, "submit", root, clip, style, "--width", 48, "--frames", 3)
    (job,) = all_jobs(share)
    assert work(job)
    return job


def test_film_and_video_in_the_other_order_are_told(clip, tmp_path):
    film = make(tmp_path / "film.mp4", "-frames:v", "3", "-pix_fmt", "yuv420p")
    refused(call(fav, "evaluate", film, clip), f"{FRAMES}: a film has no more frames", "the order is VIDEO STYLIZED")
    refused(call(fav, "evaluate", clip, film), "--range 0:3")
    told = call(fav, "evaluate", clip, ROOT / "styles" / "wave.jpg")
    assert told.exit_code == 2 and "got one picture; the order is VIDEO STYLIZED" in told.output, told.output


def test_figures_are_judged(clip, tmp_path):
    result = call(fav, "evaluate", clip, clip, "--out", tmp_path / "same")
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert "warping error: 1.00 of the source's, good (up to 2)" in lines
    assert any(line.startswith("1 s error: measured on ") and line.endswith("% of their pixels") for line in lines)
    (heads,) = [line for line in lines if line.startswith("gray levels: drift a frame, max")]
    assert heads.split()[-8:] == ["blue", "max", "green", "max", "red", "max", "contrast", "max"]


def test_a_small_film_is_said_not_to_show_the_strokes_of_a_large_one(share, root, clip, style):
    submit = coordinator.main, "submit", root, clip, style, "--frames", 2
    small = call(*submit, "--width", 24).output
    assert "4 times smaller than the video" in small and "--style-scale 0.25" in small and "--frames" in small
    assert "times smaller" not in call(*submit, "--width", 24, "--style-scale", 0.25).output
    assert "times smaller" not in call(*submit, "--width", 72).output + call(*submit).output


def test_a_picture_as_the_video_is_told(share, root, style, tmp_path):
    (tmp_path / "photo.png").write_bytes(encode_png(read_image(ROOT / "styles" / "wave.jpg")[:64, :96]))
    result = call(coordinator.main, "submit", root, tmp_path / "photo.png", style)
    assert result.exit_code == 0 and "is one picture, and its film has one frame" in result.output, result.output


def test_cures_can_be_typed(done, share, root, clip, style):
    call(coordinator.main, "submit", root, clip, style, "--name", "other", "--frames", 2)
    refused(call(coordinator.main, "report", root), f"status {root} lists them")
    refused(call(coordinator.main, "submit", root, clip, style, "--name", "my film"), "got 'my film'; my_film would do")
    told = call(coordinator.main, "stitch", root, "other", "--style-scale", 2)
    assert told.exit_code == 2 and "--style-scale decides the frames" in told.output and "--name" in told.output
    assert "No such option" in call(coordinator.main, "stitch", root, "other", "--hosts", 2).output


def test_another_video_of_that_name_is_called_so(done, root, style, tmp_path):
    other = make_clip(tmp_path / "clip.mp4")
    with open(other, "ab") as file:
        file.write(b"\0\0\0\x08free")
    told = call(coordinator.main, "submit", root, other, style, "--width", 48, "--frames", 3).output
    assert f"{done.name} is of another video; this one has its own job" in told


def test_a_finished_jobs_line_is_answered_without_joining(done, root, clip, style):
    told = call(node_command, root, clip, style, "--width", 48, "--frames", 3)
    assert told.exit_code == 0 and "already done: " in told.output and "joined" not in told.output, told.output


def test_origin_has_sizes_and_fingerprints(done, root, clip):
    told = json.loads(call(coordinator.main, "status", root, "--json").output)["jobs"][0]["provenance"]
    assert done.manifest.spec["video_hash"] in told["video_facts"] and "KiB" in told["video_facts"]
    assert done.manifest.spec["style_hash"] in told["style_facts"]


@pytest.mark.slow
def test_an_interrupted_run_says_what_is_done_and_how_to_see_it(share, root, style, tmp_path):
    clip = make_moving(tmp_path / "long.mp4", 20)
    words = [sys.executable, str(ROOT / "coordinator.py"), "run", str(root), str(clip), str(style), "--name", "film"]
    run = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    while not (job := find_job(share, "film")) or not list(job.layout.results.glob("frame/*/*.png")):
        assert run.poll() is None
        time.sleep(0.05)
    os.kill(run.pid, signal.SIGINT)
    told, _ = run.communicate(timeout=60)
    assert run.returncode == 130 and "frames are done; a film of them: " in told, told
    assert told.strip().endswith(f"preview {root} film")
