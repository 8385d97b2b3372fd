"""What is published of a film job: the names of its tasks, their results read back, and the film made of them.

Beside `tasks.py`, which decides and does, this is the part of the bridge that reads; the coordinator looks through it.
"""

import hashlib
import json
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from fav.errors import FavError
from fav.flow.field import FlowField
from fav.flow.io import decode_flow
from fav.pipeline.job_files import SUFFIX
from fav.pipeline.spec import JobSpec
from fav.pipeline.task_names import (
    FRAME_KINDS,
    WINDOW_FRAMES,
    encode_task,
    evaluation_windows,
    flow_task,
    frame_task,
    hash_task,
    index_task,
    measure_task,
    stitch_task,
    warmup_task,
)
from fav.stylize.blend import blend, to_uint16
from fav.stylize.chain import FrameChain
from fav.stylize.settings import CROSSFADE
from fav.stylize.timeline import IndexSegment, Timeline
from fav.util.images import HEAD_END, PNG_END, check_png_ends, decode_png, png_limit
from fav.video import EncodedSegment, encoded
from shared import results
from shared.errors import JobQueueError, ResultVanishedError, UserError, sanitize
from shared.filesystem import RECORD_LIMIT
from shared.jobs import Job
from shared.membership import Node
from shared.paths import SHARD, Task, shard_of
from shared.shared_dir import SharedDir

if TYPE_CHECKING:
    from fav.evaluation.comparison import FrameMetrics


MAX_NUMBERS = 5  # of frames that are named where many are meant


@dataclass(frozen=True)
class IndexProgress:
    """How far the index of a film has come: in pieces, and to which frame (not counting it); whether that is the end."""

    pieces: int
    end: int
    is_complete: bool
    notes: tuple[str, ...] = ()


class DamagedFileError(ResultVanishedError):
    """A published result that does not read back, and why."""

    def __init__(self, task: Task, why: object):
        self.task, self.why = task, sanitize(why, 300)
        super().__init__(f"{task}: it does not read back ({self.why})")


@dataclass
class OmittedResults:
    """Frames that are left out of what is shown: those that are missing, and those that do not read back."""

    missing: set[int] = field(default_factory=set)
    damaged: set[int] = field(default_factory=set)

    def add(self, number: int, error: ResultVanishedError) -> None:
        (self.damaged if isinstance(error, DamagedFileError) else self.missing).add(number)

    def __len__(self) -> int:
        return len(self.missing | self.damaged)

    def any_of(self, frames: range) -> bool:
        """Whether one of these frames is left out."""
        return any(number in frames for number in self.missing | self.damaged)

    def describe(self, total: int) -> str | None:
        """One line for the user, None where nothing is left out."""
        kinds = (self.missing, "missing"), (self.damaged, f"that do{'es' * (len(self.damaged) == 1)} not read back")
        parts = [f"{len(frames)} {words} ({numbers(sorted(frames))})" for frames, words in kinds if frames]
        verb = "is" if len(self) == 1 else "are"
        return f"{len(self)} of {total} frames {verb} left out: {', '.join(parts)}" if parts else None


def numbers(of: Sequence[int]) -> str:
    """The first few numbers, in words."""
    return ", ".join(map(str, of[:MAX_NUMBERS])) + (", …" if len(of) > MAX_NUMBERS else "")


class JobArtifacts:
    """What is published of one film job, read back.

    What does not read back is set aside by `node`, where there is one, so that its task is open again.
    """

    def __init__(self, job: Job, node: Node | None = None):
        self.job = job
        self.node = node
        self.spec = JobSpec.from_json(job.manifest.spec)
        self.invalidate_cache()

    def invalidate_cache(self) -> None:
        """Know nothing, as at the beginning."""
        self.timeline = Timeline(
            self.spec.start, self.spec.stop, self.spec.reverse, self.spec.no_temporal, self.spec.chunk
        )
        self._extent = IndexProgress(0, self.spec.start, False)
        self._tallies = {
            kind: results.ResultCounter(self.job, kind, SUFFIX[kind]) for kind in ("flow", "frame", "measure", "encode")
        }

    def there(self, kind: str, shard: int) -> set[int]:
        """Numbers of the results of a kind of SUFFIX in one of its directories."""
        return results.completed_in_shard(self.job, kind, shard, SUFFIX[kind])

    def index_progress(self) -> IndexProgress:
        """How far the index has come by now, read off its last piece alone; as far as before where that does not read back."""
        pieces, shard = self._extent.pieces, None
        while not self._extent.is_complete and shard_of(pieces) != shard:
            shard = shard_of(pieces)
            there = self.there("index", shard)
            while pieces in there:
                pieces += 1
        if pieces > self._extent.pieces:
            try:
                last = self._decoded(
                    index_task(pieces - 1), lambda data: IndexSegment.from_json(without_checksum(data))
                )
            except DamagedFileError:
                return self._extent
            timeline = Timeline(self.spec.start, self.spec.stop)
            timeline.indexed_frames = last.start
            timeline.add(last)
            self._extent = IndexProgress(pieces, max(timeline.end, self.spec.start), timeline.is_complete, last.notes)
        return self._extent

    def published(self, kind: str) -> int:
        """How many frames, or flows of frames, of the film are there, as far as its index has come."""
        return self._tallies[kind].count(range(self.spec.start, self.index_progress().end))

    def measured(self) -> tuple[int, int | None]:
        """How many spans of the film are measured, and how many there are; None where its end is not known yet."""
        extent = self.index_progress()
        there = evaluation_windows(self.spec.start, extent.end, extent.is_complete)
        return self._tallies["measure"].count(there), len(there) if extent.is_complete else None

    def chunks(self) -> tuple[int, int | None]:
        """How many chunks and whole shots are painted, and how many there are; None where the film's end is not known yet."""
        with suppress(DamagedFileError):
            self.load_new_segments()
        self.count_all()
        runs = self.timeline.chains
        return sum(chain.is_final and not chain.remaining for chain in runs), len(
            runs
        ) if self.timeline.is_complete else None

    def load_new_segments(self) -> None:
        """Take in the pieces of the index that were published since."""
        shard, there = None, set()
        while not self.timeline.is_complete:
            number = len(self.timeline.pieces)
            if shard_of(number) != shard:
                shard = shard_of(number)
                there = self.there("index", shard)
            if number not in there:
                return
            self.timeline.add(self._decoded(index_task(number), self._piece))

    def _piece(self, data: bytes) -> IndexSegment:
        piece = IndexSegment.from_json(without_checksum(data))
        if piece.start != self.timeline.indexed_frames or not len(piece.index):
            raise ValueError(
                f"expected frames from {self.timeline.indexed_frames} on, got {len(piece.index)} from {piece.start} on"
            )
        return piece

    def chain_of(self, task: Task) -> FrameChain | None:
        """The run that a task of FRAME_KINDS belongs to, None where there is none as far as the film is known."""
        if not self.spec.start <= task.number < self.timeline.end:
            return None
        chain = self.timeline.chain_of(task.number)
        return self.timeline.next_chunk(chain) if task.kind == "warmup" else chain

    @property
    def segments(self) -> Sequence[range]:
        """The frames of each segment of the film that is settled, as far as the index was taken in."""
        return self.timeline.segments(self.spec.segment_frames)

    def encoded(self) -> tuple[int, int | None]:
        """How many segments are encoded, and how many there are; None where the index was not taken in to its end."""
        total = len(self.segments) if self.timeline.is_complete else None
        there = (max(results.shards(self.job, "encode"), default=-1) + 1) * SHARD
        done = self._tallies["encode"].count(range(there if total is None else total))
        if total is None and results.is_done(self.job, stitch_task(self.spec)):
            total = done  # of a film that is there
        return done, total

    def count_all(self) -> None:
        """Count what is done of every run. Each directory of results is looked at once, and only while a run there has
        something left."""
        shards = range(shard_of(self.spec.start), shard_of(max(self.timeline.end - 1, self.spec.start)) + 1)
        for shard in reversed(shards) if self.spec.reverse else shards:
            around = range(shard * SHARD - CROSSFADE, (shard + 1) * SHARD + CROSSFADE)
            if any(chain.remaining for chain in self.timeline.chains_in(around)):
                self._count(shard)

    def count_from(self, chain: FrameChain) -> None:
        """Count the frames of a run that are published from its beginning on, and of those that lie beside it."""
        shard = None
        while chain.remaining and shard_of(chain.frame(chain.done)) != shard:
            shard = shard_of(chain.frame(chain.done))
            self._count(shard)

    def _count(self, shard: int) -> None:
        """Count what is done in one directory of frames; of a run, what comes after what is done already."""
        frames = self.there("frame", shard)
        leads = self.there("warmup", shard) if self.spec.chunk else set()
        beside = CROSSFADE if leads else 0  # where a lead-in lies, out of its run
        around = range(shard * SHARD - beside, (shard + 1) * SHARD + beside)
        for chain in self.timeline.chains_in(around) if frames or leads else ():
            while chain.remaining and chain.frame(chain.done) in (leads if chain.is_warmup(chain.done) else frames):
                chain.done += 1

    def frame(self, number: int, sixteen_bit: bool = False) -> np.ndarray:
        """A stylized frame as the film shows it, of published ones; one that is mixed of two has 16 bits where it is `sixteen_bit`."""
        picture, chain = self.stylized_frame(frame_task(number)), self.timeline.chain_of(number)
        share = chain.crossfade_weight(number)
        if not share:
            return picture
        other = self.stylized_frame(warmup_task(number))
        return blend(to_uint16(picture), to_uint16(other), share) if sixteen_bit else blend(picture, other, share)

    def stylized_frame(self, task: Task) -> np.ndarray:
        """What a task of FRAME_KINDS has published."""
        return self._decoded(task, self._picture, png_limit(self._size, 1))

    def _picture(self, data: bytes) -> np.ndarray:
        frame = decode_png(data, self._size)
        if frame.dtype != np.uint8:
            raise FavError(f"frame: expected 8 bits a sample, got {frame.dtype}")
        return frame

    @property
    def _size(self) -> tuple[int, int]:
        return self.spec.network_size

    def flow_field(self, number: int) -> FlowField:
        """The published flow and reliability of a frame."""
        size = self._size
        return FlowField(*self._decoded(flow_task(number), lambda data: decode_flow(data, size), png_limit(size, 2)))

    def segment(self, number: int) -> EncodedSegment:
        """A published segment of the film, whose index is known that far."""
        frames = self.segments[number]
        return self._decoded(
            encode_task(number), lambda data: EncodedSegment.from_bytes(data, frames), self._segment_limit(len(frames))
        )

    def _segment_limit(self, frames: int) -> int:
        """Bytes that so many encoded frames can take: what they take as they are, with 32 bits a sample, and some more."""
        return RECORD_LIMIT + frames * (RECORD_LIMIT + 12 * self.spec.width * self.spec.height)

    def rows(self, span: int) -> list["FrameMetrics"]:
        """What was measured of the frames of a span of the film, whose index is known that far."""
        from fav.evaluation.comparison import FrameMetrics

        def decode(data: bytes) -> list[FrameMetrics]:
            rows = [FrameMetrics.from_json(row) for row in without_checksum(data)["rows"]]
            if [row.frame for row in rows] != list(self.frames_of(span)):
                raise ValueError(f"expected rows of the frames {self.frames_of(span)}")
            return rows

        return self._decoded(measure_task(span), decode)

    def frames_of(self, span: int) -> range:
        """The frames of the film that a span has."""
        return range(max(span * WINDOW_FRAMES, self.spec.start), min((span + 1) * WINDOW_FRAMES, self.timeline.end))

    def verify(self, task: Task) -> None:
        """Read a result of a kind of SUFFIX back. DamagedFileError where it is not what it should be, ResultVanishedError where it is gone."""
        if task.kind in FRAME_KINDS:
            self.stylized_frame(task)
        elif task.kind == "flow":
            self.flow_field(task.number)
        elif task.kind == "encode":
            self._decoded(task, EncodedSegment.from_bytes, self._segment_limit(2 * self.spec.segment_frames))
        else:
            self._decoded(task, _as_segment if task.kind == "index" else _as_rows)

    def check_ends(self, task: Task) -> None:
        """As `verify`, but of a picture, flow or segment only its first and last bytes are read: that finds what is no picture
        of its size, and what is cut off."""
        if task.kind not in (*FRAME_KINDS, "flow", "encode"):
            self.verify(task)
            return
        try:
            if task.kind == "encode":
                encoded.check_ends(*results.ends(self.job, task, encoded.HEAD_END, len(encoded.TAIL)))
                return
            head, tail = results.ends(self.job, task, HEAD_END, len(PNG_END))
            check_png_ends(head, tail, self._size, 2 if task.kind == "flow" else 1)
        except ResultVanishedError:
            raise
        except (UserError, ValueError) as error:
            raise DamagedFileError(task, error) from None

    def _decoded(self, task: Task, decode: Callable, limit: int = RECORD_LIMIT):
        """What is published, decoded. One of more than `limit` bytes, which its kind cannot have, is damaged: a piece of the
        index and the rows of a span have some ten KB."""
        data = None
        try:
            data = results.read(self.job, task, limit)
            return decode(data)
        except (ResultVanishedError, MemoryError, OSError):
            raise
        except Exception as error:  # whatever a decoder makes of bytes that no node of ours wrote
            if self.node is not None:
                results.quarantine_result(self.node, self.job, task, data, limit)
            raise DamagedFileError(task, error) from None


def _as_segment(data: bytes) -> None:
    """Of an index, whatever comes before it."""
    if not len(IndexSegment.from_json(without_checksum(data)).index):
        raise ValueError("expected frames, got none")


def _as_rows(data: bytes) -> None:
    from fav.evaluation.comparison import FrameMetrics

    if not [FrameMetrics.from_json(row) for row in without_checksum(data)["rows"]]:
        raise ValueError("expected rows, got none")


def publish_hash(node: Node, job: Job, made: Path) -> None:
    """Write down the checksum of a file that was made here, before it is published: each that is has one."""
    with open(made, "rb") as file:
        found = hashlib.file_digest(file, "blake2b").hexdigest().encode()
    for number in count():
        if results.publish_bytes(node, job, hash_task(number), found) or _is_published_hash(job, number, found):
            return


def _is_published_hash(job: Job, number: int, wanted: bytes) -> bool:
    try:
        return results.read(job, hash_task(number)) == wanted
    except JobQueueError:
        return False


def with_checksum(fields: dict) -> bytes:
    """A record as JSON with its checksum, which finds a flipped bit that is JSON, too. ValueError for what is no number."""
    return json.dumps({**fields, "checksum": _checksum(fields)}, allow_nan=False).encode()


def without_checksum(data: bytes) -> dict:
    """The record that `with_checksum` made, or an older version without a checksum.

    ValueError where it is damaged, and what else Python raises where it is no record at all.
    """
    fields = json.loads(data)
    wanted = fields.pop("checksum", None)
    if wanted is not None and wanted != _checksum(fields):
        raise ValueError("its checksum differs")
    return fields


def _checksum(fields: dict) -> int:
    return zlib.crc32(json.dumps(fields).encode())


def check_output_directory(share: SharedDir, out: str) -> None:
    """FavError where a film of that name would lie among what the program itself writes and removes, JobQueueError where a link
    or a file has the place of a directory above it."""
    first = PurePosixPath(out).parts[0]
    if first.casefold() in {path.name for path in share.layout.reserved_names()}:
        raise FavError(
            f"--out: expected a name outside of {first}/, where nodes write and remove files; choose another directory"
        )
    for above in list(PurePosixPath(out).parents)[-2::-1]:
        share.system.require_directory(share.layout.root / above)

        # It stays: the new one gets another name.
