"""Pictures that change their size, streams that are not the film, gaps among numbered images, and names of all scripts."""

import shutil

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from fav.cli.cuts import cuts as cuts_command
from fav.errors import FavError
from fav.stylize.indexing import index_segments
from fav.util.image_sequence import check_no_gaps, title
from fav.video import check_film, decode, probe, write_film
from fav.video.shot_detection import read_cuts
from shared.jobs import job_name
from shared.paths import is_id, is_name
from tests.helpers.clips import X264, asked, ffmpeg, make, streams, taken, tone


def images(directory, numbers, size=(96, 64), name="f_%04d.png"):
    directory.mkdir(exist_ok=True)
    for number in numbers:
        picture = np.full((size[1], size[0], 3), 40 + 3 * number, np.uint8)
        assert cv2.imwrite(str(directory / (name % number)), picture)
    return str(directory / name)


def test_change_of_size_in_mid_stream_is_a_cut_and_a_note(tmp_path):
    small = make(tmp_path / "a.ts", *X264, "-bf", "0", picture="testsrc2=size=96x64", seconds=0.4)
    large = make(tmp_path / "b.ts", *X264, "-output_ts_offset", 0.4, picture="testsrc2=size=192x64", seconds=0.4)
    video = tmp_path / "both.ts"
    video.write_bytes(small.read_bytes() + large.read_bytes())
    (piece,) = index_segments(video, None, None)
    assert len(piece.index) == 20 and piece.cuts == (10,)
    assert any("change from 96x64 to 192x64 at frame 10;" in note for note in piece.notes), piece.notes
    assert check_film(video, "film.mp4") == []


def test_images_of_mixed_sizes_and_kinds_are_one_video(tmp_path):
    pattern = images(tmp_path, range(4))
    images(tmp_path, (4, 5), (128, 96))
    cv2.imwrite(pattern % 2, np.full((64, 96), 46, np.uint8))
    (piece,) = index_segments(pattern, None, None)
    assert len(piece.index) == 6 and piece.cuts == (4,)  # gray instead of colors is no other shot
    (note,) = piece.notes
    assert "gray" in note and "96x64 to 128x96 at frame 4" in note


def test_thumbnail_that_comes_first_is_not_the_film(tmp_path):
    film = make(tmp_path / "film.mp4", *X264, *("-c:a", "aac"), inputs=tone(), seconds=0.4)
    video, thumb = tmp_path / "thumb.mp4", ("-f", "lavfi", "-i", "testsrc2=s=320x180:r=25:d=0.04")
    ffmpeg(*thumb, "-i", film, "-map", "0:v", "-map", "1", "-c:v:0", "mjpeg", "-c:v:1", "copy", "-c:a", "copy", video)
    assert (probe(video).width, probe(video).frames) == (96, 10)
    pictures, index, _ = taken(video)
    (note,) = write_film(tmp_path / "out.mp4", video, index, pictures)
    assert note == "the film is made of the video in stream 1 (96x64); left out: the video in stream 0 (320x180)"


def test_of_two_films_the_larger_is_taken_as_ffmpeg_does(tmp_path):
    video, other = tmp_path / "two.mkv", ("-f", "lavfi", "-i", "testsrc2=s=160x90:r=25:d=0.4")
    small = ("-f", "lavfi", "-i", "testsrc2=s=64x36:r=25:d=0.4")
    ffmpeg(*small, *other, "-map", "0", "-map", "1", *X264, "-disposition:v:0", 0, "-disposition:v:1", 0, video)
    ffmpeg("-i", video, "-c", "copy", tmp_path / "ffmpeg.mkv")
    assert probe(video).width == streams(tmp_path / "ffmpeg.mkv", "width", "v:0")[0]["width"] == 160


def test_fonts_and_covers_stay_where_the_container_takes_them(tmp_path):
    (tmp_path / "F.ttf").write_bytes(b"a font")
    make(tmp_path / "cover.png", "-frames:v", 1, "-update", 1)
    film = make(tmp_path / "film.mp4", *X264, seconds=0.2)
    video = tmp_path / "fonts.mkv"
    attached = ("-attach", tmp_path / "F.ttf", "-metadata:s:t:0", "mimetype=application/x-truetype-font", "-attach",
                tmp_path / "cover.png", "-metadata:s:t:1", "mimetype=image/png")  # fmt: skip
    ffmpeg("-i", film, "-c", "copy", *attached, video)
    pictures, index, _ = taken(video)
    assert write_film(tmp_path / "o.mkv", video, index, pictures) == []
    kinds = [stream["codec_type"] for stream in streams(tmp_path / "o.mkv", "codec_type")]
    assert kinds == ["video", "attachment", "video"]
    ffmpeg("-dump_attachment:t:0", tmp_path / "again.ttf", "-i", tmp_path / "o.mkv", "-f", "null", "-")
    assert (tmp_path / "again.ttf").read_bytes() == b"a font"
    (note,) = write_film(tmp_path / "o.mp4", video, index, pictures)
    assert note == "left out: the attached file F.ttf; mp4 cannot have it, .mkv can"
    pictures_there = asked(tmp_path / "o.mp4", "stream_disposition=attached_pic")["streams"]
    assert [stream["disposition"]["attached_pic"] for stream in pictures_there] == [0, 1]


def test_gap_among_numbered_images_is_refused_with_the_missing_numbers(tmp_path):
    pattern = images(tmp_path, [3, 4, 6, 7, 11])
    with pytest.raises(FavError, match=r"from 3 to 11, but 4 are missing \(5, 8 to 10\).*--range 0:2"):
        check_no_gaps(pattern)
    check_no_gaps(pattern, 2)
    with pytest.raises(FavError, match="missing"):
        check_no_gaps(pattern, 3)
    check_no_gaps(images(tmp_path / "whole", range(1, 4)))


@pytest.mark.parametrize("name", ("dir%20x", "sh 100%d", "50%% %04d"))
def test_percent_sign_in_a_directory_is_a_letter(tmp_path, name):
    pattern = images(tmp_path / name, range(3))
    with decode(pattern) as decoding:
        assert len(list(decoding)) == 3


def test_directory_and_glob_get_the_pattern_to_type(tmp_path):
    images(tmp_path, range(3), name="shot.%04d.png")
    for typed in (tmp_path, tmp_path / "*.png", tmp_path / "shot.*"):
        with pytest.raises(FavError, match=r"use .*/shot\.%04d\.png"):
            probe(typed)
    shutil.rmtree(tmp_path / "none", ignore_errors=True)
    with pytest.raises(FavError, match=r"use dir/frame_%04d\.png"):
        probe(tmp_path / "none" / "*.png")


def test_jobs_of_images_are_called_by_their_directory(tmp_path):
    assert title(images(tmp_path / "render 7", range(2))) == "render 7"
    assert title("clips/holiday.mov") == "holiday"


@pytest.mark.parametrize(
    "name, job",
    [
        ("日本語", "日本語--wave"),
        ("Übung", "Übung--wave"),
        ("हिन्दी", "हिन्दी--wave"),
        ("a b/c", "a_b_c--wave"),
        ("\u202egpj", "gpj--wave"),
        ("e\u0301", "é--wave"),
        ("?", "x--wave"),
    ],
)
def test_names_keep_letters_of_any_script(name, job):
    assert job_name(name, "wave") == job and is_name(job) and is_id(f"{job}.0123456789ab")
    assert len(job_name(name * 100, "wave" * 100).encode()) <= 151


@pytest.mark.parametrize("name", ("", ".a", "-a", "a/b", "a b", "a\u202eb", "a\n", "e\u0301", "\ud800", "語" * 60))
def test_names_that_would_mislead_are_none(name):
    assert not is_name(name) and not is_id(f"{name}.0123456789ab")


def test_cuts_command_writes_what_read_cuts_reads(tmp_path):
    shots = [f"color={color}:size=96x64:rate=25:duration=0.4" for color in ("red", "blue", "white")]
    inputs = [word for shot in shots for word in ("-f", "lavfi", "-i", shot)]
    ffmpeg(*inputs, "-filter_complex", "concat=n=3", *X264, tmp_path / "clip.mp4")
    result = CliRunner().invoke(cuts_command, [str(tmp_path / "clip.mp4"), str(tmp_path / "c.csv")])
    assert result.exit_code == 0 and "done: 2 cuts in 30 frames" in result.output, result.output
    assert read_cuts(tmp_path / "c.csv", 30) == (10, 20)
    sheet = cv2.imread(str(tmp_path / "c.png"))
    assert sheet.shape[1] > 2 * 2 * 96
    result = CliRunner().invoke(
        cuts_command, [str(tmp_path / "clip.mp4"), str(tmp_path / "part.csv"), "--range", "12:15"]
    )
    assert result.exit_code == 0 and read_cuts(tmp_path / "part.csv") == ()
