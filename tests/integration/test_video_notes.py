"""What of a video is not in its film is told when the job is made, by `status` and by the report; where it went, too."""

import json
import os
import shutil

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

import coordinator
from fav.errors import FavError
from fav.pipeline.request import Request
from fav.pipeline.spec import JobSpec
from fav.pipeline.submit import submit
from shared.heartbeat import temporary_member
from tests.helpers.clips import X264, ffmpeg, make, tone
from tests.helpers.video_jobs import create


def made(share, video, style, **options):
    with temporary_member(share) as node:
        return submit(node, Request(str(video), style, given=frozenset(options), **options))


def status(share, *words) -> str:
    result = CliRunner().invoke(coordinator.main, ["status", str(share.layout.root), *words])
    assert result.exit_code == 0, result.output
    return result.output


def spec_of(result) -> JobSpec:
    return JobSpec.from_json(result.job.manifest.spec)


def test_what_is_left_out_is_told_at_once_and_stays_in_status(share, style, tmp_path):
    (tmp_path / "F.ttf").write_bytes(b"a font")
    film = make(tmp_path / "film.mkv", *X264, "-c:a", "pcm_s16le", inputs=tone(), seconds=0.4)
    video = tmp_path / "休日.mkv"
    ffmpeg("-i", film, "-c", "copy", "-attach", tmp_path / "F.ttf", "-metadata:s:t", "mimetype=font/ttf", video)
    result = made(share, video, style, out="film.mp4", crf=0)
    told = [
        "sound in stream 1 (pcm_s16le) is re-encoded as AAC; mp4 cannot have it",
        "the attached file F.ttf; mp4 cannot have it",
        "--crf 0 is lossless",
    ]
    for word in told:
        assert any(word in note for note in result.notes) and word in status(share), word
        assert word in status(share, "--json")
    assert result.job.name.startswith("休日--") and spec_of(result).source.name == str(video)


@pytest.mark.parametrize("change", [{"video": None}, {"video": 7}, {}], ids=str)
def test_a_job_that_does_not_tell_its_video_is_not_asked_for_it(share, style, tmp_path, monkeypatch, change):
    """A new job with the same video gets a copy."""
    video = make(tmp_path / "clip.mp4", *X264, seconds=0.2)
    made(share, video, style, name="first")
    manifest = share.layout.named_manifest("first")
    record = json.loads(manifest.read_bytes())
    del record["spec"]["video"]
    record["spec"] |= change
    manifest.chmod(0o644)
    manifest.write_text(json.dumps(record))
    os.chmod(video, 0o600)  # not linked, since others could not read it
    monkeypatch.setattr("fav.pipeline.import_inputs._cloned", lambda source, target: False)
    second = made(share, video, style, name="second")
    assert any("copied into the job" in note for note in second.notes), second.notes


def test_video_is_linked_or_copied_and_that_is_told(share, style, tmp_path, monkeypatch):
    video = make(tmp_path / "clip.mp4", *X264, seconds=0.2)
    first = made(share, video, style, name="first")
    inside = share.layout.root / spec_of(first).video
    word = (
        "linked into the job, which takes no space; do not overwrite it"
        if os.path.samefile(inside, video)
        else "cloned into the job"
    )
    assert any(word in note for note in first.notes), first.notes

    def refuse(source, target):
        if str(source) == str(video):
            raise OSError(18, "Invalid cross-device link")
        os.link(source, target)

    monkeypatch.setattr("fav.pipeline.import_inputs._cloned", lambda source, target: False)
    monkeypatch.setattr(share.system, "link", refuse)
    second = made(share, video, style, name="second")
    assert any("linked from a job that has the same video" in note for note in second.notes)
    assert os.path.samefile(share.layout.root / spec_of(second).video, inside)
    other = shutil.copy(make(tmp_path / "other.mp4", *X264, picture="testsrc=size=96x64", seconds=0.2), video)
    third = made(share, other, style, name="third")
    assert any("copied into the job:" in note and "in clip.mp4" in note for note in third.notes), third.notes


def images(directory, numbers) -> str:
    directory.mkdir()
    for number in numbers:
        cv2.imwrite(str(directory / f"f_{number:04d}.png"), np.full((64, 96, 3), 30 * number, np.uint8))
    return str(directory / "f_%04d.png")


def test_gap_makes_no_job_unless_the_film_ends_before_it(share, style, tmp_path):
    pattern = images(tmp_path / "render", [0, 1, 2, 4, 5])
    with pytest.raises(FavError, match=r"1 is missing \(3\)"):
        made(share, pattern, style)
    assert list(share.layout.jobs.iterdir()) == []
    assert made(share, pattern, style, range=(0, 3)).job.name.startswith("render--")


def test_only_a_single_picture_is_called_one(share, style, tmp_path):
    pattern = images(tmp_path / "render", range(3))
    single = "is one picture, and its film has one frame"
    assert any(single in note for note in made(share, pattern % 1, style).notes)
    assert not any(single in note for note in made(share, pattern, style).notes)


def test_hdr_that_is_kept_in_eight_bits_is_told(share, style, tmp_path):
    tags = ("-color_trc", "smpte2084", "-color_primaries", "bt2020", "-colorspace", "bt2020nc")
    video = make(tmp_path / "pq.mkv", "-c:v", "ffv1", "-pix_fmt", "yuv420p10le", *tags, seconds=0.2)
    told = "HDR in 8 bits shows bands; --codec hevc --pixel-format yuv420p10 has 10 bits"
    assert told in made(share, video, style, hdr="keep").notes
    assert told not in made(share, video, style, name="toned").notes
    deep = made(share, video, style, hdr="keep", codec="hevc", pixel_format="yuv420p10", name="deep").notes
    assert told not in deep and any("HDR (PQ) is kept, without the mastering metadata" in note for note in deep)


def test_fps_of_a_video_is_told_to_have_no_effect(share, style, tmp_path):
    video = make(tmp_path / "clip.mp4", *X264, seconds=0.2)
    told = "--fps is for numbered images; a video keeps its own times"
    assert told in made(share, video, style, fps=24.0).notes
    assert told not in made(share, images(tmp_path / "render", range(3)), style, fps=24.0).notes


def test_mov_and_upper_case_endings_keep_their_container(share, style, tmp_path):
    clip = make(tmp_path / "a.mov", *X264, "-c:a", "pcm_s16le", inputs=tone(), seconds=0.2)
    ffmpeg("-i", clip, "-c", "copy", tmp_path / "B.MKV")
    first, second = made(share, clip, style), made(share, tmp_path / "B.MKV", style)
    assert spec_of(first).out.endswith(".mov") and spec_of(second).out.endswith(".mkv")
    assert not any("AAC" in note for note in (*first.notes, *second.notes))


def test_cuts_and_ranges_beyond_the_end_are_refused_without_a_count(share, style, tmp_path):
    video = make(tmp_path / "clip.ts", *X264, seconds=0.4)
    (tmp_path / "cuts.csv").write_text("3\n5000\n")
    with pytest.raises(FavError, match="expected frame numbers below the number of frames"):
        made(share, video, style, read_cuts=tmp_path / "cuts.csv")
    with pytest.raises(FavError, match="--range: expected a START below"):
        made(share, video, style, range=(400, 500))


def test_film_inside_share_may_be_named_with_the_way_there(share, style, clip):
    job = create(share, clip, style, out=str(share.layout.root / "films" / "a.mp4"))
    assert JobSpec.from_json(job.manifest.spec).out == "films/a.mp4"
    with pytest.raises(FavError, match="--out: expected a name inside SHARED"):
        create(share, clip, style, name="b", out="/elsewhere/b.mp4")


def test_film_of_a_few_pixels_is_refused(share, style, clip):
    with pytest.raises(FavError, match="--scale: expected a film of at least 8 pixels"):
        create(share, clip, style, scale=0.01)
