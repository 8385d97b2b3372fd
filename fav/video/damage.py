"""Tell where a video is damaged: where something did not decode or was concealed, and where frames are missing.

Demuxers skip what they cannot read, and return no error. Three things show it: FFmpeg's log, frames that are missing
in a video whose frames otherwise have equal distances, and the number of frames in the container's header.
"""

from array import array
from fractions import Fraction

import numpy as np

NEAR = 25  # frames: places that are not further apart are told as one
LEAST_STEPS = 10  # fewer do not tell whether the frames of a video have equal distances
EQUAL, EQUAL_SHARE = 0.25, 0.9  # distances that differ by less are equal; the share of those in such a video
GAP, PAUSE = 1.5, 5  # usual distances: a longer one is a gap in a damaged video, or a pause in any other
PAUSE_S = 0.25  # shorter pauses are not told
MAX_LISTED = 5  # places that a note lists
LOGGING_DEMUXERS = ("matroska,webm", "ogg", "flv", "asf", "nut", "mxf")  # whose errors in the log mean lost packets
QUIET_DEMUXERS = ("asf", "mxf")  # which say so below the level of errors:
LOST = ("freeing incomplete packet", "sync lost")


class DamageLog:
    """Collects where something is wrong in one pass over a video; the notes tell it at the end.

    Attributes:
        found: whether anything was wrong so far.
    """

    def __init__(self):
        self.found = False
        self._times = array("q")  # of all frames
        self._first_packet: int | None = None
        self._suspects: list[int] = []  # times of packets before or in which something is wrong
        self._doubts: list[int] = []  # times of packets of which the decoder logged an error
        self._concealed: list[int] = []  # numbers of frames
        self._repeated: list[int] = []  # numbers of frames with the timestamp of the frame before

    def packet(self, time: int) -> None:
        """Add the time of a packet that is decoded from the beginning on."""
        if not self._times and (self._first_packet is None or time < self._first_packet):
            self._first_packet = time

    def suspect(self, time: int | None) -> None:
        """Something is wrong in the packet at this time, or right before it; None: the place is not known."""
        self.found = True
        if time is not None:
            self._suspects.append(time)

    def doubt(self, time: int | None) -> None:
        """The decoder logged an error at this packet. Undamaged videos have such, too; with a gap near it, frames are lost."""
        if time is not None:
            self._doubts.append(time)

    def frame(self, pts: int, concealed: bool, repeated: bool) -> None:
        """Add the next frame: its time, whether errors in it are concealed, and whether it has the time of the frame before."""
        if not self._times and self._first_packet is not None and self._first_packet < pts:
            self.found = True  # it begins within a group of pictures
        if concealed:
            self.found = True
            self._concealed.append(len(self._times))
        if repeated:
            self._repeated.append(len(self._times))
        self._times.append(pts)

    def damage_note(self, time_base: Fraction, missing: int = 0, end: int | None = None) -> str | None:
        """Where the video is damaged, without its name; None if it is not.

        Args:
            time_base: in seconds.
            missing: number of frames that are missing according to the container's header.
            end: of the container, in units of the time base.
        """
        times, base = np.array(self._times, np.int64), float(time_base)
        short = find_gaps(times, base, damaged=True)
        marks = [*self._concealed, *np.searchsorted(times, np.array(self._suspects, np.int64)).tolist()]
        doubts = np.searchsorted(times, np.array(self._doubts, np.int64)).tolist()
        doubtful = {at: lost for at, lost in short.items() if _is_near(at, doubts)}
        if not (self.found or missing > 0 or doubtful):
            return None
        near = {at: lost for at, lost in short.items() if not marks or _is_near(at, marks)}
        gaps = find_gaps(times, base) | doubtful | near
        places = [_place(group, times, base, gaps) for group in _merged([*marks, *gaps])]
        if len(times) and self._first_packet is not None and (lost := (int(times[0]) - self._first_packet) * base) > 0:
            places.insert(0, f" at the beginning, where {lost:.3f} s do not decode")
        if (
            not places
            and len(times) > 1
            and end is not None
            and (lost := (end - 2 * int(times[-1]) + int(times[-2])) * base) > 0
        ):
            places.append(f" after the last frame, where up to {lost:.3f} s are missing")
        count = f"; {missing} fewer than its header says" if missing > 0 else ""
        used = "the frame that decodes is used" if len(times) == 1 else f"the {len(times)} frames that decode are used"
        return f"parts are damaged{_list_some(places)}; {used}{count}"

    def time_notes(self, time_base: Fraction) -> list[str]:
        """Pauses and equal timestamps of an undamaged video, each without its name."""
        times, base, notes = np.array(self._times, np.int64), float(time_base), []
        pauses = [f" of {lost:.3f} s at {_at(at, times, base)}" for at, lost in find_gaps(times, base).items()]
        if pauses and self.damage_note(time_base) is None:
            notes.append(f"it has no frames for a time{_list_some(pauses)}; the film has the same pause")
        if self._repeated:
            first, count = self._repeated[0], len(self._repeated)
            which = "1 frame has" if count == 1 else f"{count} frames have"
            notes.append(
                f"{which} the timestamp of the frame before, first at {_at(first, times, base)}; the film shows one after "
                f"the other"
            )
        return notes


def find_gaps(times: np.ndarray, time_base: float, damaged: bool = False) -> dict[int, float]:
    """Find where frames are missing in a video whose frames otherwise have equal distances.

    Args:
        times: of all frames, ascending, in units of the time base.
        time_base: in seconds.
        damaged: whether parts of the video are known to be damaged; then, short gaps count, too.

    Returns:
        For the number of each frame after a gap, how many seconds are missing before it.
    """
    steps = np.diff(times)
    if len(steps) < LEAST_STEPS:
        return {}
    usual = float(np.median(steps))
    if np.mean(np.abs(steps - usual) <= EQUAL * usual) < EQUAL_SHARE:
        return {}
    least = GAP * usual if damaged else max(PAUSE * usual, PAUSE_S / time_base)
    return {int(at) + 1: (float(steps[at]) - usual) * time_base for at in np.flatnonzero(steps > least)}


def _is_near(number: int, marks: list[int]) -> bool:
    return any(abs(number - mark) <= NEAR for mark in marks)


def _merged(marks: list[int]) -> list[tuple[int, int]]:
    """Join numbers that are near each other: the first and the last one of each group."""
    groups: list[tuple[int, int]] = []
    for mark in sorted(set(marks)):
        if groups and mark - groups[-1][1] <= NEAR:
            groups[-1] = groups[-1][0], mark
        else:
            groups.append((mark, mark))
    return groups


def _place(group: tuple[int, int], times: np.ndarray, time_base: float, gaps: dict[int, float]) -> str:
    first, last = group
    missing = sum(seconds for number, seconds in gaps.items() if first <= number <= last)
    if first >= len(times):
        where = " after the last frame"
    elif min(last, len(times) - 1) == first:
        where = f" at {_at(first, times, time_base)}"
    else:
        where = f" from {_at(first, times, time_base)} to {min(last, len(times) - 1)}"
    return f"{where}, where {missing:.3f} s are missing" if missing else where


def _at(number: int, times: np.ndarray, time_base: float) -> str:
    return f"frame {number} ({(int(times[number]) - int(times[0])) * time_base:.3f} s)"


def _list_some(items: list[str]) -> str:
    more = f" and {len(items) - MAX_LISTED} times more" if len(items) > MAX_LISTED else ""
    return ",".join(items[:MAX_LISTED]) + more
