"""The task plan of a video job: which tasks there are, what each needs, and how it runs.

    index k   frames and cuts of a segment of the index; needs only the video (`fav.pipeline.index_tasks`)
    face n    with --projection, a cube face of a frame (`fav.pipeline.face_tasks`)
    flow t    flow and reliability from frame t to the frame before it in its shot
    frame t   the stylized frame t; needs the frame before it, and flow t (published, or computed by the same task)
    warmup t  with --chunk, a stylized frame of a chunk's warmup (`fav.stylize.chain`)
    encode k  encodes segment k of the film; needs its frames (`fav.pipeline.encode_tasks`)
    stitch    the film; needs all segments

With --evaluate, there are also the tasks of `fav.pipeline.evaluation_tasks`.
"""

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fav import flow as flows
from fav.flow.field import FlowField
from fav.flow.io import encode_flow
from fav.pipeline.artifacts import JobArtifacts
from fav.pipeline.delivery import deliver, publish_hash
from fav.pipeline.device_lock import acquire_device, device_words
from fav.pipeline.encode_tasks import EncodeTasks
from fav.pipeline.face_tasks import FaceTasks
from fav.pipeline.index_tasks import IndexTasks
from fav.pipeline.inputs import NEEDED, changed_inputs
from fav.pipeline.numeric_class import check_numeric_class
from fav.pipeline.repair import missing
from fav.pipeline.same_frames import SameFrames
from fav.pipeline.takeovers import Takeovers
from fav.pipeline.task_names import (
    EVALUATION_KINDS,
    FLOW_AHEAD,
    FRAME_KINDS,
    OPTIONAL_KINDS,
    flow_task,
    frame_task,
    index_task,
    stitch_task,
    stylize_task,
)
from fav.stylize.chain import FrameChain
from fav.stylize.engine import FrameStylizer, StylizedFrame, stylize_position
from fav.stylize.timeline import Timeline
from fav.util.atomic import exclusive
from fav.util.images import encode_png
from fav.util.malloc import malloc_trim
from fav.util.safe_path import resolve_input
from shared import results
from shared.attempts import failed
from shared.claims import claimed_names
from shared.errors import InputChangedError, JobQueueError, ResultVanishedError
from shared.filesystem import TRANSIENT_ERRNOS
from shared.jobs import Job
from shared.membership import Node
from shared.paths import Task, shard_of

logger = logging.getLogger(__name__)

if TYPE_CHECKING:
    from fav.pipeline.evaluation_tasks import EvaluationTasks
    from fav.pipeline.flow_plan import FlowPlan

FLOW_MIN_LOOKAHEAD = 2  # frames: closer to the current frame, its own node computes the flow sooner


@dataclass
class CachedFrame:
    """A stylized frame with its task."""

    task: Task
    stylized: StylizedFrame


def make_plan(job: Job, node: Node, **options) -> "VideoPlan | FlowPlan":
    """The plan of a video job on this node. Raises UserError if this node cannot work on it."""
    if job.manifest.spec.get("product") == "flow":
        from fav.pipeline.flow_plan import FlowPlan

        return FlowPlan(job, node, **options)
    return VideoPlan(job, node, **options)


class VideoPlan:
    """The tasks of one video job, as one node sees them (a `shared.protocols.TaskPlan`).

    Args:
        job: the job.
        node: this node.
        video: a local copy of the video; None: the shared one.
        threads: CPU threads, unless the job has --threads; None: all cores.
        device: of the networks; `auto` chooses a free GPU.
        backend: of the style network.
    """

    optional = OPTIONAL_KINDS

    def __init__(
        self,
        job: Job,
        node: Node,
        video: str | None = None,
        threads: int | None = None,
        device: str = "auto",
        backend: str = "auto",
    ):
        self.job = job
        self.node = node
        self.artifacts = JobArtifacts(job, node)
        self.spec = self.artifacts.spec
        root = node.share.layout.root
        self._own_video = Path(video) if video else None
        self.video = self._own_video or resolve_input(root, self.spec.video)
        self._check_inputs(sequences=self._own_video is not None)
        chosen = acquire_device(device, backend)
        if device == "auto" and (words := device_words(chosen)):
            logger.info("%s: --device auto: %s", job.name, words)
        self.stylizer = FrameStylizer(
            self.video,
            self.spec.style_settings(root),
            self.spec.source,
            self.spec.threads or threads,
            chosen,
            backend,
        )
        # Of a 360° video, faces are divided among nodes together with their flow.
        self._publishes_flow = self.stylizer.cube is None and flows.is_published(
            self.spec.flow, self.spec.no_temporal, self.stylizer.flow_is_given(self.spec.reverse)
        )
        self._stitch, self._encoding = stitch_task(self.spec), EncodeTasks(self.artifacts, self.video)
        self._indexing = IndexTasks(self.artifacts, self.video, self._check_inputs)
        # With chunks, there is work for many nodes anyway; and a frame of a warmup is not the film's.
        self._faces = FaceTasks(self.artifacts, self.stylizer) if self.stylizer.cube and not self.spec.chunk else None
        self._takeovers = Takeovers(job)
        self._same_frames = SameFrames(job, self.spec, node)
        self._last_frame: CachedFrame | None = None  # the last stylized frame, as published
        self._publishing: CachedFrame | None = None  # the frame that is being published
        self._consumed_flow: int | None = None  # the frame whose published flow was used
        self._began = time.monotonic()  # when the current task began
        self._film: str | None = None  # path of the delivered film
        self._finalized = False
        self._node_metadata = {"node": node.identity.incarnation, "numeric-class": self.stylizer.numeric_class}
        self._evaluation = self._has_evaluation()
        self._logged_notes = 0
        self._counted = self._recounted = False
        self._flow_s = 1.0  # seconds that the last flow took
        self._check_numeric_class()

    def _has_evaluation(self) -> "EvaluationTasks | None":
        if not self.spec.evaluate:
            return None
        from fav.pipeline.evaluation_tasks import EvaluationTasks

        return EvaluationTasks(self.artifacts, self.node, self.video, self.stylizer.flow, self._node_metadata)

    @property
    def timeline(self) -> Timeline:
        return self.artifacts.timeline

    def _check_inputs(self, sequences: bool = True, only: tuple[str, ...] = NEEDED) -> None:
        """Raise InputChangedError if inputs have changed since submission. Arguments as for `changed_inputs`."""
        if wrong := changed_inputs(self.node.share.layout.root, self.spec, self._own_video, only, sequences):
            self.job.flags()  # raises JobRemovedError if the job was removed
            raise InputChangedError("; ".join(wrong))

    def _check_numeric_class(self) -> None:
        if not self.spec.bit_exact:
            return
        check_numeric_class(self.node, self.job, self.stylizer.numeric_class)

    # ---- what to do next
    def candidates(self) -> Iterator[Task]:
        found = False
        self._refresh()
        claims, failures = set(claimed_names(self.job)), set(failed(self.job))
        for task in self._open_tasks(claims, failures):
            found = True
            yield task
        if not found:
            active = self._active_chains(self._claimed_positions(claims), claims)
            for task in self._takeovers.candidates(active, claims):
                found = True
                yield task
        if not found:
            malloc_trim()  # this node will wait

    def _open_tasks(self, claims: set[str], failures: set[str]) -> Iterator[Task]:
        """Yield the tasks that can run now, the best first. Arguments: names of claimed tasks, and of failed tasks."""
        unavailable = claims | failures
        yield from self._indexing.candidates(claims, failures)
        busy = self._claimed_positions(unavailable)
        all_stylized, can_stylize = self.timeline.is_complete, False
        for chain in self.timeline.pending_chains():
            all_stylized = False
            if chain.start in busy:
                continue  # another node stylizes it, or a frame of it has failed
            if chain.is_final or not chain.reverse:
                can_stylize = True  # then nothing is encoded yet: other tasks need the frames
                yield stylize_task(chain, chain.done)
        active = self._active_chains(busy, claims)
        if self._publishes_flow and not self._same_frames:
            yield from self._flow_candidates(active, unavailable)
        stitched = all_stylized and results.is_done(self.job, self._stitch)
        reached = {chain.start: position for chain, position in active}
        if not stitched and not can_stylize:
            yield from self._encoding.candidates(reached, unavailable)
        if not stitched and all_stylized and self._encoding.all_encoded and str(self._stitch) not in unavailable:
            yield self._stitch
        if self._evaluation:
            yield from self._evaluation.candidates(reached, unavailable, failures)
        if self._faces and not all_stylized and not self._same_frames:
            yield from self._faces.candidates(active, unavailable)

    def _claimed_positions(self, unavailable: set[str]) -> dict[int, int]:
        """By the first frame of a chain, its first position that is claimed or failed."""
        busy: dict[int, int] = {}
        for task in map(Task.from_name, unavailable):
            if task.kind in FRAME_KINDS and (chain := self.artifacts.chain_of(task)):
                busy[chain.start] = min(chain.index_of(task.number), busy.get(chain.start, len(chain)))
        return busy

    def _chain_of(self, task: Task) -> FrameChain:
        """The chain of a task of FRAME_KINDS. Raises ValueError if its frame is not indexed."""
        chain = self.artifacts.chain_of(task)
        if chain is None:
            raise ValueError(f"{task}: expected an indexed frame, but the index ends at {self.timeline.end}")
        return chain

    def _active_chains(self, busy: dict[int, int], claims: set[str]) -> list[tuple[FrameChain, int]]:
        """The chains that nodes stylize at the moment, with their claimed positions.

        Chains with more remaining frames come first.

        Args:
            busy: as `_claimed_positions` returns it.
            claims: names of claimed tasks.
        """
        chains = ((self.timeline.chain_of(start), position) for start, position in busy.items())
        active = [
            (chain, position)
            for chain, position in chains
            if chain.remaining and str(stylize_task(chain, position)) in claims
        ]
        return sorted(active, key=lambda one: -one[0].remaining)

    def _flow_candidates(self, active: list[tuple[FrameChain, int]], unavailable: set[str]) -> Iterator[Task]:
        """Yield the next missing flow ahead of each active chain."""
        for chain, current in active:
            first = current + FLOW_MIN_LOOKAHEAD
            ahead = [chain.frame(position) for position in range(first, min(first + FLOW_AHEAD, len(chain)))]
            published = {
                number
                for shard in {shard_of(frame) for frame in ahead}
                for number in self.artifacts.published_in_shard("flow", shard)
            }
            task = next(
                (
                    flow_task(frame)
                    for position, frame in enumerate(ahead, first)
                    if frame not in published
                    and str(flow_task(frame)) not in unavailable
                    # Later frames may be done already if a damaged frame is made again.
                    and not results.is_done(self.job, stylize_task(chain, position))
                ),
                None,
            )
            if task is not None:
                yield task

    def next_in_chain(self, task: Task) -> Task | None:
        if task.kind == "index":
            return self._indexing.next_segment(lambda: set(failed(self.job)))
        if task.kind == "face" and self._faces:
            return self._faces.next_in_chain(task)
        if task.kind not in FRAME_KINDS:
            return None
        chain = self._chain_of(task)
        if chain.remaining == 0:
            self._refresh()
            chain = self._chain_of(task)
        return stylize_task(chain, chain.done) if chain.remaining else None

    def self_test_task(self, task: Task) -> Task | None:
        if task.kind == "index":
            return index_task(0) if task.number and results.is_done(self.job, index_task(0)) else None
        if task.kind in ("stitch", "survey", "decode", "face") or task.kind in EVALUATION_KINDS:
            return None
        if task.kind == "encode":
            self._refresh()
            return self._encoding.sample(task)
        self._refresh()
        for shard in range(shard_of(self.spec.start), shard_of(self.timeline.end) + 1):
            for frame in sorted(self.artifacts.published_in_shard("frame", shard)):
                known = self.spec.start <= frame < self.timeline.end and frame != task.number
                if known and self._is_first(frame_task(frame)) == self._is_first(task):  # only others need flow
                    return flow_task(frame) if task.kind == "flow" else frame_task(frame)
        return None

    def _is_first(self, task: Task) -> bool:
        """Whether a task stylizes the first frame of its chain."""
        return self._chain_of(task).predecessor(task.number) is None

    def published(self, task: Task, ours: bool) -> None:
        if task.kind == "index":
            self._refresh()
        elif task.kind == "encode":
            self._encoding.published(task)
        elif task.kind == "face" and self._faces and self._faces.is_late(task):
            self.node.share.system.unlink(self.job.layout.result(task))
        elif task.kind == "measure" and self._evaluation:
            self._evaluation.published(task)
        elif task.kind in FRAME_KINDS:
            chain = self._chain_of(task)
            if ours and chain.index_of(task.number) == chain.done:
                chain.done += 1
                self._last_frame = self._publishing
            else:
                self.artifacts.count_from(chain)
                self._last_frame = None  # the published frame is another node's; continue from it
            if self._consumed_flow == task.number and task.kind == "frame" and not self.spec.keep_flow:
                self.node.share.system.unlink(self.job.layout.result(flow_task(task.number)))
            self._consumed_flow = None
            if self._faces and task.kind == "frame":
                for face in self._faces.consumed():
                    self.node.share.system.unlink(self.job.layout.result(face))

    def invalidate_cache(self) -> None:
        self._last_frame = self._film = None
        self._counted = self._recounted = self._finalized = False
        self.artifacts.invalidate_cache()
        self._encoding.invalidate_cache()
        self._indexing.invalidate_cache()
        if self._evaluation:
            self._evaluation.invalidate_cache()

    def finalize(self) -> str | None:
        if not results.is_done(self.job, self._stitch) or not self._all_stylized():
            return None
        if not self._finalized:
            malloc_trim()  # a node of many jobs may wait long for the next one
            evaluation_over, delivered = self._evaluation is None or self._evaluation.finalize(), self._film
            if self._film is None:
                self._film = deliver(self.node, self.job, self.spec)  # without waiting for the evaluation
            if not evaluation_over and delivered is None:
                logger.info("%s: the film is done: %s; its evaluation continues", self.job.name, self._film)
            self._finalized = evaluation_over
        if self._finalized and missing(self.artifacts):
            self.invalidate_cache()  # a result that was counted has been removed
        return self._film if self._finalized else None

    def _all_stylized(self) -> bool:
        """Whether the index is complete and all frames are published, also if the film is published already."""
        self._refresh()
        if not self._recounted and self.timeline.is_complete:
            self._recounted = True
            self.artifacts.count_all()
        return self.timeline.is_complete and next(self.timeline.pending_chains(), None) is None

    def _refresh(self) -> None:
        self.artifacts.load_new_segments()
        for note in self.timeline.notes[self._logged_notes :]:
            logger.info("%s: %s", self.job.name, note)
        self._logged_notes = len(self.timeline.notes)
        if not self._counted:
            self._counted = True
            self.artifacts.count_all()

    # ---- how to do it
    def run(self, task: Task, report_progress: Callable[[], None]) -> bytes | Path:
        try:
            return self._run(task, report_progress)
        except JobQueueError:
            raise
        except Exception as error:
            if not (isinstance(error, OSError) and error.errno in TRANSIENT_ERRNOS):
                self._check_inputs()  # a changed input may be the cause
            raise

    def _run(self, task: Task, report_progress: Callable[[], None]) -> bytes | Path:
        self._began = time.monotonic()
        if (found := self._same_frames.take(task)) is not None:
            self._publishing = None  # the next frame continues from the published one
            return found
        if self._evaluation:
            if task.kind in EVALUATION_KINDS:
                return self._evaluation.run(task, report_progress)
            self._evaluation.release_memory()
        functions = {
            "index": self._indexing.run,
            "survey": lambda task, report_progress: self._indexing.run_survey(report_progress),
            "decode": self._indexing.run_range,
            "flow": self._flow,
            "frame": self._frame,
            "face": lambda task, report_progress: self._run_face(task),
            "warmup": self._frame,
            "encode": self._encode,
            "stitch": self._run_stitch,
        }
        return functions[task.kind](task, report_progress)

    def _metadata(self, seconds: float | None = None) -> dict[str, str]:
        """The metadata of a result. `seconds`: its computation time; None: the time since its task began."""
        return {
            **self._node_metadata,
            "seconds": f"{time.monotonic() - self._began if seconds is None else seconds:.3f}",
        }

    def _flow(self, task: Task, report_progress: Callable[[], None]) -> bytes:
        before = self.timeline.chain_of(task.number).predecessor(task.number)
        if before is None:
            raise ValueError(f"{task}: expected a frame with one before it in its shot, got the first one")
        computed = self.stylizer.flow_field(task.number, before, self.timeline.index, report_progress)
        return encode_flow(computed.flow, computed.reliability, self._metadata())

    def _frame(self, task: Task, report_progress: Callable[[], None]) -> bytes:
        chain = self._chain_of(task)
        position = chain.index_of(task.number)
        if position > chain.done:
            self._take_over(chain, position, report_progress)
        # The next frame is started in advance only after this process has published a frame, so that a crash is
        # attributed to the right task. With published flow, it would not be faster: flow takes long on the same cores.
        ahead = self._last_frame is not None and not self._publishes_flow
        before = self._stylized_before(chain, position)
        flow_field = (
            self._flow_field(task.number, chain.frame(position - 1), report_progress)
            if position and self._publishes_flow
            else None
        )
        stylized = stylize_position(
            self.stylizer,
            self.timeline,
            chain,
            position,
            before,
            flow_field,
            position + chain.remaining if ahead else 0,
        )
        self._publishing = CachedFrame(task, stylized)
        metadata = self._metadata(stylized.seconds)
        self._takeovers.measured(float(metadata["seconds"]))
        return encode_png(stylized.image, metadata)

    def _take_over(self, chain: FrameChain, position: int, report_progress: Callable[[], None]) -> None:
        """Wait until the chain has reached a position that this node has claimed in advance."""
        self._takeovers.wait_for(chain, position, report_progress)
        self.artifacts.count_from(chain)
        if chain.done < position:
            raise ResultVanishedError(f"{stylize_task(chain, position)}: a frame before it is missing")
        self._began = time.monotonic()  # the wait does not count as its time

    def _run_face(self, task: Task) -> bytes:
        if self._faces is None:
            raise ValueError(f"{task}: expected a 360° video without chunks")
        return self._faces.run(task, self._metadata)

    def _stylized_before(self, chain: FrameChain, position: int) -> StylizedFrame | None:
        """The stylized frame before a position of a chain; None if the position does not depend on it."""
        if position == 0:
            return None
        previous = stylize_task(chain, position - 1)
        if self._last_frame and self._last_frame.task == previous:
            return self._last_frame.stylized
        return None if self.spec.no_temporal else StylizedFrame(self.artifacts.stylized_frame(previous))

    def _flow_field(self, frame: int, before: int, report_progress: Callable[[], None]) -> FlowField:
        """Flow and reliability of a frame: published ones, otherwise computed here and not written.

        If another node has claimed the flow, this waits for it, up to twice the time of the last computation.
        """
        waiting_since = time.monotonic()
        name = str(flow_task(frame))
        while name in claimed_names(self.job) and time.monotonic() - waiting_since < 2 * self._flow_s:
            time.sleep(0.05)
        if results.is_done(self.job, flow_task(frame)):
            self._consumed_flow = frame
            return self.artifacts.flow_field(frame)
        began = time.monotonic()
        computed = self.stylizer.flow_field(frame, before, self.timeline.index, report_progress)
        self._flow_s = time.monotonic() - began
        return computed

    def _encode(self, task: Task, report_progress: Callable[[], None]) -> bytes:
        self._check_inputs(sequences=False, only=("mask",))  # the index has no checksums of its frames
        self._refresh()
        return self._encoding.run(task, report_progress, self._metadata)

    def _run_stitch(self, task: Task, report_progress: Callable[[], None]) -> Path:
        self._check_inputs(sequences=False)  # the index has no checksums of the sound
        path = self.node.temp_path().with_suffix(task.suffix)
        with exclusive(path) as file:
            notes = self._encoding.stitch(file, Path(self.spec.out), report_progress)
        for note in notes:
            logger.info("%s: %s", self.job.name, note)
        try:
            publish_hash(self.node, self.job, path)
        except BaseException:
            self.node.share.system.unlink(path)  # frees the space for the next attempt
            raise
        return path
