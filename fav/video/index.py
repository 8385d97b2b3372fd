"""What is known of a video's frames after one pass over them; pure."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from fav.video.decoding import DecodedFrame

COLUMNS = {"pts": np.int64, "duration": np.int64, "keyframe": np.bool_, "crc": np.uint32, "shift": np.int64}
LATEST = 1 << 62  # units of a time base: the sum of two such times is a number, still


@dataclass(frozen=True, eq=False)
class FrameIndex:
    """Frames of a video in the order they are shown, or a piece of it. Arrays of one length, read only by custom.

    pts int64, ascending, and duration int64 are in units of time_base (seconds); keyframe bool; crc uint32 of the
    decoded samples. Frame numbers are positions, so an index that readers use starts at frame 0. shift int64 is what was
    added to the times in the file because its clock jumps; empty: nothing.
    """

    pts: np.ndarray
    duration: np.ndarray
    keyframe: np.ndarray
    crc: np.ndarray
    time_base: Fraction
    shift: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))

    def __post_init__(self):
        if not len(self.shift):
            object.__setattr__(self, "shift", np.zeros(len(self.pts), np.int64))

    @classmethod
    def of(cls, frames: "Iterable[DecodedFrame]", time_base: Fraction) -> "FrameIndex":
        """The index of decoded frames, of which only the facts are looked at."""
        facts = [(frame.pts, frame.duration, frame.keyframe, frame.crc, frame.shift) for frame in frames]
        return cls._from_columns(list(zip(*facts)) or [()] * 5, time_base)

    @classmethod
    def concat(cls, pieces: "Sequence[FrameIndex]") -> "FrameIndex":
        """Consecutive pieces, at least one, as one index."""
        columns = {name: np.concatenate([getattr(piece, name) for piece in pieces]) for name in COLUMNS}
        return cls(**columns, time_base=pieces[0].time_base)

    def to_json(self) -> dict:
        return {
            "pts": self.pts.tolist(),
            "duration": self.duration.tolist(),
            "crc": self.crc.tolist(),
            "keyframe": np.flatnonzero(self.keyframe).tolist(),
            "time_base": str(self.time_base),
        } | self._shifts()

    def _shifts(self) -> dict:
        """The shift where it changes; nothing where there is none, as of almost all videos."""
        if not self.shift.any():
            return {}
        changes = np.flatnonzero(np.diff(self.shift, prepend=0))
        return {"shifts": [[int(number), int(self.shift[number])] for number in changes]}

    @classmethod
    def from_json(cls, fields: dict) -> "FrameIndex":
        """ValueError, or what else Python raises over values of other kinds, where the record is none of `to_json`."""
        count, keys = len(fields["pts"]), np.array(fields["keyframe"], np.int64)
        if keys.ndim != 1 or ((keys < 0) | (keys >= count)).any():
            raise ValueError(f"expected keyframes among {count} frames")
        if not re.fullmatch("[1-9][0-9]{0,9}(/[1-9][0-9]{0,9})?", fields["time_base"]):
            raise ValueError("expected a fraction of a second as the time base")
        keyframe = np.zeros(count, bool)
        keyframe[keys] = True
        shift = np.zeros(count, np.int64)
        for number, ticks in fields.get("shifts", ()):
            if not 0 <= number < count or not -LATEST <= ticks <= LATEST:
                raise ValueError(f"expected shifts of {count} frames")
            shift[number:] = ticks
        columns = fields["pts"], fields["duration"], keyframe, fields["crc"], shift
        index = cls._from_columns(columns, Fraction(fields["time_base"]))
        if any(column.shape != (count,) for column in (index.pts, index.duration, index.crc)):
            raise ValueError(f"expected {count} frames in each column")
        if (index.pts[1:] <= index.pts[:-1]).any() or any(
            ((times < -LATEST) | (times > LATEST)).any() for times in (index.pts, index.duration)
        ):
            raise ValueError("expected times that ascend")
        return index

    @classmethod
    def _from_columns(cls, columns: Sequence, time_base: Fraction) -> "FrameIndex":
        made = {name: np.array(column, kind) for (name, kind), column in zip(COLUMNS.items(), columns)}
        return cls(**made, time_base=time_base)

    def __len__(self) -> int:
        return len(self.pts)

    def frame_at(self, pts: int) -> int | None:
        """The frame that is shown from exactly this time on, None if there is none."""
        number = int(np.searchsorted(self.pts, pts))
        return number if number < len(self) and self.pts[number] == pts else None

    def seconds(self, number: int) -> float:
        """When a frame is shown, in seconds after the first one; rounded once, so all machines get the same bits."""
        return float((int(self.pts[number]) - int(self.pts[0])) * self.time_base)

    def end(self, stop: int) -> int:
        """When the frame before `stop` ends: when the next one comes, or by its own duration if that is not known."""
        return int(self.pts[stop]) if stop < len(self) else int(self.pts[stop - 1] + self.duration[stop - 1])
