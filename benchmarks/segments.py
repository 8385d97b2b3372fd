"""What it costs to encode a film in segments: bytes, and how exact frames are at the joints, beside one encoder of all frames.

Frames are those of a video, forwards and backwards in turn, so that the film has as many as are asked for and no cut more.
"""

import sys
import tempfile
from pathlib import Path

import click
import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from fav.stylize.segments import segments_of
from fav.util.images import resize
from fav.video import FrameIndex, decode, encoder_settings, write_film


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


def exactness(film: Path, images: list[np.ndarray]) -> np.ndarray:
    """PSNR of each frame, in dB."""
    with decode(film) as decoding:
        squares = [
            np.square(one.image().astype(np.float32) - image).mean()
            for one, image in zip(decoding, images, strict=True)
        ]
    return 10 * np.log10(255**2 / np.maximum(squares, 1e-9))


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("video", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--frames", type=click.IntRange(1), help="Of the film.  [default: those of the video]")
@click.option("--width", type=int, help="Of the film, in pixels.")
@click.option("--length", default="144,96,48", show_default=True, help="Of segments, in frames.")
@click.option("--crf", default=18, show_default=True)
def main(video: Path, frames: int | None, width: int | None, length: str, crf: int) -> None:
    """Print bytes and PSNR of a film of VIDEO's frames, as a whole and in segments of several lengths."""
    click.echo("reading frames", err=True)
    images, index = film_frames(video, frames or 0, width)
    height, across = images[0].shape[:2]
    click.echo(f"{len(images)} frames of {across}x{height}, crf {crf}")
    click.echo(f"{'':18}{'bytes':>12}{'more':>8}{'PSNR dB':>9}{'least':>7}{'at joints':>11}{'whole there':>13}")
    with tempfile.TemporaryDirectory() as place:
        before = None
        for number in (0, *map(int, length.split(","))):
            film = Path(place) / f"{number}.mp4"
            segments = segments_of(0, len(images), (), number) if number else [range(len(images))]
            write_film(film, video, index, images, segments=segments, encoder=encoder_settings(crf))
            size, found = film.stat().st_size, exactness(film, images)
            before = before or (size, found)
            joints = [frame for part in segments[1:] for frame in range(part.start - 2, part.start + 2)]
            at = f"{found[joints].mean():11.2f}{before[1][joints].mean():13.2f}" if joints else ""
            name = f"{len(segments)} of {number} frames" if number else "a whole"
            more = f"{size / before[0] - 1:+8.2%}"
            click.echo(f"{name:18}{size:>12}{more}{found.mean():>9.2f}{found.min():>7.2f}{at}")


if __name__ == "__main__":
    main()
