"""A film of what is there: stylized frames where they are, the darkened source where they are not."""

import numpy as np
import pytest
from click.testing import CliRunner

import coordinator
from fav.blend import luma
from fav.shelf import Shelf, frame_task
from fav.video import FrameReader, decode

from .films import CUT, FRAMES, clip, create, probe, share, style, work  # noqa: F401


def previewed(share, *words):
    made = CliRunner().invoke(coordinator.main, ["preview", str(share.layout.root), *words])
    assert made.exit_code == 0, made.output
    return made.output


def test_missing_frames_are_the_source_and_the_others_those_of_the_film(share, clip, style):
    job = create(share, clip, style, name="film", crf=0)
    assert work(job)
    missing = {3, 4, CUT, FRAMES - 1}
    for number in missing:
        job.layout.result(frame_task(number)).unlink()
    assert f"with {FRAMES - len(missing)} stylized frames" in previewed(share, "film")
    path = share.layout.root / "film.preview.mp4"
    assert int(probe(path, "stream=nb_read_frames")) == FRAMES and probe(path, "stream=codec_name", "a:0") == "aac"
    shelf = Shelf(job)
    shelf.refresh()
    with FrameReader(clip) as reader, decode(path) as shown:
        for number, decoded in enumerate(shown):
            source = reader.read(number, shelf.timeline.index)
            expected = source // 2 if number in missing else shelf.frame(number)
            gap = np.abs(luma(decoded.image()).astype(int) - luma(expected))  # colours have half the resolution
            assert gap.mean() < 4


def test_it_goes_as_far_as_the_index_and_is_replaced_each_time(share, clip, style, monkeypatch):
    monkeypatch.setattr("fav.film.PIECE", 8)
    from fav.tasks import make_plan
    from shared import results
    from shared.nodes import visiting

    job = create(share, clip, style, name="film")
    refused = CliRunner().invoke(coordinator.main, ["preview", str(share.layout.root)])
    assert refused.exit_code == 2 and "got one that has just begun" in refused.output
    with visiting(share) as node:
        plan = make_plan(job, node, print)
        task = next(plan.candidates())
        results.publish_bytes(node, job, task, plan.run(task, lambda: None))
    assert "with 0 stylized frames" in previewed(share)
    assert int(probe(share.layout.root / "film.preview.mp4", "stream=nb_read_frames")) == 8
    assert work(job) and f"with {FRAMES} stylized frames" in previewed(share)
    taken = CliRunner().invoke(coordinator.main, ["preview", str(share.layout.root), "--out", str(share.layout.root / "film.mp4")])
    assert taken.exit_code == 2 and "expected a new name" in taken.output


@pytest.mark.parametrize("name", ["a.gif", "a"])
def test_a_name_that_is_no_films_is_refused(share, clip, style, tmp_path, name):
    create(share, clip, style, name="film")
    refused = CliRunner().invoke(coordinator.main, ["preview", str(share.layout.root), "--out", str(tmp_path / name)])
    assert refused.exit_code == 2 and "Traceback" not in refused.output
