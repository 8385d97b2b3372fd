"""Read the published results of a video job. Nodes and the operator's commands both use this.

`fav/pipeline/plan.py` decides which tasks to run, and runs them.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from fav.errors import FavError
from fav.flow.field import FlowField
from fav.flow.io import decode_flo, decode_flow, pgm_header
from fav.pipeline.checked_json import without_checksum
from fav.pipeline.job_files import SUFFIX
from fav.pipeline.spec import JobSpec
from fav.pipeline.task_names import (
    FLOW_KINDS,
    FRAME_KINDS,
    WINDOW_FRAMES,
    decode_task,
    encode_task,
    evaluation_windows,
    face_task,
    flow_task,
    frame_task,
    index_task,
    measure_task,
    stitch_task,
    survey_task,
    trust_task,
    warmup_task,
)
from fav.stylize.blend import blend, to_uint16
from fav.stylize.chain import FrameChain
from fav.stylize.cube import Cube, cube_of
from fav.stylize.settings import CROSSFADE
from fav.stylize.timeline import IndexSegment, Timeline
from fav.util.images import HEAD_END, PNG_END, check_png_ends, decode_png, png_limit
from fav.video import EncodedSegment, encoded
from fav.video.ranges import DecodedRange, Survey
from shared import results
from shared.errors import ResultVanishedError, UserError, sanitize
from shared.filesystem import RECORD_LIMIT
from shared.jobs import Job
from shared.membership import Node
from shared.paths import SHARD, Task, shard_of

if TYPE_CHECKING:
    from fav.evaluation.comparison import FrameMetrics


RANGES_LIMIT = 1 << 26  # bytes of a survey, or of the facts of a range, which may be the whole video


@dataclass(frozen=True)
class IndexProgress:
    """The progress of a film's index.

    Attributes:
        index_segments: number of published segments of the index.
        end: one past the last indexed frame of the film.
        is_complete: whether this is the film's end.
        notes: of the last segment, for the user.
    """

    index_segments: int
    end: int
    is_complete: bool
    notes: tuple[str, ...] = ()


class DamagedFileError(ResultVanishedError):
    """A published result cannot be read. `why` has the reason."""

    def __init__(self, task: Task, why: object):
        self.task, self.why = task, sanitize(why, 300)
        super().__init__(f"{task}: it does not read back ({self.why})")


class JobArtifacts:
    """The published results of one video job.

    Args:
        job: the job.
        node: it quarantines results that cannot be read, so that their tasks are open again; None: they stay.
    """

    def __init__(self, job: Job, node: Node | None = None):
        self.job = job
        self.node = node
        self.spec = JobSpec.from_json(job.manifest.spec)
        self.invalidate_cache()

    def invalidate_cache(self) -> None:
        """Forget what was read of the job."""
        self.timeline = Timeline(
            self.spec.start, self.spec.stop, self.spec.reverse, self.spec.no_temporal, self.spec.chunk
        )
        self._index_progress = IndexProgress(0, self.spec.start, False)
        self._counters = {
            kind: results.ResultCounter(self.job, kind, SUFFIX[kind])
            for kind in ("flow", "frame", "measure", "encode", "trust")
        }

    def published_in_shard(self, kind: str, shard: int) -> set[int]:
        """The numbers of a kind's published results in one shard (a directory of SHARD results)."""
        return results.completed_in_shard(self.job, kind, shard, SUFFIX[kind])

    def index_progress(self) -> IndexProgress:
        """The progress of the index. Only its last segment is read; if that fails, the earlier progress is returned."""
        segments, shard = self._index_progress.index_segments, None
        while not self._index_progress.is_complete and shard_of(segments) != shard:
            shard = shard_of(segments)
            there = self.published_in_shard("index", shard)
            while segments in there:
                segments += 1
        if segments > self._index_progress.index_segments:
            try:
                last = self._decoded(
                    index_task(segments - 1), lambda data: IndexSegment.from_json(without_checksum(data))
                )
            except DamagedFileError:
                return self._index_progress
            timeline = Timeline(self.spec.start, self.spec.stop)
            timeline.indexed_frames = last.start
            timeline.add(last)
            self._index_progress = IndexProgress(
                segments, max(timeline.end, self.spec.start), timeline.is_complete, last.notes
            )
        return self._index_progress

    @property
    def frame_kind(self) -> str:
        """The kind of the one result that each frame has at the end."""
        return "trust" if self.spec.is_flow else "frame"

    def published(self, kind: str) -> int:
        """The number of published results of a kind (`frame_kind` or `flow`), for the indexed part of the film."""
        return self._counters[kind].count(range(self.spec.start, self.index_progress().end))

    def measured(self) -> tuple[int, int | None]:
        """The number of measured evaluation windows, and of all windows (None: the film's end is unknown yet)."""
        index = self.index_progress()
        windows = evaluation_windows(self.spec.start, index.end, index.is_complete)
        return self._counters["measure"].count(windows), len(windows) if index.is_complete else None

    def chunks(self) -> tuple[int, int | None]:
        """The number of stylized chains, and of all chains (None: the film's end is unknown yet)."""
        with suppress(DamagedFileError):
            self.load_new_segments()
        self.count_all()
        chains = self.timeline.chains
        total = len(chains) if self.timeline.is_complete else None
        return sum(chain.is_final and not chain.remaining for chain in chains), total

    def load_new_segments(self) -> None:
        """Load the segments of the index that were published since the last call."""
        shard, there = None, set()
        while not self.timeline.is_complete:
            number = len(self.timeline.index_segments)
            if shard_of(number) != shard:
                shard = shard_of(number)
                there = self.published_in_shard("index", shard)
            if number not in there:
                return
            self.timeline.add(self._decoded(index_task(number), self._parse_segment))

    def _parse_segment(self, data: bytes) -> IndexSegment:
        segment = IndexSegment.from_json(without_checksum(data))
        if segment.start != self.timeline.indexed_frames or not len(segment.index):
            raise ValueError(
                f"expected frames from {self.timeline.indexed_frames} on, got {len(segment.index)} from {segment.start} on"
            )
        return segment

    def survey(self) -> Survey:
        """Where the video can be divided into ranges, as it was published."""
        return self._decoded(survey_task(), _as_survey, RANGES_LIMIT)

    def decoded_range(self, number: int) -> DecodedRange:
        """What was found in a range of the video, as it was published."""
        return self._decoded(decode_task(number), self._range, RANGES_LIMIT)

    def _range(self, data: bytes) -> DecodedRange:
        return DecodedRange.from_json(without_checksum(data), self.spec.cut_threshold)

    def chain_of(self, task: Task) -> FrameChain | None:
        """The chain of a task of FRAME_KINDS; None if its frame is not indexed, or not in the film."""
        if not self.spec.start <= task.number < self.timeline.end:
            return None
        chain = self.timeline.chain_of(task.number)
        return self.timeline.next_chunk(chain) if task.kind == "warmup" else chain

    @property
    def segments(self) -> Sequence[range]:
        """The frames of each segment of the film whose end is known, according to the loaded index."""
        return self.timeline.segments(self.spec.segment_frames)

    def encoded(self) -> tuple[int, int | None]:
        """The number of encoded segments, and of all segments (None: the index is not completely loaded)."""
        total = len(self.segments) if self.timeline.is_complete else None
        limit = (max(results.shards(self.job, "encode"), default=-1) + 1) * SHARD
        done = self._counters["encode"].count(range(limit if total is None else total))
        if total is None and results.is_done(self.job, stitch_task(self.spec)):
            total = done  # the film is published
        return done, total

    def count_all(self) -> None:
        """Count the finished positions of every chain. Each shard of unfinished chains is listed once."""
        shards = range(shard_of(self.spec.start), shard_of(max(self.timeline.end - 1, self.spec.start)) + 1)
        for shard in reversed(shards) if self.spec.reverse else shards:
            around = range(shard * SHARD - CROSSFADE, (shard + 1) * SHARD + CROSSFADE)
            if any(chain.remaining for chain in self.timeline.chains_in(around)):
                self._count(shard)

    def count_from(self, chain: FrameChain) -> None:
        """Count the finished positions of a chain, and of its neighbors in the same shards."""
        shard = None
        while chain.remaining and shard_of(chain.frame(chain.done)) != shard:
            shard = shard_of(chain.frame(chain.done))
            self._count(shard)

    def _count(self, shard: int) -> None:
        """Count the finished positions of all chains in one shard of frames."""
        frames = self.published_in_shard(self.frame_kind, shard)
        warmups = self.published_in_shard("warmup", shard) if self.spec.chunk else set()
        margin = CROSSFADE if warmups else 0  # warmup frames are outside of their chunk
        around = range(shard * SHARD - margin, (shard + 1) * SHARD + margin)
        for chain in self.timeline.chains_in(around) if frames or warmups else ():
            while chain.remaining and chain.frame(chain.done) in (warmups if chain.is_warmup(chain.done) else frames):
                chain.done += 1

    def frame(self, number: int, sixteen_bit: bool = False) -> np.ndarray:
        """Read a stylized frame, with the crossfade between two chunks.

        Args:
            number: of the frame.
            sixteen_bit: return uint16 within a crossfade.

        Returns:
            (H, W, 3) uint8 or uint16, BGR, before postprocessing. With --outside, see `fav.stylize.outside`.

        Raises:
            ResultVanishedError: the frame is missing, or cannot be read.
        """
        frame, chain = self.stylized_frame(frame_task(number)), self.timeline.chain_of(number)
        weight = chain.crossfade_weight(number)
        if weight:
            other = self.stylized_frame(warmup_task(number))
            frame = blend(to_uint16(frame), to_uint16(other), weight) if sixteen_bit else blend(frame, other, weight)
        if self._cube is None:
            return frame
        return self._cube.to_picture(to_uint16(frame) if sixteen_bit else frame)

    def stylized_frame(self, task: Task) -> np.ndarray:
        """Read the result of a task of FRAME_KINDS, (H, W, 3) uint8 BGR of `spec.frame_size`, or the faces of a cube."""
        return self._decoded(task, self._decode_frame, png_limit(self._frame_size, 1))

    def face(self, number: int) -> np.ndarray:
        """Read a published cube face of a 360° video, (side, side, 3) uint8 BGR."""
        return self._decoded(face_task(number), self._decode_face, png_limit(self._face_size, 1))

    def face_of(self, atlas: np.ndarray, face: int) -> np.ndarray:
        """One face of a published frame of a 360° video."""
        if self._cube is None:
            raise ValueError("expected a 360° video")
        return self._cube.face(atlas, face)

    @property
    def _frame_size(self) -> tuple[int, int]:
        return self._cube.atlas_size if self._cube else self.spec.frame_size

    @property
    def _face_size(self) -> tuple[int, int]:
        side = self._cube.side if self._cube else 1
        return side, side

    def _decode_face(self, data: bytes) -> np.ndarray:
        return self._eight_bits(decode_png(data, self._face_size))

    def _decode_frame(self, data: bytes) -> np.ndarray:
        return self._eight_bits(decode_png(data, self._frame_size))

    @staticmethod
    def _eight_bits(frame: np.ndarray) -> np.ndarray:
        if frame.dtype != np.uint8:
            raise FavError(f"frame: expected 8 bits per sample, got {frame.dtype}")
        return frame

    @property
    def _size(self) -> tuple[int, int]:
        """(width, height) of published frames; of a 360° video, these are atlases."""
        return self._cube.atlas_size if self._cube else self.spec.network_size

    @cached_property
    def _cube(self) -> Cube | None:
        return cube_of(self.spec.projection, self.spec.network_size)

    def flow_field(self, number: int) -> FlowField:
        """Read the published flow and reliability of a frame."""
        size = self._size
        return FlowField(*self._decoded(flow_task(number), lambda data: decode_flow(data, size), png_limit(size, 2)))

    def exported_flow(self, task: Task) -> np.ndarray:
        """Read the result of a task of FLOW_KINDS, (H, W, 2) float32 pixels."""
        return self._decoded(task, self._decode_flo, 12 + 8 * self.spec.width * self.spec.height)

    def _decode_flo(self, data: bytes) -> np.ndarray:
        flow = decode_flo(data)
        if flow.shape[1::-1] != self._size:
            raise FavError(f"flow: expected {self._size}, got {flow.shape[1::-1]}")
        return flow

    def exported_reliability(self, frame: int) -> np.ndarray:
        """Read the exported reliability of a frame, (H, W) uint8, 255 where the flow is reliable."""
        header = pgm_header(self._size)
        return self._decoded(trust_task(frame), self._decode_pgm, len(header) + self.spec.width * self.spec.height)

    def _decode_pgm(self, data: bytes) -> np.ndarray:
        header = pgm_header(self._size)
        if not data.startswith(header):
            raise FavError(f"reliability: expected {header!r} first, got {data[: len(header)]!r}")
        return np.frombuffer(data, np.uint8, offset=len(header)).reshape(self.spec.height, self.spec.width)

    def segment(self, number: int) -> EncodedSegment:
        """Read a published segment of the film. The index must be loaded up to it."""
        frames = self.segments[number]
        return self._decoded(
            encode_task(number), lambda data: EncodedSegment.from_bytes(data, frames), self._segment_limit(len(frames))
        )

    def _segment_limit(self, frames: int) -> int:
        """The maximum bytes of encoded frames: uncompressed with 32 bits per sample, and some more."""
        return RECORD_LIMIT + frames * (RECORD_LIMIT + 12 * self.spec.width * self.spec.height)

    def rows(self, window: int) -> list["FrameMetrics"]:
        """Read the metrics of the frames of an evaluation window. The index must be loaded up to its end."""
        from fav.evaluation.comparison import FrameMetrics

        def decode(data: bytes) -> list[FrameMetrics]:
            rows = [FrameMetrics.from_json(row) for row in without_checksum(data)["rows"]]
            if [row.frame for row in rows] != list(self.frames_of(window)):
                raise ValueError(f"expected rows of the frames {self.frames_of(window)}")
            return rows

        return self._decoded(measure_task(window), decode)

    def frames_of(self, window: int) -> range:
        """The frames of the film in an evaluation window."""
        start, stop = window * WINDOW_FRAMES, (window + 1) * WINDOW_FRAMES
        return range(max(start, self.spec.start), min(stop, self.timeline.end))

    def verify(self, task: Task) -> None:
        """Read a result of a kind in SUFFIX completely.

        Raises:
            DamagedFileError: it cannot be read, or is not of this kind.
            ResultVanishedError: it is missing.
        """
        if task.kind in FRAME_KINDS:
            self.stylized_frame(task)
        elif task.kind == "flow":
            self.flow_field(task.number)
        elif task.kind == "face":
            self.face(task.number)
        elif task.kind in FLOW_KINDS:
            self.exported_flow(task)
        elif task.kind == "trust":
            self.exported_reliability(task.number)
        elif task.kind in ("survey", "decode"):
            self._decoded(task, _as_survey if task.kind == "survey" else self._range, RANGES_LIMIT)
        elif task.kind == "encode":
            self._decoded(task, EncodedSegment.from_bytes, self._segment_limit(2 * self.spec.segment_frames))
        else:
            self._decoded(task, _as_segment if task.kind == "index" else _as_rows)

    def check_ends(self, task: Task) -> None:
        """Verify a result quickly: of a frame, flow or segment, only the first and last bytes are read.

        This finds truncated files, and images of another size or format. Errors as for `verify`.
        """
        if task.kind not in (*FRAME_KINDS, "flow", "encode"):
            self.verify(task)
            return
        try:
            if task.kind == "encode":
                encoded.check_ends(*results.ends(self.job, task, encoded.HEAD_END, len(encoded.TAIL)))
                return
            head, tail = results.ends(self.job, task, HEAD_END, len(PNG_END))
            size, planes = (self._size, 2) if task.kind == "flow" else (self._frame_size, 1)
            check_png_ends(head, tail, size, planes)
        except ResultVanishedError:
            raise
        except (UserError, ValueError) as error:
            raise DamagedFileError(task, error) from None

    def _decoded(self, task: Task, decode: Callable, limit: int = RECORD_LIMIT):
        """Read and decode a result.

        Args:
            task: whose result to read.
            decode: converts the bytes; any exception means that the result is damaged.
            limit: a result of more bytes is damaged. (Index segments and evaluation windows have some 10 KB.)

        Raises:
            DamagedFileError: it cannot be decoded; it is quarantined if there is a node.
            ResultVanishedError: it is missing.
        """
        data = None
        try:
            data = results.read(self.job, task, limit)
            return decode(data)
        except (ResultVanishedError, MemoryError, OSError):
            raise
        except Exception as error:  # decoders raise various exceptions for foreign or damaged bytes
            if self.node is not None:
                results.quarantine_result(self.node, self.job, task, data, limit)
            raise DamagedFileError(task, error) from None


def _as_segment(data: bytes) -> None:
    """Check a segment of an index, without the segments before it."""
    if not len(IndexSegment.from_json(without_checksum(data)).index):
        raise ValueError("expected frames, got none")


def _as_survey(data: bytes) -> Survey:
    return Survey.from_json(without_checksum(data))


def _as_rows(data: bytes) -> None:
    from fav.evaluation.comparison import FrameMetrics

    if not [FrameMetrics.from_json(row) for row in without_checksum(data)["rows"]]:
        raise ValueError("expected rows, got none")
