"""How soon a film is there with 1 to 512 nodes: the nodes' own scheduling on a share in memory, while time is made up.

Each node has its plan (`fav.pipeline.plan`), and claims as ever; only painting and encoding take no time, and the clock
goes on by what they would take. The file server serves one node after the other, where its limits are given. So that a
film of hours can be played, nodes publish some frames of a chain at a time, and share what they know of the index.
"""

import functools
import heapq
import json
import os
import sys
import tempfile
import time
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from unittest import mock

import click
import numpy as np
from matplotlib.figure import Figure

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from fav.pipeline.checked_json import with_checksum
from fav.pipeline.chunking import chunk_length
from fav.pipeline.plan import VideoPlan
from fav.pipeline.task_names import FRAME_KINDS, stylize_task
from fav.stylize.chain import FrameChain
from fav.stylize.timeline import SEGMENT_FRAMES
from fav.util.images import encode_png
from fav.video.ranges import LEAST_RANGE, TAIL, RangeStart, Survey, VideoRange
from shared import results
from shared.claims import Claims, Outcome
from shared.identity import Identity
from shared.membership import Node
from shared.paths import Task, shard_of
from shared.recovery import pause_s
from shared.scheduling import MAX_CANDIDATES
from shared.settings import LEASE_S
from shared.shared_dir import SharedDir, open_share
from tests.helpers import fake_video_job as epic

OPERATIONS = 15  # that the file server does for a task (`benchmarks/README.md`, what a task costs)
OPERATIONS_OF_A_LOOK = 4  # at one heartbeat of another node (`shared/recovery.py`)
PUT_TOGETHER = 0.02e-3  # seconds for a frame of the index, of ranges that are decoded
MOST_AT_ONCE = 48  # frames of a chain that are published at one time
WAKE_PIECES = 8  # pieces of an index made of ranges, of milliseconds each, after which idle nodes look again
COLORS = {"one take": "tab:blue", "with cuts": "tab:orange"}


class Actor:
    """A node of the play: what it works on, and what it does when that is done."""

    def __init__(self, play: "Play", number: int, slowness: float):
        self.play, self.number, self.slowness, self.job = play, number, slowness, play.job
        self.node = Node(play.share, Identity.here())
        self.node.join()
        with (
            mock.patch("fav.pipeline.plan.FrameStylizer", epic.FakeStylizer),
            mock.patch("fav.pipeline.plan.changed_inputs", lambda *words: []),
        ):
            self.plan = VideoPlan(self.job, self.node)
        self.claims = Claims(self.node, self.job)
        # No video is there to be looked at.
        self.plan._indexing._expected = play.frames if play.in_ranges else 0
        self.task: Task | None = None
        self.began = self.ends = 0.0  # of `count` frames, or of one task
        self.count, self.version, self.piece = 1, 0, -1
        self.pictures: dict[tuple[str, int], Path] = {}  # frames of its own, by the directory

    def knows_what(self, other: "Actor") -> None:
        """Share what is known of the index, of segments and of other nodes' times."""
        mine, theirs = self.plan, other.plan
        mine.artifacts, mine._encoding, mine._counted = theirs.artifacts, theirs._encoding, True
        mine._indexing.artifacts, mine._takeovers._speeds = theirs.artifacts, theirs._takeovers._speeds

    @property
    def chain(self) -> FrameChain:
        """The chain that it paints."""
        found = self.task and self.plan.artifacts.chain_of(self.task)
        assert found is not None
        return found

    @functools.cached_property
    def picture(self) -> bytes:
        """A frame that it paints."""
        seconds = self.play.costs.paint * self.slowness
        return encode_png(epic.PICTURE, {"node": self.node.identity.incarnation, "seconds": f"{seconds:.6f}"})

    def publish(self, count: int) -> Task:
        """Publish its task, or so many frames of its chain; the last of them. It is claimed still, by its first one."""
        task = self.task
        assert task is not None
        if task.kind not in FRAME_KINDS:
            data = self.play.result_of(task)
            self.plan.published(task, results.publish_bytes(self.node, self.job, task, data))
            return task
        chain = self.chain
        for position in range(chain.done, chain.done + count):
            task = stylize_task(chain, position)
            if position < chain.done + count - 1:
                self.put(task)
            else:
                results.publish_bytes(self.node, self.job, task, self.picture)
        for position in range(chain.done, chain.done + count):
            self.plan.published(stylize_task(chain, position), True)
        self.plan._takeovers.measured(self.play.costs.paint * self.slowness)
        return task

    def put(self, task: Task) -> None:
        """Publish a frame without what that costs: a link to one file in each directory."""
        path, room = self.job.layout.result(task), (task.kind, shard_of(task.number))
        if room in self.pictures:
            os.link(self.pictures[room], path)
        else:
            epic.put(self.job, task, self.picture)
            self.pictures[room] = path

    def after(self, done: Task) -> None:
        """Claim what follows in the chain, then release what is done."""
        first, self.task = self.task, None
        assert first is not None
        following = self.plan.next_in_chain(done)
        if following is not None and self.claims.claim(following) is Outcome.WON:
            self.task = following
        self.claims.release(first)

    def look(self) -> list[Task]:
        """What it could do now, the best first."""
        return list(islice(self.plan.candidates(), MAX_CANDIDATES))

    def claim(self, tasks: Iterator[Task]) -> bool:
        """Claim the first task that is free. Returns whether something was learned, and another look is due."""
        for task in tasks:
            outcome = self.claims.claim(task)
            if outcome is Outcome.WON:
                self.task = task
                return False
            if outcome is Outcome.DONE:
                self.plan.published(task, ours=False)
                return True
        return False

    @property
    def puts_together(self) -> bool:
        """Whether the piece of the index that it makes is made of ranges."""
        return self.plan._indexing._survey is not None


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

    @classmethod
    def beside_looks(cls, operations: float, size: float, nodes: int) -> "FileServer":
        """What is left of a server for tasks while so many nodes look at each other's heartbeats."""
        if not operations:
            return cls(0, size)
        left = operations - nodes**2 * OPERATIONS_OF_A_LOOK / pause_s(nodes, LEASE_S)
        if left <= 0:
            raise click.ClickException(
                f"{nodes} nodes ask for {operations - left:.0f} operations a second to see that all are alive"
            )
        return cls(left, size)

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


class Play:
    """A film job, its nodes, and the clock.

    Args:
        share: the shared directory.
        frames: of the film.
        cuts: its cuts.
        chunk: frames of a chunk; None: shots stay whole.
        slowness: of each node: the seconds that it takes by those of `costs`.
        costs: of a node of slowness 1.
        server: the file server.
        in_ranges: whether nodes make the index together.
    """

    def __init__(
        self,
        share: SharedDir,
        frames: int,
        cuts: Sequence[int],
        chunk: int | None,
        slowness: Sequence[float],
        costs: Costs,
        server: FileServer,
        in_ranges: bool,
    ):
        self.share, self.frames, self.costs, self.server, self.in_ranges = share, frames, costs, server, in_ranges
        self.index = [
            replace(
                epic.piece(start, frames, frames),
                cuts=tuple(cut for cut in cuts if start <= cut < start + SEGMENT_FRAMES),
            )
            for start in range(0, frames, SEGMENT_FRAMES)
        ]
        self.job = epic.make_film(share, frames, frames, indexed=False, chunk=chunk)
        self.actors = [Actor(self, number, one) for number, one in enumerate(slowness)]
        for actor in self.actors:
            actor.knows_what(self.actors[0])
        self.at_once = max(min(MOST_AT_ONCE, frames // (8 * len(slowness))), 1)
        self.events: list[tuple[float, int, int]] = []  # when, which actor, and which of its versions
        self.idle = list(range(len(slowness)))
        self.waiting: dict[str, int] = {}  # by the frame that is awaited, the actor
        self.painted, self.last_frame = 0, 0.0

    def run(self) -> float:
        """Play it; seconds until the film is there."""
        self.wake(0.0)
        said = time.monotonic()
        while True:
            if not self.events:
                raise RuntimeError(f"expected a film, but {len(self.idle)} nodes have nothing to do")
            now, number, version = heapq.heappop(self.events)
            actor = self.actors[number]
            if version != actor.version or actor.task is None:
                continue
            if actor.task.kind == "stitch":
                return now
            opened = self.finish(actor, now, actor.count)
            if actor.task is None:
                self.begin(actor, now)
            if opened:
                self.wake(now)
            if time.monotonic() - said > 10:
                said = time.monotonic()
                click.echo(f"  {self.painted} frames painted after {now:.0f} s of the film's time …", err=True)

    def finish(self, actor: Actor, now: float, count: int) -> bool:
        """An actor publishes what it has done. Returns whether that may give others something to do."""
        task, mixed = actor.task, self.mixed
        assert task is not None
        done = actor.publish(count)
        if task.kind in FRAME_KINDS:
            chain = actor.chain
            self.painted, self.last_frame = self.painted + count, now
            taker = self.waiting.pop(str(done), None)
            segments = actor.plan.artifacts.segments
            opened = mixed or not chain.remaining or _opens(segments, chain, count)
            actor.after(done)
            if taker is not None:
                self.schedule(self.actors[taker], now)
        else:
            together = task.kind == "index" and actor.puts_together
            actor.piece = task.number if task.kind == "index" else actor.piece
            actor.after(done)
            complete = actor.plan.timeline.is_complete
            opened = task.kind != "encode" and (not together or complete or task.number % WAKE_PIECES == 0)
        if actor.task is not None:
            self.schedule(actor, now)
        return opened

    @property
    def mixed(self) -> bool:
        """Whether idle nodes may take over from slower ones."""
        return any(self.actors[number].slowness < max(self._slownesses) for number in self.idle)

    @functools.cached_property
    def _slownesses(self) -> set[float]:
        return {actor.slowness for actor in self.actors}

    def begin(self, actor: Actor, now: float) -> None:
        """An actor takes what is best for it now, or is idle."""
        while actor.task is None:
            tasks = actor.look()
            early = [task for task in tasks[:1] if self.is_early(actor, task)]
            if early:
                owner = self.owner_of(actor, early[0])
                if owner is None:
                    break
                if self.settle(owner, now):
                    continue  # it is further than it had published
                learned = actor.claim(iter(early))
                if actor.task is not None:
                    chain = actor.chain
                    self.waiting[str(stylize_task(chain, chain.index_of(early[0].number) - 1))] = actor.number
                    actor.version += 1
                    self.shorten(owner, chain.index_of(early[0].number))
                    return
            else:
                learned = actor.claim(iter(tasks))
            if actor.task is None and not learned:
                break
        if actor.task is None:
            self.idle.append(actor.number)
        else:
            self.schedule(actor, now)

    def is_early(self, actor: Actor, task: Task) -> bool:
        """Whether the frames before this one are not all painted: it is taken over."""
        chain = actor.plan.artifacts.chain_of(task) if task.kind in FRAME_KINDS else None
        return chain is not None and chain.index_of(task.number) > chain.done

    def owner_of(self, actor: Actor, task: Task) -> Actor | None:
        """Who paints the chain of a frame."""
        chain = actor.plan.artifacts.chain_of(task)
        for other in self.actors:
            if (
                other is not actor
                and other.task is not None
                and other.task.kind in FRAME_KINDS
                and other.chain is chain
            ):
                return other
        return None

    def settle(self, owner: Actor, now: float) -> bool:
        """Let an actor publish the frames that it has painted by now; whether there were any."""
        each = (owner.ends - owner.began) / owner.count
        count = min(int((now - owner.began) / each) if each else 0, owner.count - 1)
        if count <= 0:
            return False
        began, ends, left = owner.began + count * each, owner.ends, owner.count - count
        done = owner.publish(count)
        self.painted += count
        owner.after(done)
        owner.began, owner.ends, owner.count = began, ends, left
        return True

    def shorten(self, owner: Actor, position: int) -> None:
        """An actor paints up to a position of its chain that another one has taken."""
        each, count = (owner.ends - owner.began) / owner.count, position - owner.chain.done
        if count < owner.count:
            owner.count, owner.ends, owner.version = count, owner.began + count * each, owner.version + 1
            heapq.heappush(self.events, (owner.ends, owner.number, owner.version))

    def frames_at_once(self, actor: Actor) -> int:
        """How many frames of its chain an actor publishes at one time: up to the one that another actor has taken."""
        chain, count = actor.chain, min(self.at_once, actor.chain.remaining)
        for number in self.waiting.values():
            other = self.actors[number]
            if other.task is not None and other is not actor and other.chain is chain:
                count = min(count, chain.index_of(other.task.number) - chain.done)
        return count

    def schedule(self, actor: Actor, now: float) -> None:
        """An actor begins its task."""
        task = actor.task
        assert task is not None
        actor.count = self.frames_at_once(actor) if task.kind in FRAME_KINDS else 1
        size = self.size_of(task, actor)
        if task.kind == "index" and actor.puts_together:
            seconds = size * PUT_TOGETHER  # a new owner begins with the first one
            seconds *= 1 if task.number == actor.piece + 1 else task.number + 1
        else:
            seconds = self.costs.seconds(task, size)
        ready = now + seconds * actor.slowness
        actor.began, actor.version = now, actor.version + 1
        actor.ends = max(ready, self.server.done(now, task, self.costs, size))
        heapq.heappush(self.events, (actor.ends, actor.number, actor.version))

    def wake(self, now: float) -> None:
        """Idle actors look what there is, the fastest first; those that know as much as one that found nothing do not."""
        nothing: set[tuple[float, bool]] = set()
        for number in sorted(self.idle, key=lambda one: (self.actors[one].slowness, one)):
            actor = self.actors[number]
            knows = actor.slowness, bool(actor.plan._takeovers._own)
            if knows in nothing:
                continue
            self.idle.remove(number)
            self.begin(actor, now)
            if actor.task is None:
                nothing.add(knows)

    def size_of(self, task: Task, actor: Actor) -> int:
        """How many frames a task concerns."""
        if task.kind in FRAME_KINDS:
            return actor.count
        if task.kind == "encode":
            return len(actor.plan.artifacts.segments[task.number])
        if task.kind == "decode":
            return self.survey.ranges[task.number].packets + TAIL
        return {"index": SEGMENT_FRAMES, "survey": self.frames, "stitch": self.frames}[task.kind]

    @functools.cached_property
    def survey(self) -> Survey:
        return survey_of(self.frames)

    def result_of(self, task: Task) -> bytes:
        """What is published of a task that is not a frame."""
        if task.kind == "index":
            return json.dumps(self.index[task.number].to_json()).encode()
        if task.kind == "survey":
            return with_checksum(self.survey.to_json())
        return b"{}" if task.kind == "decode" else b"packets"


def _opens(segments: Sequence[range], chain: FrameChain, count: int) -> bool:
    """Whether one of the last frames of a chain that were painted ends a segment of the film."""
    first, last = chain.frame(chain.done - count), chain.frame(chain.done - 1)
    ends = bisect_left(segments, first, key=lambda part: part.stop - 1)
    return ends < len(segments) and segments[ends].stop - 1 <= last


def makespan(
    frames: int,
    cuts: Sequence[int],
    chunk: int | None,
    nodes: int | Sequence[float],
    costs: Costs,
    server: FileServer,
    in_ranges: bool = True,
) -> tuple[float, float, int]:
    """Seconds until the film is there, and until all frames are, and the number of frames painted.

    `nodes`: how many equal ones, or the slowness of each.
    """
    slowness = [1.0] * nodes if isinstance(nodes, int) else list(nodes)
    parse = functools.cache(Task.parse)
    with (
        tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as place,
        mock.patch.object(Task, "parse", parse),
    ):
        play = Play(open_share(Path(place)), frames, cuts, chunk, slowness, costs, server, in_ranges)
        span = play.run()
        return span, play.last_frame, play.painted


def cuts_of(frames: int) -> list[int]:
    """Shots of 2 to 40 s at 25 frames a second, 5 s in the median: the same ones each time."""
    lengths = np.random.default_rng(1).lognormal(np.log(125), 0.7, frames).clip(50, 1000).astype(int)
    return [int(cut) for cut in np.cumsum(lengths) if cut < frames]


@dataclass(frozen=True)
class Kind:
    """Milliseconds that a frame of a kind of film takes on a node of two cores (`benchmarks/README.md`), and kilobytes."""

    paint: float
    index: float
    encode: float
    frame_kb: float
    film_kb: float


KINDS = {
    "640x360": Kind(104, 1.6, 22, 450, 10),
    "1920x1080": Kind(908, 8, 133, 4540, 60),
    "1920x1080-full-width": Kind(1938, 8, 133, 4540, 60),
}
DEMUX_MS, MUX_MS = 0.02, 0.05  # of a frame in the survey, and in the stitch


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--kind", type=click.Choice(list(KINDS)), default="1920x1080", show_default=True, help="What is painted.")
@click.option("--frames", type=click.IntRange(100), default=7500, show_default=True)
@click.option("--nodes", default="1,2,4,8,16,32,64,128,256", show_default=True)
@click.option("--slow-by", type=click.FloatRange(1), default=1.0, help="Every second node takes so many times as long.")
@click.option("--film", type=click.Choice(list(COLORS)), help="Only this film.  [default: both]")
@click.option("--chunk", default="off,auto", show_default=True, help="Numbers of frames, `off` or `auto`.")
@click.option("--paint-ms", type=float, help="Of a frame, in place of the kind's: flow, network, PNG.")
@click.option("--index-ms", type=float, help="Of a frame of the index: decoding, cuts.")
@click.option("--encode-ms", type=float, help="Of a frame: read, encoded.")
@click.option("--frame-kb", type=float, help="Of a stylized frame.")
@click.option("--film-kb", type=float, help="Of a frame in the film.")
@click.option("--one-pass", is_flag=True, help="One node alone makes the index.")
@click.option(
    "--before", is_flag=True, help="As it was: an index in one pass, and one node encodes when all is painted."
)
@click.option("--no-takeovers", is_flag=True, help="A node keeps its chain although a faster one is idle.")
@click.option(
    "--server-ops", type=float, default=0.0, help="Operations a second of the file server.  [default: no limit]"
)
@click.option(
    "--server-mb", type=float, default=0.0, help="Megabytes a second of the file server.  [default: no limit]"
)
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE.png", help="Write a plot here.")
def main(
    kind: str,
    frames: int,
    nodes: str,
    slow_by: float,
    film: str | None,
    chunk: str,
    one_pass: bool,
    before: bool,
    no_takeovers: bool,
    server_ops: float,
    server_mb: float,
    out: Path | None,
    **given: float | None,
) -> None:
    """Print how soon films of FRAMES frames are there with so many nodes, from the submission to the film.

    Efficiency: the time that one node takes with --chunk off, divided by the time that they take, and by their number
    (with --slow-by: by the number of fast nodes that do as much).
    """
    names = {"paint_ms": "paint", "index_ms": "index", "encode_ms": "encode"}
    kinds = replace(KINDS[kind], **{names.get(name, name): value for name, value in given.items() if value is not None})
    costs = Costs(*(each / 1000 for each in (kinds.paint, kinds.index, DEMUX_MS, kinds.encode, MUX_MS)),
                  kinds.frame_kb * 1e3, kinds.film_kb * 1e3)  # fmt: skip
    counts = list(map(int, nodes.split(",")))
    alone = frames * (costs.paint + costs.index + costs.encode + costs.mux)
    click.echo(
        f"{frames} frames, {kind}: painted in {kinds.paint:g} ms each, indexed in {kinds.index:g}, encoded in "
        f"{kinds.encode:g}; seconds to the film, and efficiency"
    )
    if no_takeovers:
        mock.patch("fav.pipeline.takeovers.Takeovers.candidates", lambda *words: iter(())).start()
    click.echo(f"{'':28}" + "".join(f"{count:>14}" for count in counts))
    found = {}
    for name in [film] if film else COLORS:
        cuts = [] if name == "one take" else cuts_of(frames)
        for word in chunk.split(","):
            size = {"off": None, "auto": chunk_length(frames, (640, 360))}[word] if not word.isdigit() else int(word)
            shares, spans, painted = [], [], frames
            for count in counts:
                click.echo(f"{name}, chunk {size or 'off'}, {count} nodes …", err=True)
                slowness = [slow_by if number % 2 else 1.0 for number in range(count)]
                server = FileServer.beside_looks(server_ops, server_mb * 1e6, count)
                span, last, painted = makespan(frames, cuts, size, slowness, costs, server, not (one_pass or before))
                spans.append(last + frames * (costs.encode + costs.mux) if before else span)
                shares.append(alone / sum(1 / one for one in slowness) / spans[-1])
                click.echo(f"  {spans[-1]:.0f} s, {shares[-1]:.0%}", err=True)
            found[name, size] = shares
            cells = "".join(f"{span:8.1f} {share:4.0%} " for span, share in zip(spans, shares))
            click.echo(f"{name + ', chunk ' + str(size or 'off'):28}{cells}  {painted / frames - 1:.1%} added")
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
