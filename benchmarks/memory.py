"""The most memory that a real node takes, by the size of the frames and by the length of the film."""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.clips import SHIPPED, clip_of, ffmpeg
from benchmarks.stopwatch import peak_kb
from fav.cli.common import one_line_errors
from fav.cli.options import FILE, SizeType
from fav.util.text import duration

SIZES = ((640, 360), (1280, 720), (1920, 1080), (3840, 2160))
LOOK_S = 0.05
RATE = 25  # frames a second of the long films


def peaks(words: list) -> tuple[float, float, float]:
    """Run node.py: the most that its worker held, and the most that the process beside it held, in MB; and the seconds it took."""
    began, most = time.perf_counter(), {}
    process = subprocess.Popen(list(map(str, words)), stdout=subprocess.DEVNULL)
    while process.poll() is None:
        for pid in descendants(process.pid):
            try:
                most[pid] = peak_kb(pid) / 1024
            except (OSError, StopIteration):
                pass  # ended meanwhile
        time.sleep(LOOK_S)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, process.args)
    beside = most.pop(process.pid)
    return max(most.values()), beside, time.perf_counter() - began


def descendants(pid: int) -> list[int]:
    """A process and all that it has started, and so on."""
    found = [pid]
    for pid in found:
        try:
            found += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
        except OSError:
            pass
    return found


def measure(video: Path, style: Path, *words) -> tuple[float, float, float]:
    """`peaks` of a node that makes a film over an empty local directory."""
    with tempfile.TemporaryDirectory(prefix="memory-") as share:
        return peaks([sys.executable, ROOT / "node.py", share, video, style, *words])


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("video", type=FILE)
@click.argument("style", type=FILE, default=SHIPPED)
@click.option(
    "--size",
    "sizes",
    type=SizeType(),
    multiple=True,
    metavar="WxH",
    help="Of the frames.  [default: 360p, 720p, 1080p and 4K]",
)
@click.option("--frames", type=click.IntRange(3), default=6, show_default=True, help="Frames of each size.")
@click.option(
    "--length",
    "lengths",
    type=float,
    multiple=True,
    default=(10, 120),
    show_default=True,
    help="Seconds of a moving test picture of 96x64, at 25 frames a second, to see what the length of a film does.",
)
@click.option("--threads", type=click.IntRange(1), help="CPU threads.  [default: all cores]")
@one_line_errors
def main(video: Path, style: Path, sizes: tuple, frames: int, lengths: tuple[float, ...], threads: int | None) -> None:
    """Print the most memory that node.py holds at any time of making a film: of its worker, and of the process beside it.

    Both have read the same libraries, which are there once and counted for each. First for the first frames of VIDEO in STYLE,
    brought to each size; then for small films of several lengths, all in one shot.
    """
    cores = ("--cores", threads) if threads else ()
    click.echo(f"{'film':26}{'worker, MB':>12}{'beside it':>12}{'took':>14}")
    with tempfile.TemporaryDirectory(prefix="memory-") as place:
        for size in sizes or SIZES:
            click.echo(f"{size[0]}x{size[1]} …", err=True)
            show(
                f"{size[0]}x{size[1]}, {frames} frames",
                *measure(clip_of(video, Path(place), size, frames), style, *cores),
            )
        for length in lengths:
            click.echo(f"a film of {length:g} s …", err=True)
            clip = Path(place, f"{length:g}.mp4")
            ffmpeg(
                "-f",
                "lavfi",
                "-i",
                f"testsrc2=size=96x64:rate={RATE}:duration={length}",
                "-c:v",
                "libx264",
                "-pix_fmt",
                "yuv420p",
                clip,
            )
            show(f"96x64, {length * RATE:.0f} frames", *measure(clip, style, "--no-cuts", *cores))


def show(film: str, worker: float, beside: float, took: float) -> None:
    click.echo(f"{film:26}{worker:12.0f}{beside:12.0f}{duration(took):>14}")


if __name__ == "__main__":
    main()
