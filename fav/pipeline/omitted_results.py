"""Which frames a preview or a report lacks, and why."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from fav.pipeline.artifacts import DamagedFileError
from shared.errors import ResultVanishedError

MAX_NUMBERS = 5  # frame numbers that a message lists


@dataclass
class OmittedResults:
    """Frames that a preview lacks: those whose results are missing, and those whose results cannot be read."""

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
        """A message for the user; None if no frame is left out."""
        kinds = (self.missing, "missing"), (self.damaged, f"that do{'es' * (len(self.damaged) == 1)} not read back")
        parts = [f"{len(frames)} {reason} ({first_numbers(sorted(frames))})" for frames, reason in kinds if frames]
        verb = "is" if len(self) == 1 else "are"
        return f"{len(self)} of {total} frames {verb} left out: {', '.join(parts)}" if parts else None


def first_numbers(numbers: Sequence[int]) -> str:
    """The first MAX_NUMBERS numbers, as text."""
    return ", ".join(map(str, numbers[:MAX_NUMBERS])) + (", …" if len(numbers) > MAX_NUMBERS else "")
