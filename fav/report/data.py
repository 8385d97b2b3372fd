"""Read a job's results for the report: which node made each one, when, and how long it took."""

import json
import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from fav.errors import FavError
from fav.monitor.snapshot import JobStatus, SnapshotReader
from fav.pipeline.artifacts import DamagedFileError, JobArtifacts
from fav.pipeline.omitted_results import OmittedResults
from fav.pipeline.progress import evaluated
from fav.pipeline.task_names import flow_task, frame_task, index_task, report_task, stitch_task, warmup_task
from fav.util.images import HEAD_BYTES, png_text
from shared import results
from shared.attempts import attempts_of_job
from shared.command_names import command
from shared.errors import JobQueueError, ResultVanishedError, UserError, sanitize
from shared.filesystem import RECORD_LIMIT
from shared.identity import DECODE_ERRORS
from shared.jobs import Job
from shared.paths import SHARD, Task, shard_of

JSON = ".json"
ROW_LIMIT = 8192  # bytes of a frame in the report of an evaluation
MAX_NODES = 200  # that are listed; nodes with fewer results are summed up as "others"
MAX_SECONDS = 1e6  # a task takes less
MAX_ERROR = 1e6  # a mean squared difference of samples in [0, 1] is less


@dataclass(frozen=True)
class ResultRecord:
    """A published result.

    Attributes:
        kind: of its task.
        number: of its task.
        node: the node that made it.
        numeric_class: of that node.
        published: its time on the server's clock, seconds since 1970.
        took: seconds that the task took, None if unknown.
    """

    kind: str
    number: int
    node: str
    numeric_class: str
    published: float
    took: float | None


@dataclass(frozen=True)
class JobReportData:
    """A job at one moment. Times are on the server's clock, in seconds since 1970.

    Attributes:
        name: of the job.
        state: as in `status`.
        artifacts: access to its results.
        created: when it was created.
        indexed: when the index was complete, None before.
        stitched: when the film was made, None before.
        done: all published flow fields and frames.
        errors: the warping error of each measured frame, None if it is not defined.
        measured: the measurements in one line; None without --evaluate, or before they are done.
        attempts: the number of failed attempts, by cause.
        left_out: frames that are missing or damaged. `picture` adds those that cannot be read.
        odd: the number of other ignored values, by kind.
    """

    name: str
    state: JobStatus
    artifacts: JobArtifacts
    created: float
    indexed: float | None
    stitched: float | None
    done: tuple[ResultRecord, ...]
    errors: dict[int, float | None]
    measured: str | None
    attempts: Counter[str]
    left_out: OmittedResults
    odd: Counter[str] = field(default_factory=Counter)

    def of(self, kind: str) -> list[ResultRecord]:
        return [one for one in self.done if one.kind == kind]

    @property
    def cuts(self) -> list[int]:
        """The first frame of each shot, except for the first shot."""
        return [cut for cut in self.artifacts.timeline.cuts if cut < self.artifacts.timeline.end]

    @property
    def chunks(self) -> list[int]:
        """The first frame of each chunk, except at the start of a shot."""
        starts = {chain.start for chain in self.artifacts.timeline.chains} - {self.artifacts.spec.start, *self.cuts}
        return sorted(starts) if self.artifacts.spec.chunk else []

    def picture(self, number: int) -> np.ndarray | None:
        """A stylized frame, (H, W, 3) uint8 BGR; None if it is missing or damaged, which `left_out` notes."""
        try:
            return self.artifacts.frame(number)
        except ResultVanishedError as error:
            self.left_out.add(number, error)
        except JobQueueError:
            pass
        return None


def collect(job: Job) -> JobReportData:
    """Read all published results. Raises FavError if there are no frames."""
    artifacts = JobArtifacts(job)
    artifacts.load_new_segments()
    frames = range(artifacts.spec.start, artifacts.timeline.end)
    left_out, odd = OmittedResults(), Counter()
    done = [
        one for make in (flow_task, frame_task, warmup_task) for one in _done(artifacts, make, frames, left_out, odd)
    ]
    left_out.missing |= {*frames} - {one.number for one in done if one.kind == "frame"} - left_out.damaged
    if not any(one.kind == "frame" for one in done):
        raise FavError(f"{job.name}: expected stylized frames to report on, got none yet; see {command('status')}")
    segment_times = [_time(job, index_task(number)) for number in range(len(artifacts.timeline.index_segments))]
    errors, measured = _evaluation(job, frames, odd) if artifacts.spec.evaluate else ({}, None)
    return JobReportData(
        job.name,
        SnapshotReader(job.share).state(job),
        artifacts,
        job.share.system.mtime(job.layout.manifest) / 1e9,
        max(filter(None, segment_times), default=None) if artifacts.timeline.is_complete else None,
        _time(job, stitch_task(artifacts.spec)),
        tuple(sorted(_few_nodes(done), key=lambda one: one.published)),
        errors,
        measured,
        Counter(attempt.cause for _, attempt in attempts_of_job(job)),
        left_out,
        odd,
    )


def _few_nodes(done: list[ResultRecord]) -> list[ResultRecord]:
    known = {node for node, _ in Counter(one.node for one in done).most_common(MAX_NODES)}
    return [one if one.node in known else replace(one, node="others") for one in done]


def _done(
    artifacts: JobArtifacts, make: Callable[[int], Task], frames: range, left_out: OmittedResults, odd: Counter[str]
) -> Iterator[ResultRecord]:
    kind, job = make(0).kind, artifacts.job
    for shard in range(shard_of(frames.start), shard_of(max(frames.stop - 1, frames.start)) + 1):
        there = artifacts.published_in_shard(kind, shard)
        for number in sorted(there & {*range(max(frames.start, shard * SHARD), min(frames.stop, (shard + 1) * SHARD))}):
            try:
                head, published = results.read_head(job, make(number), HEAD_BYTES)
                text = png_text(head)
            except ResultVanishedError:
                continue  # removed meanwhile
            except UserError as error:
                if kind == "frame":
                    left_out.add(number, DamagedFileError(make(number), error))
                else:
                    odd["results that cannot be read"] += 1  # nodes make them again
                continue
            yield ResultRecord(
                kind,
                number,
                sanitize(text.get("node", "?"), 80),
                sanitize(text.get("numeric-class", "?"), 500),
                published,
                _seconds(text.get("seconds"), odd),
            )


def _seconds(text: str | None, odd: Counter[str]) -> float | None:
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds <= MAX_SECONDS:
        odd["impossible durations"] += 1
        return None
    return seconds


def _time(job: Job, task: Task) -> float | None:
    try:
        return results.read_head(job, task, 0)[1]
    except JobQueueError:
        return None


def _evaluation(job: Job, frames: range, odd: Counter[str]) -> tuple[dict[int, float | None], str | None]:
    try:
        record = json.loads(results.read(job, report_task(JSON), RECORD_LIMIT + len(frames) * ROW_LIMIT))
    except ResultVanishedError:
        return {}, None
    except (JobQueueError, *DECODE_ERRORS):
        odd["results that cannot be read"] += 1
        return {}, None
    errors: dict[int, float | None] = {}
    rows = record.get("frames") if isinstance(record, dict) else None
    listed: list[Any] = rows if isinstance(rows, list) else [None]
    for row in listed:
        try:
            number, error = row["frame"], row["film"]["warping_error"]
        except DECODE_ERRORS:
            number, error = None, None
        fits = isinstance(error, int | float) and not isinstance(error, bool) and 0 <= error <= MAX_ERROR
        if type(number) is int and number in frames and (error is None or fits):
            errors[number] = error
        else:
            odd["invalid measurements"] += 1
    return errors, evaluated(job)
