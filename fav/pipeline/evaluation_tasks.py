"""The tasks that evaluate a film while it is made. Nodes that have no other task run them.

    measure k   metrics of the frames [k WINDOW_FRAMES, (k + 1) WINDOW_FRAMES) of the source; needs them stylized, and
                those of the second before
    report n    the report in one of its formats; needs every measure k

The published frames are measured, before postprocessing and encoding. A failed evaluation never stops the film.
"""

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from itertools import count, islice
from pathlib import Path

import numpy as np

from fav.evaluation.comparison import (
    EvaluationConfig,
    FrameMetrics,
    FrameSample,
    first_needed_frame,
    measure,
    resize_like_encoder,
)
from fav.evaluation.metrics import FrameLosses
from fav.evaluation.perceptual_metrics import losses_of, style_image_of
from fav.evaluation.strokes import stroke_width
from fav.flow import Flow
from fav.pipeline.artifacts import JobArtifacts
from fav.pipeline.checked_json import with_checksum
from fav.pipeline.delivery import evaluation_name, publish_hash, publish_under_name
from fav.pipeline.progress import evaluated
from fav.pipeline.task_names import (
    EVALUATION_KINDS,
    REPORTS,
    WINDOW_FRAMES,
    evaluation_windows,
    measure_task,
    report_task,
)
from fav.stylize.outside import split
from fav.util.atomic import exclusive
from fav.util.safe_path import resolve_input
from fav.video import FrameReader
from shared import results
from shared.attempts import failed
from shared.command_names import command
from shared.membership import Node
from shared.paths import Task, shard_of

logger = logging.getLogger(__name__)


class EvaluationTasks:
    """The evaluation tasks of one job, as one node sees them.

    Args:
        artifacts: of the job.
        node: this node.
        video: the source.
        flow: the flow method.
        metadata: recorded in the results: the node and its numeric class.
    """

    def __init__(self, artifacts: JobArtifacts, node: Node, video: Path, flow: Flow, metadata: dict[str, str]):
        self.artifacts, self.job, self.spec, self.node = artifacts, artifacts.job, artifacts.spec, node
        self.video, self.flow, self.metadata = video, flow, metadata
        self._losses: FrameLosses | None = None
        self.invalidate_cache()

    def invalidate_cache(self) -> None:
        """Forget what was read of the job."""
        self._done: set[int] = set()  # windows that are known to be measured
        self.release_memory()

    def release_memory(self) -> None:
        """Free the frames and flow of the last second, which the next window would use."""
        self._resume: tuple[int, Iterator[FrameMetrics]] | None = None  # the next frame, and its rows and later ones

    # ---- what to do next
    def candidates(self, reached: dict[int, int], unavailable: set[str], failures: set[str]) -> Iterator[Task]:
        """Yield the tasks that can run now: windows, first the one after this node's last; reports after all windows.

        Args:
            reached: as for `Timeline.is_stylized`.
            unavailable: names of tasks that are claimed or failed.
            failures: names of failed tasks.
        """
        if _evaluation_tasks(failures):
            return  # there will be no report
        timeline, listed = self.artifacts.timeline, set()
        windows = evaluation_windows(timeline.start, timeline.end, timeline.is_complete)
        preferred = self._resume[0] // WINDOW_FRAMES if self._resume else None
        for window in sorted(windows, key=lambda window: window != preferred):
            task = measure_task(window)
            if window in self._done or str(task) in unavailable or not self._is_stylized(window, reached):
                continue
            if shard_of(window) not in listed:
                listed.add(shard_of(window))
                self._done |= self.artifacts.published_in_shard("measure", shard_of(window))
            if window not in self._done:
                yield task
        if timeline.is_complete and self._done.issuperset(windows):
            tasks = map(report_task, REPORTS)
            yield from (task for task in tasks if str(task) not in unavailable and not results.is_done(self.job, task))

    def _is_stylized(self, window: int, reached: dict[int, int]) -> bool:
        """Whether all frames that a window's metrics depend on are stylized."""
        timeline, frames = self.artifacts.timeline, self.artifacts.frames_of(window)

        if not timeline.is_stylized(frames.stop - 1, reached):  # the quickest test for most windows
            return False
        needed = range(first_needed_frame(frames.start, timeline.shot_of(frames.start)[1], timeline.index), frames.stop)
        return timeline.are_stylized(needed, reached)

    def published(self, task: Task) -> None:
        if task.kind == "measure":
            self._done.add(task.number)

    def finalize(self) -> bool:
        """Deliver the published reports beside the film, once all are published or one task has failed.

        It may be called again.

        Returns:
            Whether the evaluation is over.
        """
        failures = _evaluation_tasks(failed(self.job))
        published = [suffix for suffix in REPORTS if results.is_done(self.job, report_task(suffix))]
        if len(published) < len(REPORTS) and not failures:
            return False
        film = self.spec.film(self.node.share.layout.root)
        for suffix in published:
            publish_under_name(self.node, self.job, report_task(suffix), evaluation_name(film, suffix), "evaluation")
        problem = (
            f"the evaluation is incomplete ({failures[0]} failed; {command('status')} shows why); the film is complete"
            if failures
            else None
        )
        logger.log(
            logging.WARNING if problem else logging.INFO, "%s: %s", self.job.name, problem or evaluated(self.job)
        )
        return True

    # ---- how to do it
    def run(self, task: Task, report_progress: Callable[[], None]) -> bytes | Path:
        """Run a task; return its result's content, or its file."""
        return self._report(task) if task.kind == "report" else self._measure(task, report_progress)

    def _measure(self, task: Task, report_progress: Callable[[], None]) -> bytes:
        frames = self.artifacts.frames_of(task.number)
        resume, self._resume = self._resume, None  # after an error, the iterator cannot continue
        rows = resume[1] if resume and resume[0] == frames.start else self._rows(frames.start, report_progress)
        found = [asdict(row) for row in islice(rows, len(frames))]
        self._resume = frames.stop, rows
        return with_checksum({**self.metadata, "rows": found})

    def _rows(self, first: int, report_progress: Callable[[], None]) -> Iterator[FrameMetrics]:
        """Yield the metrics from a frame on, as `python -m fav evaluate` computes them for the published frames."""
        root, timeline = self.node.share.layout.root, self.artifacts.timeline
        shot, begins = timeline.shot_of(first)
        with FrameReader(self.video, settings=self.spec.source) as reader:
            if self.spec.evaluate and self.spec.loss_network and self._losses is None:
                style, network = resolve_input(root, self.spec.evaluate), resolve_input(root, self.spec.loss_network)
                self._losses = losses_of(style, str(network), self._source(reader, self.spec.start))
            samples = self._samples(reader, first_needed_frame(first, begins, timeline.index), report_progress)
            yield from measure(samples, self.flow, self._losses, first, shot)

    def _samples(self, reader: FrameReader, first: int, report_progress: Callable[[], None]) -> Iterator[FrameSample]:
        for number in count(first):
            report_progress()
            timeline = self.artifacts.timeline
            seconds = int(timeline.index.pts[number]) * timeline.index.time_base
            cut = timeline.shot_of(number)[1] == number
            frame = self.artifacts.frame(number)
            frame = split(frame)[0] if self.spec.outside else frame  # only the style is measured
            yield FrameSample(number, seconds, cut, self._source(reader, number), frame)

    def _source(self, reader: FrameReader, number: int) -> np.ndarray:
        return resize_like_encoder(reader.read(number, self.artifacts.timeline.index), self.spec.network_size)

    def _report(self, task: Task) -> Path:
        from fav.evaluation import report  # the import takes a second

        write = {".txt": report.write_text, **report.WRITERS}
        timeline, spec = self.artifacts.timeline, self.spec
        if spec.evaluate is None:
            raise ValueError(f"{task}: expected a job with --evaluate, got one without")
        rows = [
            row
            for window in evaluation_windows(timeline.start, timeline.end, timeline.is_complete)
            for row in self.artifacts.rows(window)
        ]
        config = EvaluationConfig(
            spec.video,
            spec.out,
            start=spec.start,
            stop=spec.stop,
            settings=spec.source,
            flow=spec.flow,
            flow_weights=Path(spec.flow_weights) if spec.flow_weights else None,
        )
        strokes = stroke_width(style_image_of(resolve_input(self.node.share.layout.root, spec.evaluate)))
        path = self.node.temp_path().with_suffix(task.suffix)
        with exclusive(path) as file:
            write[task.suffix](file, report.Evaluation(config, spec.network_size, tuple(rows), (), strokes))
            publish_hash(self.node, self.job, file)
        return path


def _evaluation_tasks(names: Iterable[str]) -> list[str]:
    """The names of evaluation tasks among `names`, sorted."""
    return sorted(name for name in names if Task.from_name(name).kind in EVALUATION_KINDS)
