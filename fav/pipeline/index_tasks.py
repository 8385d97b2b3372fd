"""The index of a film: by one node that decodes the video from its beginning, or by all nodes, range by range.

    index k    index segment k: frames and cuts of a part of the video; needs the video, or decoded ranges
    survey     where the video can be divided into ranges (`fav.video.ranges`)
    decode k   the frames of range k; needs the survey

A single node indexes the video in one pass. If a second node joins while much of the video is left, it makes the
survey. From then on all nodes decode ranges, and the index segments are put together from them. Both ways give the same bytes,
so any node may use either. If a range cannot be used, the rest of the index is made in one pass.
"""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from fav.errors import FavError
from fav.pipeline.artifacts import JobArtifacts
from fav.pipeline.checked_json import with_checksum
from fav.pipeline.task_names import decode_task, index_task, survey_task
from fav.stylize.indexing import index_of_ranges, index_segments
from fav.stylize.timeline import SEGMENT_FRAMES, IndexSegment
from fav.video import ranges
from fav.video.container import frame_rate, open_video, video_stream
from fav.video.ranges import DecodedRange, Survey, UnusableRangeError
from shared import results
from shared.paths import Task, shard_of

logger = logging.getLogger(__name__)

LEAST_FRAMES = 2000  # one node indexes a shorter video within seconds
MOST_INDEXED = 4  # ranges decode the video again; worthwhile until 1 / MOST_INDEXED of it is indexed


@dataclass
class _Pass:
    """A pass over all index segments, and the number of the next one."""

    number: int
    segments: Iterator[IndexSegment]
    decodes: bool  # from the video; otherwise from decoded ranges


class IndexTasks:
    """The index tasks of one film, as one node sees and runs them.

    Args:
        artifacts: the published results.
        video: the video on this machine.
        check_inputs: raises an error if the video has changed since submission.
    """

    def __init__(self, artifacts: JobArtifacts, video: Path, check_inputs: Callable[[], None]):
        self.artifacts, self.video, self._check_inputs = artifacts, video, check_inputs
        self._expected: int | None = None  # frames according to the container; 0: unknown
        self._unusable = ""  # why ranges cannot be used; empty: they can
        self._own: dict[int, int] = {}  # number of frames by range, for ranges that were read
        self.invalidate_cache()

    def invalidate_cache(self) -> None:
        """Forget everything that may change."""
        self._pass: _Pass | None = None
        self._survey: Survey | None = None
        self._decoded: set[int] = set()

    # ---- what to do next
    def candidates(self, claims: set[str], lost: set[str]) -> Iterator[Task]:
        """Yield index tasks, the best first. Arguments: names of claimed tasks, and of failed tasks."""
        timeline, taken = self.artifacts.timeline, claims | lost
        if timeline.is_complete:
            return
        segment = index_task(len(timeline.index_segments))
        known = self._known_survey()
        if known is None or self._in_one_pass(known, lost):
            if str(segment) not in taken:
                yield segment
            elif known is None and str(segment) in claims and str(survey_task()) not in taken and self._is_worthwhile:
                yield survey_task()
            return
        self._refresh_decoded(known)
        if str(segment) not in taken and self._covers(known, segment.number):
            yield segment
        for number in range(len(known.ranges)):
            if number not in self._decoded and str(decode_task(number)) not in taken:
                yield decode_task(number)

    def next_segment(self, lost: Callable[[], set[str]]) -> Task | None:
        """The index segment after the one that this node made; None if there is none, or its ranges are missing."""
        timeline = self.artifacts.timeline
        if timeline.is_complete:
            return None
        segment = index_task(len(timeline.index_segments))
        if self._pass and self._pass.decodes and 2 * timeline.indexed_frames >= self._frames_expected:
            return segment  # too late for a survey to save time
        known = self._known_survey()
        if known is None or self._in_one_pass(known, lost()):
            return segment
        self._refresh_decoded(known)
        return segment if self._covers(known, segment.number) else None

    def _in_one_pass(self, known: Survey, lost: set[str]) -> bool:
        return bool(known.why or self._unusable) or any(name.startswith("decode.") for name in lost)

    def _known_survey(self) -> Survey | None:
        if self._survey is None and self._is_long and results.is_done(self.artifacts.job, survey_task()):
            self._survey = self.artifacts.survey()
        return self._survey

    def _refresh_decoded(self, known: Survey) -> None:
        """Update the set of decoded ranges."""
        for shard in range(shard_of(len(known.ranges) - 1) + 1):
            self._decoded |= self.artifacts.published_in_shard("decode", shard)

    def _covers(self, known: Survey, segment: int) -> bool:
        """Whether the frames of an index segment are decoded, and the frames after it that its cuts depend on."""
        frames = 0
        for number, one in enumerate(known.ranges):
            if number not in self._decoded:
                return frames >= (segment + 1) * SEGMENT_FRAMES + ranges.TAIL
            frames += self._own.get(number, one.packets)
        return True

    @property
    def _is_long(self) -> bool:
        """Whether the video is long enough for ranges, according to its container."""
        return self._frames_expected >= LEAST_FRAMES

    @property
    def _is_worthwhile(self) -> bool:
        """Whether ranges still save time."""
        return self._is_long and self.artifacts.timeline.indexed_frames < self._frames_expected / MOST_INDEXED

    @property
    def _frames_expected(self) -> int:
        if self._expected is None:
            length, stop = self._frames_by_container(), self.artifacts.spec.stop
            self._expected = length if stop is None else min(length, stop)
        return self._expected

    def _frames_by_container(self) -> int:
        try:
            with open_video(self.video, self.artifacts.spec.source) as container:
                stream, rate = video_stream(container, self.video), None
                if not stream.frames and container.duration:
                    rate = frame_rate(stream)
                return stream.frames or int((container.duration or 0) / 1_000_000 * (rate or 0))
        except FavError:
            return 0  # the node that indexes the video reports the error

    # ---- how to do it
    def run_survey(self, report_progress: Callable[[], None]) -> bytes:
        self._check_inputs()
        spec = self.artifacts.spec
        found = ranges.survey(self.video, spec.source, spec.stop, ranges.LEAST_RANGE, report_progress)
        if found.why:
            logger.info("%s: one node alone makes the index of the video: %s", self.artifacts.job.name, found.why)
        return with_checksum(found.to_json())

    def run_range(self, task: Task, report_progress: Callable[[], None]) -> bytes:
        spec, known = self.artifacts.spec, self.artifacts.survey()
        threshold = spec.cut_threshold if spec.cuts is None else None
        found = ranges.decode_range(self.video, known, task.number, spec.source, threshold, report_progress)
        return with_checksum(found.to_json())

    def run(self, task: Task, report_progress: Callable[[], None]) -> bytes:
        """Make an index segment; return its file."""
        current, self._pass = self._pass, None  # after an error, a pass cannot continue
        if current is None or current.number != task.number:
            self._check_inputs()  # later, the checksums of its frames detect changes
            known = None if self._unusable else self._known_survey()
            if known and not known.why:
                self._refresh_decoded(known)
            of_ranges = known is not None and not known.why and self._covers(known, task.number)
            current = self._start_pass(known if of_ranges else None, report_progress)
        try:
            segment = self._next(current, task.number)
        except (UnusableRangeError, LookupError) as error:  # published files may be incomplete
            self._unusable = str(error)
            logger.info("%s: one node alone makes the index of the video: %s", self.artifacts.job.name, error)
            current = self._start_pass(None, report_progress)
            segment = self._next(current, task.number)
        self._pass = current
        spec = self.artifacts.spec
        if segment.last and segment.start + len(segment.index) <= spec.start:
            raise FavError(
                f"{self.video}: expected more than {spec.start} frames for this --range, "
                f"got {segment.start + len(segment.index)}"
            )
        return with_checksum(segment.to_json())

    def _next(self, current: _Pass, number: int) -> IndexSegment:
        for _ in range(number - current.number):  # after another node's segments, skip to this one
            next(current.segments)
        current.number = number + 1
        return next(current.segments)

    def _start_pass(self, known: Survey | None, report_progress: Callable[[], None]) -> _Pass:
        """A pass over the whole index: from the ranges of a survey, or by decoding the video."""
        spec = self.artifacts.spec
        if known is None:
            segments = index_segments(
                self.video, spec.stop, spec.cuts, spec.source, report_progress, spec.cut_threshold
            )
        else:
            segments = index_of_ranges(self._ranges(known, report_progress), spec.stop, spec.cuts, spec.cut_threshold)
        return _Pass(0, segments, known is None)

    def _ranges(self, known: Survey, report_progress: Callable[[], None]) -> Iterator[DecodedRange]:
        for number in range(len(known.ranges)):
            report_progress()
            found = self.artifacts.decoded_range(number)
            self._own[number] = found.own
            yield found
