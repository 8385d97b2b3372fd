"""Decide from a few metrics with limits whether a style is ready. Pure functions."""

from collections.abc import Mapping
from dataclasses import dataclass

# Name in the contact sheet: (key, limit, meaning of a larger value). The limits suit every painting, because the losses are
# normalized: unchanged photographs have a style loss of 1.
_LIMITS = {
    "style loss": ("style", 0.35, "the strokes are not learned yet"),
    "content loss": ("content", 1.1, "subjects are hard to recognize"),
    "flicker": ("moving", 1.0, "a film flickers as much as independently stylized frames"),
    "drift": ("still", 8.0, "a film without motion changes, in gray levels"),
}


@dataclass(frozen=True)
class Measure:
    """A metric. It is `good` below its limit; `fault` is the meaning of a larger value."""

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
    """Return the measures of the given values.

    Args:
        values: Any of these keys. `style` and `content`: losses on held-out photographs. `moving`: the warping error of
            a stylized clip with motion, divided by that of its independently stylized frames. `still`: the change within
            a stylized clip without motion, in gray levels.
    """
    return [Measure(name, values[key], limit, fault) for name, (key, limit, fault) in _LIMITS.items() if key in values]


def verdict(measures: list[Measure], iteration: int, expected: str | None = None) -> str:
    """Return `ready`, or `not ready: ` and the faults.

    Args:
        measures: Those of the current style; empty if it was not measured.
        iteration: The number of finished iterations.
        expected: The expected number of iterations, as text; None if the training is finished.
    """
    if not measures and expected is None:
        return "not measured"
    faults = [f"{measure.fault} ({measure.name} {measure.value:.2f})" for measure in measures if not measure.good]
    if expected is not None and (faults or not measures):
        faults.insert(0, f"{iteration} of {expected} iterations")
    return f"not ready: {'; '.join(faults)}" if faults else "ready"
