"""What the benchmarks work on: a clip of any size cut from a video, and a style."""

import subprocess
from pathlib import Path

import torch

from fav.errors import FavError
from fav.model.architecture import PRESETS
from fav.model.checkpoints import save_style
from fav.model.network import StyleNetwork

STYLES = Path(__file__).resolve().parent.parent / "styles"
SHIPPED = STYLES / "starry_night.safetensors"


def untrained(place: Path, name: str) -> Path:
    """Write a style with random weights as PLACE/NAME.safetensors: its pictures mean nothing, its work is that of a trained one.

    `name`: an architecture, as in `--arch`; `full` is that of the authors.
    """
    torch.manual_seed(0)
    return save_style(StyleNetwork(PRESETS[name], 7), place / f"{name}.safetensors")


def clip_of(video: Path, place: Path, size: tuple[int, int], frames: int) -> Path:
    """The first `frames` frames of a video with their sound, scaled and cropped to `size` (width, height), as an MP4 in `place`."""
    width, height = size
    clip = place / f"{width}x{height}.mp4"
    fill = f"scale={width}:{height}:force_original_aspect_ratio=increase,crop={width}:{height}"
    ffmpeg(
        "-i",
        video,
        "-vf",
        fill,
        "-frames:v",
        frames,
        "-c:v",
        "libx264",
        "-crf",
        16,
        "-pix_fmt",
        "yuv420p",
        "-c:a",
        "aac",
        "-shortest",
        clip,
    )
    counted = subprocess.run(["ffprobe", "-v", "error", "-select_streams", "v:0", "-count_packets", "-show_entries", "stream=nb_read_packets",
                              "-of", "csv=p=0", str(clip)], check=True, capture_output=True, text=True).stdout.strip(" ,\n")  # fmt: skip
    if int(counted) != frames:
        raise FavError(f"{video}: expected at least {frames} frames, got {counted}")
    return clip


def ffmpeg(*words) -> None:
    subprocess.run(["ffmpeg", "-v", "error", "-y", *map(str, words)], check=True)
