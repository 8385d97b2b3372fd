"""A film of what is there: stylized frames where they are, the darkened source where they are not."""

import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import coordinator
from fav.pipeline.artifacts import JobArtifacts
from fav.pipeline.film_comment import film_comment
from fav.pipeline.task_names import encode_task, frame_task
from fav.stylize.blend import luma
from fav.video import FrameReader, decode
from tests.helpers.checkout import ROOT
from tests.helpers.clips import comment_of
from tests.helpers.video_jobs import CUT, FRAMES, create, make_clip, probe, work


def previewed(share, *words):
    made = CliRunner().invoke(coordinator.main, ["preview", str(share.layout.root), *words])
    assert made.exit_code == 0, made.output
    return made.output


def test_missing_frames_are_the_source_and_the_others_those_of_the_film(share, clip, style):
    job = create(share, clip, style, name="film", crf=0)
    assert work(job)
    job.layout.result(encode_task(0)).unlink()
    missing = {3, 4, CUT, FRAMES - 1}
    for number in missing:
        job.layout.result(frame_task(number)).unlink()
    assert f"with {FRAMES - len(missing)} stylized frames" in previewed(share, "film")
    path = share.layout.root / "film.preview.mp4"
    assert int(probe(path, "stream=nb_read_frames")) == FRAMES and probe(path, "stream=codec_name", "a:0") == "aac"
    artifacts = JobArtifacts(job)
    artifacts.load_new_segments()
    with FrameReader(clip) as reader, decode(path) as shown:
        for number, decoded in enumerate(shown):
            source = reader.read(number, artifacts.timeline.index)
            expected = source // 2 if number in missing else artifacts.frame(number)
            gap = np.abs(luma(decoded.image()).astype(int) - luma(expected))  # colors have half the resolution
            assert gap.mean() < 4


def test_it_goes_as_far_as_the_index_and_is_replaced_each_time(share, clip, style, monkeypatch):
    monkeypatch.setattr("fav.stylize.indexing.SEGMENT_FRAMES", 8)
    from fav.pipeline.plan import make_plan
    from shared import results
    from shared.heartbeat import temporary_member

    job = create(share, clip, style, name="film")
    refused = CliRunner().invoke(coordinator.main, ["preview", str(share.layout.root)])
    assert refused.exit_code == 2 and "got one that has just begun" in refused.output
    with temporary_member(share) as node:
        plan = make_plan(job, node)
        task = next(plan.candidates())
        results.publish_bytes(node, job, task, plan.run(task, lambda: None))
    assert "with 0 stylized frames" in previewed(share)
    assert int(probe(share.layout.root / "film.preview.mp4", "stream=nb_read_frames")) == 8
    assert work(job) and f"with {FRAMES} stylized frames" in previewed(share)
    taken = CliRunner().invoke(
        coordinator.main, ["preview", str(share.layout.root), "--out", str(share.layout.root / "film.mp4")]
    )
    assert taken.exit_code == 2 and "expected a new name" in taken.output


@pytest.mark.parametrize("name", ["a.gif", "a"])
def test_a_name_that_is_no_films_is_refused(share, clip, style, tmp_path, name):
    create(share, clip, style, name="film")
    refused = CliRunner().invoke(coordinator.main, ["preview", str(share.layout.root), "--out", str(tmp_path / name)])
    assert refused.exit_code == 2 and "Traceback" not in refused.output


def run_with_previews(share, clip, style) -> subprocess.CompletedProcess:
    """`coordinator.py run` of the job film, with a preview as often as one can be made."""
    words = ["run", str(share.layout.root), str(clip), str(style), "--name", "film"]
    words += ["--threads", "1", "--preview-every", "0.001"]
    return subprocess.run([sys.executable, str(ROOT / "coordinator.py"), *words], capture_output=True, text=True)


@pytest.mark.slow
def test_run_makes_one_now_and_then_and_leaves_the_last(share, tmp_path, style):
    clip = make_clip(tmp_path / "long.mp4", size="640x360")
    done = run_with_previews(share, clip, style)
    path = share.layout.root / "film.preview.mp4"
    assert (
        done.returncode == 0 and f"every 0.001 min, what is done so far: {path}" in done.stdout and done.stderr == ""
    ), done
    assert int(probe(path, "stream=nb_read_frames")) > 0
    assert not list(share.layout.root.glob("*.part*")) and not list(share.layout.root.glob(".*"))


@pytest.mark.slow
def test_what_keeps_run_from_previews_is_told_and_the_film_made(share, clip, style):
    (share.layout.root / "film.preview.mp4").mkdir()
    done = run_with_previews(share, clip, style)
    assert done.returncode == 0 and "done: " in done.stdout and (share.layout.root / "film.mp4").is_file()
    assert done.stderr.startswith("the last preview: ") and done.stderr.count("\n") == 1, done.stderr


@pytest.mark.parametrize("command, suffix", [("preview", ".preview.mp4"), ("report", ".report.html")])
def test_directory_in_the_way_is_one_line(share, clip, style, command, suffix):
    assert work(create(share, clip, style, name="film"))
    (share.layout.root / f"film{suffix}").mkdir()
    made = CliRunner().invoke(coordinator.main, [command, str(share.layout.root), "film"])
    assert (
        made.exit_code == 2
        and "expected a free name for a file, got a directory" in made.output
        and made.output.count("\n") == 1
    )


def test_preview_says_how_its_film_is_made(share, clip, style):
    job = create(share, clip, style, name="film", frames=4, strength=0.5)
    assert work(job)
    previewed(share, "film")
    film, root = film_comment(JobArtifacts(job).spec), share.layout.root
    comment = comment_of(root / "film.preview.mp4")
    assert comment == f"fav preview of {job.manifest.id}, {film}" and "--strength 0.5" in film
    previewed(share, "film")  # it is still known as the program's own, and replaced
    for name in ("small.gif", "small.webp"):
        previewed(share, "film", "--out", str(root / name))
    with Image.open(root / "small.gif") as gif, Image.open(root / "small.webp") as webp:
        assert gif.info["comment"].decode() == webp.getexif()[0x010E] == film
    data = (root / "small.webp").read_bytes()
    chunk = data.index(b"EXIF")
    assert data[chunk + 8 : chunk + 12] in (b"MM\0*", b"II*\0")  # a TIFF header, as the container's specification wants
