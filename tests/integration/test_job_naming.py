"""Which job a line means: never one with another film; and what a job tells of its origin."""

import json
import shlex
import shutil

import pytest

import coordinator
from fav.pipeline.job_naming import default_name
from fav.pipeline.request import Request
from shared.jobs import all_jobs
from tests.helpers.checkout import ROOT
from tests.helpers.commands import call, refused
from tests.helpers.video_jobs import film_of, work


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


def test_another_film_of_the_same_frames_is_not_painted_again(share, root, clip, style):
    submit(root, clip, style)
    refused(submit(root, clip, style, "--strength", 0.5), "--strength 1, not --strength 0.5", "stitch")
    submit(root, clip, style, "--strength", 0.5, "--name", "half")
    refused(submit(root, clip, style, "--name", "half"), "--strength 0.5, not --strength 1")
    assert names(share) == ["clip--tiny", "half"]


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
