"""One take by one node and by two, on one core each: how much sooner is it painted in chunks?"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import click

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.clips import SHIPPED, clip_of, ffmpeg
from fav.cli.common import one_line_errors
from fav.cli.options import FILE, SizeType
from fav.pipeline.request import Request
from fav.pipeline.submit import submit
from fav.pipeline.task_names import FRAME_KINDS
from shared.heartbeat import temporary_member
from shared.jobs import Job
from shared.shared_dir import open_share

RUNS = {"one node, chunk off": (1, None), "one node, chunk 48": (1, 48), "two nodes, chunk 48": (2, 48)}


def painting_s(clip: Path, style: Path, nodes: int, chunk: int | None) -> tuple[float, int]:
    """Seconds from the first published picture to the last, and how many there are; each node on a core of its own."""
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="pair-") as place:
        share = open_share(Path(place))
        with temporary_member(share) as node:
            options = {"threads": 1, "chunk": chunk, "no_cuts": True}
            job = submit(node, Request(str(clip), style, given=frozenset(options), **options)).job
        cores = sorted(os.sched_getaffinity(0))
        command = [sys.executable, str(ROOT / "node.py"), place, "--job", job.name]
        bound = [["taskset", "-c", str(core), *command] for core in cores[:nodes]]
        processes = [subprocess.Popen(words, stdout=subprocess.DEVNULL) for words in bound]
        if any([process.wait() for process in processes]):  # noqa: C419
            raise click.ClickException("expected nodes that end well; what they said is above")
        return spread_s(job)


def spread_s(job: Job) -> tuple[float, int]:
    moments = [path.stat().st_mtime for kind in FRAME_KINDS for path in (job.layout.results / kind).rglob("*.png")]
    return max(moments) - min(moments), len(moments)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("video", type=FILE)
@click.argument("style", type=FILE, default=SHIPPED)
@click.option("--size", type=SizeType(), default=(640, 360), metavar="WxH", help="Of the frames.  [default: 640x360]")
@click.option(
    "--frames", type=click.IntRange(72), default=132, show_default=True, help="Of VIDEO, played forth and back."
)
@click.option(
    "--rounds", type=click.IntRange(1), default=3, show_default=True, help="Alternating; the quickest is told."
)
@one_line_errors
def main(video: Path, style: Path, size: tuple[int, int], frames: int, rounds: int) -> None:
    """Print how long one node and two, each bound to one core, paint VIDEO, forth and back, in STYLE.

    Two machines, as near as one with two cores comes to that. Starting, the index and the stitching are not counted.
    """
    with tempfile.TemporaryDirectory(prefix="pair-") as place:
        clip, take = clip_of(video, Path(place), size, frames), Path(place) / "take.mp4"
        ffmpeg("-i", clip, "-filter_complex", "[0:v]split[a][b];[b]reverse[c];[a][c]concat", "-c:v", "libx264", "-crf", 16,
               "-an", take)  # fmt: skip
        found: dict[str, list] = {name: [] for name in RUNS}
        for _ in range(rounds):
            for name, run in RUNS.items():
                found[name].append(painting_s(take, style, *run))
    best = {name: min(times) for name, times in found.items()}
    (alone, count), (_, painted) = best["one node, chunk off"], best["one node, chunk 48"]
    for name, (seconds, pictures) in best.items():
        each = 1000 * seconds / pictures
        click.echo(f"{name:24}{seconds:7.1f} s{pictures:6} pictures{each:8.1f} ms each{alone / seconds:7.2f} x")
    click.echo(
        f"{painted / count - 1:.1%} pictures added: two nodes can be {2 * count / painted:.2f} times as fast as one"
    )


if __name__ == "__main__":
    main()
