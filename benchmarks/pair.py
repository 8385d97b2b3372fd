"""A film by one node and by two, on one core each: how much sooner is it painted, and how much sooner is it there?"""

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import click

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.clips import SHIPPED, clip_of, ffmpeg
from fav.cli.common import one_line_errors
from fav.cli.options import FILE, SizeType
from fav.pipeline.request import Request
from fav.pipeline.spec import JobSpec
from fav.pipeline.submit import submit
from fav.pipeline.task_names import FRAME_KINDS
from shared.heartbeat import temporary_member
from shared.jobs import Job
from shared.shared_dir import open_share

RUNS = {"one node, chunk off": (1, None), "one node, chunk 48": (1, 48), "two nodes, chunk 48": (2, 48)}
IN_SHOTS = {"one node": (1, None), "two nodes": (2, None)}


@dataclass(frozen=True, order=True)
class Run:
    """Seconds from the submission to the film, from the first published picture to the last, and their number."""

    film_s: float
    painting_s: float
    pictures: int


def run_of(clip: Path, style: Path, nodes: int, chunk: int | None, cuts: Path | None) -> Run:
    """How long a film takes; each node has one thread, on a core of its own. `cuts`: a file of cuts; None: one shot."""
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="pair-") as place:
        share, began = open_share(Path(place)), time.time()
        with temporary_member(share) as node:
            options = {"threads": 1, "chunk": chunk, **({"read_cuts": cuts} if cuts else {"no_cuts": True})}
            job = submit(node, Request(str(clip), style, given=frozenset(options), **options)).job
        cores = sorted(os.sched_getaffinity(0))
        if len(cores) < nodes:
            raise click.ClickException(f"expected {nodes} cores, got {len(cores)}")
        command = [sys.executable, str(ROOT / "node.py"), place, "--job", job.name]
        bound = [["taskset", "-c", str(core), *command] for core in cores[:nodes]]
        processes = [subprocess.Popen(words, stdout=subprocess.DEVNULL) for words in bound]
        if any([process.wait() for process in processes]):  # noqa: C419
            raise click.ClickException("expected nodes that end well; what they said is above")
        film = JobSpec.from_json(job.manifest.spec).film(share.layout.root)
        return Run(film.stat().st_mtime - began, *spread_s(job))


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
@click.option(
    "--shots",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Divide the film; 1: one take, in chunks, too.",
)
@one_line_errors
def main(video: Path, style: Path, size: tuple[int, int], frames: int, rounds: int, shots: int) -> None:
    """Print how long one node and two, each of one thread on one core, take for VIDEO, forth and back, in STYLE.

    Two machines, as near as one with two cores comes to that; nothing else may run. Painting: from the first frame to
    the last. To the film: from the submission, with the start of the nodes and the index.
    """
    runs = IN_SHOTS if shots > 1 else RUNS
    click.echo(f"making a film of {2 * frames} frames, then {rounds} rounds of {len(runs)} runs", err=True)
    with tempfile.TemporaryDirectory(prefix="pair-") as place:
        clip, take = clip_of(video, Path(place), size, frames), Path(place) / "take.mp4"
        ffmpeg("-i", clip, "-filter_complex", "[0:v]split[a][b];[b]reverse[c];[a][c]concat", "-c:v", "libx264", "-crf", 16,
               "-an", take)  # fmt: skip
        cuts = Path(place) / "cuts.csv" if shots > 1 else None
        if cuts:
            cuts.write_text("".join(f"{2 * frames * number // shots}\n" for number in range(1, shots)))
        found: dict[str, list[Run]] = {name: [] for name in runs}
        for number in range(rounds):
            for name, (nodes, chunk) in runs.items():
                found[name].append(run_of(take, style, nodes, chunk, cuts))
                last = found[name][-1]
                click.echo(f"round {number + 1}: {name}: {last.film_s:.1f} s to the film", err=True)
    best = {name: min(times) for name, times in found.items()}
    alone, *others = best.values()
    for name, run in best.items():
        each = 1000 * run.painting_s / run.pictures
        click.echo(
            f"{name:24}{run.painting_s:7.1f} s painting{run.pictures:6} pictures{each:8.1f} ms each"
            f"{alone.painting_s / run.painting_s:7.2f} x{run.film_s:9.1f} s to the film{alone.film_s / run.film_s:7.2f} x"
        )
    added = others[-1].pictures / alone.pictures
    click.echo(f"{added - 1:.1%} pictures added: two nodes can be {2 / added:.2f} times as fast as one")


if __name__ == "__main__":
    main()
