"""A film that is encoded in segments has the times, sound and frames of one that is encoded as a whole, as FFmpeg's prober sees it."""

import re
import subprocess
import sys
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from fav.video import decode, encode_segment, encoder_settings, mux_film, write_film
from fav.video.encoded import EncodedPacket, EncodedSegment, check_ends, decoding_delay
from tests.helpers import clips
from tests.helpers.cases import usual
from tests.helpers.clips import FRAMES, X264, asked, coded, frame_times, make, taken, tone, variable

PARTS = [range(0, 9), range(9, 17), range(17, FRAMES)]


def late(directory: Path) -> Path:
    return make(directory / "late.mkv", *X264, "-c:a", "aac", "-output_ts_offset", "3", inputs=tone())


def lossless_sound(directory: Path) -> Path:
    return make(directory / "flac.mkv", *X264, "-c:a", "flac", inputs=tone())


SOURCES = {
    "mp4": lambda directory: coded(directory, "h264.mp4"),
    "a clock from nowhere": lambda directory: coded(directory, "h264.ts"),
    "variable rate": lambda directory: variable(directory, "variable.mp4"),
    "a late start": late,
    "sound re-encoded": lossless_sound,
}


def told(film: Path) -> dict:
    """All times of packets, frames, streams and the container, and the decoder's configuration. Which frame comes when in the
    stream is for the encoder to choose."""
    kept = "index,codec_name,width,height,pix_fmt,start_time,duration,has_b_frames,level,color_range,color_space,time_base,r_frame_rate"
    facts = asked(film, f"packet=stream_index,pts_time,dts_time,duration_time:format=start_time,duration:stream={kept}")
    packets = facts.pop("packets")
    for column in ("dts_time", "pts_time"):
        packets.sort(key=lambda packet: (packet["stream_index"], float(packet.get(column, -1))))
        facts[column] = [(packet["stream_index"], packet.get(column)) for packet in packets]  # Matroska has no dts
    facts["durations"] = [packet.get("duration_time") for packet in packets]
    return facts | {"frames": frame_times(film)}


@pytest.mark.parametrize(
    "source, suffix",
    usual(
        product(SOURCES, (".mp4", ".mkv", ".mov")),
        *[
            ("mp4", ".mp4"),
            ("mp4", ".mov"),
            ("variable rate", ".mkv"),
            ("a late start", ".mkv"),
            ("a late start", ".mp4"),
        ],
        *[("a clock from nowhere", ".mp4"), ("sound re-encoded", ".mp4")],
    ),
)
def test_segmented_film_has_the_times_of_a_whole_one(tmp_path, source, suffix):
    path = SOURCES[source](tmp_path)
    images, index, _ = taken(path)
    films = [tmp_path / f"{how}{suffix}" for how in ("whole", "segmented")]
    count = len(images)
    notes = [
        write_film(film, path, index, images, segments=segments)
        for film, segments in zip(films, (None, [range(0, 9), range(9, 17), range(17, count)]))
    ]
    assert notes[0] == notes[1] and told(films[0]) == told(films[1])
    keyframes = [
        number
        for number, packet in enumerate(asked(films[1], "packet=flags", "v")["packets"])
        if "K" in packet["flags"]
    ]
    assert {0, 9, 17} <= set(keyframes)
    assert warnings(films[0]) == warnings(films[1])


def warnings(film: Path) -> list[str]:
    """What FFmpeg's decoder has to say of a film, without addresses."""
    words = ["ffmpeg", "-v", "warning", "-i", str(film), "-fps_mode", "passthrough", "-f", "null", "-"]
    said = subprocess.run(words, check=True, capture_output=True, text=True).stderr
    return [re.sub("0x[0-9a-f]+", "", line) for line in said.splitlines()]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_part_of_a_video_in_segments_has_the_times_of_a_whole_one(tmp_path, suffix):
    path = SOURCES["variable rate"](tmp_path)
    images, index, _ = taken(path)
    films = [tmp_path / f"{how}{suffix}" for how in ("whole", "segmented")]
    for film, segments in zip(films, (None, [range(3, 11), range(11, 19)])):
        write_film(film, path, index, images[3:19], start=3, stop=19, segments=segments)
    assert told(films[0]) == told(films[1])


def test_frames_are_those_that_were_given_also_at_the_joints(tmp_path):
    path = coded(tmp_path, "h264.mp4")
    images, index, _ = taken(path)
    worst = []
    for name, segments in (("whole", None), ("segmented", PARTS)):
        film = tmp_path / f"{name}.mp4"
        write_film(film, path, index, images, segments=segments, crf=12)
        with decode(film) as frames:
            gaps = [
                np.square(one.image().astype(float) - image).mean() for one, image in zip(frames, images, strict=True)
            ]
        worst.append(10 * np.log10(255**2 / np.max(gaps)))
    assert worst[1] > worst[0] - 0.5  # dB


def test_order_and_place_of_encoding_do_not_matter(tmp_path):
    path = coded(tmp_path, "h264.mp4")
    images, index, _ = taken(path)
    made = lambda part: encode_segment(images[part.start : part.stop], part, path, index, encoder_settings())
    forwards, backwards = [made(part) for part in PARTS], [made(part) for part in reversed(PARTS)][::-1]
    assert forwards == backwards
    assert len({segment.extradata for segment in forwards}) == 1 and forwards[0].extradata


# ---- the file of a segment
@pytest.fixture(scope="module")
def segment(tmp_path_factory) -> EncodedSegment:
    path = coded(tmp_path_factory.mktemp("segment"), "h264.mp4")
    images, index, _ = taken(path)
    made = encode_segment(images[9:17], PARTS[1], path, index, encoder_settings())
    return replace(made, about={"node": "a", "seconds": "1.5"})


def test_file_keeps_a_segment_exactly(segment):
    assert EncodedSegment.from_bytes(segment.to_bytes(), PARTS[1]) == segment
    assert [packet.keyframe for packet in segment.packets] == [True] + [False] * 7
    with pytest.raises(ValueError, match="expected frames 0 to 9, got 9 to 17"):
        EncodedSegment.from_bytes(segment.to_bytes(), PARTS[0])


def test_each_flipped_byte_is_found(segment):
    data = segment.to_bytes()
    for place in range(0, len(data), 7):
        spoiled = data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :]
        with pytest.raises((ValueError, KeyError)):
            EncodedSegment.from_bytes(spoiled)


def test_file_that_is_cut_off_is_found_by_its_ends(segment):
    data = segment.to_bytes()
    check_ends(data[:64], data[-64:], len(data))
    for short in (b"", data[:30], data[:-1], data[:-1000], b"x" + data):
        with pytest.raises(ValueError, match="truncated"):
            check_ends(short[:64], short[-64:])
    with pytest.raises(ValueError, match=f"expected {len(data)} bytes"):
        check_ends(data[:64], data[-64:], len(data) + 1)


def test_packets_of_a_file_can_be_played(segment, tmp_path):
    (tmp_path / "0.seg").write_bytes(segment.to_bytes())
    words = [sys.executable, "-m", "fav.video.encoded", str(tmp_path / "0.seg")]
    raw = subprocess.run(words, check=True, capture_output=True).stdout
    (tmp_path / "0.h264").write_bytes(raw)
    stream = clips.streams(tmp_path / "0.h264", "nb_read_frames,codec_name", "v:0", count=True)[0]
    assert stream == {"codec_name": "h264", "nb_read_frames": "8"}


def test_delay_is_that_of_the_encoders_own_times(segment):
    assert decoding_delay(segment.packets) == 2  # B-frames that refer to B-frames
    plain = [EncodedPacket(pts, pts, b"", True) for pts in (0, 512, 1500)]
    assert decoding_delay(plain) == 0
    with pytest.raises(ValueError, match="presentation times of frames"):
        decoding_delay([EncodedPacket(0, -3, b"", True), EncodedPacket(512, 100, b"", False)])


def test_segment_of_another_film_is_refused(segment, tmp_path):
    path = coded(tmp_path, "h264.mp4")
    images, index, _ = taken(path)
    with pytest.raises(ValueError, match=re.escape("expected packets of frames 0 to 9")):
        mux_film(
            tmp_path / "film.mp4", path, index, lambda frames, extradata: replace(segment, start=0, stop=9),
            segments=PARTS, shape=images[0].shape[:2], to_end=True, encoder=encoder_settings(), name="film.mp4",
        )  # fmt: skip
