"""`--projection equirectangular`: a 360° video is stylized by cube faces, alone, as a job and by several nodes."""

import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks.sphere import by_faces, flat, measure, turning
from fav.cli.tools import main
from fav.errors import FavError
from fav.model.bundled_styles import style_file
from fav.model.checkpoints import load_style
from fav.model.runner import StyleRunner
from fav.pipeline.artifacts import JobArtifacts
from fav.pipeline.job_files import open_share
from fav.pipeline.plan import make_plan
from fav.pipeline.request import Request
from fav.pipeline.submit import submit
from fav.pipeline.task_names import face_task, frame_task
from fav.stylize.cube import Cube, check_sphere
from fav.stylize.cube_recurrence import CubeRecurrence
from fav.util.images import encode_png
from fav.video import probe
from fav.video.spherical import Sphere, mark
from shared import results
from shared.heartbeat import temporary_member
from tests.helpers.video_jobs import create, film_of, frames_of, same, start_node, work

WIDTH, FRAMES = 128, 6
SPHERE = {"projection": "equirectangular", "no_cuts": True, "crf": 0}


@pytest.fixture(scope="module")
def sphere_clip(tmp_path_factory) -> Path:
    """A sphere that turns."""
    out = tmp_path_factory.mktemp("sphere") / "sphere.mp4"
    frames = turning(WIDTH, FRAMES)
    words = [
        "ffmpeg",
        "-v",
        "error",
        "-f",
        "image2pipe",
        "-c:v",
        "png",
        "-i",
        "-",
        "-crf",
        "10",
        "-pix_fmt",
        "yuv420p",
        out,
    ]
    subprocess.run(words, input=b"".join(map(encode_png, frames)), check=True)
    return out


@pytest.fixture(scope="module")
def made(tmp_path_factory, sphere_clip, style):
    job = create(open_share(tmp_path_factory.mktemp("share")), sphere_clip, style, **SPHERE)
    assert work(job)
    return job


def test_frames_are_published_as_faces_and_the_film_is_a_360_video(made):
    artifacts = JobArtifacts(made)
    assert artifacts.stylized_frame(frame_task(0)).shape[1::-1] == Cube((WIDTH, WIDTH // 2)).atlas_size
    frames = frames_of(made)
    assert len(frames) == FRAMES and frames[0].shape == (WIDTH // 2, WIDTH, 3)
    film = probe(film_of(made))
    assert (film.width, film.height, film.sphere) == (WIDTH, WIDTH // 2, Sphere())


def test_the_film_of_one_process_is_the_film_of_a_job(sphere_clip, style, made, tmp_path):
    words = [
        str(sphere_clip),
        str(style),
        str(tmp_path / "film.mkv"),
        "--projection",
        "equirectangular",
        "--no-cuts",
        "--crf",
        "0",
    ]
    run = CliRunner().invoke(main, ["stylize", *words])
    assert run.exit_code == 0, run.output
    assert probe(tmp_path / "film.mkv").sphere == Sphere()
    hashes = [
        subprocess.run(["ffmpeg", "-v", "error", "-i", film, "-an", "-f", "framehash", "-"], check=True, capture_output=True)
        .stdout.decode().splitlines()[-FRAMES:]
        for film in (tmp_path / "film.mkv", film_of(made))
    ]  # fmt: skip
    assert [line.split()[-1] for line in hashes[0]] == [line.split()[-1] for line in hashes[1]]


def test_a_chain_that_another_node_continues_is_the_same(sphere_clip, style, made, tmp_path):
    job = create(open_share(tmp_path), sphere_clip, style, **SPHERE)
    assert work(job)
    before = frames_of(job)
    for number in (1, 2, 4):  # another node begins in the middle of a shot
        job.layout.result(frame_task(number)).unlink()
    job.clear_flag("finished")
    assert work(job)
    assert same(before, frames_of(job)) and same(before, frames_of(made))


def test_slow_flow_is_computed_with_its_faces(sphere_clip, style, tmp_path, tiny_spynet):
    job = create(open_share(tmp_path), sphere_clip, style, **SPHERE, frames=2, width=64,
                 flow="spynet", flow_weights=tiny_spynet, keep_flow=True)  # fmt: skip
    assert work(job) and len(frames_of(job)) == 2
    assert not JobArtifacts(job).published_in_shard("flow", 0)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"flow_from": Path("bwd_%04d.flo")}, "expected without --projection"),
        ({"width": 50}, "at least 64 pixels wide"),
    ],
)
def test_what_cannot_be_is_refused(sphere_clip, style, tmp_path, options, told):
    with pytest.raises(FavError, match=told):
        create(open_share(tmp_path), sphere_clip, style, projection="equirectangular", **options)


def test_a_video_that_says_what_it_is_is_believed(sphere_clip, style, tmp_path):
    marked, share = tmp_path / "marked.mp4", open_share(tmp_path)
    shutil.copy(sphere_clip, marked)
    mark(marked, Sphere())
    with temporary_member(share) as node:
        flat = submit(node, Request(str(marked), style))
        assert any("--projection equirectangular stylizes it without seams" in note for note in flat.notes)
    quarter = 1 << 30  # of the sphere
    for sphere, cure in (
        (Sphere(stereo=1), "two views in each frame; .* crop=iw:ih/2:0:0 left.mp4"),
        (Sphere(stereo=2), "two views in each frame; .* crop=iw/2:ih:0:0 left.mp4"),
        (
            Sphere(bounds=(0, 0, quarter, quarter)),
            f"a part of the sphere; .* pad={2 * WIDTH}:{WIDTH // 2}:{WIDTH // 2}:0 whole.mp4",
        ),
    ):
        shutil.copy(sphere_clip, marked)
        mark(marked, sphere)
        with pytest.raises(FavError, match=cure):
            create(share, marked, style, projection="equirectangular")


def test_a_video_that_is_no_sphere_is_refused(clip, style, tmp_path):
    with pytest.raises(FavError, match="twice as wide as high"):
        create(open_share(tmp_path), clip, style, projection="equirectangular")
    for size, cure in (((200, 200), "crop=iw:ih/2:0:0"), ((400, 100), "crop=iw/2:ih:0:0"), ((300, 200), "300x200$")):
        with pytest.raises(FavError, match=cure):
            check_sphere(*size)


def test_there_is_no_seam_between_faces_nor_at_the_ends_of_rows():
    frames, runner = turning(256, 2), StyleRunner(load_style(style_file(Path("starry_night")), 7))
    source, film = measure(frames), measure(by_faces(frames, Cube((256, 128)), runner))
    assert measure(flat(frames, runner)).wrap > 1.5 * source.wrap  # a flat picture is cut open
    assert film.wrap < 1.15 * source.wrap and film.step < 1.15 * source.step


@pytest.mark.slow
def test_borders_are_nearly_as_steady_as_the_middle_of_faces():
    frames, runner = turning(512, 4), StyleRunner(load_style(style_file(Path("starry_night")), 7))
    film = measure(by_faces(frames, Cube((512, 256)), runner))
    assert film.near < 1.25 * film.elsewhere


def published(plan, node, task, data=None):
    """Publish a task's result, as the worker does."""
    ours = results.publish_bytes(node, plan.job, task, plan.run(task, lambda: None) if data is None else data)
    plan.published(task, ours)


@pytest.fixture
def plans(sphere_clip, style, tmp_path):
    """Two plans of one job, whose index is published, and their node."""
    job = create(open_share(tmp_path), sphere_clip, style, **SPHERE)
    with temporary_member(job.share) as node:
        owner, helper = make_plan(job, node), make_plan(job, node)
        published(owner, node, next(owner.candidates()))
        yield owner, helper, node


def test_faces_that_another_node_has_stylized_are_taken_and_give_the_same_film(plans, made, monkeypatch):
    owner, helper, node = plans
    chain = next(iter(owner.candidates())) and owner.timeline.chains[0]
    next(iter(helper.candidates()))
    ahead: list[int] = []
    for _ in range(4):
        for task in list(helper._faces.candidates([(chain, 0)], set())):
            published(helper, node, task)
            ahead.append(task.number)
    assert {0, 6, 12, 18}.issubset(ahead) and {1, 2, 3, 4, 5}.issubset(ahead)  # the front of all, and all of the first
    stylized, face = [], CubeRecurrence.face
    monkeypatch.setattr(
        CubeRecurrence,
        "face",
        lambda self, frame, number, *words: stylized.append(number) or face(self, frame, number, *words),
    )
    for number in range(len(chain)):
        published(owner, node, frame_task(number))
    assert len(stylized) == 6 * len(chain) - len(ahead)
    assert all(np.array_equal(owner.artifacts.frame(number), frames_of(made)[number]) for number in range(len(chain)))
    assert not owner.artifacts.published_in_shard("face", 0)  # they are of no use any more


def test_a_face_waits_for_those_that_it_continues(plans):
    owner, helper, node = plans
    next(iter(owner.candidates())), next(iter(helper.candidates()))
    faces, chain = helper._faces, owner.timeline.chains[0]
    assert [task.number for task in faces.candidates([(chain, 0)], set())] == [0]
    assert not list(faces.candidates([(chain, 0)], {"face.0000000"}))  # another node stylizes it
    published(helper, node, face_task(0))
    assert [task.number for task in faces.candidates([(chain, 0)], set())] == [6, 1, 2]
    assert faces.next_in_chain(face_task(0)) == face_task(6) and faces.next_in_chain(face_task(1)) is None
    published(owner, node, frame_task(0))
    assert faces.next_in_chain(face_task(1)) is None  # its neighbor is not there
    assert [task.number for task in faces.candidates([(chain, 1)], set())] == [6]
    published(helper, node, face_task(6))
    assert faces.next_in_chain(face_task(1)) == face_task(7)


@pytest.mark.slow
def test_a_node_that_helps_and_is_killed_changes_no_byte(sphere_clip, style, made, tmp_path):
    job = create(open_share(tmp_path), sphere_clip, style, **SPHERE)
    first, second = start_node(job.share), start_node(job.share)
    try:
        while not results.shards(job, "frame") and first.poll() is None:
            time.sleep(0.02)
        first.send_signal(signal.SIGKILL)
        assert second.wait(90) == 0
    finally:
        for node in (first, second):
            node.kill()
            node.wait()
    assert same(frames_of(job), frames_of(made))
