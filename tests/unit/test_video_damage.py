"""Every loss within a video is told with its place: in each container, as FFmpeg's own prober counts frames; undamaged ones have no note."""

import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from fav.cli.cuts import cuts
from fav.video import check_film, decode, write_film
from fav.video.damage import find_gaps
from fav.video.ranges import survey
from fav.video.truncation import broken_at
from tests.helpers.clips import VP9, X264, asked, ffmpeg, make, streams, taken, tone

BASELINE = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g", "10")
MPEG4 = ("-c:v", "mpeg4", "-g", "10", "-q:v", "3")
CLUSTERS = ("-cluster_time_limit", "400")
KINDS = {  # file: how it is encoded, and which part of it is overwritten
    "h264.mkv": ((*BASELINE, "-c:a", "aac", *CLUSTERS), 0.4),
    "vp9.webm": ((*VP9, "-g", "10", "-c:a", "libopus", *CLUSTERS), 0.5),
    "vp8.webm": (("-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", "8", "-g", "10", "-c:a", "libopus", *CLUSTERS), 0.5),
    "h264.mp4": ((*BASELINE, "-c:a", "aac"), 0.5),
    "h264.ts": ((*BASELINE, "-c:a", "aac"), 0.5),
    "mpeg2.mpg": (("-c:v", "mpeg2video", "-g", "10", "-bf", "2"), 0.5),
    "mpeg4.avi": ((*MPEG4, "-c:a", "libmp3lame"), 0.5),
    "mjpeg.avi": (("-c:v", "mjpeg", "-pix_fmt", "yuvj420p"), 0.5),
    "theora.ogv": (("-c:v", "libtheora", "-g", "10", "-q:v", "6", "-c:a", "libvorbis"), 0.5),
    "flv1.flv": (("-c:v", "flv", "-g", "10", "-c:a", "libmp3lame"), 0.5),
    "mpeg2.mxf": (("-c:v", "mpeg2video", "-g", "10", "-c:a", "pcm_s16le", "-ar", "48000"), 0.5),
    "wmv2.wmv": (("-c:v", "wmv2", "-g", "10", "-c:a", "wmav2"), 0.5),
    "prores.mov": (("-c:v", "prores_ks", "-c:a", "pcm_s16le"), 0.5),
}  # fmt: skip


def whole(directory: Path, name: str) -> Path:
    return make(directory / name, *KINDS[name][0], inputs=tone(seconds=2), seconds=2)


def overwritten(path: Path, share: float, size: int, filling: bytes = b"\0") -> Path:
    """A copy in which bytes in the middle are overwritten."""
    data = bytearray(path.read_bytes())
    start = int(share * len(data))
    data[start : start + size] = filling * size
    broken = path.with_name(f"broken {path.name}")
    broken.write_bytes(data)
    return broken


def notes_of(video: Path) -> tuple[int, list[str]]:
    with decode(video) as decoding:
        count = sum(1 for _ in decoding)
        return count, [note.removeprefix(f"{video}: ") for note in decoding.warnings]


def counted(path: Path, kind: str) -> int:
    """Frames or packets of the video, by ffprobe."""
    return len(asked(path, f"{kind}=pts", "v:0")[f"{kind}s"])


CASES = [("h264.mkv", b"\xff"), ("h264.mkv", b"Z"), ("vp9.webm", b"Z"), *((name, b"\0") for name in KINDS)]


@pytest.mark.parametrize("name, filling", CASES)
def test_lost_frames_are_told_with_their_place(tmp_path, name, filling):
    video = whole(tmp_path, name)
    count, notes = notes_of(video)
    assert notes == []
    broken = overwritten(video, KINDS[name][1], max(3000, len(video.read_bytes()) // 8), filling)
    left, notes = notes_of(broken)
    lost = [note for note in notes if re.search(r"parts are damaged.*(at|from) frame \d+ \(\d+\.\d{3} s\)", note)]
    assert len(lost) == 1 and f"the {left} frames that decode are used" in lost[0], notes
    if left < count and "fewer than its header says" not in lost[0] and name != "mpeg4.avi":
        assert "s are missing" in lost[0], notes
    assert left <= counted(broken, "frame") + 1 or name.startswith("flv")


def test_place_is_that_of_the_destroyed_cluster(tmp_path):
    video = whole(tmp_path, "h264.mkv")
    data = video.read_bytes()
    clusters = [match.start() for match in re.finditer(b"\x1f\x43\xb6\x75", data)]
    broken = overwritten(video, clusters[2] / len(data), clusters[3] - clusters[2])
    left, (note,) = notes_of(broken)
    first = counted(broken, "frame") - left
    place = re.search(r"frame (\d+) \((\d\.\d{3}) s\).*where (\d\.\d{3}) s are missing", note)
    times = [float(packet["pts_time"]) for packet in asked(broken, "packet=pts_time", "v:0")["packets"]]
    gap = int(np.argmax(np.diff(sorted(times)))) + 1
    assert place and first == 0 and abs(int(place[1]) - gap) <= 1, (note, gap)
    assert float(place[3]) == pytest.approx(np.diff(sorted(times)).max() - 0.04, abs=0.002)


def test_fragment_that_ffmpeg_cannot_find_is_told(tmp_path):
    """FFmpeg has no word for a destroyed fragment: it ends there without an error."""
    video = make(tmp_path / "frag.mp4", *BASELINE, "-movflags", "frag_keyframe+empty_moov", seconds=2)
    data = video.read_bytes()
    fragments = [match.start() - 4 for match in re.finditer(b"moof", data)]
    assert notes_of(video) == (50, [])
    left, (note,) = notes_of(overwritten(video, fragments[2] / len(data), 60))
    assert (
        left == 20
        and note == f"its structure is damaged at byte {fragments[2]}; what follows is lost: 20 frames are used"
    )
    trailer = tmp_path / "trailer.mp4"
    trailer.write_bytes(data + b"\0\0\0\0SEFT" * 4)
    assert notes_of(trailer) == (50, [])


def test_stream_that_begins_late_ends_in_a_note(tmp_path):
    """PyAV raises IndexError at the end of such files."""
    video = make(tmp_path / "flv1.flv", *KINDS["flv1.flv"][0], inputs=tone(seconds=8), seconds=8)
    data, tag = bytearray(video.read_bytes()), 13
    while tag < 0.8 * len(data) or data[tag] != 8:  # the first tag of sound there
        tag += 11 + int.from_bytes(data[tag + 1 : tag + 4], "big") + 4
    data[tag + 11] = 0x5F  # it is of another codec
    late = tmp_path / "late.flv"
    late.write_bytes(data)
    count, notes = notes_of(late)
    assert count == 200 and any(
        "streams that begin after the first seconds are left out: 2 (audio)" in note for note in notes
    ), notes


def test_equal_timestamps_are_told_and_the_film_keeps_its_rate(tmp_path):
    video = make(tmp_path / "equal.mkv", *X264, "-bf", "0", "-bsf:v", "setts=ts=0", seconds=1)
    assert {packet["pts"] for packet in asked(video, "packet=pts", "v:0")["packets"]} == {0}
    images, index, notes = taken(video)
    assert [note.removeprefix(f"{video}: ") for note in notes] == [
        "24 frames have the timestamp of the frame before, first at frame 1 (0.001 s); the film shows one after the other"
    ]
    write_film(tmp_path / "film.mp4", video, index, images)
    film = streams(tmp_path / "film.mp4", "nb_frames,duration", "v:0")[0]
    assert int(film["nb_frames"]) == 25 and float(film["duration"]) == pytest.approx(1, abs=0.1)


def test_a_single_equal_timestamp_moves_by_one_tick_only(tmp_path):
    plain = make(tmp_path / "plain.mkv", *X264, "-bf", "0", seconds=1)
    ffmpeg("-i", plain, "-c", "copy", "-bsf:v", r"setts=ts=if(eq(N\,5)\,TS-40\,TS)", tmp_path / "twice.mkv")
    _, index, (note,) = taken(tmp_path / "twice.mkv")
    assert "1 frame has the timestamp of the frame before, first at frame 5" in note
    assert np.diff(index.pts)[3:6].tolist() == [40, 1, 79]


@pytest.mark.parametrize("name", ("long pause.mkv", "variable.mkv"))
def test_pause_among_equal_distances_is_told(tmp_path, name):
    times = {"long pause.mkv": r"setpts=PTS+if(gt(N\,24)\,1/TB)", "variable.mkv": r"setpts=PTS+mod(N\,5)*N/250/TB"}[
        name
    ]
    video = make(tmp_path / name, "-vf", times, "-vsync", "vfr", *X264, seconds=2)
    _, notes = notes_of(video)
    with decode(video) as decoding:
        assert list(decoding) and decoding.problems == []  # `retry` would make such a film again
    if name.startswith("long"):
        assert notes == ["it has no frames for a time of 1.000 s at frame 25 (2.000 s); the film has the same pause"]
        assert survey(video, least=10).why
    else:
        assert notes == []


def test_gaps_are_found_in_regular_times_only():
    regular = np.arange(50) * 40
    assert find_gaps(regular, 0.001) == {}
    assert find_gaps(np.delete(regular, 30), 0.001) == {}
    assert find_gaps(np.delete(regular, 30), 0.001, damaged=True) == {30: pytest.approx(0.04)}
    assert find_gaps(np.delete(regular, range(20, 30)), 0.001) == {20: pytest.approx(0.4)}
    assert find_gaps(np.cumsum(np.arange(50) * 7 % 90 + 1), 0.001, damaged=True) == {}
    assert find_gaps(regular[:5], 0.001, damaged=True) == {}


def test_damaged_sound_is_told_with_its_time(tmp_path):
    video = whole(tmp_path, "h264.ts")
    data = bytearray(video.read_bytes())
    pids = [((data[at + 1] & 31) << 8 | data[at + 2], at) for at in range(0, len(data), 188)]
    sound = [at for pid, at in pids if pid == 0x101]
    del data[sound[len(sound) // 2] : sound[len(sound) // 2] + 188]
    broken = tmp_path / "sound.ts"
    broken.write_bytes(data)
    images, index, notes = taken(broken)
    assert len(images) == 50 and re.search(r"parts are damaged (at|from) frame \d+ \(\d\.\d{3} s\)", notes[0])
    # FFmpeg's muxer refuses the packet: without it, the film could not be made.
    film_notes = write_film(tmp_path / "film.mp4", broken, index, images)
    (note,) = film_notes
    assert re.match(r"stream 1 has \d+ damaged packets? of sound, first at \d\.\d{3} s", note)
    assert check_film(broken, "film.mp4") == film_notes
    times = [float(packet["pts_time"]) for packet in asked(tmp_path / "film.mp4", "packet=pts_time", "a:0")["packets"]]
    assert len(times) > 70 and times[-1] > 1.8


def test_cuts_command_tells_damage(tmp_path):
    video = whole(tmp_path, "vp9.webm")
    broken = overwritten(video, 0.5, 3000)
    result = CliRunner().invoke(cuts, [str(broken), str(tmp_path / "c.csv")])
    assert result.exit_code == 0 and re.search(r"parts are damaged at frame \d+", result.output), result.output


def test_recording_that_begins_within_a_group_of_pictures_is_told(tmp_path):
    """FFmpeg's decoder drops the packets before the first keyframe, without an error."""
    video = make(tmp_path / "whole.ts", *X264[:-4], "-bf", "0", "-g", "25", "-preset", "ultrafast", seconds=2)
    data = video.read_bytes()
    late = tmp_path / "late.ts"
    late.write_bytes(data[len(data) // 4 // 188 * 188 :])
    count, (note,) = notes_of(late)
    lost = counted(late, "packet") - count
    assert lost > 5 and count == counted(late, "frame") == 25
    assert (
        note
        == f"parts are damaged at the beginning, where {lost * 0.04:.3f} s do not decode; the 25 frames that decode are used"
    )


def test_broken_gif_is_told_where_ffmpeg_ends(tmp_path):
    video = make(tmp_path / "moving.gif", "-vf", "format=rgb24", rate=10, seconds=2)
    assert notes_of(video) == (20, [])
    data = bytearray(video.read_bytes())
    del data[len(data) // 2 : len(data) // 2 + 300]
    broken = tmp_path / "broken.gif"
    broken.write_bytes(data)
    count, (note,) = notes_of(broken)
    assert count < 20 and re.match(
        rf"its structure is damaged at byte \d+; what follows is lost: {count} frames are used", note
    )


def test_gif_that_ends_in_its_header_is_broken_nowhere(tmp_path):
    data = make(tmp_path / "whole.gif", "-vf", "format=rgb24", rate=10, seconds=1).read_bytes()
    cut = tmp_path / "cut.gif"
    for length in range(4, 15):
        cut.write_bytes(data[:length])
        assert broken_at(cut) is None, length


def test_loss_at_the_very_end_is_told(tmp_path):
    """FFmpeg tells it together with the end of the file."""
    video = whole(tmp_path, "vp8.webm")
    data = video.read_bytes()
    last = [match.start() for match in re.finditer(b"\x1f\x43\xb6\x75", data)][-3]
    broken = tmp_path / "end.webm"
    broken.write_bytes(data[: last + 40] + b"\xff" * (len(data) - last - 40))
    count, (note,) = notes_of(broken)
    assert count < 50 and re.search(r"after the last frame, where up to \d\.\d{3} s are missing", note)
