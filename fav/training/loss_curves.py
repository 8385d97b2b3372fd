"""The losses of a training as a table and as a picture."""

import io

import numpy as np

from fav.training.config import TrainingConfig
from fav.training.trainer import COLUMNS

SMOOTH = 50  # iterations
LOSSES = COLUMNS[: COLUMNS.index("total")]
OF_STEPS = ("temporal", "forgetting")  # losses that there are where there are steps


def shown(recipe: TrainingConfig) -> list[str]:
    """The names of the losses that a training has."""
    weights = {"forgetting": recipe.forgetting_weight, "pixel": recipe.pixel_weight}
    without = {name for name, weight in weights.items() if not weight}
    if recipe.steady:
        without |= {"palette"} if recipe.loss_network else {"content", "style", "palette"}
    return [name for name in LOSSES if name not in without]


def table(history: list[list[float]]) -> bytes:
    """The history as CSV, a row an iteration, counted from 1. Without a loss of the pixels it has no column for it."""
    pixel = COLUMNS.index("pixel")
    kept = [at for at in range(len(COLUMNS)) if at != pixel or any(row[at] for row in history[:1])]
    rows = [",".join(("iteration", *(COLUMNS[at] for at in kept)))]
    rows += [",".join([str(number), *(f"{row[at]:.6g}" for at in kept)]) for number, row in enumerate(history, 1)]
    return ("\n".join(rows) + "\n").encode()


def table_mark(history: list[list[float]]) -> str:
    """How every table of a training begins: its losses of the first iteration are those of no other."""
    return table(history[:1]).decode()


def plot(history: list[list[float]], title: str, mark: str) -> bytes:
    """The losses over the iterations as a PNG, each the mean of some iterations; those OF_STEPS where there were steps.

    `mark` says in it what made it.
    """
    from fav.util.plot_text import plain_text  # a second to import; no window system is asked for

    with plain_text():
        return _plotted(history, title, mark)


def _plotted(history: list[list[float]], title: str, mark: str) -> bytes:
    from matplotlib.figure import Figure

    values = np.array(history)
    steps = values[:, COLUMNS.index("steps")]
    figure = Figure(figsize=(9, 5), layout="constrained")
    axes = figure.subplots()
    for number, name in enumerate((*LOSSES, "total")):
        chosen = steps > 0 if name in OF_STEPS else np.ones(len(values), bool)
        if values[chosen, number].any():
            axes.plot(1 + np.flatnonzero(chosen), _smoothed(values[chosen, number]), label=name, linewidth=1)
    axes.set(title=title, xlabel="iteration", ylabel="loss, unweighted (total: weighted)", yscale="log")
    axes.grid(alpha=0.3)
    axes.legend()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100, metadata={"Software": None, "Source": mark})
    return buffer.getvalue()


def recent(history: list[list[float]], count: int = SMOOTH) -> dict[str, float]:
    """The means of the last iterations by their names; those OF_STEPS over the ones with steps."""
    rows = np.array(history[-count:])
    means: dict[str, float] = dict(zip(COLUMNS, rows.mean(0).tolist()))
    stepped = rows[rows[:, COLUMNS.index("steps")] > 0]
    for name in OF_STEPS:
        means[name] = float(stepped[:, COLUMNS.index(name)].mean()) if len(stepped) else 0.0
    return means


def _smoothed(values: np.ndarray) -> np.ndarray:
    """The mean of each value and those before it, up to SMOOTH; never 0, which a logarithm has no place for."""
    sums = np.concatenate([[0], np.cumsum(values)])
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(ends - SMOOTH, 0)
    return np.maximum((sums[ends] - sums[starts]) / (ends - starts), 1e-8)
