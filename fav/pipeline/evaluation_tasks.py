"""The evaluation of a film while a job makes it: by whoever has nothing to paint, span by span, then told in one report.

    measure k   the rows of the frames [k WINDOW_FRAMES, (k + 1) WINDOW_FRAMES) of the source; needs them stylized, and a second before
    report n    the report in one of its formats; needs every measure k

What is measured is what is published: stylized frames, before strength, colors, mask and encoding. The film is never worse
off for it: what fails here is left out.
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
from fav.pipeline.artifacts import JobArtifacts, publish_hash, with_checksum
from fav.pipeline.delivery import evaluation_name, publish_under_name
from fav.pipeline.progress import evaluated
from fav.pipeline.task_names import (
    EVALUATION_KINDS,
    REPORTS,
    WINDOW_FRAMES,
    evaluation_windows,
    measure_task,
    report_task,
)
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
    """One node's part in the evaluation of one job. `text` says who measures, and how it computes."""

    def __init__(self, artifacts: JobArtifacts, node: Node, video: Path, flow: Flow, text: dict[str, str]):
        self.artifacts, self.job, self.spec, self.node = artifacts, artifacts.job, artifacts.spec, node
        self.video, self.flow, self.text = video, flow, text
        self._losses: FrameLosses | None = None
        self.invalidate_cache()

    def invalidate_cache(self) -> None:
        """Know nothing, as at the beginning."""
        self._done: set[int] = set()  # spans that were seen to be measured
        self.release_memory()

    def release_memory(self) -> None:
        """Free a second of pictures and flow, which are held to go on with."""
        self._resume: tuple[int, Iterator[FrameMetrics]] | None = (
            None  # the frame that comes next, and the rows from there on
        )

    # ---- what to do next
    def candidates(self, reached: dict[int, int], taken: set[str], lost: set[str]) -> Iterator[Task]:
        """Spans that can be measured, first the one that this node can go on with; the reports once all of them are.

        `reached` tells of runs, by their first frame, how many frames of theirs are there, where it is more than their `done`;
        `taken` are the names of tasks that are claimed or failed, `lost` of those that failed.
        """
        if _evaluation_tasks(lost):
            return  # it will not come to a report
        timeline, looked = self.artifacts.timeline, set()
        there = evaluation_windows(timeline.start, timeline.end, timeline.is_complete)
        warm = self._resume[0] // WINDOW_FRAMES if self._resume else None
        for span in sorted(there, key=lambda span: span != warm):
            if span in self._done or str(measure_task(span)) in taken or not self._is_stylized(span, reached):
                continue
            if shard_of(span) not in looked:
                looked.add(shard_of(span))
                self._done |= self.artifacts.published_in_shard("measure", shard_of(span))
            if span not in self._done:
                yield measure_task(span)
        if timeline.is_complete and self._done.issuperset(there):
            tasks = map(report_task, REPORTS)
            yield from (task for task in tasks if str(task) not in taken and not results.is_done(self.job, task))

    def _is_stylized(self, span: int, reached: dict[int, int]) -> bool:
        """Whether all stylized frames are there that the rows of a span hang on."""
        timeline, frames = self.artifacts.timeline, self.artifacts.frames_of(span)

        if not timeline.is_stylized(frames.stop - 1, reached):  # so it is with most spans that are not
            return False
        needed = range(first_needed_frame(frames.start, timeline.shot_of(frames.start)[1], timeline.index), frames.stop)
        return timeline.are_stylized(needed, reached)

    def published(self, task: Task) -> None:
        if task.kind == "measure":
            self._done.add(task.number)

    def finalize(self) -> bool:
        """Show the report beside the film, if it is there or nothing more of it will come; else False. Safe to do twice."""
        lost = _evaluation_tasks(failed(self.job))
        there = [suffix for suffix in REPORTS if results.is_done(self.job, report_task(suffix))]
        if len(there) < len(REPORTS) and not lost:
            return False
        film = self.spec.film(self.node.share.layout.root)
        for suffix in there:
            publish_under_name(self.node, self.job, report_task(suffix), evaluation_name(film, suffix), "evaluation")
        trouble = (
            f"not all of the film could be measured ({lost[0]} failed; {command('status')} tells why); the film is whole"
            if lost
            else None
        )
        logger.log(
            logging.WARNING if trouble else logging.INFO, "%s: %s", self.job.name, trouble or evaluated(self.job)
        )
        return True

    # ---- how to do it
    def run(self, task: Task, report_progress: Callable[[], None]) -> bytes | Path:
        return self._report(task) if task.kind == "report" else self._measured(task, report_progress)

    def _measured(self, task: Task, report_progress: Callable[[], None]) -> bytes:
        frames = self.artifacts.frames_of(task.number)
        going, self._resume = self._resume, None  # what an error breaks off cannot go on
        rows = going[1] if going and going[0] == frames.start else self._rows(frames.start, report_progress)
        found = [asdict(row) for row in islice(rows, len(frames))]
        self._resume = frames.stop, rows
        return with_checksum({**self.text, "rows": found})

    def _rows(self, first: int, report_progress: Callable[[], None]) -> Iterator[FrameMetrics]:
        """The rows from a frame on: those that `python -m fav evaluate` finds of the published frames."""
        root, timeline = self.node.share.layout.root, self.artifacts.timeline
        shot, begins = timeline.shot_of(first)
        with FrameReader(self.video, settings=self.spec.source) as reader:
            if self.spec.evaluate and self.spec.loss_network and self._losses is None:
                painting, network = resolve_input(root, self.spec.evaluate), resolve_input(root, self.spec.loss_network)
                self._losses = losses_of(painting, str(network), self._source(reader, self.spec.start))
            moments = self._shown(reader, first_needed_frame(first, begins, timeline.index), report_progress)
            yield from measure(moments, self.flow, self._losses, first, shot)

    def _shown(self, reader: FrameReader, first: int, report_progress: Callable[[], None]) -> Iterator[FrameSample]:
        for number in count(first):
            report_progress()
            timeline = self.artifacts.timeline
            seconds = int(timeline.index.pts[number]) * timeline.index.time_base
            cut = timeline.shot_of(number)[1] == number
            yield FrameSample(number, seconds, cut, self._source(reader, number), self.artifacts.frame(number))

    def _source(self, reader: FrameReader, number: int) -> np.ndarray:
        return resize_like_encoder(reader.read(number, self.artifacts.timeline.index), self.spec.network_size)

    def _report(self, task: Task) -> Path:
        from fav.evaluation import report  # a second to import

        write = {".txt": report.write_text, **report.WRITERS}
        timeline, spec = self.artifacts.timeline, self.spec
        if spec.evaluate is None:
            raise ValueError(f"{task}: expected a job with --evaluate, got one without")
        rows = [
            row
            for span in evaluation_windows(timeline.start, timeline.end, timeline.is_complete)
            for row in self.artifacts.rows(span)
        ]
        comparison = EvaluationConfig(
            spec.video,
            spec.out,
            start=spec.start,
            stop=spec.stop,
            settings=spec.source,
            flow=spec.flow,
            flow_weights=Path(spec.flow_weights) if spec.flow_weights else None,
        )
        strokes = stroke_width(style_image_of(resolve_input(self.node.share.layout.root, spec.evaluate)))
        private = self.node.temp_path().with_suffix(task.suffix)
        with exclusive(private) as file:
            write[task.suffix](file, report.Evaluation(comparison, spec.network_size, tuple(rows), (), strokes))
            publish_hash(self.node, self.job, file)
        return private


def _evaluation_tasks(names: Iterable[str]) -> list[str]:
    """Those of tasks of an evaluation, sorted."""
    return sorted(name for name in names if Task.from_name(name).kind in EVALUATION_KINDS)
