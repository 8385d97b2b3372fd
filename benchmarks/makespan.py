"""How soon a film is there with 1 to 256 nodes: the nodes' own scheduling on a share in memory, while time is made up.

Each node has its plan (`fav.pipeline.plan`), claims and publishes as ever; only painting and encoding take no time, and the clock
goes on by what they would take. The file server serves one node after the other, where its limits are given.
"""

import heapq
import json
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from unittest import mock

import click
import numpy as np
from matplotlib.figure import Figure

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from fav.pipeline.artifacts import with_checksum
from fav.pipeline.plan import VideoPlan
from fav.pipeline.task_names import FRAME_KINDS
from fav.stylize.timeline import SEGMENT_FRAMES, IndexSegment
from fav.video.ranges import LEAST_RANGE, TAIL, RangeStart, Survey, VideoRange
from shared import results
from shared.claims import Claims, Outcome
from shared.identity import Identity
from shared.jobs import Job
from shared.membership import Node
from shared.paths import Task
from shared.scheduling import MAX_CANDIDATES
from shared.shared_dir import SharedDir, open_share
from tests.helpers import fake_video_job as epic

OPERATIONS = 15  # that the file server does for a task (`benchmarks/README.md`, what a task costs)
PUT_TOGETHER = 0.02e-3  # seconds for a frame of the index, of ranges that are decoded
COLORS = {"one take": "tab:blue", "with cuts": "tab:orange"}


class Actor:
    """A node of the play: what it works on, and what it does when that is done."""

    def __init__(self, share: SharedDir, job: Job, index: list[IndexSegment], in_ranges: bool = True):
        self.node, self.job, self.index = Node(share, Identity.here()), job, index
        self.node.join()
        with (
            mock.patch("fav.pipeline.plan.FrameStylizer", epic.FakeStylizer),
            mock.patch("fav.pipeline.plan.changed_inputs", lambda *words: []),
        ):
            self.plan = VideoPlan(job, self.node)
        self.claims, self.task = Claims(self.node, job), None
        # No video is there to be looked at.
        self.plan._indexing._expected = index[-1].start + len(index[-1].index) if in_ranges else 0

    def go_on(self) -> Task | None:
        """Publish what it had, and claim the next; None where there is nothing to do."""
        done, self.task = self.task, None
        if done:
            if done.kind in ("encode", "stitch"):
                data = b"packets"
            elif done.kind == "index":
                data = json.dumps(self.index[done.number].to_json()).encode()
            elif done.kind == "survey":
                data = with_checksum(survey_of(self.index[-1].start + len(self.index[-1].index)).to_json())
            elif done.kind == "decode":
                data = b"{}"
            else:
                data = self.plan.run(done, lambda: None)
            self.plan.published(done, results.publish_bytes(self.node, self.job, done, data))
            self.task = self._first(filter(None, [self.plan.next_in_chain(done)]))
            self.claims.release(done)
        while self.task is None:
            found = list(islice(self.plan.candidates(), MAX_CANDIDATES))
            self.task = self._first(iter(found))
            if self.task is None and not self.learned:
                break
        return self.task

    @property
    def puts_together(self) -> bool:
        """Whether the piece of the index that it makes is made of ranges."""
        return self.plan._indexing._survey is not None

    def _first(self, tasks: Iterator[Task]) -> Task | None:
        self.learned = False
        for task in tasks:
            outcome = self.claims.claim(task)
            if outcome is Outcome.WON:
                return task
            if outcome is Outcome.DONE:
                self.learned = True
                self.plan.published(task, ours=False)
                return None
        return None


def survey_of(frames: int) -> Survey:
    """Of a video of so many frames that has a keyframe where one is wanted."""
    starts = range(0, frames, LEAST_RANGE)
    return Survey(
        tuple(
            VideoRange(RangeStart(start, 1), min(LEAST_RANGE, frames - start), 0)
            for start in starts
            if frames - start > TAIL
        )
    )


@dataclass
class FileServer:
    """A server that does one thing after the other: operations and bytes a second, 0 for no limit."""

    operations: float = 0
    size: float = 0
    free: float = 0.0

    def done(self, now: float, task: Task, cost: "Costs", frames: int) -> float:
        """When the server has done what a task of so many frames asks for, which is ready at `now`."""
        moved = frames * (cost.frame_bytes if task.kind in FRAME_KINDS else 2 * cost.film_bytes)
        moved += frames * cost.frame_bytes * (task.kind == "encode")  # it reads the frames
        busy = OPERATIONS / self.operations if self.operations else 0.0
        self.free = max(self.free, now) + busy + (moved / self.size if self.size else 0.0)
        return self.free


@dataclass(frozen=True)
class Costs:
    """Seconds of one node, and bytes, for each frame."""

    paint: float
    index: float
    demux: float
    encode: float
    mux: float
    frame_bytes: float
    film_bytes: float

    def seconds(self, task: Task, frames: int) -> float:
        """What a task of so many frames takes."""
        each = {
            "index": self.index,
            "decode": self.index,
            "survey": self.demux,
            "encode": self.encode,
            "stitch": self.mux,
        }
        return frames * each.get(task.kind, self.paint)


def makespan(
    frames: int,
    cuts: list[int],
    chunk: int | None,
    nodes: int,
    costs: Costs,
    server: FileServer,
    in_ranges: bool = True,
) -> tuple[float, float, int]:
    """Seconds until the film is there, and until all frames are, and the number of frames painted."""
    index = [
        replace(
            epic.piece(start, frames, frames), cuts=tuple(cut for cut in cuts if start <= cut < start + SEGMENT_FRAMES)
        )
        for start in range(0, frames, SEGMENT_FRAMES)
    ]
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as place:
        share = open_share(Path(place))
        job = epic.make_film(share, frames, frames, indexed=False, chunk=chunk)
        actors = [Actor(share, job, index, in_ranges) for _ in range(nodes)]
        events, idle, painted, last = [(0.0, number) for number in range(nodes)], [], 0, 0.0
        while True:
            now, number = heapq.heappop(events)
            actor = actors[number]
            done = actor.task
            if done and done.kind in FRAME_KINDS:
                painted, last = painted + 1, now
            if done and done.kind == "stitch":
                return now, last, painted
            task = actor.go_on()
            if task:
                size = _frames_of(task, actor, frames)
                together = task.kind == "index" and actor.puts_together
                ready = now + (size * PUT_TOGETHER if together else costs.seconds(task, size))
                heapq.heappush(events, (max(ready, server.done(now, task, costs, size)), number))
            else:
                idle.append(number)
            if done and (done.kind in ("index", "survey", "decode") or _may_open(done, actor)):
                for waiting in idle:
                    heapq.heappush(events, (now, waiting))
                idle = []


def _frames_of(task: Task, actor: Actor, frames: int) -> int:
    """How many frames a task concerns."""
    if task.kind == "encode":
        return len(actor.plan.artifacts.segments[task.number])
    if task.kind == "decode":
        return survey_of(frames).ranges[task.number].packets + TAIL
    return {"index": SEGMENT_FRAMES, "survey": frames, "stitch": frames}.get(task.kind, 1)


def _may_open(done: Task, actor: Actor) -> bool:
    """Whether the last task of a node may open a segment to others: its frame is the last of one, or of a chain."""
    if done.kind not in FRAME_KINDS:
        return False
    chain = actor.plan.artifacts.chain_of(done)
    ends = {part.stop - 1 for part in actor.plan.artifacts.segments}
    return done.number in ends or chain is not None and not chain.remaining


def cuts_of(frames: int) -> list[int]:
    """Shots of 2 to 40 s at 25 frames a second, 5 s in the median: the same ones each time."""
    lengths = np.random.default_rng(1).lognormal(np.log(125), 0.7, frames).clip(50, 1000).astype(int)
    return [int(cut) for cut in np.cumsum(lengths) if cut < frames]


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--frames", type=click.IntRange(100), default=7500, show_default=True)
@click.option("--nodes", default="1,2,4,8,16,32,64,128,256", show_default=True)
@click.option("--chunk", type=click.IntRange(8), default=48, show_default=True)
@click.option("--paint-ms", type=float, default=100.0, show_default=True, help="Of a frame: flow, network, PNG.")
@click.option("--index-ms", type=float, default=1.6, show_default=True, help="Of a frame of the index: decoding, cuts.")
@click.option(
    "--demux-ms", type=float, default=0.02, show_default=True, help="Of a frame in the survey: its packet is read."
)
@click.option("--one-pass", is_flag=True, help="One node alone makes the index.")
@click.option("--encode-ms", type=float, default=30.0, show_default=True, help="Of a frame: read, encoded.")
@click.option("--mux-ms", type=float, default=0.05, show_default=True, help="Of a frame in the stitch.")
@click.option("--frame-kb", type=float, default=450.0, show_default=True, help="Of a stylized frame.")
@click.option("--film-kb", type=float, default=30.0, show_default=True, help="Of a frame in the film.")
@click.option(
    "--server-ops", type=float, default=0.0, help="Operations a second of the file server.  [default: no limit]"
)
@click.option(
    "--server-mb", type=float, default=0.0, help="Megabytes a second of the file server.  [default: no limit]"
)
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE.png", help="Write a plot here.")
def main(
    frames: int,
    nodes: str,
    chunk: int,
    paint_ms: float,
    index_ms: float,
    demux_ms: float,
    one_pass: bool,
    encode_ms: float,
    mux_ms: float,
    frame_kb: float,
    film_kb: float,
    server_ops: float,
    server_mb: float,
    out: Path | None,
) -> None:
    """Print how soon films of FRAMES frames are there with so many nodes, with --chunk off and with chunks.

    Efficiency: the time that one node takes with --chunk off, divided by the number of nodes and the time that they take.
    """
    costs = Costs(
        *(each / 1000 for each in (paint_ms, index_ms, demux_ms, encode_ms, mux_ms)), frame_kb * 1e3, film_kb * 1e3
    )
    counts = list(map(int, nodes.split(",")))
    alone = frames * (paint_ms + index_ms + encode_ms + mux_ms) / 1000
    click.echo(
        f"{frames} frames, painted in {paint_ms:g} ms each, indexed in {index_ms:g}, encoded in {encode_ms:g}; "
        "seconds to the film, and efficiency"
    )
    click.echo(f"{'':28}" + "".join(f"{count:>14}" for count in counts))
    found = {}
    for film, cuts in {"one take": [], "with cuts": cuts_of(frames)}.items():
        for size in (None, chunk):
            spans = []
            for count in counts:
                click.echo(f"{film}, chunk {size or 'off'}, {count} nodes …", err=True)
                server = FileServer(server_ops, server_mb * 1e6)
                spans.append(makespan(frames, cuts, size, count, costs, server, not one_pass))
            found[film, size] = [alone / count / span for count, (span, *_) in zip(counts, spans)]
            cells = "".join(f"{span:8.1f} {share:4.0%} " for (span, *_), share in zip(spans, found[film, size]))
            click.echo(f"{film + ', chunk ' + str(size or 'off'):28}{cells}  {spans[0][2] / frames - 1:.1%} added")
    if out:
        plot(counts, found).savefig(out, dpi=100)


def plot(counts: list[int], found: dict[tuple[str, int | None], list[float]]) -> Figure:
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    for (film, size), shares in found.items():
        axes.plot(
            counts,
            [100 * share for share in shares],
            marker="o",
            color=COLORS[film],
            linestyle="-" if size else ":",
            label=f"{film}, chunk {size or 'off'}",
        )
    axes.set(xscale="log", xlabel="nodes", ylabel="efficiency, % of --chunk off on one node", ylim=(0, 105))
    axes.set_xticks(counts, map(str, counts))
    axes.legend()
    return figure


if __name__ == "__main__":
    main()
