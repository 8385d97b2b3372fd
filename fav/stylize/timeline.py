"""The frames, shots and chains of a film that are known while its index is being made; pure."""

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from fav.errors import sanitize
from fav.stylize.chain import FrameChain, chunk_starts
from fav.stylize.segments import segment_starts
from fav.stylize.settings import CROSSFADE, SEGMENT_LENGTH
from fav.video import FrameIndex

SEGMENT_FRAMES = 100  # frames per segment of the index


@dataclass(frozen=True)
class IndexSegment:
    """One segment of the index: frames `[start, start + len(index))` of the source."""

    start: int
    index: FrameIndex
    cuts: tuple[int, ...]
    last: bool
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict:
        return {
            "start": self.start,
            "index": self.index.to_json(),
            "cuts": list(self.cuts),
            "last": self.last,
            "notes": list(self.notes),
        }

    @classmethod
    def from_json(cls, fields: dict) -> "IndexSegment":
        """Parse the output of `to_json`. Raises ValueError, KeyError or TypeError for anything else."""
        start, index, cuts = (
            int(fields["start"]),
            FrameIndex.from_json(fields["index"]),
            tuple(map(int, fields["cuts"])),
        )
        if not 0 <= start <= min((start, *cuts)) <= max((start, *cuts)) < start + max(len(index), 1):
            raise ValueError(f"expected cuts among the {len(index)} frames from {start} on")
        return cls(start, index, cuts, bool(fields["last"]), tuple(sanitize(note, 500) for note in fields["notes"]))


@dataclass(frozen=True, slots=True)
class Missing:
    """A position of a chain that is not stylized."""

    chain: FrameChain
    position: int

    def is_there(self, reached: Mapping[int, int]) -> bool:
        """Whether it is stylized by now. `reached` as for `Timeline.is_stylized`."""
        chain = self.chain
        if self.position >= chain.done and self.position >= reached.get(chain.start, 0):
            return False
        return self.position < len(chain) - chain.undecided


@dataclass
class Timeline:
    """The indexed part of a film, divided into chains and segments.

    Attributes:
        start: the first frame of the film.
        stop: one past the last frame; None: the film ends with the source.
        reverse: stylize each shot from its end.
        independent: stylize each frame without the previous one.
        chunk: frames of a chunk of a long shot; None: shots are not split.
    """

    start: int = 0
    stop: int | None = None
    reverse: bool = False
    independent: bool = False
    chunk: int | None = None
    index_segments: list[IndexSegment] = field(default_factory=list)
    indexed_frames: int = 0  # frames of the source that are indexed
    chains: list[FrameChain] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    cuts: list[int] = field(default_factory=list)  # known cuts, except at the very beginning
    _joined: FrameIndex | None = None
    _in_index: int = 0
    _open: dict[int, FrameChain] = field(default_factory=dict)  # unfinished chains by their start, the longest first
    _over: list[int] = field(default_factory=list)  # of these, the ones that are finished by now
    _sorted_at: int = 0  # indexed frames when `_open` was sorted
    _shot: int = 0  # the first frame of the last shot
    _starts: list[int] = field(default_factory=list)  # the first frame of each chain
    _segments: list[range] = field(default_factory=list)
    _divided_at: int = -1  # frames that were known then

    def add(self, segment: IndexSegment) -> None:
        """Add the next segment. Chains keep their `done`."""
        if segment.start != self.indexed_frames:
            raise ValueError(f"segment of the index: expected frame {self.indexed_frames}, got frame {segment.start}")
        self.index_segments.append(segment)
        self.indexed_frames += len(segment.index)
        self.notes += segment.notes
        self.cuts += [cut for cut in segment.cuts if self.start < cut]
        self._split(segment)

    @property
    def index(self) -> FrameIndex:
        """The index of all known frames."""
        if self._joined is None or len(self._joined) < self.indexed_frames:
            missing = self.index_segments[self._in_index :]
            self._joined = FrameIndex.concat(
                [*([self._joined] if self._joined else []), *(segment.index for segment in missing)]
            )
            self._in_index = len(self.index_segments)
        return self._joined

    @property
    def first_frame(self) -> int | None:
        """The frame that is stylized first; None if it is not known yet."""
        return self.start if not self.reverse else self.end - 1 if self.is_complete else None

    @property
    def is_complete(self) -> bool:
        return bool(self.index_segments) and (
            self.index_segments[-1].last or self.stop is not None and self.indexed_frames >= self.stop
        )

    @property
    def end(self) -> int:
        """One past the last known frame of the film."""
        return self.indexed_frames if self.stop is None else min(self.stop, self.indexed_frames)

    @property
    def stop_or_none(self) -> int | None:
        """The frame before which the film ends; None if it ends with the source."""
        return None if self.stop is None or self.stop > self.indexed_frames else self.stop

    def shot_of(self, frame: int) -> tuple[int, int]:
        """The number (from 0) and the first frame of the shot of a known frame."""
        number = bisect_right(self.cuts, frame)
        return number, self.cuts[number - 1] if number else self.start

    def segments(self, length: int = SEGMENT_LENGTH) -> Sequence[range]:
        """The segments of the film whose end is known (see `fav.stylize.segments`); all of them if `is_complete`."""
        if self._divided_at == self.indexed_frames:
            return self._segments
        begin = self._segments[-1].stop if self._segments else self.start
        if self.end > begin:
            borders = [begin, *segment_starts(begin, self.end, self.cuts, length)]
            borders += [self.end] if self.is_complete else []
            self._segments += [range(first, stop) for first, stop in pairwise(borders)]
        self._divided_at = self.indexed_frames
        return self._segments

    def chain_of(self, frame: int) -> FrameChain:
        """The chain of a known frame."""
        return self.chains[self._position(frame)]

    def is_stylized(self, frame: int, reached: Mapping[int, int]) -> bool:
        """Whether a known frame is stylized; in a crossfade, by both chunks.

        Args:
            frame: number of the frame.
            reached: by the first frame of a chain, its number of stylized frames, if it may exceed the chain's `done`.
        """
        return self._missing(frame, reached) is None

    def are_stylized(self, frames: range, reached: Mapping[int, int]) -> bool:
        """Whether `is_stylized` holds for all these frames."""
        return self.first_missing(frames, reached) is None

    def first_missing(self, frames: range, reached: Mapping[int, int]) -> "Missing | None":
        """What these frames wait for, or one of those things; None if all of them are stylized.

        Arguments as for `is_stylized`. What is returned is missing until the index grows, or `Missing.is_there`.
        """
        if missing := self._missing(frames.stop - 1, reached):  # the quickest test for most ranges
            return missing
        # A chain stylizes its frames in order, so its first and last one are enough.
        parts = [(max(chain.start, frames.start), min(chain.stop, frames.stop) - 1) for chain in self.chains_in(frames)]
        found = (self._missing(frame, reached) for part in parts for frame in part)
        return next((one for one in found if one is not None), None)

    def _missing(self, frame: int, reached: Mapping[int, int]) -> "Missing | None":
        """The position that a known frame waits for; None if it is stylized. Arguments as for `is_stylized`."""
        chain = self.chain_of(frame)
        following = self.next_chunk(chain) if chain.crossfade_weight(frame) else None
        needed = [chain] if following is None else [chain, following]
        missing = (Missing(one, one.index_of(frame)) for one in needed)
        return next((one for one in missing if not one.is_there(reached)), None)

    def next_chunk(self, chain: FrameChain) -> FrameChain | None:
        """The chunk after a chain, which crossfades into it; None if the shot ends, or may end, with the chain."""
        return self.chains[self._position(chain.start) + (-1 if self.reverse else 1)] if chain.crossfade else None

    def chains_in(self, frames: range) -> list[FrameChain]:
        """The chains that contain some of these frames."""
        return self.chains[max(self._position(frames.start), 0) : self._position(frames.stop - 1) + 1]

    def _position(self, frame: int) -> int:
        return bisect_right(self._starts, frame) - 1

    def pending_chains(self) -> Iterator[FrameChain]:
        """Yield the unfinished chains, those with most remaining frames first.

        They are sorted only when the index grows. So it is cheap to take the first few of many.
        """
        if self._sorted_at != self.indexed_frames:
            self._open = {
                chain.start: chain
                for chain in sorted(self.chains, key=lambda chain: -chain.remaining)
                if chain.remaining
            }
            self._over, self._sorted_at = [], self.indexed_frames
        for start in self._over:
            self._open.pop(start, None)
        self._over = []
        for start, chain in self._open.items():
            if chain.remaining:
                yield chain
            else:
                self._over.append(start)  # each finished chain is visited only once

    def _split(self, segment: IndexSegment) -> None:
        """Extend the last chain, and begin new ones at the segment's cuts, in constant time."""
        begins = {segment.start} if self.independent else set(segment.cuts)
        edges = sorted(
            {begin for begin in begins if self.start < begin < self.end} | ({self.start} if not self.chains else set())
        )
        for begin in edges:
            if self.chains:
                self._extend(begin, True)
            if begin < self.end:
                self._shot = begin
                self.chains.append(FrameChain(begin, begin, False, self.reverse))
                self._starts.append(begin)
        if self.chains:
            self._extend(self.end, self.is_complete or self.independent)

    def _extend(self, stop: int, closed: bool) -> None:
        """Extend the last shot to `stop`; it ends there if `closed`."""
        last = self.chains[-1]
        last.stop, last.is_final, last.undecided = stop, closed, 0
        if self.chunk is None or self.independent or self.reverse and not closed:
            return
        shot, at = self._shot, chunk_starts(stop - self._shot, self.chunk, last.start - self._shot)
        cuts = [stop - place for place in reversed(at)] if self.reverse else [shot + place for place in at]
        edges = [last.start, *cuts, stop]
        chunks = [FrameChain(begin, end, closed or end < stop, self.reverse) for begin, end in pairwise(edges)]
        for chunk in chunks:
            begins, ends = (chunk.stop == stop, chunk.start == shot)[:: 1 if self.reverse else -1]
            chunk.warmup, chunk.crossfade = 0 if begins else CROSSFADE, 0 if ends else CROSSFADE
        chunks[0].done = last.done
        if not closed:
            crossfade = chunks[-1].start + self.chunk - CROSSFADE  # if the shot continues for long enough
            chunks[-1].undecided = max(stop - crossfade, 0)
        self.chains[-1:] = chunks
        self._starts[-1:] = [chunk.start for chunk in chunks]
