"""Strength, mask and mix that change over time: each frame has its own value, whoever makes it."""

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

import coordinator
from fav.cli.tools import main
from fav.errors import FavError
from fav.model.interpolation import load_mixture
from fav.model.runner import StyleRunner
from fav.pipeline.job_control import submit_and_notify
from fav.stylize.blend import blend, style_weight
from fav.util.curve import parse
from fav.video import FrameReader, write_film
from shared.jobs import all_jobs
from shared.shared_dir import open_share
from tests.helpers import video_jobs as films
from tests.helpers.clips import comment_of
from tests.helpers.commands import refused
from tests.helpers.video_jobs import create, film_of, frames_of, index_of, start_node, work

COUNT, SIZE = 6, (96, 64)


@pytest.fixture(scope="module")
def plain(tmp_path_factory, clip, style):
    """A finished job of the default options: the first frames of the clip."""
    job = create(open_share(tmp_path_factory.mktemp("plain")), clip, style, frames=COUNT)
    assert work(job)
    return job


@pytest.fixture(scope="module")
def sources(plain, clip) -> list[np.ndarray]:
    with FrameReader(clip, SIZE) as reader:
        return [reader.read(number, index_of(plain)) for number in range(COUNT)]


def call(*words):
    return CliRunner().invoke(coordinator.main, [str(word) for word in words])


def is_film_of(film, job, clip, frames) -> bool:
    """Whether a film is that of these frames, with the job's times and sound, to the byte."""
    out = film.with_name("expected.mp4")
    write_film(out, clip, index_of(job), iter(frames), stop=COUNT, comment=comment_of(film))
    expected = out.read_bytes()
    out.unlink()
    return film.read_bytes() == expected


def restitched(job, *words):
    result = call("stitch", job.share.layout.root, job.name, *words)
    assert result.exit_code == 0, result.output
    return job.share.layout.root / result.output.strip().splitlines()[-1].removeprefix("done: ")


def test_strength_over_frames_acts_on_published_frames(plain, sources, clip, style, share):
    job = create(share, clip, style, frames=COUNT, strength="0f:0,4f:1")
    assert work(job)
    weights = [0, 0.25, 0.5, 0.75, 1, 1]
    expected = [blend(a, b, weight) for a, b, weight in zip(sources, frames_of(plain), weights, strict=True)]
    assert is_film_of(film_of(job), plain, clip, expected)
    assert film_of(job).read_bytes() == restitched(plain, "--strength", "0:0,4f:1").read_bytes()
    assert "--strength 0f:0,4f:1" in comment_of(film_of(job))


def test_strength_over_seconds_follows_the_times_of_the_video(plain, sources, clip):
    film = restitched(plain, "--strength", "0:1,0.4:0:ease")
    curve, index = parse("0:1,0.4:0:ease"), index_of(plain)
    start = index.pts[0] * index.time_base
    weights = [curve.at(-1, float(index.pts[number] * index.time_base - start)) for number in range(COUNT)]
    assert weights[0] == 1 and weights[-1] < 0.5 and len(set(weights)) >= COUNT - 1
    assert is_film_of(film, plain, clip, [blend(*each) for each in zip(sources, frames_of(plain), weights)])


def test_mask_fades_from_the_whole_frame_to_its_shape(plain, sources, clip, style, share, tmp_path):
    levels = np.zeros((64, 96), np.uint8)
    levels[:, :48], levels[:, 48:60] = 255, 100
    cv2.imwrite(str(tmp_path / "mask.png"), levels)
    job = create(share, clip, style, frames=COUNT, mask=tmp_path / "mask.png", mask_strength="0f:0,4f:1", strength=0.5)
    assert work(job)
    shares = [0, 0.25, 0.5, 0.75, 1, 1]
    expected = [blend(a, b, style_weight(0.5, levels, share)) for a, b, share in zip(sources, frames_of(plain), shares)]
    assert is_film_of(film_of(job), plain, clip, expected)
    words = ["--mask", tmp_path / "mask.png", "--mask-strength", "0:0,4f:1", "--strength", "0.5"]
    assert restitched(plain, *words).read_bytes() == film_of(job).read_bytes()


def test_masks_share_is_of_what_the_mask_takes_away():
    mask = np.array([[0, 51, 255]], np.uint8)
    assert np.allclose(style_weight(1.0, mask, 0.5), [[0.5, 0.6, 1]])
    assert style_weight(0.5, mask, 0) == 0.5
    assert np.array_equal(style_weight(0.5, mask, 1), style_weight(0.5, mask))


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    return films.make_style(tmp_path_factory.mktemp("other") / "b@2:0.5,c.safetensors", seed=2)


def test_each_frame_is_painted_with_its_own_mixture(share, clip, style, other):
    job = create(share, clip, style, frames=4, no_temporal=True, precision="float32", mix=((other, "0f:1,2f:0"),))
    assert work(job, backend="torch")
    with FrameReader(clip) as reader:
        source = [reader.read(number, index_of(job)) for number in range(4)]
    for number, weight in enumerate([1, 0.5, 0, 0]):
        network = load_mixture(style, [(other, weight)])
        assert np.array_equal(frames_of(job)[number], StyleRunner(network).stylize(source[number]))


def submitted(share, clip, style, name, words):
    assert call("submit", share.layout.root, clip, style, "--name", name, *words).exit_code == 0
    return next(job for job in all_jobs(share) if job.name == name)


OVER_TIME = ("--chunk", 8, "--precision", "float32", "--threads", 1, "--strength", "0:1,0.6:0.5:hold")


def test_everything_over_time_is_the_same_film_with_a_node_and_without(share, clip, style, other, tmp_path):
    words = ("--mix", f"{other}@0:0,0.2:1:ease,0.5:0.3", *OVER_TIME)
    job = submitted(share, clip, style, "job", words)
    assert work(job)
    alone = tmp_path / "alone.mp4"
    result = CliRunner().invoke(main, [str(word) for word in ("stylize", clip, style, alone, *words)])
    assert result.exit_code == 0 and alone.read_bytes() == film_of(job).read_bytes(), result.output


@pytest.mark.slow
def test_everything_over_time_is_the_same_film_of_one_node_and_of_three(share, clip, style, other):
    words = ("--mix", f"{other}@0:0,0.2:1:ease,0.5:0.3", *OVER_TIME)
    one, three = (submitted(share, clip, style, name, words) for name in ("one", "three"))
    nodes = [start_node(share, "--job", "three") for _ in range(3)]
    assert work(one)
    assert [node.wait(100) for node in nodes] == [0, 0, 0]
    assert film_of(one).read_bytes() == film_of(three).read_bytes()


def test_curves_are_recorded_and_equal_ones_join(share, clip, style, other):
    line = ("submit", share.layout.root, clip, style, "--name", "job", "--mix", f"{other}@0s:1,0.50s:0", "--strength")
    assert call(*line, "0:0,0.5:1").exit_code == 0
    (job,) = all_jobs(share)
    assert (job.manifest.spec["mix_weights"], job.manifest.spec["strength"]) == (["0:1,0.5:0"], "0:0,0.5:1")
    assert "joined" in call(*line, "0.0s:0.0,.5:1").output
    refused(call(*line, "0:0,0.6:1"), "--strength 0:0,0.5:1, not --strength 0:0,0.6:1")


@pytest.mark.parametrize(
    "words, complaint",
    [
        (("--strength", "0:0,5:1,3:0"), "ascending order, got 3 after 5"),
        (("--strength", "0:0,40:1"), "expected times up to 2 s, the end of "),
        (("--strength", "0f:0,99f:1"), "expected times up to 24f, the end of "),
        (("--strength", "0:0,0.5:2"), "expected values from 0 to 1, got 2"),
        (("--strength", "slowly"), "expected a number from 0 to 1, got 'slowly'"),
        (("--strength", "0:0;5:1"), "expected TIME:VALUE"),
        (("--mask-strength", "0:0,0.5:1"), "--mask-strength: expected with --mask"),
        (("--mix", "STYLE@0:1,40:0"), "expected times up to 2 s"),
        (("--mix", "STYLE@0:1,0.5:-1"), "expected TIME:VALUE"),
        (("--mix", "@0:1,0.5:1"), "expected STYLE@CURVE"),
    ],
)
def test_curves_that_cannot_be_are_refused_before_there_is_a_job(share, clip, style, words, complaint):
    words = [str(word).replace("STYLE", str(style)) for word in words]
    result = call("submit", share.layout.root, clip, style, *words)
    assert result.exit_code == 2 and complaint in result.output.splitlines()[-1], result.output
    assert all_jobs(share) == []


def test_stitch_refuses_curves_beyond_the_end_and_a_masks_strength_without_mask(plain):
    line = ("stitch", plain.share.layout.root, plain.name)
    refused(call(*line, "--strength", "0:0,40:1"), "--strength: expected times up to 2 s")
    refused(call(*line, "--mask-strength", "0.5"), "--mask-strength: expected a job with a mask, or --mask")


def test_weights_above_one_in_total_leave_nothing_to_the_first_style(share, clip, style, other):
    mix = ((other, "0f:1,2f:0.5"), (style, "0f:1,2f:0.5"))
    job = create(share, clip, style, frames=3, precision="float32", no_temporal=True, mix=mix)
    assert work(job, backend="torch")
    with FrameReader(clip) as reader:
        source = reader.read(0, index_of(job))
    assert np.array_equal(frames_of(job)[0], StyleRunner(load_mixture(style, [(other, 0.5)])).stylize(source))


def test_picture_has_no_time(style, tmp_path):
    cv2.imwrite(str(tmp_path / "picture.png"), np.zeros((64, 96, 3), np.uint8))
    words = ["stylize", tmp_path / "picture.png", style, tmp_path / "out.png", "--strength", "0:0,5:1"]
    refused(
        CliRunner().invoke(main, [str(word) for word in words]), "--strength: expected a number, as pictures have no"
    )


def test_compiling_backend_refuses_a_mix_over_time(share, clip, style, other):
    job = create(share, clip, style, frames=2, mix=((other, "0f:1,2f:0"),))
    with pytest.raises(FavError, match="backend compile: expected styles that are the same in all frames"):
        work(job, backend="compile")


def test_page_asks_for_curves_and_second_styles_as_the_command_line_does(share, clip, style, other, tmp_path):
    pytest.importorskip("starlette", reason="the extra `web` is not installed")
    from fav.web import forms

    root = share.layout.root
    (root / "clip.mp4").write_bytes(clip.read_bytes())
    (root / "a.safetensors").write_bytes(style.read_bytes())
    (root / "b.safetensors").write_bytes(other.read_bytes())
    cv2.imwrite(str(root / "mask.png"), np.zeros((4, 4), np.uint8))
    options = {
        "strength": "0:0,0.5s:1",
        "mix": [["b.safetensors", "0:1,0.5:0"]],
        "mask": "mask.png",
        "outside": "b.safetensors",
    }
    fields = {"video": "clip.mp4", "style": "a.safetensors", "options": {**options, "mask_strength": "0f:0,9f:.5"}}
    request = forms.request_from(root, fields)
    assert (request.strength, request.mask_strength) == ("0:0,0.5:1", "0f:0,9f:0.5")
    assert request.mix == ((root / "b.safetensors", "0:1,0.5:0"),) and request.outside == root / "b.safetensors"
    for change in (
        {"strength": "0:0,0:1"},
        {"strength": "0:0,1:2"},
        {"mix": [["b.safetensors", "0:1,x"]]},
        {"outside": "../b"},
    ):
        with pytest.raises(FavError):
            forms.request_from(root, {**fields, "options": {**options, **change}})
    again = forms.filled_from(submit_and_notify(share, request).job)
    assert again["options"]["strength"] == "0:0,0.5:1" and again["options"]["mix"][0][1] == "0:1,0.5:0"
    assert forms.request_from(root, again).outside.read_bytes() == other.read_bytes()
