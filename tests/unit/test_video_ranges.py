"""Ranges of a video, decoded independently: together they give the index of one pass, byte for byte, or say why not."""

import json
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from fav.pipeline.checked_json import with_checksum
from fav.stylize.indexing import index_of_ranges, index_segments
from fav.video import DEFAULT_SETTINGS, SourceSettings, ranges
from fav.video.ranges import DecodedRange, Survey, UnusableRangeError, decode_range, survey
from fav.video.shot_detection import THRESHOLD
from tests.helpers.cases import usual
from tests.helpers.clips import CODECS, cut, ffmpeg, make, tone
from tests.helpers.damage import copied

SECONDS, LEAST = 6, 12
# Three cuts, one of which is soon taken back, and a flash: within ranges and where they meet.
EFFECTS = "negate=enable='between(n,30,59)+between(n,60,62)+gt(n,95)+between(n,120,121)'"
CLOSED = ("-c:v", "libx264", "-pix_fmt", "yuv420p", "-bf", "3", "-g", "12")
MPEG2 = ("-c:v", "mpeg2video", "-bf", "2", "-g", "12", "-q:v", "3")
TIMES = "settb=1/1000,setpts='(N+0.2*mod(N,5)+3*gt(N,50))/25/TB'"
VARIABLE = ("-vf", f"{EFFECTS},{TIMES}", "-fps_mode", "passthrough", "-enc_time_base", "1:1000")
CLIPS = {
    **{name: CODECS[name] for name in CODECS if name.startswith(("h264", "hevc", "vp9", "prores", "mjpeg", "ffv1"))},
    "mpeg2 open gop.ts": MPEG2,
    "mpeg2.mpg": MPEG2,
    "mpeg4.mp4": ("-c:v", "mpeg4", "-bf", "2", "-g", "12", "-q:v", "3"),
    "variable rate.mp4": (*VARIABLE, *CLOSED),
    "variable rate.mkv": (*VARIABLE, *CLOSED),
    "interlaced.ts": ("-flags", "+ilme+ildct", *MPEG2),
    "sound.ts": (*CLOSED, "-c:a", "aac"),
}
KEPT = (
    "h264.mp4",
    "h264 fragmented.mp4",
    "h264.mkv",
    "vp9.webm",
    "mjpeg.mov",
    "mpeg2 open gop.ts",
    "variable rate.mkv",
    "sound.ts",
)
ONE_PASS = {
    "h264.avi": "has no times",
    "open gop.mp4": "too few keyframes",
    "intra refresh.ts": "too few keyframes",
    "a.gif": "no keyframes to rely on",
    "theora.ogv": "no keyframes to rely on",
    "ffv1 rgb.mkv": "no keyframes to rely on",
}


def made(directory: Path, name: str, options: tuple[str, ...]) -> Path:
    effects = () if "-vf" in options else ("-vf", EFFECTS)
    return make(directory / name, *effects, *options, seconds=SECONDS, inputs=tone(seconds=SECONDS))


def surveyed(video: Path, stop: int | None = None, settings: SourceSettings = DEFAULT_SETTINGS) -> Survey:
    """As it is read from the share."""
    return Survey.from_json(json.loads(json.dumps(survey(video, settings, stop, LEAST).to_json())))


def decoded(
    video: Path, known: Survey, settings: SourceSettings = DEFAULT_SETTINGS, threshold: float | None = THRESHOLD
) -> list[DecodedRange]:
    """All ranges as they are read from the share, the last one decoded first."""
    records = [
        with_checksum(decode_range(video, known, number, settings, threshold).to_json())
        for number in reversed(range(len(known.ranges)))
    ]
    return [DecodedRange.from_json(json.loads(record), THRESHOLD) for record in reversed(records)]


def pieces(segments) -> list[bytes]:
    return [with_checksum(segment.to_json()) for segment in segments]


@pytest.mark.parametrize("name", usual(sorted(set(CLIPS) - set(ONE_PASS)), *KEPT))
def test_ranges_give_the_index_of_one_pass(tmp_path, name):
    video = made(tmp_path, name, CLIPS[name])
    known = surveyed(video)
    assert known.why == "" and len(known.ranges) > ranges.LEAST_RANGES
    found = decoded(video, known)
    assert [one.why for one in found] == [""] * len(found)
    whole = list(index_segments(video, None, None))
    assert len(whole) == 2 and sum(len(piece.cuts) for piece in whole) >= 2
    assert pieces(index_of_ranges(found, None, None)) == pieces(whole)


@pytest.mark.parametrize("name", ONE_PASS)
def test_where_ranges_cannot_be_relied_on_one_pass_is_left(tmp_path, name):
    kinds = {"a.gif": ("-pix_fmt", "rgb8"), "theora.ogv": ("-c:v", "libtheora", "-g", "12")}
    video = made(tmp_path, name, kinds.get(name) or CODECS[name])
    known = surveyed(video)
    assert ONE_PASS[name] in known.why and not known.ranges


def test_numbered_images_and_files_that_end_early_are_left_to_one_pass(tmp_path):
    make(tmp_path / "frame_%03d.png")
    assert "numbered images" in survey(tmp_path / "frame_%03d.png").why
    assert "missing at its end" in survey(cut(made(tmp_path, "h264.mkv", CLOSED), 0.7)).why


@pytest.mark.parametrize("stop", [60, 149, 150, 1000])
def test_index_up_to_a_frame_and_with_given_cuts_is_the_same(tmp_path, stop):
    video, settings, cuts = (
        made(tmp_path, "interlaced.ts", CLIPS["interlaced.ts"]),
        SourceSettings(deinterlace=True),
        (5, 77),
    )
    known = surveyed(video, stop, settings)
    assert (known.end is not None) == (stop == 60)
    found = decoded(video, known, settings, None)
    whole = list(index_segments(video, stop, cuts, settings))
    assert "interlaced" in whole[-1].notes[0]
    assert pieces(index_of_ranges(found, stop, cuts)) == pieces(whole)


def test_pieces_come_as_soon_as_their_own_ranges_are_there(tmp_path):
    video = made(tmp_path, "h264.mp4", CLOSED)
    found = decoded(video, surveyed(video))
    needed = next(n for n in range(len(found)) if sum(one.own for one in found[:n]) >= 100 + ranges.TAIL)
    first = next(index_of_ranges(iter(found[:needed]), None, None))
    assert len(found) > needed and pieces([first]) == pieces(index_segments(video, None, None))[:1]


def test_only_packets_that_begin_anew_begin_ranges(tmp_path):
    """Open GOPs: of H.264 there is one IDR picture; MPEG-2's leading pictures belong to the range before."""
    video = made(tmp_path, "mpeg2.ts", MPEG2)
    known = surveyed(video)
    found = decoded(video, known)
    for one, here in zip(known.ranges, found):
        assert here.index.pts[0] == one.start.pts
    assert any(one.own != known.ranges[number].packets for number, one in enumerate(found))


def test_joint_that_decodes_otherwise_is_refused(tmp_path):
    video = made(tmp_path, "h264.mp4", CLOSED)
    found = decoded(video, surveyed(video))
    for column in ("crc", "duration", "pts", "keyframe"):
        values = getattr(found[2].index, column).copy()
        values[3] = not values[3] if column == "keyframe" else values[3] + 1
        other = replace(found[2], index=replace(found[2].index, **{column: values}))
        given = index_of_ranges([*found[:2], other, *found[3:]], None, None)
        with pytest.raises(UnusableRangeError, match=column):
            list(given)


def test_another_video_of_the_same_name_is_refused(tmp_path):
    video = made(tmp_path, "h264.mp4", CLOSED)
    known = surveyed(video)
    ffmpeg("-i", video, "-c:v", "libx264", "-crf", "40", "-g", "12", "-bf", "0", tmp_path / "other.mp4")
    assert all(one.why for one in decoded(tmp_path / "other.mp4", known))


@pytest.mark.parametrize(
    "name", usual(["h264.mp4", "h264.ts", "mpeg2 open gop.ts", "mjpeg.mov"], "h264.mp4", "mpeg2 open gop.ts")
)
def test_damage_is_never_taken_for_what_one_pass_gives(tmp_path, name):
    """Whatever of a damaged video is put together of ranges is as one pass has it; most of it is refused."""
    whole = made(tmp_path, name, CLIPS[name]).read_bytes()
    rng, refused = np.random.default_rng(1), 0
    for number in range(3):
        data = bytearray(whole)
        for at in rng.integers(len(data) // 10, len(data) * 9 // 10, 2 + 4 * number):
            data[at : at + 4] = rng.bytes(4)
        video = tmp_path / f"damaged {number} {name}"
        video.write_bytes(data)
        known, got = surveyed(video), []
        if not known.why:
            try:
                for piece in index_of_ranges(decoded(video, known), None, None):
                    got += pieces([piece])
            except UnusableRangeError:
                refused += 1
        else:
            refused += 1
        assert got == pieces(index_segments(video, None, None))[: len(got)]
    assert refused


def test_missing_frames_that_one_pass_tells_are_left_to_it(tmp_path):
    """An IDR picture is missing, and the times have no gap: FFmpeg returns no frames until the next one, and reports nothing."""
    whole = make(tmp_path / "a.mkv", "-c:v", "libx264", "-preset", "ultrafast", "-g", "12", seconds=4)
    with av.open(str(whole)) as source:
        data = [bytes(packet) for packet in source.demux(source.streams.video[0]) if packet.size]
    video = copied(whole, data[:72] + data[73:], tmp_path / "b.mkv")
    (one,) = index_segments(video, None, None)
    assert "no frames for a time" in one.notes[0]
    found = decoded(video, surveyed(video))
    with pytest.raises(UnusableRangeError, match="frames are missing"):
        list(index_of_ranges(found, None, None))


def test_records_of_strangers_are_refused(tmp_path):
    video = made(tmp_path, "h264.mp4", CLOSED)
    known = survey(video, least=LEAST)
    record, part = known.to_json(), decode_range(video, known, 0, threshold=THRESHOLD).to_json()
    first, second, *rest = record["ranges"]
    for wrong in ({"ranges": [second, first, *rest]}, {"ranges": [[1, 2]]}, {"end": [1]}, {"ranges": None}):
        with pytest.raises((ValueError, TypeError)):
            Survey.from_json({**record, **wrong})
    for wrong in ({"own": 0}, {"own": 1000}, {"changes": {"scores": [], "since": {}}}, {"shape": "x"}, {"facts": [1]}):
        with pytest.raises((ValueError, TypeError)):
            DecodedRange.from_json({**part, **wrong}, THRESHOLD)
