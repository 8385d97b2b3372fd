"""What is known of a film's frames and shots while its index is still being made; pure."""

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field

from .video import FrameIndex

PIECE = 100  # frames that one piece of the index describes


@dataclass(frozen=True)
class Piece:
    """One published piece of the index: frames `[start, start + len(index))` of the source."""

    start: int
    index: FrameIndex
    cuts: tuple[int, ...]
    last: bool
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict:
        return {"start": self.start, "index": self.index.to_json(), "cuts": list(self.cuts), "last": self.last,
                "notes": list(self.notes)}

    @classmethod
    def from_json(cls, fields: dict) -> "Piece":
        """ValueError, or what else Python raises over values of other kinds, where the record is none of `to_json`."""
        start, index, cuts = int(fields["start"]), FrameIndex.from_json(fields["index"]), tuple(map(int, fields["cuts"]))
        if not 0 <= start <= min((start, *cuts)) <= max((start, *cuts)) < start + max(len(index), 1):
            raise ValueError(f"expected cuts among the {len(index)} frames from {start} on")
        notes = ("".join(letter if letter.isprintable() else "?" for letter in str(note)) for note in fields["notes"])
        return cls(start, index, cuts, bool(fields["last"]), tuple(notes))


@dataclass
class Run:
    """Frames `[start, stop)` that are stylized one after the other, each from the one before.

    A shot, or the part of it that is known so far; with `backward` from the last to the first.
    `closed` says that its end is known. `done` counts the finished frames from its beginning.
    """

    start: int
    stop: int
    closed: bool
    backward: bool = False
    done: int = 0

    def __len__(self) -> int:
        return self.stop - self.start

    @property
    def left(self) -> int:
        return self.stop - self.start - self.done

    def frame(self, position: int) -> int:
        """The frame number at a position of the chain, counted from 0."""
        return self.stop - 1 - position if self.backward else self.start + position

    def position(self, frame: int) -> int:
        return self.stop - 1 - frame if self.backward else frame - self.start

    def predecessor(self, frame: int) -> int | None:
        """The frame whose stylized picture this one starts from, None for the first of the chain."""
        position = self.position(frame)
        return None if position == 0 else self.frame(position - 1)


@dataclass
class Timeline:
    """The pieces so far of the part `[start, stop)` of a film (stop None: to its end)."""

    start: int = 0
    stop: int | None = None
    backward: bool = False
    independent: bool = False
    pieces: list[Piece] = field(default_factory=list)
    known: int = 0  # frames of the source that are indexed
    runs: list[Run] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    cuts: list[int] = field(default_factory=list)  # that are known, but for one at the very beginning
    _joined: FrameIndex | None = None
    _in_index: int = 0
    _open: dict[int, Run] = field(default_factory=dict)  # by their beginning, the longest first
    _over: list[int] = field(default_factory=list)  # of these, what was seen to be done
    _sorted_at: int = 0  # frames that were known then

    def add(self, piece: Piece) -> None:
        """Take the next piece in; runs keep what they have done."""
        if piece.start != self.known:
            raise ValueError(f"piece of the index: expected frame {self.known}, got frame {piece.start}")
        self.pieces.append(piece)
        self.known += len(piece.index)
        self.notes += piece.notes
        self.cuts += [cut for cut in piece.cuts if self.start < cut]
        self._divide(piece)

    @property
    def index(self) -> FrameIndex:
        """The index of all known frames."""
        if self._joined is None or len(self._joined) < self.known:
            missing = self.pieces[self._in_index:]
            self._joined = FrameIndex.joined([*([self._joined] if self._joined else []), *(piece.index for piece in missing)])
            self._in_index = len(self.pieces)
        return self._joined

    @property
    def opening(self) -> int | None:
        """The very first frame to be painted, None where it is not known yet."""
        return self.start if not self.backward else self.end - 1 if self.complete else None

    @property
    def complete(self) -> bool:
        return bool(self.pieces) and (self.pieces[-1].last or self.stop is not None and self.known >= self.stop)

    @property
    def end(self) -> int:
        """One past the last frame of the film that is known."""
        return self.known if self.stop is None else min(self.stop, self.known)

    @property
    def cut_off(self) -> int | None:
        """The frame before which the film ends, None where it goes on to the source's own end."""
        return None if self.stop is None or self.stop > self.known else self.stop

    def shot_of(self, frame: int) -> tuple[int, int]:
        """The number, counted from 0, of the shot that a known frame of the film is in, and its first frame."""
        number = bisect_right(self.cuts, frame)
        return number, self.cuts[number - 1] if number else self.start

    def run_of(self, frame: int) -> Run:
        """The run that a known frame belongs to."""
        return self.runs[self._position(frame)]

    def runs_in(self, frames: range) -> list[Run]:
        """The runs that have some of these frames."""
        return self.runs[max(self._position(frames.start), 0):self._position(frames.stop - 1) + 1]

    def _position(self, frame: int) -> int:
        return bisect_right(self.runs, frame, key=lambda run: run.start) - 1

    def unfinished(self) -> Iterator[Run]:
        """The runs that are not done, first those that had most left when the film last grew.

        Whoever takes only a few pays for no more, however many there are.
        """
        if self._sorted_at != self.known:
            self._open = {run.start: run for run in sorted(self.runs, key=lambda run: -run.left) if run.left}
            self._over, self._sorted_at = [], self.known
        for start in self._over:
            self._open.pop(start, None)
        self._over = []
        for start, run in self._open.items():
            if run.left:
                yield run
            else:
                self._over.append(start)  # and each that is done is passed only once

    def _divide(self, piece: Piece) -> None:
        """Go on with the last run, and begin new ones at the piece's cuts; flat in the length of the film."""
        begins = {piece.start} if self.independent else set(piece.cuts)
        edges = sorted({begin for begin in begins if self.start < begin < self.end} | ({self.start} if not self.runs else set()))
        for begin in edges:
            if self.runs:
                self.runs[-1].stop, self.runs[-1].closed = begin, True
            if begin < self.end:
                self.runs.append(Run(begin, begin, False, self.backward))
        if self.runs:
            self.runs[-1].stop, self.runs[-1].closed = self.end, self.complete or self.independent
