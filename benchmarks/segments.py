"""What it costs to encode a film in segments: bytes, and how exact frames are at the joints, beside one encoder of all frames.

Frames are those of a video, forwards and backwards in turn, so that the film has as many as are asked for and no cut more.
"""

import sys
import tempfile
from pathlib import Path

import click
import cv2
import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from fav.stylize.segments import segments_of
from fav.util.images import resize
from fav.video import FrameIndex, decode, encoder_settings, write_film

PART, ENLARGED = (120, 90), 3  # pixels of a frame that a sheet shows, from its middle, and how many times as large


def film_frames(video: Path, frames: int, width: int | None) -> tuple[list[np.ndarray], FrameIndex]:
    """The frames of the film, and an index of as many, evenly spaced by those of the video."""
    with decode(video) as decoding:
        decoded, images = [], []
        for one in decoding:
            decoded.append(one)
            images.append(one.image())
        index = FrameIndex.of(decoded, decoding.time_base)
    if width:
        size = width, round(images[0].shape[0] * width / images[0].shape[1])
        images = [resize(image, size) for image in images]
    numbers = [*range(len(images)), *range(len(images) - 2, 0, -1)]
    step = int(np.median(np.diff(index.pts)))
    count = frames or len(images)
    every = np.arange(count)
    spaced = FrameIndex(every * step, np.full(count, step), every == 0, every, index.time_base)
    return [images[numbers[number % len(numbers)]] for number in every], spaced


def frames_of(film: Path) -> list[np.ndarray]:
    """The frames of a film as it decodes."""
    with decode(film) as decoding:
        return [one.image() for one in decoding]


def exactness(shown: list[np.ndarray], images: list[np.ndarray]) -> np.ndarray:
    """PSNR of each frame, in dB."""
    squares = [np.square(one.astype(np.float32) - image).mean() for one, image in zip(shown, images, strict=True)]
    return 10 * np.log10(255**2 / np.maximum(squares, 1e-9))


def step(shown: list[np.ndarray], frame: int) -> float:
    """How much a frame differs from the one before, in gray levels."""
    return float(np.abs(shown[frame].astype(np.float32) - shown[frame - 1]).mean())


def sheet(rows: list[list[np.ndarray]], joint: int) -> np.ndarray:
    """Two frames before a joint and two after it, enlarged: a row each for the frames, a whole film, and segments."""
    height, width = rows[0][0].shape[:2]
    top, left = max(height // 2 - PART[1] // 2, 0), max(width // 2 - PART[0] // 2, 0)
    parts = [
        [row[frame][top : top + PART[1], left : left + PART[0]] for frame in range(joint - 2, joint + 2)]
        for row in rows
    ]
    small = np.vstack([np.hstack(row) for row in parts])
    return cv2.resize(small, None, fx=ENLARGED, fy=ENLARGED, interpolation=cv2.INTER_NEAREST)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("video", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--frames", type=click.IntRange(1), help="Of the film.  [default: those of the video]")
@click.option("--width", type=int, help="Of the film, in pixels.")
@click.option("--length", default="144,96,48", show_default=True, help="Of segments, in frames.")
@click.option("--codec", default="h264", show_default=True, help="As of `fav run`.")
@click.option("--crf", type=int, help="Of the film.  [default: the codec's]")
@click.option("--sheet", "out", type=click.Path(path_type=Path), metavar="FILE.png", help="Show the first joint there.")
def main(
    video: Path, frames: int | None, width: int | None, length: str, codec: str, crf: int | None, out: Path | None
) -> None:
    """Print bytes and PSNR of a film of VIDEO's frames, as a whole and in segments of several lengths.

    At joints: PSNR of the two frames before and after each, and the step from the last frame before it to the first one
    after it, in gray levels; there, a whole film is the one that one encoder made.
    """
    click.echo("reading frames", err=True)
    images, index = film_frames(video, frames or 0, width)
    height, across = images[0].shape[:2]
    encoder = encoder_settings(codec, crf=crf)
    click.echo(f"{len(images)} frames of {across}x{height}, {codec} {encoder.options}")
    click.echo(
        f"{'':18}{'bytes':>12}{'more':>8}{'PSNR dB':>9}{'least':>7}{'at joints':>11}{'whole there':>13}"
        f"{'step there':>12}{'whole':>7}{'source':>8}"
    )
    with tempfile.TemporaryDirectory() as place:
        before = None
        for number in (0, *map(int, length.split(","))):
            click.echo(f"encoding {'a whole' if not number else f'segments of {number} frames'} …", err=True)
            film = Path(place) / f"{number}.mkv"
            segments = segments_of(0, len(images), (), number) if number else [range(len(images))]
            write_film(film, video, index, images, segments=segments, encoder=encoder)
            shown = frames_of(film)
            size, found = film.stat().st_size, exactness(shown, images)
            before = before or (size, found, shown)
            starts = [part.start for part in segments[1:]]
            joints = [frame for start in starts for frame in range(start - 2, start + 2)]
            at = ""
            if joints:
                steps = [np.mean([step(film, start) for start in starts]) for film in (shown, before[2], images)]
                at = f"{found[joints].mean():11.2f}{before[1][joints].mean():13.2f}{steps[0]:12.2f}{steps[1]:7.2f}{steps[2]:8.2f}"
            name = f"{len(segments)} of {number} frames" if number else "a whole"
            more = f"{size / before[0] - 1:+8.2%}"
            click.echo(f"{name:18}{size:>12}{more}{found.mean():>9.2f}{found.min():>7.2f}{at}")
            if out and starts:
                cv2.imwrite(str(out), sheet([images, before[2], shown], starts[0]))
                out = None


if __name__ == "__main__":
    main()
