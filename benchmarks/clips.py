"""What the benchmarks work on: a clip of any size cut from a video, and styles of two widths."""

import subprocess
from pathlib import Path

from fav.checkpoints import load_style, save_style
from fav.errors import FavError
from fav.network import DEFAULT_ARCH, StyleNetwork

HALF_ARCH = "c9s1-16,d32,d64,R64,R64,R64,R64,R64,U2,c3s1-32,U2,c9s1-3"
SHIPPED = Path(__file__).resolve().parent.parent / "styles" / "starry_night.safetensors"


def clip_of(video: Path, place: Path, size: tuple[int, int], frames: int) -> Path:
    """The first `frames` frames of a video with their sound, scaled and cropped to `size` (width, height), as an MP4 in `place`."""
    width, height = size
    clip = place / f"{width}x{height}.mp4"
    fill = f"scale={width}:{height}:force_original_aspect_ratio=increase,crop={width}:{height}"
    ffmpeg("-i", video, "-vf", fill, "-frames:v", frames, "-c:v", "libx264", "-crf", 16, "-pix_fmt", "yuv420p", "-c:a", "aac", "-shortest", clip)
    counted = subprocess.run(["ffprobe", "-v", "error", "-select_streams", "v:0", "-count_packets", "-show_entries", "stream=nb_read_packets",
                              "-of", "csv=p=0", str(clip)], check=True, capture_output=True, text=True).stdout.strip(" ,\n")  # fmt: skip
    if int(counted) != frames:
        raise FavError(f"{video}: expected at least {frames} frames, got {counted}")
    return clip


def ffmpeg(*words) -> None:
    subprocess.run(["ffmpeg", "-v", "error", "-y", *map(str, words)], check=True)


def widened(style: Path, out: Path) -> Path:
    """A style of the authors' full width that paints what `style`, of half that width, paints: each channel twice.

    So both take their own time over the same pictures. FavError where the widths do not fit.
    """
    narrow, wide = load_style(style, in_channels=7), StyleNetwork(DEFAULT_ARCH, in_channels=7)
    if narrow.arch != HALF_ARCH:
        raise FavError(f"{style}: expected a style of half the width of the authors' ({HALF_ARCH}), got {narrow.arch}")
    state = narrow.state_dict()
    for key, whole in wide.state_dict().items():
        for axis, (size, wanted) in enumerate(zip(state[key].shape, whole.shape)):
            if wanted != size:  # what comes in twice counts half
                state[key] = state[key].repeat_interleave(2, axis) / (2 if axis == 1 else 1)
    wide.load_state_dict(state)
    save_style(wide, out)
    return out
