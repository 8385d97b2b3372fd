"""The index of a film: by one node that decodes the video from its beginning, or by all nodes, range by range.

    index k    frames and cuts of a piece of the video; needs nothing but the video, or the ranges up to there
    survey     where the video can be divided into ranges (`fav.video.ranges`)
    decode k   what is found in range k; needs the survey

A node that is alone indexes in one pass. Where another node finds it at that, and much of the video is left, it makes
the survey. From then on all nodes decode ranges, and the pieces of the index are put together from those. They have the
same bytes in both ways, so any node may make any of them either way: where a range is of no use, the rest of the index
is made in one pass.
"""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from fav.errors import FavError
from fav.pipeline.artifacts import JobArtifacts, with_checksum
from fav.pipeline.task_names import decode_task, index_task, survey_task
from fav.stylize.indexing import index_of_ranges, index_segments
from fav.stylize.timeline import SEGMENT_FRAMES, IndexSegment
from fav.video import ranges
from fav.video.container import frame_rate, open_video, video_stream
from fav.video.ranges import DecodedRange, Survey, UnusableRangeError
from shared import results
from shared.paths import Task, shard_of

logger = logging.getLogger(__name__)

LEAST_FRAMES = 2000  # a shorter video is indexed by one node in some seconds
MOST_INDEXED = 4  # ranges begin anew, so they pay while less than this part of the video is indexed: a quarter


@dataclass
class _Pass:
    """A way through the pieces of the index, and the number of the next one."""

    number: int
    pieces: Iterator[IndexSegment]
    decodes: bool  # the video itself


class IndexTasks:
    """One node's part in the index of one film. `check_inputs` raises where the video is not the job's any more."""

    def __init__(self, artifacts: JobArtifacts, video: Path, check_inputs: Callable[[], None]):
        self.artifacts, self.video, self._check_inputs = artifacts, video, check_inputs
        self._expected: int | None = None  # frames, as the container tells; 0: it does not
        self._useless = ""  # why the ranges are of no use
        self._own: dict[int, int] = {}  # frames of ranges that were read
        self.invalidate_cache()

    def invalidate_cache(self) -> None:
        """Know nothing, as at the beginning, but what cannot change."""
        self._pass: _Pass | None = None
        self._survey: Survey | None = None
        self._decoded: set[int] = set()

    # ---- what to do next
    def candidates(self, claims: set[str], lost: set[str]) -> Iterator[Task]:
        """Tasks of the index, the best first; arguments are names of tasks that are claimed, and that failed."""
        timeline, taken = self.artifacts.timeline, claims | lost
        if timeline.is_complete:
            return
        piece = index_task(len(timeline.pieces))
        known = self._known_survey()
        if known is None or self._in_one_pass(known, lost):
            if str(piece) not in taken:
                yield piece
            elif known is None and str(piece) in claims and str(survey_task()) not in taken and self._pays:
                yield survey_task()
            return
        self._look(known)
        if str(piece) not in taken and self._covers(known, piece.number):
            yield piece
        for number in range(len(known.ranges)):
            if number not in self._decoded and str(decode_task(number)) not in taken:
                yield decode_task(number)

    def next_piece(self, lost: Callable[[], set[str]]) -> Task | None:
        """The piece to make after another one, before that is released; None where there is none, or it must wait."""
        timeline = self.artifacts.timeline
        if timeline.is_complete:
            return None
        piece = index_task(len(timeline.pieces))
        if self._pass and self._pass.decodes and 2 * timeline.indexed_frames >= self._frames_expected:
            return piece  # a survey that comes late saves nothing
        known = self._known_survey()
        if known is None or self._in_one_pass(known, lost()):
            return piece
        self._look(known)
        return piece if self._covers(known, piece.number) else None

    def _in_one_pass(self, known: Survey, lost: set[str]) -> bool:
        return bool(known.why or self._useless) or any(name.startswith("decode.") for name in lost)

    def _known_survey(self) -> Survey | None:
        if self._survey is None and self._is_long and results.is_done(self.artifacts.job, survey_task()):
            self._survey = self.artifacts.survey()
        return self._survey

    def _look(self, known: Survey) -> None:
        """Look which ranges are decoded by now."""
        for shard in range(shard_of(len(known.ranges) - 1) + 1):
            self._decoded |= self.artifacts.published_in_shard("decode", shard)

    def _covers(self, known: Survey, piece: int) -> bool:
        """Whether the frames of a piece are decoded, and those after it that decide on its cuts."""
        frames = 0
        for number, one in enumerate(known.ranges):
            if number not in self._decoded:
                return frames >= (piece + 1) * SEGMENT_FRAMES + ranges.TAIL
            frames += self._own.get(number, one.packets)
        return True

    @property
    def _is_long(self) -> bool:
        """Whether the video is long enough for ranges, as far as its container tells."""
        return self._frames_expected >= LEAST_FRAMES

    @property
    def _pays(self) -> bool:
        """Whether it is worth while to begin with ranges now."""
        return self._is_long and self.artifacts.timeline.indexed_frames < self._frames_expected / MOST_INDEXED

    @property
    def _frames_expected(self) -> int:
        if self._expected is None:
            told, stop = self._frames_by_container(), self.artifacts.spec.stop
            self._expected = told if stop is None else min(told, stop)
        return self._expected

    def _frames_by_container(self) -> int:
        try:
            with open_video(self.video, self.artifacts.spec.source) as container:
                stream, rate = video_stream(container, self.video), None
                if not stream.frames and container.duration:
                    rate = frame_rate(stream)
                return stream.frames or int((container.duration or 0) / 1_000_000 * (rate or 0))
        except FavError:
            return 0  # whoever indexes it says what is wrong

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
        """A piece of the index."""
        begun, self._pass = self._pass, None  # a pass that an error breaks off cannot go on
        if begun is None or begun.number != task.number:
            self._check_inputs()  # later, the checksums of its frames do that
            known = None if self._useless else self._known_survey()
            if known and not known.why:
                self._look(known)
            of_ranges = known is not None and not known.why and self._covers(known, task.number)
            begun = self._begun(known if of_ranges else None, report_progress)
        try:
            piece = self._next(begun, task.number)
        except (UnusableRangeError, LookupError) as error:  # what no node of ours wrote may lack something
            self._useless = str(error)
            logger.info("%s: one node alone makes the index of the video: %s", self.artifacts.job.name, error)
            begun = self._begun(None, report_progress)
            piece = self._next(begun, task.number)
        self._pass = begun
        spec = self.artifacts.spec
        if piece.last and piece.start + len(piece.index) <= spec.start:
            raise FavError(
                f"{self.video}: expected more than {spec.start} frames for this --range, "
                f"got {piece.start + len(piece.index)}"
            )
        return with_checksum(piece.to_json())

    def _next(self, begun: _Pass, number: int) -> IndexSegment:
        for _ in range(number - begun.number):  # a new owner begins at the beginning
            next(begun.pieces)
        begun.number = number + 1
        return next(begun.pieces)

    def _begun(self, known: Survey | None, report_progress: Callable[[], None]) -> _Pass:
        """A pass over the whole index: from the ranges of a survey, or by decoding the video."""
        spec = self.artifacts.spec
        if known is None:
            pieces = index_segments(self.video, spec.stop, spec.cuts, spec.source, report_progress, spec.cut_threshold)
        else:
            pieces = index_of_ranges(self._ranges(known, report_progress), spec.stop, spec.cuts, spec.cut_threshold)
        return _Pass(0, pieces, known is None)

    def _ranges(self, known: Survey, report_progress: Callable[[], None]) -> Iterator[DecodedRange]:
        for number in range(len(known.ranges)):
            report_progress()
            found = self.artifacts.decoded_range(number)
            self._own[number] = found.own
            yield found
