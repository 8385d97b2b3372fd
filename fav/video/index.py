"""The index of a video: time, duration, checksum and kind of each frame; pure."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from fav.video.decoding import DecodedFrame

COLUMNS = {"pts": np.int64, "duration": np.int64, "keyframe": np.bool_, "crc": np.uint32, "shift": np.int64}
MAX_TICKS = 1 << 62  # of a time base: the sum of two such times still fits into int64


@dataclass(frozen=True, eq=False)
class FrameIndex:
    """The frames of a video, or of a segment of it, in presentation order.

    All arrays have one length; do not change them. Frame numbers are positions in the arrays, so the index of a whole video starts at frame 0.

    Attributes:
        pts: int64, presentation times in ticks of `time_base`, ascending.
        duration: int64, in ticks.
        keyframe: bool.
        crc: uint32, CRC-32 of the decoded samples.
        time_base: seconds per tick.
        shift: int64, ticks that were added to the file's times because its clock jumps; empty: none.
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
        """The index of decoded frames. Their images are not read."""
        facts = [(frame.pts, frame.duration, frame.keyframe, frame.crc, frame.shift) for frame in frames]
        return cls._from_columns(list(zip(*facts)) or [()] * 5, time_base)

    @classmethod
    def concat(cls, segments: "Sequence[FrameIndex]") -> "FrameIndex":
        """Join consecutive segments, at least one, into one index."""
        columns = {name: np.concatenate([getattr(segment, name) for segment in segments]) for name in COLUMNS}
        return cls(**columns, time_base=segments[0].time_base)

    def to_json(self) -> dict:
        return {
            "pts": self.pts.tolist(),
            "duration": self.duration.tolist(),
            "crc": self.crc.tolist(),
            "keyframe": np.flatnonzero(self.keyframe).tolist(),
            "time_base": str(self.time_base),
        } | self._shifts()

    def _shifts(self) -> dict:
        """[frame, shift] where the shift changes; empty for almost all videos."""
        if not self.shift.any():
            return {}
        changes = np.flatnonzero(np.diff(self.shift, prepend=0))
        return {"shifts": [[int(number), int(self.shift[number])] for number in changes]}

    @classmethod
    def from_json(cls, fields: dict) -> "FrameIndex":
        """Parse the output of `to_json`. Raises ValueError, KeyError or TypeError for anything else."""
        count, keys = len(fields["pts"]), np.array(fields["keyframe"], np.int64)
        if keys.ndim != 1 or ((keys < 0) | (keys >= count)).any():
            raise ValueError(f"expected keyframes among {count} frames")
        if not re.fullmatch("[1-9][0-9]{0,9}(/[1-9][0-9]{0,9})?", fields["time_base"]):
            raise ValueError("expected a fraction of a second as the time base")
        keyframe = np.zeros(count, bool)
        keyframe[keys] = True
        shift = np.zeros(count, np.int64)
        for number, ticks in fields.get("shifts", ()):
            if not 0 <= number < count or not -MAX_TICKS <= ticks <= MAX_TICKS:
                raise ValueError(f"expected shifts of {count} frames")
            shift[number:] = ticks
        columns = fields["pts"], fields["duration"], keyframe, fields["crc"], shift
        index = cls._from_columns(columns, Fraction(fields["time_base"]))
        if any(column.shape != (count,) for column in (index.pts, index.duration, index.crc)):
            raise ValueError(f"expected {count} frames in each column")
        if (index.pts[1:] <= index.pts[:-1]).any() or any(
            ((times < -MAX_TICKS) | (times > MAX_TICKS)).any() for times in (index.pts, index.duration)
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
        """The frame with exactly this presentation time; None if there is none."""
        number = int(np.searchsorted(self.pts, pts))
        return number if number < len(self) and self.pts[number] == pts else None

    def seconds(self, number: int) -> float:
        """When a frame is shown, in seconds after the first one; rounded once, so all machines get the same bits."""
        return float((int(self.pts[number]) - int(self.pts[0])) * self.time_base)

    def end(self, stop: int) -> int:
        """The end time of the frame before `stop`: the time of frame `stop`, or by its own duration if it is the last."""
        return int(self.pts[stop]) if stop < len(self) else int(self.pts[stop - 1] + self.duration[stop - 1])
