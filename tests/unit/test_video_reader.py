"""Every frame of every kind of video, by number, is what a plain pass over it gives, and what FFmpeg's own decoder gives."""

import random
import zlib
from fractions import Fraction

import cv2
import numpy as np
import pytest

from fav.errors import FavError
from fav.video import Decoder, FrameIndex, FrameReader, SourceSettings, decode, probe
from tests.helpers import clips
from tests.helpers.cases import usual
from tests.helpers.clips import (
    CODECS,
    FRAMES,
    HEVC,
    X264,
    asked,
    coded,
    cut,
    ffmpeg,
    frame_times,
    make,
    pictures,
    raw,
    taken,
    tone,
    variable,
)
from tests.helpers.material import material

KEPT = (
    "h264.mp4",
    "h264.ts",
    "h264.avi",
    "open gop.mkv",
    "intra refresh.ts",
    "hevc 10 bit.mkv",
    "vp9.webm",
    "packed bitstream.avi",
    "odd.mkv",
)


def assert_any_order_gives(video, images, index, numbers=None):
    numbers = numbers or list(range(len(images)))
    random.Random(1).shuffle(numbers)
    with FrameReader(video) as reader:
        assert [number for number in numbers if not np.array_equal(reader.read(number, index), images[number])] == []


@pytest.mark.parametrize("name", usual(CODECS, *KEPT, "frame_%03d.png"))
def test_frames_in_any_order_are_those_of_one_pass(tmp_path, name):
    path = coded(tmp_path, name)
    images, index, warnings = taken(path)
    assert warnings == []
    counted = (
        FRAMES if "%" in name else int(clips.streams(path, "nb_read_frames", "v:0", count=True)[0]["nb_read_frames"])
    )
    assert len(images) == len(index) == counted
    assert all(image.flags.c_contiguous and image.dtype == np.uint8 for image in images)
    assert np.all(np.diff(index.pts) > 0)
    assert_any_order_gives(path, images, index)


@pytest.mark.parametrize("name", usual([name for name in CODECS if "%" not in name], *KEPT))
def test_pictures_are_those_of_ffmpeg(tmp_path, name):
    path = coded(tmp_path, name)
    images, index, _ = taken(path)
    expected = pictures(path)
    assert expected.shape == (len(images), *images[0].shape)
    assert np.abs(np.int16(images) - expected).max() <= 1


@pytest.mark.parametrize("name, pix_fmt", [("h264.mp4", "yuv420p"), ("hevc 10 bit.mkv", "yuv420p10le"), ("odd.mkv", "yuv444p"),
                                           ("ffv1 rgb.mkv", "bgr0"), ("mpeg4.avi", "yuv420p")])  # fmt: skip
def test_checksums_are_of_the_decoded_samples_without_padding(tmp_path, name, pix_fmt):
    path = coded(tmp_path, name)
    samples = raw(path, pix_fmt)
    size = len(samples) // FRAMES
    assert taken(path)[1].crc.tolist() == [zlib.crc32(samples[number * size :][:size]) for number in range(FRAMES)]


@pytest.mark.parametrize(
    "name", ["h264.mp4", "h264 fragmented.mp4", "h264.mkv", "h264.ts", "open gop.mkv", "vp9.webm", "prores.mov"]
)
def test_times_are_those_that_ffprobe_sees(tmp_path, name):
    path = coded(tmp_path, name)
    index = taken(path)[1]
    assert [float(pts * index.time_base) for pts in index.pts] == pytest.approx(frame_times(path), abs=1e-5)


def test_avi_has_its_frames_one_after_the_other(tmp_path):
    index = taken(coded(tmp_path, "h264.avi"))[1]
    assert (index.pts * index.time_base).tolist() == [Fraction(number, 25) for number in range(FRAMES)]


def test_variable_rate_keeps_its_times(tmp_path):
    path = variable(tmp_path)
    index = taken(path)[1]
    times = [float(pts * index.time_base) for pts in index.pts]
    assert times == pytest.approx(frame_times(path), abs=1e-5)
    assert len(set(np.diff(index.pts).tolist())) > 2


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_turned_pictures_come_upright(tmp_path, degrees):
    stored = coded(tmp_path, "h264.mp4")
    path = clips.rotated(stored, degrees)
    images, index, _ = taken(path)
    source = probe(path)
    assert (source.width, source.height) == ((96, 64) if degrees == 180 else (64, 96))
    assert np.array_equal(images, [np.rot90(image, degrees // 90) for image in taken(stored)[0]])
    # FFmpeg turns before it makes colors, so edges differ; the next turn is 60 gray levels away.
    assert np.abs(np.int16(images) - pictures(path)).mean() < 10
    assert_any_order_gives(path, images, index, [3, 20, 8])


def test_pixel_aspect_turns_with_the_picture(tmp_path):
    path = clips.rotated(make(tmp_path / "wide.mp4", "-vf", "setsar=4/3", *X264), 90)
    assert probe(path).pixel_aspect == Fraction(3, 4)


def test_probe_says_what_a_video_is(tmp_path):
    tags = ("-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709", "-color_range", "tv")
    path = make(tmp_path / "clip.MP4", *X264, *tags, "-vf", "setsar=2/1", "-c:a", "aac", inputs=tone())
    source = probe(path)
    assert (source.width, source.height, source.rotated, source.codec, source.suffix) == (96, 64, False, "h264", ".mp4")
    assert (source.frames, source.sound, source.pixel_aspect, source.rate) == (25, True, 2, 25)
    assert vars(source.colors) == {"matrix": 1, "range": 1, "primaries": 1, "transfer": 1}


def test_numbered_images_have_the_rate_they_are_given(tmp_path):
    pattern = str(coded(tmp_path, "frame_%03d.png"))
    assert (probe(pattern).rate, probe(pattern).frames, probe(pattern, SourceSettings(fps=10)).rate) == (25, FRAMES, 10)
    index = taken(pattern, SourceSettings(fps=23.976))[1]
    assert index.pts[24] * index.time_base == pytest.approx(1.001)  # 24000/1001 frames a second


def test_gap_in_numbered_images_is_told(tmp_path):
    pattern = str(coded(tmp_path, "frame_%03d.png"))
    (tmp_path / "frame_008.png").unlink()
    images, _, (warning,) = taken(pattern)
    assert len(images) == 7 and "the 7 images before it are used, the 17 after it not" in warning


def test_sound_may_be_the_first_stream(tmp_path):
    path = make(tmp_path / "clip.mkv", "-map", "1:a", "-map", "0:v", *X264, "-c:a", "aac", inputs=tone())
    assert asked(path, "stream=codec_type")["streams"][0]["codec_type"] == "audio"
    assert len(taken(path)[0]) == FRAMES


def test_cover_picture_is_not_the_video(tmp_path):
    make(tmp_path / "cover.png", "-frames:v", "1", picture="color=c=red:size=32x32")
    make(tmp_path / "video.mp4", *X264)
    ffmpeg("-i", tmp_path / "cover.png", "-i", tmp_path / "video.mp4", "-map", "0", "-map", "1", "-c", "copy",
           "-disposition:v:0", "attached_pic", tmp_path / "both.mp4")  # fmt: skip
    assert len(taken(tmp_path / "both.mp4")[0]) == FRAMES


@pytest.mark.parametrize(
    "name",
    [
        "h264.mkv",
        "h264.ts",
        "h264 fragmented.mp4",
        "h264 faststart.mp4",
        "mpeg4.avi",
        "vp9.webm",
        "prores.mov",
        "mjpeg.avi",
    ],
)
def test_truncated_video_gives_what_decodes_and_says_so(tmp_path, name):
    if name == "mjpeg.avi":
        whole = make(tmp_path / name, "-c:v", "mjpeg")
    else:
        whole = coded(tmp_path, name)
    if name == "prores.mov":
        ffmpeg("-i", tmp_path / name, "-c", "copy", "-movflags", "faststart", tmp_path / "fast.mov")
        whole = tmp_path / "fast.mov"
    path = cut(whole, 0.6)
    images, index, warnings = taken(path)
    assert 5 < len(images) < FRAMES
    assert warnings and all(str(path) in warning and "\n" not in warning for warning in warnings)
    assert str(len(images)) in " ".join(warnings)
    assert_any_order_gives(path, images, index)


@pytest.mark.parametrize("name", ["h264.mkv", "h264.ts", "hevc.mp4", "mjpeg.mov", "prores.mov"])
def test_damage_in_the_middle_is_told_and_read_alike_in_any_order(tmp_path, name):
    path = coded(tmp_path, name)
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 900] = bytes(900)
    path.write_bytes(data)
    images, index, warnings = taken(path)
    assert len(images) > 5 and any("damaged" in warning or "stopped" in warning for warning in warnings)
    assert_any_order_gives(path, images, index)


def refused(video) -> str:
    with pytest.raises(FavError) as error:
        probe(video)
    message = str(error.value)
    assert message.startswith(str(video)) and "expected" in message and "\n" not in message
    return message


def test_missing_video_is_one_clear_line(tmp_path):
    assert "does not exist" in refused(tmp_path / "none.mp4")
    assert "numbered without a gap" in refused(str(tmp_path / "frame_%03d.png"))
    assert "numbered without a gap" in refused(str(tmp_path / "100%.mp4"))
    refused("http://example.org/clip.mp4")


def test_what_is_no_video_is_one_clear_line(tmp_path):
    (tmp_path / "text.mp4").write_text("This is not a video.\n" * 50)
    (tmp_path / "empty.mkv").write_bytes(b"")
    assert "cannot read" in refused(tmp_path / "text.mp4")
    assert "got an empty file" in refused(tmp_path / "empty.mkv")
    refused(tmp_path)


def test_truncated_mp4_without_its_table_is_refused_with_the_cure(tmp_path):
    assert "copy or download it again" in refused(cut(coded(tmp_path, "h264.mp4"), 0.6))


def test_sound_alone_is_refused(tmp_path):
    ffmpeg(*tone(), tmp_path / "sound.mp3")
    assert "video stream" in refused(tmp_path / "sound.mp3")


def test_video_without_frames_is_refused(tmp_path):
    ffmpeg("-i", coded(tmp_path, "h264.mp4"), "-c", "copy", "-frames:v", "0", tmp_path / "none.avi")
    assert "no frame of" in refused(tmp_path / "none.avi")


def test_index_travels_in_pieces_as_json(tmp_path):
    import json

    path = coded(tmp_path, "open gop.mkv")
    images, whole, _ = taken(path)
    with decode(path) as decoding:
        frames = list(decoding)
    pieces = [FrameIndex.of(part, whole.time_base) for part in (frames[:10], frames[10:20], frames[20:], [])]
    sent = FrameIndex.concat([FrameIndex.from_json(json.loads(json.dumps(piece.to_json()))) for piece in pieces])
    assert sent.to_json() == whole.to_json() and len(sent) == FRAMES
    with FrameReader(path) as reader:
        assert np.array_equal(reader.read(7, pieces[0]), images[7])
        assert np.array_equal(reader.read(15, FrameIndex.concat(pieces[:2])), images[15])


def test_reading_on_never_seeks_and_the_frame_before_is_at_hand(tmp_path, monkeypatch):
    path = coded(tmp_path, "h264.mkv")
    images, index, _ = taken(path)
    with FrameReader(path) as reader:
        monkeypatch.setattr(Decoder, "seek", None)
        monkeypatch.setattr(FrameReader, "_restart", None)
        for number in range(1, FRAMES):
            assert np.array_equal(reader.read(number, index), images[number])
            assert np.array_equal(reader.read(number - 1, index), images[number - 1])


@pytest.mark.parametrize("size", [(48, 32), (200, 100)])
def test_reader_brings_frames_to_size(tmp_path, size):
    import cv2

    path = coded(tmp_path, "h264.mkv")
    images, index, _ = taken(path)
    how = cv2.INTER_AREA if size[0] < 96 else cv2.INTER_CUBIC
    with FrameReader(path, size=size) as reader:
        assert np.array_equal(reader.read(9, index), cv2.resize(images[9], size, interpolation=how))


def test_replaced_video_is_noticed(tmp_path):
    path = coded(tmp_path, "h264.mkv")
    index = taken(path)[1]
    make(path, *X264, picture="testsrc=size=96x64")
    with (
        FrameReader(path) as reader,
        pytest.raises(FavError, match=r"frame 13 differs from the indexed one.*replaced.*FFmpeg"),
    ):
        reader.read(13, index)
    make(path, *X264, seconds=0.2)
    with FrameReader(path) as reader, pytest.raises(FavError, match="replaced"):
        reader.read(20, index)


@pytest.mark.parametrize("name", CODECS)
def test_small_pictures_are_the_pictures_but_small(tmp_path, name):
    with decode(coded(tmp_path, name)) as decoding:
        for decoded in decoding:
            picture, small = decoded.image(), decoded.thumbnail(48)
            assert small.shape == (32, 48, 3) and decoded.thumbnail(1000).shape == picture.shape
            gap = cv2.absdiff(*(cv2.resize(image, (6, 4), interpolation=cv2.INTER_AREA) for image in (picture, small)))
            assert gap.mean() < 4 and gap.max() < 16


@pytest.mark.parametrize("size", ["640x2", "2x640", "1000x36"])
def test_small_pictures_of_slim_ones_are_there(tmp_path, size):
    with decode(make(tmp_path / "slim.mkv", "-c:v", "ffv1", picture=f"color=c=0x808080:size={size}")) as decoding:
        small = next(decoding).thumbnail(256)
    assert max(small.shape[:2]) == 256 and min(small.shape[:2]) >= 1 and np.abs(small.astype(int) - 128).max() <= 2


def test_frames_of_a_pass_do_not_hold_their_pictures(tmp_path):
    with decode(coded(tmp_path, "h264.mkv")) as decoding:
        first, second = next(decoding), next(decoding)
        second.image()
        with pytest.raises(ValueError, match="before the next frame"):
            first.image()


def test_ten_bits_become_eight(tmp_path):
    gray = make(tmp_path / "gray.mkv", *HEVC, "-pix_fmt", "yuv420p10le", picture="color=c=0x808080:size=96x64")
    images = taken(gray)[0]
    assert np.abs(np.int16(images[5]) - 128).max() <= 1


@pytest.mark.parametrize("name, count", [("videos/bigbuckbunny.mp4", 132), ("videos/scene_cuts.mp4", 250)])
def test_real_videos_are_read_in_any_order(name, count):
    path = material(name)
    numbers = sorted(random.Random(2).sample(range(count), 6))
    images, frames = {}, []
    with decode(path) as decoding:
        for decoded in decoding:
            frames.append(decoded)
            if decoded.number in numbers:
                images[decoded.number] = decoded.image()
        assert len(frames) == count and decoding.warnings == []
    index = FrameIndex.of(frames, decoding.time_base)
    assert [float(pts * index.time_base) for pts in index.pts] == pytest.approx(frame_times(path), abs=1e-5)
    assert_any_order_gives(path, images, index, numbers)
