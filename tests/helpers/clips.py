"""Clips made by Debian's FFmpeg, and what its own prober and decoder say of a file: independent of PyAV's FFmpeg."""

import atexit
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import numpy as np

from fav.video import DEFAULT_SETTINGS, FrameIndex, decode

X264 = ("-c:v", "libx264", "-pix_fmt", "yuv420p", "-bf", "3", "-g", "12")
VP9 = ("-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8")
HEVC = ("-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=none:keyint=12:bframes=2")

CODECS = {  # name of the file: how its 25 frames are encoded
    "h264.mp4": X264,
    "h264 faststart.mp4": (*X264, "-movflags", "faststart"),
    "h264 fragmented.mp4": (*X264, "-movflags", "frag_keyframe+empty_moov"),
    "h264.mkv": X264,
    "h264.ts": X264,
    "h264.avi": X264,
    "open gop.mkv": (*X264, "-x264-params", "open-gop=1:keyint=8:min-keyint=8:scenecut=0"),
    "open gop.mp4": (*X264, "-x264-params", "open-gop=1:keyint=8:min-keyint=8:scenecut=0"),
    "intra refresh.mkv": (
        "-c:v",
        "libx264",
        "-pix_fmt",
        "yuv420p",
        "-x264-params",
        "intra-refresh=1:keyint=6:bframes=0",
    ),
    "intra refresh.ts": (
        "-c:v",
        "libx264",
        "-pix_fmt",
        "yuv420p",
        "-x264-params",
        "intra-refresh=1:keyint=6:bframes=0",
    ),
    "hevc.mp4": HEVC,
    "hevc open gop.mkv": (
        "-c:v",
        "libx265",
        "-preset",
        "ultrafast",
        "-x265-params",
        "log-level=none:keyint=8:open-gop=1",
    ),
    "hevc 10 bit.mkv": (*HEVC, "-pix_fmt", "yuv420p10le"),
    "vp9.webm": (*VP9, "-g", "12"),
    "mpeg4.avi": ("-c:v", "mpeg4", "-bf", "2", "-q:v", "3"),
    "packed bitstream.avi": ("-c:v", "libxvid", "-bf", "2", "-q:v", "3"),
    "mpeg2.mpg": ("-c:v", "mpeg2video", "-bf", "2"),
    "prores.mov": ("-c:v", "prores_ks"),
    "mjpeg.mov": ("-c:v", "mjpeg", "-q:v", "3"),
    "ffv1 rgb.mkv": ("-c:v", "ffv1", "-pix_fmt", "bgr0"),
    "odd.mkv": ("-vf", "scale=97:65", "-c:v", "libx264", "-pix_fmt", "yuv444p"),
    "frame_%03d.png": ("-c:v", "png"),
}


def ffmpeg(*words) -> None:
    subprocess.run(["ffmpeg", "-v", "error", "-y", *map(str, words)], check=True)


def make(
    path: Path, *options, picture: str = "testsrc2=size=96x64", rate: int = 25, seconds: float = 1, inputs=()
) -> Path:
    """FFmpeg's moving test picture, encoded by `options`; `inputs` are more of them, for sound and the like.

    What has been encoded once in this process is copied: FFmpeg's start alone takes 60 ms of the processor.
    """
    words = ("-f", "lavfi", "-i", f"{picture}:rate={rate}:duration={seconds}", *map(str, (*inputs, *options)))
    if any(os.path.exists(word) for word in words):  # a file may have another content the next time
        ffmpeg(*words, path)
        return path
    return synthetic(path, words)


def synthetic(path: Path, words: tuple[str, ...]) -> Path:
    """What FFmpeg makes of words that name no file, encoded once in this process, and copied."""
    if "%" in path.name:
        for file in _encoded(path.name, words):
            shutil.copyfile(file, path.parent / file.name)
    else:
        shutil.copyfile(_encoded(f"clip{path.suffix}", words)[0], path)
    return path


def coded(directory: Path, name: str) -> Path:
    """The clip of that name in CODECS; encoded once, copied for each test."""
    return make(directory / name, *CODECS[name])


@cache
def _encoded(name: str, words: tuple[str, ...]) -> list[Path]:
    """The files of that name that FFmpeg makes."""
    directory = Path(tempfile.mkdtemp(prefix="clips-"))
    atexit.register(shutil.rmtree, directory)
    ffmpeg(*words, directory / name)
    return list(directory.iterdir())


def tone(pitch: int = 440, seconds: float = 1) -> tuple[str, ...]:
    """A sine as one more input."""
    return "-f", "lavfi", "-i", f"sine={pitch}:duration={seconds}"


def cut(path: Path, share: float) -> Path:
    """A copy of the file that ends after that share of its bytes."""
    data = path.read_bytes()
    short = path.with_name(f"cut {path.name}")
    short.write_bytes(data[: int(len(data) * share)])
    return short


def rotated(path: Path, degrees: int) -> Path:
    """A copy of an MP4 that says, as telephones do, that its pictures are to be shown turned, counterclockwise."""
    turned = path.with_name(f"turned {degrees}.mp4")
    ffmpeg("-i", path, "-c", "copy", "-metadata:s:v", f"rotate={degrees}", turned)
    return turned


def asked(path: Path, entries: str, stream: str | None = None, count: bool = False) -> dict:
    """What FFmpeg's prober says of a file."""
    chosen = ["-select_streams", stream] if stream else []
    counting = ["-count_frames"] if count else []
    words = ("-v", "quiet", *chosen, *counting, "-show_entries", entries, "-of", "json")
    digest = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
    if digest and (path.suffix, digest, words) in _answers:
        return json.loads(_answers[path.suffix, digest, words])
    answer = subprocess.run(["ffprobe", *words, str(path)], check=True, capture_output=True, text=True).stdout
    if digest:
        _answers[path.suffix, digest, words] = answer
    return json.loads(answer)


_answers: dict[tuple[str, str, tuple[str, ...]], str] = {}  # by the content of files: many tests have the same source


def streams(path: Path, entries: str, stream: str | None = None, count: bool = False) -> list[dict]:
    return asked(path, f"stream={entries}", stream, count)["streams"]


def frame_times(path: Path) -> list[float]:
    """When each frame is shown, in seconds."""
    return [
        float(frame["best_effort_timestamp_time"])
        for frame in asked(path, "frame=best_effort_timestamp_time", "v:0")["frames"]
    ]


def comment_of(film: Path) -> str | None:
    """What a film says of itself, in its metadata."""
    tags = asked(film, "format_tags")["format"].get("tags", {})
    return next((value for key, value in tags.items() if key.lower() == "comment"), None)


def duration(path: Path) -> float:
    return float(asked(path, "format=duration")["format"]["duration"])


def raw(path: Path, pix_fmt: str, *options) -> bytes:
    """All frames as FFmpeg decodes them, samples without padding."""
    words = ["ffmpeg", "-v", "quiet", "-i", str(path), "-map", "0:v:0", *options, "-vsync", "passthrough",
             "-f", "rawvideo", "-pix_fmt", pix_fmt, "-"]  # fmt: skip
    return subprocess.run(words, check=True, capture_output=True).stdout


def pictures(path: Path, matrix: str = "auto") -> np.ndarray:
    """All frames (N, H, W, 3) BGR as FFmpeg shows them, upright, read with that color matrix."""
    shown = streams(path, "width,height,pix_fmt,chroma_location:stream_side_data=rotation", "v:0")[0]
    height, width = shown["height"], shown["width"]
    if any(data.get("rotation", 0) % 180 for data in shown.get("side_data_list", [])):
        height, width = width, height
    left = shown.get("chroma_location") == "left" and "420" in shown["pix_fmt"]
    where = ":in_h_chr_pos=0:in_v_chr_pos=128" if left else ""  # FFmpeg 5 knows, but does not heed it
    exactly = (
        f"scale=in_color_matrix={matrix}:flags=bicubic+accurate_rnd+full_chroma_int+full_chroma_inp+bitexact{where}"
    )
    return np.frombuffer(raw(path, "bgr24", "-vf", exactly), np.uint8).reshape(-1, height, width, 3)


FRAMES = 25


def taken(video, settings=DEFAULT_SETTINGS):
    """Pictures and index of a video, by one pass."""
    images, frames = [], []
    with decode(video, settings) as decoding:
        for decoded in decoding:
            images.append(decoded.image())
            frames.append(decoded)
        return images, FrameIndex.of(frames, decoding.time_base), decoding.warnings


def variable(tmp_path, name="variable.mkv"):
    """25 frames of 2 s, most of them in the second half, with a hole between."""
    choice = "select='lt(n,8)+gt(n,24)*mod(n,3)',setpts=PTS+if(gt(N\\,12)\\,0.1/TB)"
    return make(tmp_path / name, "-vf", choice, "-vsync", "vfr", *X264, seconds=2)
