"""A second style outside of the mask: both keep their own past, and other masks need no stylizing."""

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

import coordinator
from fav.cli.tools import main
from fav.pipeline.artifacts import JobArtifacts
from fav.pipeline.task_names import encode_task, frame_task
from fav.stylize.blend import blend, style_weight
from fav.stylize.outside import split
from fav.video import FrameReader
from shared.jobs import all_jobs
from shared.shared_dir import open_share
from tests.helpers import video_jobs as films
from tests.helpers.clips import comment_of
from tests.helpers.commands import call, refused
from tests.helpers.restitching import is_film_of, restitched
from tests.helpers.video_jobs import create, film_of, frames_of, index_of, start_node, work

COUNT = 4


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    return films.make_style(tmp_path_factory.mktemp("other") / "other.safetensors", seed=2)


@pytest.fixture(scope="module")
def mask(tmp_path_factory):
    levels = np.zeros((64, 96), np.uint8)
    levels[:, :40], levels[:, 40:50] = 255, 128
    path = tmp_path_factory.mktemp("mask") / "mask.png"
    assert cv2.imwrite(str(path), levels)
    return path


@pytest.fixture(scope="module")
def jobs(tmp_path_factory, clip, style, other, mask):
    """Finished jobs: in one style, in the other one, and with the other one outside of the mask."""
    share = open_share(tmp_path_factory.mktemp("both"))
    inside = create(share, clip, style, frames=COUNT, name="inside")
    outside = create(share, clip, other, frames=COUNT, name="outside")
    both = create(share, clip, style, frames=COUNT, name="both", mask=mask, outside=other)
    assert all(map(work, (inside, outside, both)))
    return inside, outside, both


def test_each_style_has_the_frames_that_it_has_alone(jobs):
    inside, outside, both = jobs
    artifacts = JobArtifacts(both)
    artifacts.load_new_segments()
    for number, (a, b) in enumerate(zip(frames_of(inside), frames_of(outside), strict=True)):
        first, second = split(artifacts.frame(number))
        assert np.array_equal(first, a) and np.array_equal(second, b)


def test_film_has_the_second_style_where_the_mask_is_black(jobs, clip, mask):
    inside, outside, both = jobs
    weight = style_weight(1.0, cv2.imread(str(mask), cv2.IMREAD_GRAYSCALE))
    expected = [blend(b, a, weight) for a, b in zip(frames_of(inside), frames_of(outside))]
    assert is_film_of(film_of(both), both, clip, expected)
    assert "--outside other.safetensors" in comment_of(film_of(both))


def test_other_masks_strengths_and_none_need_no_stylizing(jobs, clip, tmp_path):
    inside, outside, both = jobs
    cv2.imwrite(str(tmp_path / "black.png"), np.zeros((4, 4), np.uint8))
    assert is_film_of(restitched(both, "--mask", tmp_path / "black.png"), both, clip, frames_of(outside))
    assert is_film_of(restitched(both, "--no-mask"), both, clip, frames_of(inside))
    assert is_film_of(restitched(both, "--mask-strength", 0), both, clip, frames_of(inside))
    with FrameReader(clip) as reader:
        sources = [reader.read(number, index_of(both)) for number in range(COUNT)]
    halves = [blend(source, b, 0.5) for source, b in zip(sources, frames_of(outside))]
    assert is_film_of(restitched(both, "--mask", tmp_path / "black.png", "--strength", 0.5), both, clip, halves)


def test_film_without_a_node_is_the_same_also_with_chunks(clip, style, other, mask, share, tmp_path):
    words = ["--mask", mask, "--outside", other, "--chunk", 8, "--threads", 1, "--mask-strength", "0f:0,20f:1"]
    result = call(coordinator.main, "submit", share.layout.root, clip, style, *words)
    assert result.exit_code == 0, result.output
    (job,) = all_jobs(share)
    assert work(job)
    alone = call(main, "stylize", clip, style, tmp_path / "alone.mp4", *words)
    assert alone.exit_code == 0, alone.output
    assert (tmp_path / "alone.mp4").read_bytes() == film_of(job).read_bytes()


@pytest.mark.slow
def test_three_nodes_make_the_same_film_as_one(clip, style, other, mask, share):
    one, three = (create(share, clip, style, name=name, mask=mask, outside=other, chunk=8) for name in ("one", "three"))
    nodes = [start_node(share, "--job", "three") for _ in range(3)]
    assert work(one)
    assert [node.wait(100) for node in nodes] == [0, 0, 0]
    assert film_of(one).read_bytes() == film_of(three).read_bytes()


def test_preview_of_a_job_that_has_begun_has_darkened_frames_of_the_film_size(jobs, clip, style, other, mask, share):
    job = create(share, clip, style, frames=COUNT, mask=mask, outside=other)
    assert work(job)
    for task in (frame_task(3), encode_task(0)):
        job.layout.result(task).unlink()
    for name in ("out.mp4", "out.gif"):
        result = call(coordinator.main, "preview", share.layout.root, job.name, "--out", share.layout.root / name)
        assert result.exit_code == 0 and "1 missing (3)" in result.output, result.output
    assert films.probe(share.layout.root / "out.mp4", "stream=width,height") == "96,64"


def test_second_style_that_cannot_be_is_refused_before_there_is_a_job(clip, style, mask, share, tmp_path):
    line = ("submit", share.layout.root, clip, style)
    refused(call(coordinator.main, *line, "--outside", style), "--outside: expected with --mask")
    missing = tmp_path / "missing.safetensors"
    refused(call(coordinator.main, *line, "--mask", mask, "--outside", missing), str(missing))
    refused(call(coordinator.main, *line, "--mask", mask, "--outside", mask), str(mask))
    assert all_jobs(share) == []
    runner = CliRunner().invoke(coordinator.main, ["stitch", str(share.layout.root), "--outside", str(style)])
    assert "decides the frames" in runner.output
