"""What only a muxer can refuse is found before any work: clocks that jump, overlapping sound, odd rates and timecodes."""

import subprocess
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from fav.errors import FavError
from fav.video import FrameIndex, FrameReader, check_film, write_film
from fav.video.container import exact_rate
from fav.video.extras import advanced
from tests.helpers.cases import usual
from tests.helpers.clips import X264, asked, duration, ffmpeg, frame_times, make, streams, taken, tone

TS = ("-c:a", "aac", "-shortest", *X264, "-bf", "0")


def part(directory, name: str, *options, encoding=TS) -> Path:
    return make(directory / name, *encoding, *options, inputs=tone(), seconds=0.6)


def joined(directory, *parts: Path) -> Path:
    """Recordings one after the other, as `cat` joins them."""
    whole = directory / f"joined{parts[0].suffix}"
    whole.write_bytes(b"".join(path.read_bytes() for path in parts))
    return whole


def times_by_ffmpeg(video: Path) -> list[float]:
    """When FFmpeg's own command shows the frames, from the first one on."""
    options = (
        "-map",
        "0:v",
        "-map",
        "0:a",
        "-vsync",
        "passthrough",
        "-enc_time_base:v",
        "1:90000",
        "-f",
        "framecrc",
        "-",
    )
    words = ["ffmpeg", "-v", "quiet", "-i", video, *options]
    lines = subprocess.run(words, check=True, capture_output=True, text=True).stdout.splitlines()
    base = next(Fraction(line.split()[-1]) for line in lines if line.startswith("#tb 0"))
    times = [int(line.split(",")[2]) * base for line in lines if line.startswith("0,")]
    return [float(time - times[0]) for time in times]


@pytest.fixture(params=["back.ts", "ahead.ts", "back.mpg"])
def jumping(request, tmp_path) -> Path:
    way, _, suffix = request.param.partition(".")
    encoding = TS if suffix == "ts" else ("-c:v", "mpeg2video", "-c:a", "mp2", "-shortest")
    first = part(tmp_path, f"1.{suffix}", encoding=encoding)
    offset = ("-output_ts_offset", 3600, "-muxdelay", 0) if way == "ahead" else ()
    return joined(tmp_path, first, part(tmp_path, f"2.{suffix}", *offset, encoding=encoding))


@pytest.mark.parametrize("suffix", usual((".mp4", ".mkv"), ".mp4"))
def test_clock_that_jumps_goes_on_as_in_ffmpeg(tmp_path, jumping, suffix):
    images, index, notes = taken(jumping)
    assert f"at frame {len(images) // 2}; the film has no jump" in notes[-1], notes
    assert ("back" if "back" in notes[-1] else "ahead") in notes[-1]
    out = tmp_path / f"film{suffix}"
    checked = check_film(jumping, out.name)
    assert write_film(out, jumping, index, images) == checked
    shown = frame_times(out)
    assert np.subtract(shown, shown[0]).tolist() == pytest.approx(times_by_ffmpeg(jumping), abs=0.002)
    sound = [float(packet["pts_time"]) for packet in asked(out, "packet=pts_time", "a:0")["packets"]]
    assert np.diff(sound).min() > 0.01 and duration(out) == pytest.approx(1.2, abs=0.1)


def test_frames_behind_a_jump_are_read_in_any_order(jumping):
    images, index, _ = taken(jumping)
    again = FrameIndex.from_json(index.to_json())
    assert index.shift.any() and np.array_equal(again.shift, index.shift)
    with FrameReader(jumping) as reader:
        for number in (len(images) - 1, 3, len(images) // 2, len(images) // 2 - 1, 0):
            assert np.array_equal(reader.read(number, again), images[number])


def test_ordinary_index_has_no_word_of_shifts(tmp_path):
    assert "shifts" not in taken(part(tmp_path, "one.ts"))[1].to_json()


def test_overlapping_sound_is_trimmed_and_the_rest_stays(tmp_path):
    video = joined(tmp_path, part(tmp_path, "1.ts"), part(tmp_path, "2.ts", "-output_ts_offset", 0.58))
    images, index, _ = taken(video)
    out = tmp_path / "film.mp4"
    (note,) = write_film(out, video, index, images)
    assert "which overlap the sound before" in note
    times = [float(packet["dts_time"]) for packet in asked(out, "packet=dts_time", "a:0")["packets"]]
    assert np.diff(times).min() > 0.01 and times[-1] > 1.1


def test_raw_dv_has_the_rate_of_its_frames_and_its_timecode(tmp_path):
    video = make(tmp_path / "pal.dv", "-s", "720x576", "-c:v", "dvvideo", "-pix_fmt", "yuv420p", seconds=0.2)
    images, index, _ = taken(video)
    out = tmp_path / "film.mp4"
    assert check_film(video, out.name) == write_film(out, video, index, images) == []
    assert frame_times(out) == pytest.approx([0, 0.04, 0.08, 0.12, 0.16], abs=1e-6)
    assert streams(out, "avg_frame_rate", "v:0")[0]["avg_frame_rate"] == "25/1"


@pytest.mark.parametrize("suffix", (".mp4", ".mov", ".mkv"))
def test_timecode_goes_on_from_the_first_frame(tmp_path, suffix):
    video, out = make(tmp_path / "tape.mov", "-timecode", "01:02:03:24", *X264, seconds=0.4), tmp_path / f"film{suffix}"
    images, index, _ = taken(video)
    assert write_film(out, video, index, images[3:], start=3) == []
    assert {
        value for key, value in streams(out, "index:stream_tags", "v:0")[0]["tags"].items() if key.lower() == "timecode"
    } == {"01:02:04:02"}


def test_timecode_counts_as_smpte_does():
    ntsc = Fraction(30000, 1001)
    assert advanced("00:00:59;29", 1, ntsc) == "00:01:00;02" and advanced("00:09:59;29", 1, ntsc) == "00:10:00;00"
    assert advanced("00:00:00;00", 107892, ntsc) == "01:00:00;00"
    assert advanced("23:59:59:24", 1, Fraction(25)) == "00:00:00:00"
    assert advanced("10:00:00;00", 0, Fraction(25)) is None and advanced("10:00:00:25", 0, Fraction(25)) is None
    assert advanced("nonsense", 0, Fraction(25)) is None and advanced("00:00:00:00", 0, Fraction(60000)) is None


def test_timecode_that_no_container_takes_is_left_out_with_a_note(tmp_path):
    video = make(tmp_path / "odd.mkv", "-metadata", "timecode=10:00:00;99", *X264, seconds=0.2)
    images, index, _ = taken(video)
    (note,) = write_film(tmp_path / "film.mp4", video, index, images)
    assert note.startswith("left out: the timecode 10:00:00;99") and check_film(video, "film.mp4") == [note]


def test_what_the_muxer_refuses_is_told_before_any_frame(tmp_path, monkeypatch):
    video = part(tmp_path, "sound.mkv")
    assert check_film(video, "film.mp4") == []
    # the muxer's own word, on a stream that it does not take
    monkeypatch.setitem(__import__("fav.video.tracks", fromlist=["COPIED_SOUND"]).COPIED_SOUND, "mp4", ("",))
    monkeypatch.setattr(
        "fav.video.tracks._CopyTrack._overlaps", lambda self, packet: setattr(packet, "dts", 7) or False
    )
    monkeypatch.setattr(
        "fav.video.tracks._CopyTrack._shift", lambda self, packet, pts: setattr(packet, "stream", self.out)
    )
    with pytest.raises(FavError, match=r"expected times, sound and subtitles that \.mp4 supports.*pts .* < dts.*\.mkv"):
        check_film(video, "film.mp4")


def test_check_writes_nothing_and_takes_images_and_parts(tmp_path):
    ffmpeg("-f", "lavfi", "-i", "testsrc2=size=96x64:duration=0.4", tmp_path / "f_%03d.png")
    before = sorted(tmp_path.iterdir())
    assert check_film(str(tmp_path / "f_%03d.png"), "film.mp4", start=2, stop=5) == []
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    "typed, meant", [(23.976, Fraction(24000, 1001)), (59.94, Fraction(60000, 1001)), (12.5, Fraction(25, 2)), (30, 30)]
)
def test_rates_that_are_typed_short_are_exact(typed, meant):
    assert exact_rate(typed) == meant
