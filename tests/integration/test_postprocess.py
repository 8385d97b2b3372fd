"""What users decide of a film beyond its style: strength, colors, masks and the size of strokes.

What should be in a film is encoded here a second time and compared byte for byte, since the same frames make the
same film.
"""

import signal
import subprocess
import sys
import time
from shlex import quote

import cv2
import numpy as np
import pytest

import coordinator
from fav.errors import FavError
from fav.pipeline.disk_space import DiskUsage, required_space
from fav.pipeline.spec import JobSpec
from fav.stylize.blend import blend, transfer_chroma
from fav.stylize.postprocess import check_mask, mask_frames
from fav.stylize.settings import network_size
from fav.util.images import resize
from shared.jobs import all_jobs
from tests.helpers import video_jobs as films
from tests.helpers.checkout import ROOT
from tests.helpers.clips import comment_of, ffmpeg
from tests.helpers.commands import call, refused
from tests.helpers.restitching import is_film_of, restitched, told_name
from tests.helpers.timelines import SPEC
from tests.helpers.video_jobs import create, film_of, frames_of, start_node, work

COUNT = 6  # frames of `plain`
SIZE = (96, 64)


def picture(path, levels: np.ndarray):
    """A gray picture, written to a file."""
    assert cv2.imwrite(str(path), levels.astype(np.uint8))
    return path


def test_strength_one_is_the_plain_film_and_strength_zero_the_source(plain, sources, clip, tmp_path):
    assert restitched(plain, "--strength", 1).read_bytes() == film_of(plain).read_bytes()
    assert is_film_of(restitched(plain, "--strength", 0), plain, clip, sources)


def test_job_with_strength_and_colors_makes_what_stitch_makes_of_a_plain_job(
    plain, sources, clip, style, share, tmp_path
):
    job = create(share, clip, style, frames=COUNT, strength=0.5, preserve_colors=True)
    assert work(job)
    expected = [blend(source, transfer_chroma(frame, source), 0.5) for source, frame in zip(sources, frames_of(plain))]
    assert is_film_of(film_of(job), plain, clip, expected)
    assert film_of(job).read_bytes() == restitched(plain, "--strength", 0.5, "--preserve-colors").read_bytes()
    assert restitched(job, "--strength", 1, "--no-preserve-colors").read_bytes() == film_of(plain).read_bytes()


def test_published_frames_of_such_a_job_are_those_of_a_plain_one(plain, clip, style, share, tmp_path):
    white = picture(tmp_path / "mask.png", np.full((64, 96), 99))
    job = create(share, clip, style, frames=COUNT, strength=0.3, preserve_colors=True, mask=white)
    assert work(job)
    assert all(np.array_equal(a, b) for a, b in zip(frames_of(job), frames_of(plain), strict=True))


def test_another_film_touches_no_result(plain):
    look = lambda: {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in plain.layout.results.rglob("*")}
    before = look()
    restitched(plain, "--strength", 0.6)
    assert look() == before and len(before) > COUNT


def test_film_without_such_options_is_made_without_decoding_the_source(plain, monkeypatch):
    monkeypatch.setattr("fav.stylize.postprocess.FrameReader", None)  # whoever opens one now fails
    assert restitched(plain).read_bytes() == film_of(plain).read_bytes()


def test_mask_is_white_where_the_style_is_seen(plain, sources, clip, style, share, tmp_path):
    levels = np.zeros((64, 96))
    levels[:, :48] = 255
    mask = picture(tmp_path / "half.png", levels)
    job = create(share, clip, style, frames=COUNT, mask=mask)
    mask.unlink()  # the job has its own
    assert work(job)
    halves = [np.hstack([frame[:, :48], source[:, 48:]]) for frame, source in zip(frames_of(plain), sources)]
    assert is_film_of(film_of(job), plain, clip, halves)
    assert restitched(job, "--no-mask").read_bytes() == film_of(plain).read_bytes()


@pytest.mark.parametrize("level, strength", [(255, 1), (0, 0)])
def test_white_mask_is_the_whole_style_and_black_the_source_at_any_size(plain, tmp_path, level, strength):
    mask = picture(tmp_path / "mask.png", np.full((5, 7), level))
    masked, mixed = restitched(plain, "--mask", mask), restitched(plain, "--strength", strength)
    assert "--mask mask.png" in comment_of(masked) and "--mask" not in comment_of(mixed)
    for film in (masked, mixed):  # all but what they say of themselves
        ffmpeg(
            "-i", film, "-map", "0", "-c", "copy", "-metadata", "comment=", "-fflags", "+bitexact", tmp_path / film.name
        )
    assert (tmp_path / masked.name).read_bytes() == (tmp_path / mixed.name).read_bytes()


def test_mask_video_counts_the_frames_of_the_source(plain, sources, clip, style, share, tmp_path):
    for number in range(films.FRAMES):
        picture(tmp_path / f"mask_{number:03d}.png", np.full((64, 96), 255 * (number % 2)))
    job = create(share, clip, style, range=(1, COUNT), mask=tmp_path / "mask_%03d.png")
    assert work(job)
    alternating = [frame if number % 2 else sources[number] for number, frame in enumerate(frames_of(job), 1)]
    assert is_film_of(film_of(job), job, clip, alternating)


def test_masks_that_do_not_fit_are_refused_before_there_is_a_job(share, clip, style, tmp_path):
    short = films.make_clip(tmp_path / "long.mkv")
    subprocess.run(
        ["ffmpeg", "-v", "error", "-i", str(short), "-frames:v", "3", str(tmp_path / "short.mp4")], check=True
    )
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "cut.png").write_bytes(picture(tmp_path / "whole.png", np.zeros((64, 96))).read_bytes()[:20])
    submit = ("submit", share.layout.root, clip, style, "--mask")
    refused(
        call(coordinator.main, *submit, tmp_path / "short.mp4"), "--mask", "short.mp4", "or 24 frames", "got 3 frames"
    )
    for name in ("missing.png", "text.png", "cut.png", ".", "none_%03d.png"):
        refused(call(coordinator.main, *submit, tmp_path / name), str(tmp_path / name))
    assert all_jobs(share) == []
    check_mask(tmp_path / "long.mkv", clip)  # of as many frames, though its container does not say so


def test_mask_that_ends_before_the_film_is_told_with_its_cure(tmp_path):
    for number in range(3):
        picture(tmp_path / f"mask_{number}.png", np.full((4, 4), number))
    masks = mask_frames(tmp_path / "mask_%d.png", (4, 4), start=1)
    assert [int(next(masks)[0, 0]) for _ in range(2)] == [1, 2]
    with pytest.raises(FavError, match="image for frame 3, got only 3 frames.*`stitch SHARED JOB --mask MASK`"):
        next(masks)


def test_larger_strokes_are_painted_on_smaller_frames_and_shown_at_the_films_size(clip, style, share, tmp_path):
    job = create(share, clip, style, frames=COUNT, style_scale=2.0)
    assert work(job)
    assert {frame.shape for frame in frames_of(job)} == {(32, 48, 3)}
    assert films.probe(film_of(job), "stream=width,height") == "96,64"
    shown = [resize(frame, SIZE) for frame in frames_of(job)]
    assert restitched(job).read_bytes() == film_of(job).read_bytes()
    assert is_film_of(film_of(job), job, clip, shown)
    small = create(share, clip, style, frames=COUNT, width=48, name="small")
    assert work(small)
    assert all(np.array_equal(a, b) for a, b in zip(frames_of(job), frames_of(small), strict=True))


@pytest.mark.parametrize("scale, size", [(1.0, (107, 60)), (2.0, (54, 30)), (0.5, (214, 120)), (4.0, (27, 15))])
def test_network_runs_at_the_films_size_over_the_scale_of_strokes(scale, size):
    assert network_size((107, 60), scale) == size


def test_smallest_film_with_the_largest_strokes_is_made(clip, style, share):
    job = create(share, clip, style, frames=2, width=16, style_scale=4.0)
    assert work(job)
    assert {frame.shape for frame in frames_of(job)} == {(3, 4, 3)}


@pytest.mark.slow
def test_killed_node_goes_on_to_the_same_film_with_all_controls(clip, style, share, tmp_path):
    levels = np.zeros((10, 10))
    levels[:, :5] = 200
    controls = dict(
        frames=8, strength=0.7, preserve_colors=True, style_scale=2.0, mask=picture(tmp_path / "mask.png", levels)
    )
    undisturbed, job = (create(share, clip, style, name=name, **controls) for name in ("undisturbed", "killed"))
    assert work(undisturbed)
    node = start_node(share, "--job", "killed")
    while len(list(job.layout.results.glob("frame/*/*.png"))) < 3:
        assert node.poll() is None
        time.sleep(0.005)
    node.send_signal(signal.SIGKILL)
    node.communicate()
    assert start_node(share, "--job", "killed").wait(60) == 0
    assert film_of(job).read_bytes() == film_of(undisturbed).read_bytes()
    alone = tmp_path / "alone.mp4"
    words = [
        "--frames",
        "8",
        "--strength",
        "0.7",
        "--preserve-colors",
        "--style-scale",
        "2",
        "--mask",
        str(controls["mask"]),
    ]
    subprocess.run(
        [sys.executable, "-m", "fav", "stylize", str(clip), str(style), str(alone), *words], cwd=ROOT, check=True
    )
    assert alone.read_bytes() == film_of(job).read_bytes()


def test_controls_are_recorded_and_others_are_refused_with_the_cure(share, clip, style, tmp_path):
    mask = picture(tmp_path / "mask.png", np.full((4, 4), 7))
    job = create(share, clip, style, strength=0.4, mask=mask, style_scale=2.0, name="job")
    spec = JobSpec.from_json(job.manifest.spec)
    assert (spec.strength, spec.style_scale, spec.preserve_colors) == (0.4, 2.0, False)
    assert spec.postprocess_settings(share.layout.root).mask.read_bytes() == mask.read_bytes()
    submit = ("submit", share.layout.root, clip, style, "--name", "job")
    told_name(call(coordinator.main, *submit, "--strength", 0.4, "--mask", mask, "--style-scale", 2))
    stitch = f"coordinator.py stitch {quote(str(share.layout.root))} job"
    refused(
        call(coordinator.main, *submit, "--strength", 0.5, "--preserve-colors", "--mask", mask, "--style-scale", 2),
        "--strength 0.4, not --strength 0.5",
        "no --preserve-colors, not --preserve-colors",
        f"{stitch} --strength 0.5 --preserve-colors",
    )
    picture(mask, np.full((4, 4), 8))
    refused(
        call(coordinator.main, *submit, "--strength", 0.4, "--mask", mask, "--style-scale", 2),
        "mask has another content",
        stitch,
    )
    other = call(coordinator.main, *submit, "--strength", 0.5, "--style-scale", 3)
    refused(other, "--style-scale 2, not --style-scale 3")
    assert "stitch" not in other.output  # its frames are others


def test_estimate_of_room_counts_a_masks_images_and_published_frames_at_their_size(
    share, clip, style, tmp_path, monkeypatch
):
    for number in range(films.FRAMES):
        picture(tmp_path / f"mask_{number:03d}.png", np.full((4, 4), 255))
    rooms = []
    monkeypatch.setattr(DiskUsage, "fits", lambda room, *free: rooms.append(room) or True)
    for name, options in {
        "plain": {},
        "masked": {"mask": tmp_path / "mask_%03d.png"},
        "fine": {"style_scale": 0.5},
    }.items():
        create(share, clip, style, name=name, **options)
    plain, masked, fine = rooms
    assert masked.files == plain.files + films.FRAMES
    frames_alone = required_space(films.FRAMES, (192, 128), film_size=SIZE)
    assert fine.size - plain.size == frames_alone.size - required_space(films.FRAMES, SIZE).size
    assert (
        required_space(films.FRAMES, (192, 128)).size
        > frames_alone.size
        > plain.size + 2 * films.FRAMES * 2.5 * 96 * 64
    )


def test_mask_and_no_mask_exclude_each_other(plain, tmp_path):
    refused(
        call(coordinator.main, "stitch", plain.share.layout.root, "--mask", tmp_path / "a.png", "--no-mask"),
        "--mask",
        "--no-mask",
    )


@pytest.mark.parametrize("change", [
    {"strength": 1.5}, {"strength": float("nan")}, {"strength": "1"}, {"preserve_colors": 1}, {"preserve_colors": None},
    {"style_scale": 0}, {"style_scale": 5}, {"mask": "/etc/passwd"}, {"mask": "../mask.png"}, {"mask": 3},
    {"mix": None}, {"mix": ["a"]}, {"mix_weights": [0.5]},
    {"mix": ["../a"], "mix_hashes": ["1"], "mix_weights": [0.5]}, {"mix": ["a"], "mix_hashes": ["1"], "mix_weights": [1]},
    {"mix": ["a"], "mix_hashes": ["1"], "mix_weights": ["nan"]}, {"mix": 7}, {"strength": "0:0"}, {"mask_strength": "x"},
])  # fmt: skip
def test_record_with_controls_that_make_no_sense_is_refused(change):
    with pytest.raises(FavError):
        JobSpec.from_json({**SPEC.to_json(), **change})


@pytest.mark.parametrize("option, value", [("--strength", "nan"), ("--style-scale", "nan")])
def test_no_number_is_no_control(share, clip, style, option, value):
    result = call(coordinator.main, "submit", share.layout.root, clip, style, option, value)
    assert result.exit_code == 2 and f"'{option}': expected a number from " in result.output and not all_jobs(share)
