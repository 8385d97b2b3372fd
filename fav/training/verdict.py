"""Whether a style is ready to be used, from a few measures with limits; pure."""

from collections.abc import Mapping
from dataclasses import dataclass

# name in the sheet: (key, limit, what a larger value means). The limits hold for every painting, because the losses have
# units: 1 is what untouched photographs have.
_LIMITS = {
    "style loss": ("style", 0.35, "the strokes of the painting are not learnt yet"),
    "content loss": ("content", 1.1, "subjects are hard to recognize"),
    "flicker": ("moving", 1.0, "a film flickers as much as frames stylized one by one"),
    "drift": ("still", 8.0, "a still film changes, in gray levels"),
}


@dataclass(frozen=True)
class Measure:
    """A measured value, `good` below its limit; `fault` is what a larger value means."""

    name: str
    value: float
    limit: float
    fault: str

    @property
    def good(self) -> bool:
        """Whether the value is below the limit."""
        return self.value < self.limit

    def __str__(self) -> str:
        return f"{self.name} {self.value:.2f} ({'good' if self.good else 'not yet'}: below {self.limit:g})"


def measures_of(values: Mapping[str, float]) -> list[Measure]:
    """Return the measures whose values are there.

    Args:
        values: `style` and `content` losses on photographs that are not learnt from; `moving`, the warping error of a
            moving clip by that of its frames stylized one by one; `still`, the change within a still clip in gray levels.
    """
    return [Measure(name, values[key], limit, fault) for name, (key, limit, fault) in _LIMITS.items() if key in values]


def verdict(measures: list[Measure], iteration: int, expected: str | None = None) -> str:
    """Return in words whether the style is ready: `ready`, or `not ready: ` and what is wrong.

    Args:
        measures: Those of the style as it is; none where they were not taken.
        iteration: How many iterations are done.
        expected: How many there will be, in words; None where the training is over.
    """
    if not measures and expected is None:
        return "not measured"
    faults = [f"{measure.fault} ({measure.name} {measure.value:.2f})" for measure in measures if not measure.good]
    if expected is not None and (faults or not measures):
        faults.insert(0, f"{iteration} of {expected} iterations")
    return f"not ready: {'; '.join(faults)}" if faults else "ready"
