"""Whole films through the job system: every option does what it says, whoever makes which frame."""

import dataclasses
import os
import signal
import subprocess
import time

import numpy as np
import pytest

from fav import flow as flows
from fav.cli.tools import main as fav_main
from fav.errors import FavError
from fav.pipeline.artifacts import JobArtifacts
from fav.pipeline.plan import VideoPlan, make_plan
from fav.pipeline.progress import progress
from fav.pipeline.spec import JobSpec
from fav.pipeline.task_names import flow_task, frame_task
from fav.stylize.engine import FrameStylizer
from fav.stylize.indexing import index_segments
from fav.stylize.settings import StyleSettings
from fav.util.images import resize
from shared import attempts, results
from shared.claims import claimed
from shared.errors import InputChangedError, JobQueueError
from shared.heartbeat import temporary_member
from shared.paths import Task
from shared.shared_dir import open_share
from tests.helpers import video_jobs as films
from tests.helpers.commands import call
from tests.helpers.video_jobs import CUT, FRAMES, create, film_of, frames_of, probe, same, start_node, studio_of, work


@pytest.fixture(scope="module")
def plain(tmp_path_factory, clip, style):
    """The film of the default options, made once by one worker: what others are compared with."""
    root = tmp_path_factory.mktemp("plain")
    job = create(open_share(root), clip, style)
    assert work(job)
    return job


def test_film_has_the_frames_duration_and_sound_of_its_source(plain, clip):
    for entries, stream in (("stream=nb_read_frames,width,height,duration", "v:0"), ("frame=pts_time", "v:0"),
                            ("stream=codec_name,duration,nb_read_frames", "a:0")):  # fmt: skip
        assert probe(film_of(plain), entries, stream) == probe(clip, entries, stream)


def test_finished_job_leaves_no_claim_no_flow_and_no_node(plain):
    assert claimed(plain) == {} and "finished" in plain.flags()
    assert not (plain.layout.results / "flow").exists()
    assert list(plain.share.layout.nodes.iterdir()) == list(plain.share.layout.tmp.iterdir()) == []
    assert progress(JobArtifacts(plain)) == {
        "index": (1, 1),
        "flow": (0, FRAMES),
        "frame": (FRAMES, FRAMES),
        "encode": (1, 1),
        "stitch": (1, 1),
    }


def test_one_process_without_a_share_makes_the_same_film_byte_for_byte(plain, clip, style, tmp_path):
    out = tmp_path / "film.mp4"
    assert call(fav_main, "stylize", clip, style, out).exit_code == 0
    assert out.read_bytes() == film_of(plain).read_bytes()
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.slow
def test_three_nodes_typed_alike_make_one_job_and_the_same_film(plain, clip, style, share):
    nodes = [start_node(share, str(clip), str(style), "--lease", "30") for _ in range(3)]
    outputs = [node.communicate(timeout=120)[0] for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0, 0], outputs
    assert len(list(share.layout.jobs.iterdir())) == 1
    (film,) = share.layout.root.glob("*.mp4")
    assert film.read_bytes() == film_of(plain).read_bytes()
    assert all(str(film) in output for output in outputs)


def test_killed_nodes_resume_to_the_same_film_byte_for_byte(plain, clip, style, share):
    job = create(share, clip, style)
    for frames in (1, CUT + 2):
        node = start_node(share, "--job", job.name)
        while len(list(job.layout.results.glob("frame/*/*.png"))) < frames:
            assert node.poll() is None
            time.sleep(0.005)
        node.send_signal(signal.SIGKILL)
        node.communicate()
    assert start_node(share, "--job", job.name).wait(120) == 0
    assert film_of(job).read_bytes() == film_of(plain).read_bytes()
    assert claimed(job) == {} and list(share.layout.tmp.iterdir()) == []


def test_damaged_frame_is_made_again_and_the_film_is_the_same(plain, clip, style, share):
    job = create(share, clip, style)
    with temporary_member(share) as node:
        plan = make_plan(job, node)
        for task in iter(lambda: next(plan.candidates(), None), None):
            if task.kind == "encode":
                break
            results.publish_bytes(node, job, task, plan.run(task, lambda: None))
            plan.published(task, True)
    damaged = job.layout.result(frame_task(5))
    damaged.write_bytes(damaged.read_bytes()[:-100])  # as an asynchronous export leaves it after a crash
    assert work(job)
    assert film_of(job).read_bytes() == film_of(plain).read_bytes()
    assert [attempt.why for attempt in attempts.attempts_of_task(job, frame_task(5))] == ["damaged"]


def test_flow_that_travelled_gives_the_frames_of_flow_in_memory(plain, clip, style, share, monkeypatch):
    slow = dataclasses.replace(flows.METHODS["dis"], is_expensive=True)
    monkeypatch.setitem(flows.METHODS, "dis", slow)
    job = create(share, clip, style, keep_flow=True)
    with temporary_member(share) as node:
        plan = VideoPlan(job, node)
        piece = next(plan.candidates())
        results.publish_bytes(node, job, piece, plan.run(piece, lambda: None))
        plan.published(piece, True)
        for frame in set(range(1, FRAMES)) - {CUT}:
            results.publish_bytes(node, job, flow_task(frame), plan.run(flow_task(frame), lambda: None))
    monkeypatch.setattr(FrameStylizer, "flow_field", None)  # whoever calls it now fails
    assert work(job)
    assert same(frames_of(job), frames_of(plain))
    assert results.count(job, "flow", range(FRAMES)) == FRAMES - 2  # --keep-flow


def test_idle_node_makes_slow_flow_ahead_of_a_chain_that_another_paints(clip, style, share, monkeypatch):
    slow = dataclasses.replace(flows.METHODS["dis"], is_expensive=True)
    monkeypatch.setitem(flows.METHODS, "dis", slow)
    job = create(share, clip, style, no_cuts=True)
    with temporary_member(share) as painter, temporary_member(share) as helper:
        plan = VideoPlan(job, helper)
        piece = next(plan.candidates())
        results.publish_bytes(helper, job, piece, plan.run(piece, lambda: None))
        assert [str(task) for task in plan.candidates()] == [str(frame_task(0))]
        from shared.claims import Claims

        Claims(painter, job).claim(frame_task(0))
        assert [str(task) for task in plan.candidates()] == [str(flow_task(2))]


def test_no_warp_across_a_cut(plain, clip, style):
    stylizer, index = studio_of(plain)
    assert np.array_equal(frames_of(plain)[CUT], stylizer.first(CUT, index, first_of_film=False))


def test_flow_made_ahead_is_the_flow_made_when_it_is_needed(plain):
    (stylizer, index), (other, _) = studio_of(plain), studio_of(plain)
    stylizer.prefetch_flow(5, 4, index)
    made, expected = stylizer.flow_field(5, 4, index), other.flow_field(5, 4, index)
    assert np.array_equal(made.flow, expected.flow) and np.array_equal(made.reliability, expected.reliability)
    assert np.array_equal(stylizer.source(5, index), other.source(5, index))


def test_who_goes_elsewhere_than_ahead_gets_the_flow_that_is_asked_for(plain):
    (stylizer, index), (other, _) = studio_of(plain), studio_of(plain)
    stylizer.prefetch_flow(5, 4, index)
    stylizer.prefetch_flow(20, 19, index)
    for pair in ((9, 8), (5, 4), (20, 19)):
        assert np.array_equal(stylizer.flow_field(*pair, index).flow, other.flow_field(*pair, index).flow)


def test_what_fails_ahead_is_raised_when_it_is_asked_for(plain, monkeypatch):
    stylizer, index = studio_of(plain)
    monkeypatch.setattr(stylizer, "_flow", lambda *frames: 1 / 0)
    stylizer.prefetch_flow(5, 4, index)
    first = stylizer.first(0, index, first_of_film=False)
    assert np.array_equal(first, frames_of(plain)[0])
    with pytest.raises(ZeroDivisionError):
        stylizer.flow_field(5, 4, index)


def test_node_makes_the_flow_of_the_next_frame_while_it_paints(clip, style, share, monkeypatch):
    looked = []
    ahead = FrameStylizer.prefetch_flow
    monkeypatch.setattr(
        FrameStylizer,
        "prefetch_flow",
        lambda stylizer, frame, before, index: (looked.append((frame, before)), ahead(stylizer, frame, before, index)),
    )
    job = create(share, clip, style)
    assert work(job)
    assert sorted(looked) == [
        (frame, frame - 1) for frame in range(2, FRAMES) if frame != CUT
    ]  # nothing beside the first


@pytest.mark.parametrize("method", ["spynet", "spynet-half"])
def test_spynet_is_the_same_in_films_of_every_precision(clip, style, tiny_spynet, monkeypatch, method):
    monkeypatch.setattr("fav.model.runner.best_precision", lambda device: "bfloat16")
    settings = StyleSettings(
        style, (96, 64), method, tiny_spynet, occlusion_erode=7, occlusion_fill="vgg-mean", precision="bfloat16"
    )
    stylizer = FrameStylizer(clip, settings)
    assert stylizer.runner.precision == "bfloat16"
    pair = [np.random.default_rng(number).integers(0, 256, (64, 96, 3), np.uint8) for number in (1, 2)]
    assert np.array_equal(stylizer.flow(*pair), flows.make(method, tiny_spynet)(*pair))


def test_no_cuts_carries_the_picture_across(plain, clip, style, share):
    job = create(share, clip, style, no_cuts=True)
    assert work(job)
    assert same(frames_of(job)[:CUT], frames_of(plain)[:CUT])
    assert not np.array_equal(frames_of(job)[CUT], frames_of(plain)[CUT])


def test_read_cuts_takes_the_users_cuts(plain, clip, style, share, tmp_path):
    (tmp_path / "cuts.csv").write_text("5\n")
    job = create(share, clip, style, read_cuts=tmp_path / "cuts.csv")
    assert work(job)
    stylizer, index = studio_of(job)
    assert np.array_equal(frames_of(job)[5], stylizer.first(5, index, first_of_film=False))


def test_seed_is_the_finished_first_frame(plain, clip, style, share, tmp_path):
    import cv2

    picture = np.full((50, 70, 3), (30, 200, 90), np.uint8)
    cv2.imwrite(str(tmp_path / "seed.png"), picture)
    job = create(share, clip, style, init_frame=tmp_path / "seed.png")
    assert work(job)
    assert np.array_equal(frames_of(job)[0], resize(picture, (96, 64)))
    assert not np.array_equal(frames_of(job)[1], frames_of(plain)[1])
    assert same(frames_of(job)[CUT:], frames_of(plain)[CUT:])  # a new shot starts from nothing


def test_first_frame_style_paints_the_first_frame_of_each_shot(plain, clip, style, share, tmp_path):
    opener = films.make_style(tmp_path / "image.safetensors", in_channels=3, seed=5)
    job = create(share, clip, style, first_frame_style=opener)
    assert work(job)
    stylizer, index = studio_of(job)
    for frame in (0, CUT):
        assert np.array_equal(
            frames_of(job)[frame], stylizer.recurrence.first_frame_runner.stylize(stylizer.reader.read(frame, index))
        )


def test_backward_starts_from_the_last_frame_of_each_shot(plain, clip, style, share, tmp_path):
    job = create(share, clip, style, reverse=True)
    assert work(job)
    frames, (stylizer, index) = frames_of(job), studio_of(job)
    for frame in (CUT - 1, FRAMES - 1):
        assert np.array_equal(frames[frame], stylizer.first(frame, index, first_of_film=False))
    assert np.array_equal(frames[3], stylizer.next(3, index, frames[4], stylizer.flow_field(3, 4, index)))
    out = tmp_path / "backward.mp4"
    assert call(fav_main, "stylize", clip, style, out, "--reverse").exit_code == 0
    assert out.read_bytes() == film_of(job).read_bytes()


def test_independent_frames_know_nothing_of_each_other(clip, style, share):
    job = create(share, clip, style, no_temporal=True)
    assert work(job)
    stylizer, index = studio_of(job)
    for frame in (0, 7, CUT, FRAMES - 1):
        assert np.array_equal(frames_of(job)[frame], stylizer.first(frame, index, first_of_film=False))


def test_range_and_test_take_a_part(plain, clip, style, share):
    part = create(share, clip, style, name="part", range=(6, None), frames=4, no_cuts=True)
    assert work(part)
    assert probe(film_of(part), "stream=nb_read_frames") == "4"
    stylizer, index = studio_of(part)
    assert np.array_equal(frames_of(part)[0], stylizer.first(6, index, first_of_film=False))


@pytest.mark.parametrize("options, size", [({"width": 160}, (107, 160)), ({"scale": 0.75}, (48, 72))])
def test_width_and_scale_set_the_size_of_the_frames(clip, style, share, options, size):
    job = create(share, clip, style, frames=2, **options)
    assert work(job)
    assert frames_of(job)[1].shape == (*size, 3)
    width, height = map(int, probe(film_of(job), "stream=width,height").split(","))
    assert (height, width) == (size[0] + size[0] % 2, size[1] + size[1] % 2)  # H.264 takes even sizes


def test_random_fill_is_the_same_for_every_node_and_differs_from_the_mean(plain, clip, style, share):
    first = create(share, clip, style, occlusion_fill="uniform-random", name="first")
    second = create(share, clip, style, occlusion_fill="uniform-random", name="second")
    assert work(first) and work(second)
    assert same(frames_of(first), frames_of(second))
    assert not np.array_equal(frames_of(first)[0], frames_of(plain)[0])


def test_crf_and_out_concern_the_film_alone(plain, clip, style, share):
    job = create(share, clip, style, crf=40, out="films/small.mkv")
    assert work(job)
    assert film_of(job) == share.layout.root / "films" / "small.mkv"
    assert film_of(job).stat().st_size < film_of(plain).stat().st_size
    assert same(frames_of(job), frames_of(plain))


def test_strict_job_refuses_a_machine_of_another_class(clip, style, share, monkeypatch):
    job = create(share, clip, style, bit_exact=True, frames=2)
    assert work(job)
    other = create(share, clip, style, bit_exact=True, frames=2, name="other")
    with temporary_member(share) as node:
        make_plan(other, node)
    monkeypatch.setattr(FrameStylizer, "numeric_class", "another processor")
    with temporary_member(share) as node, pytest.raises(JobQueueError, match="--bit-exact"):
        make_plan(other, node)


def test_frames_say_who_made_them_and_how(plain):
    from fav.util.images import png_text

    text = png_text(plain.layout.result(frame_task(3)).read_bytes())
    assert f" cpu {JobSpec.from_json(plain.manifest.spec).precision} " in text["numeric-class"] and text["node"]


def test_video_in_the_share_stays_where_it_is(style, share):
    inside = films.make_clip(share.layout.root / "my clip.mp4")
    job = create(share, inside, style, frames=2)
    assert JobSpec.from_json(job.manifest.spec).video == "my clip.mp4"
    assert work(job) and inside.exists()


def test_local_copy_of_the_video_is_read_if_it_is_the_same(plain, clip, style, share, tmp_path):
    job = create(share, clip, style)
    other = films.make_clip(tmp_path / "other.mp4", size="80x64")
    with pytest.raises(JobQueueError, match="another content"):
        work(job, video=str(other))
    copy = tmp_path / "copy.mp4"
    copy.write_bytes(clip.read_bytes())
    job.share.system.unlink(share.layout.root / JobSpec.from_json(job.manifest.spec).video)
    assert work(job, video=str(copy))
    assert film_of(job).read_bytes() == film_of(plain).read_bytes()


def test_video_replaced_in_mid_job_is_told_in_a_clear_word_and_is_no_failed_attempt(style, share):
    video = films.make_clip(share.layout.root / "clip.mp4")
    job = create(share, video, style)
    with temporary_member(share) as node:
        plan = make_plan(job, node)
        piece = next(plan.candidates())
        results.publish_bytes(node, job, piece, plan.run(piece, lambda: None))
        films.make_clip(video, size="80x64")
        with pytest.raises(InputChangedError, match="clip.mp4: expected the job's video, got another content"):
            plan.run(frame_task(0), lambda: None)
    with pytest.raises(JobQueueError, match="the job's video, got another content"):
        work(job)
    assert attempts.attempts_of_task(job, frame_task(0)) == []


def test_video_replaced_before_it_was_indexed_is_refused(style, share, tmp_path):
    video = films.make_clip(tmp_path / "clip.mp4")
    job = create(share, video, style)
    inside = share.layout.root / JobSpec.from_json(job.manifest.spec).video
    inside.write_bytes(films.make_clip(tmp_path / "other.mp4", size="80x64").read_bytes())  # as through a hard link
    with pytest.raises(JobQueueError, match="the job's video, got another content"):
        work(job)
    assert attempts.attempts_of_task(job, Task("index", 0)) == []


def create_of_images(share, clip, style, directory):
    """A job whose video is three numbered images, im_1001.png and the next ones in `directory`."""
    images = str(directory / "im_%04d.png")
    command = ["ffmpeg", "-v", "error", "-i", str(clip), "-frames:v", "3", "-start_number", "1001", images]
    subprocess.run(command, check=True)
    return create(share, images, style, fps=10.0)


def test_numbered_images_are_a_video(style, share, clip, tmp_path):
    job = create_of_images(share, clip, style, tmp_path)
    assert work(job)
    assert probe(film_of(job), "stream=nb_read_frames,r_frame_rate") == "10/1,3"


@pytest.mark.parametrize("number", [1001, 1002])
def test_fifo_among_numbered_images_is_refused_and_not_waited_for(style, share, clip, tmp_path, number):
    job = create_of_images(share, clip, style, tmp_path)
    (image := tmp_path / f"im_{number}.png").unlink()
    os.mkfifo(image)
    with pytest.raises(
        FavError, match=f"im_{number}.png: expected an image of the sequence, got something other than a regular file"
    ):
        create(share, str(tmp_path / "im_%04d.png"), style, name="another")
    (there := job.layout.inputs / "video" / f"im_{number}.png").unlink()
    os.mkfifo(there)
    with pytest.raises(FavError, match=f"im_{number}.png: expected an image"):
        work(job)


def test_long_index_comes_in_pieces_that_can_be_resumed(clip):
    import fav.stylize.indexing

    whole = list(index_segments(clip, None, None))
    assert [len(piece.index) for piece in whole] == [FRAMES] and whole[0].cuts == (CUT,)
    before, fav.stylize.indexing.SEGMENT_FRAMES = fav.stylize.indexing.SEGMENT_FRAMES, 10
    try:
        pieces = list(index_segments(clip, None, None))
    finally:
        fav.stylize.indexing.SEGMENT_FRAMES = before
    assert [(piece.start, len(piece.index), piece.cuts, piece.last) for piece in pieces] == [
        (0, 10, (), False),
        (10, 10, (CUT,), False),
        (20, 4, (), True),
    ]
    assert [piece.last for piece in index_segments(clip, 10, None)] == [True]
