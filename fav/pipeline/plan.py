"""The one bridge between the films and the job system: which tasks a job has, what each needs, how it runs.

    index k   frames and cuts of a piece of the video; needs nothing but the video
    flow t    flow and reliability of frame t towards the one before it in its shot
    frame t   the stylized frame; needs the one before it, and flow t (published, or made on the spot)
    lead t    with --chunk, the same of a chunk's lead-in, which the film does not show (`run.py`)
    stitch    the film; needs all frames

and, with --evaluate, those of `measuring.py`.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fav import flow as flows
from fav.errors import FavError
from fav.flow.field import FlowField
from fav.flow.io import encode_flow
from fav.pipeline.artifacts import JobArtifacts, sealed, write_print
from fav.pipeline.delivery import deliver, stitch
from fav.pipeline.device_lock import own_device
from fav.pipeline.inputs import NEEDED, changed_inputs
from fav.pipeline.repair import missing
from fav.pipeline.task_names import (
    FLOW_AHEAD,
    MEASURING,
    OPTIONAL,
    PAINTED,
    flow_task,
    frame_task,
    index_task,
    painting_task,
    stitch_task,
)
from fav.stylize.chain import FrameChain
from fav.stylize.engine import FrameStylizer, PaintedFrame, paint
from fav.stylize.indexing import index_pieces
from fav.stylize.timeline import IndexSegment, Timeline
from fav.util.images import encode_png
from fav.util.malloc import give_back_freed_memory
from fav.util.safe_path import brought
from shared import results
from shared.attempts import failed
from shared.claims import claimed
from shared.errors import InputChangedError, JobQueueError
from shared.filesystem import TRANSIENT_ERRNOS
from shared.jobs import Job
from shared.membership import Node
from shared.paths import Task, shard_of

if TYPE_CHECKING:
    from fav.pipeline.evaluation_tasks import EvaluationTasks

FLOW_LEAD = 2  # nearer to the frame that is being painted, its own node is done first

CLASS = Task("class", 0, ".txt")  # the numeric class of a strict job, published by its first node
CLASS_LIMIT = 1 << 16  # bytes


@dataclass
class CachedFrame:
    """A stylized frame, and the task that made it."""

    task: Task
    painted: PaintedFrame


def make_plan(job: Job, node: Node, say: Callable[[str], None], **options) -> "VideoPlan":
    """The plan of a film job on this node; UserError where it cannot be served here."""
    return VideoPlan(job, node, say, **options)


class VideoPlan:
    """One node's view of one film job (a `shared.protocols.TaskPlan`)."""

    optional = OPTIONAL

    def __init__(
        self,
        job: Job,
        node: Node,
        say: Callable[[str], None],
        video: str | None = None,
        threads: int | None = None,
        device: str = "auto",
        backend: str = "auto",
    ):
        self.job = job
        self.node = node
        self.say = say
        self.artifacts = JobArtifacts(job, node)
        self.spec = self.artifacts.spec
        root = node.share.layout.root
        self._own_video = Path(video) if video else None
        self.video = self._own_video or brought(root, self.spec.video)
        self._check_inputs(sequences=self._own_video is not None)
        self.studio = FrameStylizer(
            self.video,
            self.spec.look(root),
            self.spec.fps,
            self.spec.threads or threads,
            own_device(device, backend),
            backend,
        )
        self._flow_travels = flows.travels(self.spec.flow, self.spec.no_temporal)
        self._stitch, self._finish = stitch_task(self.spec), self.spec.finish(root)
        self._warm: CachedFrame | None = None  # the last stylized frame, as published
        self._fresh: CachedFrame | None = None  # the one that is being published
        self._used_flow: int | None = None
        self._began = time.monotonic()  # the task at hand
        self._film: str | None = None  # where it is, if it is shown already
        self._over = False  # whether all of the job's end was told
        self._author = {"node": node.identity.incarnation, "numeric-class": self.studio.numeric_class}
        self._measuring = self._measures()
        self._pieces: tuple[int, Iterator[IndexSegment]] | None = None
        self._said_notes = 0
        self._surveyed = self._recounted = False
        self._flow_s = 1.0
        self._agree_on_class()

    def _measures(self) -> "EvaluationTasks | None":
        if not self.spec.evaluate:
            return None
        from fav.pipeline.evaluation_tasks import EvaluationTasks

        return EvaluationTasks(self.artifacts, self.node, self.video, self.studio.flow, self._author)

    @property
    def timeline(self) -> Timeline:
        return self.artifacts.timeline

    def _check_inputs(self, sequences: bool = True) -> None:
        """InputChangedError unless all that the film needs is what the job was made for; `sequences` as for `changed_inputs`."""
        if wrong := changed_inputs(self.node.share.layout.root, self.spec, self._own_video, NEEDED, sequences):
            self.job.flags()  # JobRemovedError where all of it is gone
            raise InputChangedError("; ".join(wrong))

    def _agree_on_class(self) -> None:
        if not self.spec.bit_exact:
            return
        if self.job.source_mismatch:
            raise JobQueueError(
                f"{self.job.name}: the job is --bit-exact and was {self.job.source_mismatch}; bring the same sources here"
            )
        mine = self.studio.numeric_class
        results.publish_bytes(self.node, self.job, CLASS, mine.encode())
        theirs = results.read(self.job, CLASS, CLASS_LIMIT).decode(errors="replace")[:1000]
        if theirs != mine:
            raise JobQueueError(
                f"{self.job.name}: the job is --bit-exact and this machine computes otherwise: expected "
                f"[{theirs}], here [{mine}]; use equal machines, or submit without --bit-exact"
            )

    # ---- what to do next
    def candidates(self) -> Iterator[Task]:
        found = False
        for task in self._open_tasks():
            found = True
            yield task
        if not found:
            give_back_freed_memory()  # this node will wait for others

    def _open_tasks(self) -> Iterator[Task]:
        self._refresh()
        claims = set(claimed(self.job))
        lost = set(failed(self.job))
        taken = claims | lost
        if not self.timeline.complete:
            piece = index_task(len(self.timeline.pieces))
            if str(piece) not in taken:
                yield piece
        busy = self._busy(taken)
        all_painted = self.timeline.complete
        for run in self.timeline.unfinished():
            all_painted = False
            if run.start in busy:
                continue  # somebody's chain, or one with a failed frame
            if run.closed or not run.reverse:
                yield painting_task(run, run.done)
        if self._flow_travels:
            yield from self._flows_ahead(self._served(busy, claims), taken)
        if all_painted and str(self._stitch) not in taken and not results.is_done(self.job, self._stitch):
            yield self._stitch
        if self._measuring:
            reached = {run.start: position for run, position in self._served(busy, claims)}
            yield from self._measuring.candidates(reached, taken, lost)

    def _busy(self, taken: set[str]) -> dict[int, int]:
        """Of runs, by their first frame, the first position that is claimed or failed."""
        busy: dict[int, int] = {}
        for task in map(Task.parse, taken):
            if task.kind in PAINTED and (run := self.artifacts.run_of(task)):
                busy[run.start] = min(run.position(task.number), busy.get(run.start, len(run)))
        return busy

    def _served(self, busy: dict[int, int], claims: set[str]) -> list[tuple[FrameChain, int]]:
        """The runs that somebody paints and the position where he is, the longest first; of what `_busy` tells."""
        runs = ((self.timeline.run_of(start), position) for start, position in busy.items())
        served = [(run, position) for run, position in runs if run.left and str(painting_task(run, position)) in claims]
        return sorted(served, key=lambda one: -one[0].left)

    def _flows_ahead(self, served: list[tuple[FrameChain, int]], taken: set[str]) -> Iterator[Task]:
        for run, current in served:
            first = current + FLOW_LEAD
            ahead = [run.frame(position) for position in range(first, min(first + FLOW_AHEAD, len(run)))]
            there = {
                number
                for shard in {shard_of(frame) for frame in ahead}
                for number in self.artifacts.there("flow", shard)
            }
            task = next(
                (
                    flow_task(frame)
                    for position, frame in enumerate(ahead, first)
                    if frame not in there
                    and str(flow_task(frame)) not in taken
                    and not results.is_done(self.job, painting_task(run, position))
                ),
                None,
            )  # as beside a frame made again
            if task is not None:
                yield task

    def next_in_chain(self, task: Task) -> Task | None:
        if task.kind == "index":
            return None if self.timeline.complete else index_task(len(self.timeline.pieces))
        if task.kind not in PAINTED:
            return None
        run = self.artifacts.run_of(task)
        if run.left == 0:
            self._refresh()
            run = self.artifacts.run_of(task)
        return painting_task(run, run.done) if run.left else None

    def self_test_task(self, task: Task) -> Task | None:
        if task.kind == "index":
            return index_task(0) if task.number and results.is_done(self.job, index_task(0)) else None
        if task.kind == "stitch" or task.kind in MEASURING:
            return None
        self._refresh()
        for shard in range(shard_of(self.spec.start), shard_of(self.timeline.end) + 1):
            for frame in sorted(self.artifacts.there("frame", shard)):
                known = self.spec.start <= frame < self.timeline.end and frame != task.number
                if known and self._begins(frame_task(frame)) == self._begins(task):  # the others need flow
                    return flow_task(frame) if task.kind == "flow" else frame_task(frame)
        return None

    def _begins(self, task: Task) -> bool:
        return self.artifacts.run_of(task).predecessor(task.number) is None

    def published(self, task: Task, ours: bool) -> None:
        if task.kind == "index":
            self._refresh()
        elif task.kind == "measure":
            self._measuring.published(task)
        elif task.kind in PAINTED:
            run = self.artifacts.run_of(task)
            if ours and run.position(task.number) == run.done:
                run.done += 1
                self._warm = self._fresh
            else:
                self.artifacts.advance(run)
                self._warm = None  # go on from the published one
            if self._used_flow == task.number and task.kind == "frame" and not self.spec.keep_flow:
                self.node.share.system.unlink(self.job.layout.result(flow_task(task.number)))
            self._used_flow = None

    def invalidate_cache(self) -> None:
        self._warm = self._pieces = self._film = None
        self._surveyed = self._recounted = self._over = False
        self.artifacts.invalidate_cache()
        if self._measuring:
            self._measuring.invalidate_cache()

    def finalize(self) -> str | None:
        if not results.is_done(self.job, self._stitch) or not self._all_painted():
            return None
        if not self._over:
            give_back_freed_memory()  # a node of many jobs may wait long for the next one
            over, told = self._measuring is None or self._measuring.finalize(self.say), self._film
            if self._film is None:
                self._film = deliver(
                    self.node, self.job, self.spec, self.say
                )  # at once: it need not wait for its evaluation
            if not over and told is None:
                self.say(f"{self.job.name}: the film is there, {self._film}; it is still being measured")
            self._over = over
        if self._over and missing(self.artifacts):
            self.invalidate_cache()  # somebody has taken something away that we had counted
        return self._film if self._over else None

    def _all_painted(self) -> bool:
        """Whether the index and all frames are there, though the film may be: it stays when one of them is made again."""
        self._refresh()
        if not self._recounted and self.timeline.complete:
            self._recounted = True
            self.artifacts.survey()
        return self.timeline.complete and next(self.timeline.unfinished(), None) is None

    def _refresh(self) -> None:
        self.artifacts.refresh()
        for note in self.timeline.notes[self._said_notes :]:
            self.say(f"{self.job.name}: {note}")
        self._said_notes = len(self.timeline.notes)
        if not self._surveyed:
            self._surveyed = True
            self.artifacts.survey()

    # ---- how to do it
    def run(self, task: Task, report_progress: Callable[[], None]) -> bytes | Path:
        try:
            return self._run(task, report_progress)
        except JobQueueError:
            raise
        except Exception as error:
            if not (isinstance(error, OSError) and error.errno in TRANSIENT_ERRNOS):
                self._check_inputs()  # whose fault is it?
            raise

    def _run(self, task: Task, report_progress: Callable[[], None]) -> bytes | Path:
        self._began = time.monotonic()
        if task.kind in MEASURING:
            return self._measuring.run(task, report_progress)
        if self._measuring:
            self._measuring.rest()
        how = {
            "index": self._index,
            "flow": self._flow,
            "frame": self._frame,
            "lead": self._frame,
            "stitch": self._stitched,
        }
        return how[task.kind](task, report_progress)

    def _text(self, seconds: float | None = None) -> dict[str, str]:
        """What a result tells of itself; `seconds` that it took, None for those since its task began."""
        return {**self._author, "seconds": f"{time.monotonic() - self._began if seconds is None else seconds:.3f}"}

    def _index(self, task: Task, report_progress: Callable[[], None]) -> bytes:
        begun, self._pieces = self._pieces, None  # a pass that an error breaks off cannot go on
        if begun is None or begun[0] != task.number:
            self._check_inputs()  # later, the checksums of its frames do that
            begun = 0, index_pieces(self.video, self.spec.stop, self.spec.cuts, self.spec.fps, report_progress)
        pieces = begun[1]
        for _ in range(task.number - begun[0]):  # a new owner decodes from the beginning
            next(pieces)
        piece = next(pieces)
        self._pieces = task.number + 1, pieces
        if piece.last and piece.start + len(piece.index) <= self.spec.start:
            raise FavError(
                f"{self.video}: expected more than {self.spec.start} frames for this --range, "
                f"got {piece.start + len(piece.index)}"
            )
        return sealed(piece.to_json())

    def _flow(self, task: Task, report_progress: Callable[[], None]) -> bytes:
        run = self.timeline.run_of(task.number)
        made = self.studio.geometry(task.number, run.predecessor(task.number), self.timeline.index, report_progress)
        return encode_flow(made.flow, made.reliability, self._text())

    def _frame(self, task: Task, report_progress: Callable[[], None]) -> bytes:
        run = self.artifacts.run_of(task)
        position = run.position(task.number)
        # Not before a frame of this process is published: what takes it down is to be blamed on the task that does so. Not with
        # flow that travels: that takes long, and on the cores of one machine nothing would be gained.
        ahead = self._warm is not None and not self._flow_travels
        before = self._before(run, position)
        geometry = (
            self._geometry(task.number, run.frame(position - 1), report_progress)
            if position and self._flow_travels
            else None
        )
        painted = paint(
            self.studio, self.timeline, run, position, before, geometry, position + run.left if ahead else 0
        )
        self._fresh = CachedFrame(task, painted)
        return encode_png(painted.picture, self._text(painted.seconds))

    def _before(self, run: FrameChain, position: int) -> PaintedFrame | None:
        """What the picture at a position is painted on from."""
        if position == 0:
            return None
        at = painting_task(run, position - 1)
        if self._warm and self._warm.task == at:
            return self._warm.painted
        return None if self.spec.no_temporal else PaintedFrame(self.artifacts.picture(at))

    def _geometry(self, frame: int, before: int, report_progress: Callable[[], None]) -> FlowField:
        """Published by another node, or soon to be; else made here, in memory, and never written."""
        waited = time.monotonic()
        name = str(flow_task(frame))
        while name in claimed(self.job) and time.monotonic() - waited < 2 * self._flow_s:
            time.sleep(0.05)
        if results.is_done(self.job, flow_task(frame)):
            self._used_flow = frame
            return self.artifacts.geometry(frame)
        began = time.monotonic()
        made = self.studio.geometry(frame, before, self.timeline.index, report_progress)
        self._flow_s = time.monotonic() - began
        return made

    def _stitched(self, task: Task, report_progress: Callable[[], None]) -> Path:
        self._check_inputs(sequences=False)  # its sound is read, which has no checksums
        private = self.node.temp_path().with_suffix(task.suffix)
        for note in stitch(self.artifacts, self.video, private, self.spec.crf, self._finish, report_progress):
            self.say(f"{self.job.name}: {note}")
        try:
            write_print(self.node, self.job, private)
        except BaseException:
            self.node.share.system.unlink(private)  # room for the next try
            raise
        return private
