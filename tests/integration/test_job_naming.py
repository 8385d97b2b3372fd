"""Which job a line means: never one with another film; and what a job tells of its origin."""

import json
import shlex
import shutil

import numpy as np
import pytest
from msgspec.structs import replace

import coordinator
from fav.pipeline.index_tasks import IndexTasks
from fav.pipeline.job_naming import default_name
from fav.pipeline.request import Request
from fav.pipeline.same_frames import SameFrames
from fav.pipeline.spec import JobSpec
from fav.pipeline.task_names import frame_task
from fav.stylize.engine import FrameStylizer
from fav.util.images import encode_png
from shared.jobs import all_jobs, find_job
from tests.helpers.checkout import ROOT
from tests.helpers.commands import call, refused
from tests.helpers.job_system import join, make_share
from tests.helpers.video_jobs import film_of, frames_of, same, work


def submit(root, clip, style, *words):
    return call(coordinator.main, "submit", root, clip, style, *words)


def names(share) -> list[str]:
    return sorted(job.name for job in all_jobs(share))


@pytest.mark.parametrize(
    "options, name",
    [
        ({}, "clip--wave"),
        ({"width": 320}, "clip--wave-320w"),
        ({"scale": 0.5}, "clip--wave-0.5x"),
        ({"frames": 40}, "clip--wave-40f"),
        ({"width": 320, "frames": 40}, "clip--wave-320w-40f"),
        ({"range": (0, 40)}, "clip--wave-40f"),
        ({"range": (100, 250)}, "clip--wave-100to250"),
        ({"range": (100, None)}, "clip--wave-100toend"),
        ({"range": (100, 250), "frames": 10}, "clip--wave-100to110"),
        ({"range": (100, 105), "frames": 10}, "clip--wave-100to105"),
    ],
)
def test_size_and_frames_belong_to_the_default_name(tmp_path, options, name):
    assert default_name(Request(video="a/clip.mp4", style=tmp_path / "wave.safetensors", **options)) == name


@pytest.mark.parametrize(
    "small", [("--width", 48), ("--frames", 5), ("--range", "3:9"), ("--width", 48, "--frames", 5)]
)
def test_the_whole_film_is_made_after_a_small_test(share, root, clip, style, small):
    assert submit(root, clip, style, *small).exit_code == 0
    job = all_jobs(share)[0]
    work(job)
    result = submit(root, clip, style)
    assert result.output.splitlines()[0] == "created job clip--tiny"
    assert len(names(share)) == 2


@pytest.mark.parametrize(
    "options",
    [("--style-scale", 2), ("--chunk", 9), ("--no-temporal",), ("--no-cuts",), ("--occlusion-fill", "uniform-random")],
)
def test_options_that_were_not_typed_count_too(share, root, clip, style, options):
    submit(root, clip, style, *options)
    result = submit(root, clip, style)
    assert "created job clip--tiny-2" in result.output and f"clip--tiny is another film ({options[0]}" in result.output
    assert "joined job clip--tiny-2" in submit(root, clip, style).output
    assert "joined job clip--tiny\n" in submit(root, clip, style, *options).output
    assert names(share) == ["clip--tiny", "clip--tiny-2"]


def test_another_video_or_style_of_that_name_gets_its_own_job(share, root, clip, style, tmp_path):
    submit(root, clip, style)
    other = tmp_path / "clip.mp4"
    shutil.copyfile(clip, other)
    with open(other, "ab") as file:
        file.write(b"\0\0\0\x08free")
    assert "created job clip--tiny-2" in submit(root, other, style).output
    refused(submit(root, other, style, "--name", "clip--tiny"), "has another video", "another --name")


# ---- another film of the same frames
@pytest.fixture
def first(share, root, clip, style):
    """The finished job `clip--tiny` of three frames."""
    submit(root, clip, style, *SHORT)
    (job,) = all_jobs(share)
    assert work(job)
    return job


@pytest.fixture
def no_painting(monkeypatch):
    """From now on, no frame is stylized and no video indexed in this process."""

    def refuse(*words, **more):
        raise AssertionError("expected the frames of the other job")

    monkeypatch.setattr(FrameStylizer, "submit_frame", refuse)
    monkeypatch.setattr(IndexTasks, "run", refuse)


SHORT = ("--frames", 3, "--width", 48, "--precision", "float32")


@pytest.mark.parametrize(
    "words",
    [
        ("--strength", 0.5),
        ("--strength", "0f:1,2f:0", "--preserve-colors"),
        ("--crf", 30),
        ("--codec", "ffv1"),
        ("--mask", "MASK", "--mask-strength", 0.5),
        ("--out", "films/other.mkv"),
    ],
)
@pytest.mark.parametrize("links", [True, False])
def test_another_film_of_the_same_frames_is_made_under_its_own_name(
    first, no_painting, share, root, clip, style, words, links, tmp_path
):
    mask = tmp_path / "mask.png"
    mask.write_bytes(encode_png(np.full((64, 96, 3), 128, np.uint8)))
    words = [mask if word == "MASK" else word for word in words]
    before = film_of(first).read_bytes()
    told = submit(root, clip, style, *SHORT, *words).output
    name = f"{first.name}-2"
    assert f"created job {name}" in told and f"{first.name} is another film (" in told, told
    assert f"uses the frames of {first.name}" in told
    share.hard_links = links
    second = find_job(share, name)
    assert work(second)
    assert film_of(second) != film_of(first) and film_of(first).read_bytes() == before
    again = submit(root, clip, style, *SHORT, *words)
    assert again.output.endswith(f"already done: {film_of(second)}\n") and names(share) == [first.name, name]
    assert submit(root, clip, style, *SHORT).output.endswith(f"already done: {film_of(first)}\n")


def test_such_a_film_has_the_bytes_of_one_that_was_stylized_for_itself(first, share, root, clip, style, tmp_path):
    words = "--strength", "0f:0.25,2f:1", "--preserve-colors"
    submit(root, clip, style, *SHORT, *words)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FrameStylizer, "submit_frame", None)
        work(find_job(share, f"{first.name}-2"))
    alone = make_share(tmp_path / "alone")
    submit(alone.layout.root, clip, style, *SHORT, *words, "--name", f"{first.name}-2")
    assert work(all_jobs(alone)[0])
    assert film_of(all_jobs(alone)[0]).read_bytes() == film_of(find_job(share, f"{first.name}-2")).read_bytes()


@pytest.mark.parametrize("trouble", ["removed", "a frame is missing", "a frame is damaged"])
def test_what_the_other_job_lacks_is_stylized(first, share, root, clip, style, trouble):
    expected = frames_of(first)
    submit(root, clip, style, *SHORT, "--strength", 0.5)
    frame = first.layout.result(frame_task(1))
    if trouble == "removed":
        assert call(coordinator.main, "clean", root, first.name).exit_code == 0
    elif trouble == "a frame is missing":
        frame.unlink()
    else:
        data = bytearray(frame.read_bytes())
        data[len(data) // 2] ^= 255
        frame.unlink()
        frame.write_bytes(data)
    second = find_job(share, f"{first.name}-2")
    assert work(second) and same(frames_of(second), expected)


@pytest.mark.parametrize("named", ["../../../elsewhere", "clip--tiny", "gone.0123456789ab", "..", "a/b.0123456789ab"])
def test_a_record_of_frames_elsewhere_leads_nowhere(first, share, named):
    spec = replace(JobSpec.from_json(first.manifest.spec), frames_of=named)
    assert not SameFrames(first, spec, join(share))
    assert SameFrames(first, replace(spec, frames_of=first.manifest.id), join(share))


def test_a_film_of_frames_that_are_not_done_comes_after_them(share, root, clip, style):
    submit(root, clip, style, *SHORT)
    told = submit(root, clip, style, *SHORT, "--strength", 0.5).output
    first, second = all_jobs(share)
    assert f"it comes after {first.name}" in told
    assert first.priority(first.flags()) > second.priority(second.flags())
    assert work(second) and not first.flag_text("finished")  # nobody works on the other one: it is not waited for


def test_a_named_job_is_another_film_by_its_name_alone(share, root, clip, style):
    submit(root, clip, style, "--strength", 0.5, "--name", "half")
    refused(submit(root, clip, style, "--name", "half"), "--strength 0.5, not --strength 1", "stitch")
    submit(root, clip, style, "--strength", 0.5, "--name", "other")
    assert find_job(share, "other").manifest.spec["frames_of"] is None


def test_jobs_that_promise_more_of_their_frames_make_them(share, root, clip, style):
    submit(root, clip, style)
    for number, promise in enumerate(("--bit-exact", "--keep-flow"), 2):
        submit(root, clip, style, "--strength", f"0.{number}", promise)
        assert find_job(share, f"clip--tiny-{number}").manifest.spec["frames_of"] is None


def test_a_job_of_a_version_before_with_that_size_is_joined(share, root, clip, style):
    submit(root, clip, style, "--width", 48, "--name", "clip--tiny")
    assert "joined job clip--tiny\n" in submit(root, clip, style, "--width", 48).output
    assert "created job clip--tiny-2" in submit(root, clip, style).output


def test_a_finished_job_answers_at_once(share, root, clip, style):
    submit(root, clip, style, "--frames", 3)
    job = all_jobs(share)[0]
    work(job)
    for command in ("submit", "run"):
        result = call(coordinator.main, command, root, clip, style, "--frames", 3)
        assert result.exit_code == 0 and result.output.endswith(f"already done: {film_of(job)}\n"), result.output
        assert "joined" not in result.output


def test_a_film_of_that_name_is_left_alone(share, root, clip, style):
    (root / "clip--tiny.mp4").write_bytes(b"mine")
    result = submit(root, clip, style)
    assert "clip--tiny.mp4 exists already; this film will be clip--tiny-2.mp4" in result.output
    assert film_of(all_jobs(share)[0]).name == "clip--tiny-2.mp4" and (root / "clip--tiny.mp4").read_bytes() == b"mine"
    refused(submit(root, clip, style, "--name", "b", "--out", "clip--tiny.mp4"), "choose another with --out")


def test_a_job_says_what_it_was_made_of(share, root, clip, style):
    submit(root, clip, style, "--frames", 3, "--mix", f"{style}:0.25", "--strength", 0.5)
    status = call(coordinator.main, "status", root, names(share)[0])
    told = json.loads(call(coordinator.main, "status", root, "--json").output)["jobs"][0]["provenance"]
    assert told["video"] == str(clip) and told["style"] == str(style)
    assert all(text in status.output for text in told.values()), status.output
    words = shlex.split(told["command"])
    assert words[:5] == ["fav", "run", str(root), str(clip), str(style)] and "--strength" in words
    assert "joined job" in submit(root, clip, style, *words[5:]).output


@pytest.mark.parametrize(
    "words, expected",
    [
        (("SHARED", "STYLE", "VIDEO"), "the order is SHARED VIDEO STYLE"),
        (("VIDEO", "STYLE", "SHARED"), "the order is SHARED VIDEO STYLE"),
        (("SHARED", "VIDEO", "VIDEO"), "got the name of a video"),
        (("SHARED", "VIDEO", "SHARED"), "got a directory"),
        (("SHARED", "VIDEO", ROOT / "styles" / "wave.jpg", "--loss-network", "nothing-like-it"), "nothing-like-it"),
        (("SHARED", "VIDEO", "wavee"), "did you mean wave?"),
        (("SHARED", "VIDEO", "nothing-like-it"), "expected the name of a bundled style"),
        (("SHARED", "https://example.org/clip.mp4", "STYLE"), "download the video first"),
    ],
)
@pytest.mark.parametrize("command", ["submit", "run"])
def test_mistakes_in_the_order_are_seen(tmp_path, clip, style, command, words, expected):
    shared = tmp_path / "new"
    shared.mkdir()
    given = {"SHARED": shared, "VIDEO": clip, "STYLE": style}
    refused(call(coordinator.main, command, *(given.get(word, word) for word in words)), expected)
    assert not list(shared.iterdir())  # nothing was made
