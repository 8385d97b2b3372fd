"""The task plan of a job that writes optical flow to files (`fav flow VIDEO OUT_DIR --share SHARED`).

    index k   frames of a segment of the index, as in a film's job (`fav.pipeline.index_tasks`)
    trust t   the reliability of the flow from frame t to t-1; the same task publishes `bwd t` and `fwd t-1` before it
    bwd t     the flow from frame t to t-1; a task of its own only if its file was removed after `trust t` was done
    fwd t     the flow from frame t to t+1; likewise

A task continues from flow that a killed node has published. So each file has the same bytes, whoever makes it.
"""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import torch

from fav import flow as flows
from fav.flow.consistency import reliability
from fav.flow.io import encode_flo, encode_reliability, quantized
from fav.pipeline import flow_delivery
from fav.pipeline.artifacts import JobArtifacts
from fav.pipeline.device_lock import acquire_device
from fav.pipeline.index_tasks import IndexTasks
from fav.pipeline.inputs import NEEDED, changed_inputs
from fav.pipeline.repair import missing
from fav.pipeline.task_names import FLOW_KINDS, backward_task, forward_task, index_task, trust_task
from fav.stylize.chain import FrameChain
from fav.util.safe_path import resolve_input
from fav.video import FrameReader
from shared import results
from shared.attempts import failed
from shared.claims import claimed
from shared.errors import InputChangedError
from shared.filesystem import TRANSIENT_ERRNOS
from shared.jobs import Job
from shared.membership import Node
from shared.paths import Task, shard_of

logger = logging.getLogger(__name__)

CORES = torch.get_num_threads()  # read before anything changes it


class FlowPlan:
    """The tasks of one flow job, as one node sees them (a `shared.protocols.TaskPlan`).

    Args:
        job: the job.
        node: this node.
        video: a local copy of the video; None: the shared one.
        threads: CPU threads, unless the job has --threads; None: all cores.
        device: of the flow network; `auto` chooses a free GPU.
        backend: of a style network; not used.
    """

    optional = frozenset({"survey", "decode"})

    def __init__(
        self,
        job: Job,
        node: Node,
        video: str | None = None,
        threads: int | None = None,
        device: str = "auto",
        backend: str = "auto",
    ):
        self.job, self.node = job, node
        self.artifacts = JobArtifacts(job, node)
        self.spec = self.artifacts.spec
        root = node.share.layout.root
        self._own_video = Path(video) if video else None
        self.video = self._own_video or resolve_input(root, self.spec.video)
        self._check_inputs(sequences=self._own_video is not None)
        threads = self.spec.threads or threads
        torch.set_num_threads(threads or CORES)
        cv2.setNumThreads(threads or -1)
        self._flow = flows.make(
            self.spec.flow,
            resolve_input(root, self.spec.flow_weights),
            acquire_device(device, backend),
            threads=threads,
            downscale=self.spec.flow_downscale,
        )
        self._reader = FrameReader(self.video, size=(self.spec.width, self.spec.height), settings=self.spec.source)
        self._indexing = IndexTasks(self.artifacts, self.video, self._check_inputs)
        self._counted = self._recounted = self._logged_notes = 0
        self._out: str | None = None

    def _check_inputs(self, sequences: bool = True) -> None:
        if wrong := changed_inputs(self.node.share.layout.root, self.spec, self._own_video, NEEDED, sequences):
            self.job.flags()  # raises JobRemovedError if the job was removed
            raise InputChangedError("; ".join(wrong))

    # ---- what to do next
    def candidates(self) -> Iterator[Task]:
        self._refresh()
        claims, failures = set(claimed(self.job)), set(failed(self.job))
        unavailable = claims | failures
        yield from self._indexing.candidates(claims, failures)
        complete = True
        for chain in self.artifacts.timeline.pending_chains():
            complete = False
            runs = self._open_runs(chain, unavailable)
            if runs:
                # The middle of a run that another node works on from its beginning, so that both read on in order.
                run = max(runs, key=len)
                busy = any(str(trust_task(frame)) in claims for frame in range(chain.start, chain.stop))
                yield trust_task(run[len(run) // 2] if busy else runs[0][0])
        if complete and self.artifacts.timeline.is_complete:
            yield from (task for task in missing(self.artifacts) if str(task) not in unavailable)

    def _open_runs(self, chain: FrameChain, unavailable: set[str]) -> list[range]:
        """The runs of consecutive frames of a chain that are neither done nor claimed nor failed."""
        done = {
            frame
            for shard in range(shard_of(chain.start), shard_of(chain.stop - 1) + 1)
            for frame in self.artifacts.published_in_shard("trust", shard)
        }
        runs: list[range] = []
        for frame in range(chain.start + chain.done, chain.stop):
            if frame in done or str(trust_task(frame)) in unavailable:
                continue
            if runs and runs[-1].stop == frame:
                runs[-1] = range(runs[-1].start, frame + 1)
            else:
                runs.append(range(frame, frame + 1))
        return runs

    def next_in_chain(self, task: Task) -> Task | None:
        if task.kind == "index":
            return self._indexing.next_segment(lambda: set(failed(self.job)))
        if task.kind != "trust" or task.number + 1 >= self.artifacts.timeline.end:
            return None
        following = trust_task(task.number + 1)
        return None if results.is_done(self.job, following) else following

    def self_test_task(self, task: Task) -> Task | None:
        if task.kind == "index":
            return index_task(0) if task.number and results.is_done(self.job, index_task(0)) else None
        first = trust_task(self.spec.start + 1)
        return first if task.kind == "trust" and task != first and results.is_done(self.job, first) else None

    def published(self, task: Task, ours: bool) -> None:
        if task.kind == "index":
            self._refresh()
        elif task.kind == "trust":
            self.artifacts.count_from(self.artifacts.timeline.chain_of(task.number))

    def invalidate_cache(self) -> None:
        self._counted = self._recounted = 0
        self._out = None
        self.artifacts.invalidate_cache()
        self._indexing.invalidate_cache()

    def finalize(self) -> str | None:
        self._refresh()
        timeline = self.artifacts.timeline
        if not self._recounted and timeline.is_complete:
            self._recounted = 1
            self.artifacts.count_all()
        if not timeline.is_complete or next(timeline.pending_chains(), None) is not None:
            return None
        if missing(self.artifacts):
            return None
        if self._out is None:
            out = flow_delivery.deliver(self.node, self.artifacts)
            self._out = out.relative_to(self.node.share.layout.root).as_posix()
        return self._out

    def _refresh(self) -> None:
        self.artifacts.load_new_segments()
        for note in self.artifacts.timeline.notes[self._logged_notes :]:
            logger.info("%s: %s", self.job.name, note)
        self._logged_notes = len(self.artifacts.timeline.notes)
        if not self._counted:
            self._counted = 1
            self.artifacts.count_all()

    # ---- how to do it
    def run(self, task: Task, report_progress: Callable[[], None]) -> bytes | Path:
        try:
            match task.kind:
                case "index":
                    return self._indexing.run(task, report_progress)
                case "survey":
                    return self._indexing.run_survey(report_progress)
                case "decode":
                    return self._indexing.run_range(task, report_progress)
                case "trust":
                    return self._trust(task.number, report_progress)
                case _:
                    return self._flow_file(task)
        except Exception as error:
            if not (isinstance(error, OSError) and error.errno in TRANSIENT_ERRNOS):
                self._check_inputs()  # a changed input may be the cause
            raise

    def _trust(self, frame: int, report_progress: Callable[[], None]) -> bytes:
        if frame == self.spec.start:  # nothing comes before it; the file is not delivered
            return encode_reliability(np.zeros((self.spec.height, self.spec.width), np.uint8))
        backward = self._published_flow(backward_task(frame))
        report_progress()
        forward = self._published_flow(forward_task(frame - 1))
        here = self._reader.read(frame, self.artifacts.timeline.index)
        return encode_reliability(reliability(quantized(backward), quantized(forward), here, min_filter=1))

    def _published_flow(self, task: Task) -> np.ndarray:
        """The flow of a task of FLOW_KINDS, which is computed and published first if that is missing."""
        if not results.is_done(self.job, task):
            results.publish_bytes(self.node, self.job, task, self._flow_file(task))
        return self.artifacts.exported_flow(task)

    def _flow_file(self, task: Task) -> bytes:
        if task.kind not in FLOW_KINDS:
            raise ValueError(f"{task}: expected a task of a flow job")
        index, frame = self.artifacts.timeline.index, task.number
        other = frame - 1 if task.kind == "bwd" else frame + 1
        here, there = (self._reader.read(number, index) for number in sorted((frame, other)))
        pair = (there, here) if other < frame else (here, there)
        return encode_flo(self._flow(*pair))
