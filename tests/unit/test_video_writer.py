"""Films that are written have what their source has, as FFmpeg's own prober and decoder see it."""

import re
import struct
import subprocess
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from fav.errors import FavError
from fav.video import check_film_name, probe, write_film
from tests.helpers import clips
from tests.helpers.cases import usual
from tests.helpers.clips import (
    FRAMES,
    VP9,
    X264,
    asked,
    coded,
    duration,
    ffmpeg,
    frame_times,
    make,
    pictures,
    streams,
    taken,
    tone,
    variable,
)
from tests.helpers.material import material

CONTAINERS = (".mp4", ".mkv", ".mov")
SOURCES = ("h264.mp4", "h264 fragmented.mp4", "h264.mkv", "h264.ts", "h264.avi", "hevc 10 bit.mkv", "vp9.webm", "packed bitstream.avi",
           "prores.mov", "mjpeg.mov", "odd.mkv", "frame_%03d.png")  # fmt: skip
SUBTITLES = "1\n00:00:00,200 --> 00:00:00,400\nHello <i>there</i>\n\n2\n00:00:00,520 --> 00:00:00,800\ntwo\nlines\n\n"
CHAPTERS = ";FFMETADATA1\n" + "".join(f"[CHAPTER]\nTIMEBASE=1/1000\nSTART={start}\nEND={end}\ntitle={title}\n"
                                      for start, end, title in ((0, 480, "One"), (480, 1000, "Two")))  # fmt: skip


def rewritten(path, out: Path, images=None, **options) -> list[str]:
    """Write a film from all frames of a video, or `images` in their place; the notes."""
    decoded, index, _ = taken(path)
    return write_film(out, path, index, images or decoded[options.get("start", 0) : options.get("stop")], **options)


def length(path: Path) -> float:
    """How long the video lasts from its first frame on, in seconds."""
    return float(streams(path, "duration", "v")[0].get("duration", duration(path)))


def sound_times(path: Path, track: int = 0) -> list[float]:
    packets = asked(path, "packet=pts_time", f"a:{track}")["packets"]
    return [float(packet["pts_time"]) for packet in packets]


def sound(path: Path, *options) -> np.ndarray:
    """The samples of a file's first sound track, mono at 8 kHz."""
    words = [
        "ffmpeg",
        "-v",
        "quiet",
        "-i",
        str(path),
        *options,
        "-map",
        "0:a:0",
        "-ac",
        "1",
        "-ar",
        "8000",
        "-f",
        "s16le",
        "-",
    ]
    return np.frombuffer(subprocess.run(words, check=True, capture_output=True).stdout, np.int16)


@pytest.mark.parametrize(
    "name",
    usual(SOURCES, "h264.mp4", "h264.ts", "h264.avi", "vp9.webm", "packed bitstream.avi", "odd.mkv", "frame_%03d.png"),
)
def test_film_has_the_frames_and_times_of_its_source(tmp_path, name):
    path, out = coded(tmp_path, name), tmp_path / "film.mp4"
    images, index, _ = taken(path)
    assert write_film(out, path, index, images) == []
    assert int(streams(out, "nb_read_frames", "v:0", count=True)[0]["nb_read_frames"]) == len(images)
    times = index.pts * float(index.time_base)
    clock = times[0] if name.endswith(".ts") else 0
    assert frame_times(out) == pytest.approx((times - clock).tolist(), abs=1e-5)
    if "%" not in name:
        assert length(out) == pytest.approx(length(path), abs=0.001)
    height, width = images[0].shape[:2]
    (stream,) = streams(out, "width,height,codec_name,pix_fmt")
    assert stream.pop("pix_fmt") in ("yuv420p", "yuvj420p")  # two names for the two ranges
    assert stream == {"codec_name": "h264", "width": width + width % 2, "height": height + height % 2}


@pytest.mark.parametrize("suffix", usual(CONTAINERS, ".mp4", ".mkv"))
def test_variable_rate_is_kept(tmp_path, suffix):
    path, out = variable(tmp_path, "variable.mp4"), tmp_path / f"film{suffix}"
    assert rewritten(path, out) == []
    assert frame_times(out) == pytest.approx(frame_times(path), abs=0.0006 if suffix == ".mkv" else 1e-5)
    assert duration(out) == pytest.approx(duration(path), abs=0.001)


@pytest.mark.parametrize(
    "name, suffix",
    usual(product(["h264.mp4", "h264.mkv", "h264.ts"], [".mp4", ".mkv"]), ("h264.mp4", ".mkv"), ("h264.ts", ".mp4")),
)
def test_sound_and_picture_begin_as_in_the_source(tmp_path, name, suffix):
    path = make(tmp_path / name, *X264, "-c:a", "aac", inputs=tone())
    out = tmp_path / f"film{suffix}"
    assert rewritten(path, out) == []
    lead = [frame_times(file)[0] - next(time for time in sound_times(file) if time >= 0) for file in (path, out)]
    assert lead[0] == pytest.approx(lead[1], abs=0.0011)
    assert duration(out) == pytest.approx(duration(path), abs=0.025)  # a packet of sound: MP4 knows its end to a sample
    if name == "h264.ts":
        assert frame_times(out)[0] < 0.1 < 1 < frame_times(path)[0]  # its clock starts anywhere
    else:
        assert frame_times(out) == pytest.approx(frame_times(path), abs=0.0006)


def test_source_that_starts_late_does_so_in_the_film(tmp_path):
    path = make(tmp_path / "late.mkv", *X264, "-c:a", "aac", "-output_ts_offset", "3", inputs=tone())
    out = tmp_path / "film.mkv"
    rewritten(path, out)
    assert frame_times(out) == pytest.approx(frame_times(path), abs=0.0006) and frame_times(out)[0] > 2.9
    assert sound_times(out) == pytest.approx(sound_times(path), abs=0.0006)


@pytest.mark.parametrize("suffix", usual(CONTAINERS, ".mp4", ".mkv"))
def test_two_sound_tracks_are_copied_packet_for_packet(tmp_path, suffix):
    path = make(tmp_path / "clip.mkv", "-map", "1:a", "-map", "0:v", "-map", "2:a", *X264, "-c:a", "aac", "-ac:a:1", "2",
                "-metadata:s:a:0", "language=eng", "-metadata:s:a:1", "language=ita", inputs=(*tone(440), *tone(880)))  # fmt: skip
    out = tmp_path / f"film{suffix}"
    assert rewritten(path, out) == []
    assert [
        (track["codec_name"], track["tags"]["language"])
        for track in streams(out, "codec_name:stream_tags=language", "a")
    ] == [("aac", "eng"), ("aac", "ita")]
    for track in ("0:a:0", "0:a:1"):
        packets = [subprocess.run(["ffmpeg", "-v", "quiet", "-i", file, "-map", track, "-c", "copy", "-f", "streamhash", "-"],
                                  check=True, capture_output=True).stdout for file in (path, out)]  # fmt: skip
        assert packets[0] == packets[1] and b"SHA256" in packets[0]


def test_last_sound_of_ogg_does_not_last_for_hours(tmp_path):
    sound = (*tone(seconds=0.2), "-c:v", "libtheora", "-c:a", "libvorbis")
    source = make(tmp_path / "source.ogv", *sound, seconds=0.2)
    rewritten(source, tmp_path / "film.mkv")
    assert 0.2 <= duration(tmp_path / "film.mkv") < 0.3


def test_silent_source_gives_a_silent_film(tmp_path):
    path = coded(tmp_path, "h264.mp4")
    assert rewritten(path, tmp_path / "film.mp4") == []
    assert streams(tmp_path / "film.mp4", "codec_type") == [{"codec_type": "video"}]
    assert not probe(path).sound


@pytest.mark.parametrize("codec, suffix, result", [
    ("pcm_s16le", ".mp4", "aac"), ("libvorbis", ".mp4", "aac"), ("flac", ".mp4", "flac"), ("libmp3lame", ".mp4", "mp3"),
    ("libopus", ".mov", "aac"), ("pcm_s16le", ".mov", "pcm_s16le"), ("libvorbis", ".mkv", "vorbis"), ("pcm_s16le", ".mkv", "pcm_s16le"),
])  # fmt: skip
def test_sound_is_copied_where_the_container_takes_it_and_else_encoded_anew(tmp_path, codec, suffix, result):
    path = make(tmp_path / "clip.mkv", *X264, "-c:a", codec, "-strict", "-2", "-ar", "48000", inputs=tone())
    out = tmp_path / f"film{suffix}"
    notes = rewritten(path, out)
    assert streams(out, "codec_name", "a") == [{"codec_name": result}]
    assert bool(notes) == (result == "aac") and all("re-encoded as AAC" in note for note in notes)
    before, after = sound(path), sound(out)
    assert len(after) == pytest.approx(len(before), abs=8000 * 0.03)
    spectrum = np.abs(np.fft.rfft(after[2000:6000]))
    assert np.argmax(spectrum) * 2 == pytest.approx(440, abs=3)


@pytest.mark.parametrize("suffix", CONTAINERS)
def test_sound_of_a_webm_goes_into_every_container(tmp_path, suffix):
    path = make(tmp_path / "clip.webm", *VP9, "-c:a", "libopus", inputs=tone())
    rewritten(path, tmp_path / f"film{suffix}")
    before, after = sound(path), sound(tmp_path / f"film{suffix}")
    assert len(after) == pytest.approx(len(before), abs=8000 * 0.03)


@pytest.mark.parametrize("suffix, kind, text", [(".mkv", "subrip", "subrip"), (".mp4", "subrip", "mov_text"), (".mov", "ass", "mov_text"),
                                                (".mkv", "ass", "ass"), (".mp4", "webvtt", "mov_text")])  # fmt: skip
def test_text_subtitles_are_kept(tmp_path, suffix, kind, text):
    (tmp_path / "words.srt").write_text(SUBTITLES)
    path = make(tmp_path / "clip.mkv", *X264, "-map", "0:v", "-map", "1", "-c:s", kind, "-metadata:s:s:0", "language=fra",
                inputs=("-i", tmp_path / "words.srt"))  # fmt: skip
    out = tmp_path / f"film{suffix}"
    assert rewritten(path, out) == []
    assert streams(out, "codec_name:stream_tags=language", "s") == [{"codec_name": text, "tags": {"language": "fra"}}]
    words = subprocess.run(
        ["ffmpeg", "-v", "quiet", "-i", str(out), "-f", "srt", "-"], check=True, capture_output=True, text=True
    ).stdout
    assert re.sub("</?i>", "", words) == re.sub("</?i>", "", SUBTITLES)


@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_range_keeps_the_subtitles_that_are_on_screen_at_its_ends(tmp_path, suffix):
    (tmp_path / "words.srt").write_text(SUBTITLES)
    path = make(
        tmp_path / "clip.mkv",
        *X264,
        "-map",
        "0:v",
        "-map",
        "1",
        "-c:s",
        "subrip",
        inputs=("-i", tmp_path / "words.srt"),
    )
    out = tmp_path / f"film{suffix}"
    assert rewritten(path, out, start=8, stop=15) == []  # 0.32 s to 0.6 s
    words = subprocess.run(
        ["ffmpeg", "-v", "quiet", "-i", str(out), "-f", "srt", "-"], check=True, capture_output=True, text=True
    ).stdout
    assert re.findall("..:..:..,...", words) == ["00:00:00,000", "00:00:00,080", "00:00:00,200", "00:00:00,280"]


def test_mov_text_becomes_text_that_matroska_takes(tmp_path):
    (tmp_path / "words.srt").write_text(SUBTITLES)
    path = make(
        tmp_path / "clip.mp4",
        *X264,
        "-map",
        "0:v",
        "-map",
        "1",
        "-c:s",
        "mov_text",
        inputs=("-i", tmp_path / "words.srt"),
    )
    rewritten(path, tmp_path / "film.mkv")
    words = subprocess.run(
        ["ffmpeg", "-v", "quiet", "-i", str(tmp_path / "film.mkv"), "-f", "srt", "-"], check=True, capture_output=True
    ).stdout
    assert words.decode().replace("\r\n", "\n") == SUBTITLES


def test_subtitles_that_are_pictures_are_left_out_of_mp4_with_a_note(tmp_path):
    def segment(kind: int, body: bytes) -> bytes:
        return b"PG" + struct.pack(">IIBH", 18000, 0, kind, len(body)) + body

    (tmp_path / "words.sup").write_bytes(
        segment(0x16, struct.pack(">HHBHBBBB", 96, 64, 0x10, 0, 0x80, 0, 0, 0)) + segment(0x80, b"")
    )
    path = make(
        tmp_path / "clip.mkv", *X264, "-map", "0:v", "-map", "1", "-c:s", "copy", inputs=("-i", tmp_path / "words.sup")
    )
    notes = rewritten(path, tmp_path / "film.mp4")
    assert notes == ["left out: subtitles in stream 1 (hdmv_pgs_subtitle); mp4 cannot have it"]
    assert rewritten(path, tmp_path / "film.mkv") == []
    assert streams(tmp_path / "film.mkv", "codec_name", "s") == [{"codec_name": "hdmv_pgs_subtitle"}]


def chapters(path: Path) -> list[tuple[float, float, str]]:
    return [(float(chapter["start_time"]), float(chapter["end_time"]), chapter["tags"]["title"])
            for chapter in asked(path, "chapter=start_time,end_time:chapter_tags=title")["chapters"]]  # fmt: skip


@pytest.mark.parametrize("suffix", usual(CONTAINERS, ".mp4", ".mkv"))
def test_chapters_are_kept(tmp_path, suffix):
    (tmp_path / "chapters.txt").write_text(CHAPTERS)
    kind = ".mp4" if suffix == ".mkv" else ".mkv"
    path = make(
        tmp_path / f"clip{kind}", *X264, "-map", "0:v", "-map_metadata", "1", inputs=("-i", tmp_path / "chapters.txt")
    )
    out = tmp_path / f"film{suffix}"
    rewritten(path, out)
    assert chapters(out) == chapters(path) == [(0, 0.48, "One"), (0.48, 1, "Two")]
    rewritten(path, out, start=5, stop=15)
    assert chapters(out) == [(0, 0.28, "One"), (0.28, 0.4, "Two")]


@pytest.mark.parametrize("suffix", usual(CONTAINERS, ".mp4", ".mkv"))
def test_pixel_aspect_and_color_tags_are_kept(tmp_path, suffix):
    tags = ("-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709", "-color_range", "tv")
    path, out = make(tmp_path / "clip.mp4", *X264, *tags, "-vf", "setsar=4/3"), tmp_path / f"film{suffix}"
    rewritten(path, out)
    entries = "sample_aspect_ratio,display_aspect_ratio,color_range,color_space,color_transfer,color_primaries"
    assert streams(out, entries) == streams(path, entries)
    assert streams(out, entries)[0]["sample_aspect_ratio"] == "4:3"


@pytest.mark.parametrize("degrees", usual([90, 180, 270], 90, 180))
def test_turned_source_gives_an_upright_film(tmp_path, degrees):
    path, out = clips.rotated(make(tmp_path / "clip.mp4", *X264, "-vf", "setsar=4/3"), degrees), tmp_path / "film.mp4"
    rewritten(path, out, crf=8)
    (stream,) = streams(out, "width,height,sample_aspect_ratio:stream_side_data=rotation")
    assert (stream["width"], stream["height"], stream["sample_aspect_ratio"]) == (
        (96, 64, "4:3") if degrees == 180 else (64, 96, "3:4")
    )
    assert "side_data_list" not in stream
    assert np.abs(pictures(out)[::6].astype(int) - pictures(path)[::6]).mean() < 12


def test_odd_frames_are_made_even_by_repeating_their_edge(tmp_path):
    path, out = coded(tmp_path, "h264.mp4"), tmp_path / "film.mp4"
    frame = np.full((31, 45, 3), (40, 90, 200), np.uint8)
    rewritten(path, out, images=[frame] * FRAMES)
    assert pictures(out).shape[1:3] == (32, 46)
    assert np.abs(pictures(out)[0].astype(int) - (40, 90, 200)).max() <= 3


PATCHES = np.array(
    [(0, 0, 255), (0, 255, 0), (255, 0, 0), (0, 255, 255), (255, 255, 0), (255, 0, 255), (255, 255, 255), (90, 30, 160)]
)


@pytest.mark.parametrize("name, matrix, tags, height", [
    ("bt709", "bt709", ("-colorspace", "bt709", "-color_range", "tv"), 64), ("bt601", "smpte170m", ("-colorspace", "smpte170m"), 64),
    ("bt709 full", "bt709", ("-colorspace", "bt709", "-color_range", "pc"), 64), ("bt2020", "bt2020nc", ("-colorspace", "bt2020nc"), 64),
    ("bt709 10 bit", "bt709", ("-colorspace", "bt709"), 64), ("small untagged", "smpte170m", (), 64), ("large untagged", "bt709", (), 720),
])  # fmt: skip
def test_saturated_colors_come_back(tmp_path, name, matrix, tags, height):
    picture = np.repeat(np.repeat(PATCHES[None], height, 0), 16, 1).astype(np.uint8)
    path, out, ppm = tmp_path / f"{name}.mkv", tmp_path / "film.mp4", tmp_path / "patches.ppm"
    ppm.write_bytes(b"P6 128 %d 255\n" % height + picture[..., ::-1].tobytes())
    span = "pc" if "pc" in tags else "tv"
    space = {"smpte170m": "bt601", "bt2020nc": "bt2020"}.get(matrix, matrix)
    pix_fmt = "yuv420p10le" if "10 bit" in name else "yuv420p"
    ffmpeg("-loop", "1", "-i", ppm, "-frames:v", "3", "-vf", f"scale=out_color_matrix={space}:out_range={span}:flags=accurate_rnd",
           "-pix_fmt", pix_fmt, *tags, "-c:v", "libx264", "-qp", "1", path)  # fmt: skip
    images, index, _ = taken(path)
    assert np.abs(images[1][height // 2, 8::16].astype(int) - PATCHES).max() <= 3
    write_film(out, path, index, images, crf=1)
    (stream,) = streams(out, "color_space,color_range")
    assert stream == {"color_space": matrix, "color_range": span}
    assert np.abs(pictures(out, matrix=space)[1][height // 2, 8::16].astype(int) - PATCHES).max() <= 4


def test_colors_stay_in_their_place(tmp_path):
    path, out = coded(tmp_path, "h264.mp4"), tmp_path / "film.mp4"
    frame = np.full((64, 96, 3), 100, np.uint8)
    frame[:, 40:] = (40, 60, 200)
    rewritten(path, out, images=[frame] * FRAMES, crf=1)
    for _ in range(3):
        images = taken(out)[0]
        rewritten(out, tmp_path / "again.mp4", images=images, crf=1)
        out = (tmp_path / "again.mp4").rename(tmp_path / "film.mp4")
    profile = taken(out)[0][5][32, :, 2].astype(int)
    assert abs(int(np.argmax(np.diff(profile))) - 39) <= 1 and np.abs(profile - frame[32, :, 2])[[36, 43]].max() <= 6


@pytest.mark.parametrize("suffix", usual(CONTAINERS, ".mp4", ".mkv"))
def test_part_of_a_source_begins_at_zero_with_its_own_sound(tmp_path, suffix):
    sweep = (
        "-f",
        "lavfi",
        "-i",
        "aevalsrc='if(lt(t\\,0.4)\\,sin(2*PI*500*t)\\,sin(2*PI*1500*t))':duration=1:sample_rate=48000",
    )
    path, out = make(tmp_path / "clip.mkv", *X264, "-c:a", "aac", inputs=sweep), tmp_path / f"film{suffix}"
    rewritten(path, out, start=10, stop=20)
    assert frame_times(out) == pytest.approx([number / 25 for number in range(10)], abs=0.0006)
    samples = sound(out)
    assert len(samples) == pytest.approx(8000 * 0.4, abs=8000 * 0.03)
    assert np.argmax(np.abs(np.fft.rfft(samples[400:2800]))) * 8000 / 2400 == pytest.approx(1500, abs=20)
    assert duration(out) == pytest.approx(0.4, abs=0.03)


def test_beginning_of_a_source_ends_with_its_last_frame(tmp_path):
    path, out = make(tmp_path / "clip.mp4", *X264, "-c:a", "aac", inputs=tone()), tmp_path / "film.mp4"
    images, index, _ = taken(path)
    rewritten(path, out, stop=10)
    assert duration(out) == pytest.approx(0.4, abs=0.025)
    rewritten(path, out, start=20)
    assert len(frame_times(out)) == 5 and duration(out) == pytest.approx(0.2, abs=0.025)


def test_same_input_gives_the_same_bytes(tmp_path):
    path = make(tmp_path / "clip.mkv", *X264, "-c:a", "libvorbis", inputs=tone())
    for suffix in CONTAINERS:
        films = [tmp_path / f"{name}{suffix}" for name in ("one", "two")]
        for film in films:
            rewritten(path, film)
        assert films[0].read_bytes() == films[1].read_bytes()


def test_frames_that_are_too_few_or_too_many_are_an_error(tmp_path):
    path = coded(tmp_path, "h264.mp4")
    images, index, _ = taken(path)
    for wrong, got in ((images[:-1], "24"), ([*images, images[0]], "more"), ([], "0")):
        with pytest.raises(FavError, match=f"expected 25 frames, got {got}"):
            write_film(tmp_path / "film.mp4", path, index, iter(wrong))
    with pytest.raises(FavError, match="expected 5 frames, got more"):
        write_film(tmp_path / "film.mp4", path, index, images, start=0, stop=5)


@pytest.mark.parametrize("name", ["film.avi", "film", "film.mp4.txt"])
def test_other_names_for_films_are_refused_before_work(name, tmp_path):
    with pytest.raises(FavError, match=r"\.mp4, \.mkv, \.mov"):
        check_film_name(name)
    check_film_name("100%d: a film.MKV")
    with pytest.raises(FavError, match=r"got \.GIF; the command preview makes a small \.gif"):
        check_film_name("film.GIF")


def test_truncated_source_gives_a_film_of_what_decodes(tmp_path):
    path = clips.cut(make(tmp_path / "clip.mkv", *X264, "-c:a", "aac", inputs=tone()), 0.6)
    out = tmp_path / "film.mp4"
    rewritten(path, out)
    assert len(frame_times(out)) == len(taken(path)[0]) < FRAMES
    assert [stream["codec_type"] for stream in streams(out, "codec_type")] == ["video", "audio"]


@pytest.mark.parametrize("suffix", CONTAINERS)
def test_full_disk_is_an_error_of_the_system(tmp_path, suffix):
    path, out = coded(tmp_path, "h264.mp4"), tmp_path / f"film{suffix}"
    out.symlink_to("/dev/full")
    with pytest.raises(OSError) as error:
        rewritten(
            path,
            out,
            images=[np.random.default_rng(1).integers(0, 255, (240, 320, 3)).astype(np.uint8)] * FRAMES,
            crf=1,
        )
    assert error.value.errno == 28


def test_real_video_keeps_frames_times_duration_and_sound(tmp_path):
    path, out = material("videos/bigbuckbunny.mp4"), tmp_path / "film.mp4"
    images, index, _ = taken(path)
    small = [image[::8, ::8] for image in images]
    assert write_film(out, path, index, small) == []
    assert len(small) == 132 and frame_times(out) == pytest.approx(frame_times(path), abs=1e-5)
    assert duration(out) == pytest.approx(duration(path), abs=0.001)
    for entries, stream in (("codec_name,duration,sample_rate,channels", "a"), ("duration,nb_frames", "v")):
        assert streams(out, entries, stream) == streams(path, entries, stream)
