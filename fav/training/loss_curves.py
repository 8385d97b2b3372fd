"""Write the losses of a training as a CSV table and as a plot."""

import io

import numpy as np

from fav.training.config import TrainingConfig
from fav.training.trainer import COLUMNS

SMOOTHING = 50  # iterations
LOSSES = COLUMNS[: COLUMNS.index("total")]
SEQUENCE_LOSSES = ("temporal", "forgetting")  # defined only in iterations with more than one frame per sequence


def logged_losses(config: TrainingConfig) -> list[str]:
    """Return the names of the losses that a training uses."""
    weights = {"forgetting": config.forgetting_weight, "pixel": config.pixel_weight}
    unused = {name for name, weight in weights.items() if not weight}
    if config.taught:
        unused |= {"palette"} if config.loss_network else {"content", "style", "palette"}
    return [name for name in LOSSES if name not in unused]


def table(history: list[list[float]]) -> bytes:
    """Return the history as CSV, one row per iteration, counted from 1. An unused pixel loss has no column."""
    pixel = COLUMNS.index("pixel")
    kept = [column for column in range(len(COLUMNS)) if column != pixel or any(row[column] for row in history[:1])]
    rows = [",".join(("iteration", *(COLUMNS[column] for column in kept)))]
    rows += [",".join([str(number), *(f"{row[one]:.6g}" for one in kept)]) for number, row in enumerate(history, 1)]
    return ("\n".join(rows) + "\n").encode()


def table_mark(history: list[list[float]]) -> str:
    """Return the beginning of the table: its losses of the first iteration identify the training."""
    return table(history[:1]).decode()


def plot(history: list[list[float]], title: str, mark: str) -> bytes:
    """Plot the losses over the iterations.

    Each curve is a moving average. SEQUENCE_LOSSES are plotted only for iterations that have them.

    Args:
        history: Rows of COLUMNS.
        title: Of the plot.
        mark: A text in the metadata that identifies the training.

    Returns:
        A PNG.
    """
    from fav.util.plot_text import plain_text  # matplotlib takes a second to import

    with plain_text():
        return _plot(history, title, mark)


def _plot(history: list[list[float]], title: str, mark: str) -> bytes:
    from matplotlib.figure import Figure

    values = np.array(history)
    steps = values[:, COLUMNS.index("steps")]
    figure = Figure(figsize=(9, 5), layout="constrained")
    axes = figure.subplots()
    for column, name in enumerate((*LOSSES, "total")):
        defined = steps > 0 if name in SEQUENCE_LOSSES else np.ones(len(values), bool)
        if values[defined, column].any():
            axes.plot(1 + np.flatnonzero(defined), _moving_average(values[defined, column]), label=name, linewidth=1)
    axes.set(title=title, xlabel="iteration", ylabel="loss, unweighted (total: weighted)", yscale="log")
    axes.grid(alpha=0.3)
    axes.legend()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100, metadata={"Software": None, "Source": mark})
    return buffer.getvalue()


def recent_means(history: list[list[float]], count: int = SMOOTHING) -> dict[str, float]:
    """Return the means of all columns over the last `count` iterations, by name.

    SEQUENCE_LOSSES are averaged over the iterations that have them.
    """
    rows = np.array(history[-count:])
    means: dict[str, float] = dict(zip(COLUMNS, rows.mean(0).tolist()))
    sequences = rows[rows[:, COLUMNS.index("steps")] > 0]
    for name in SEQUENCE_LOSSES:
        means[name] = float(sequences[:, COLUMNS.index(name)].mean()) if len(sequences) else 0.0
    return means


def _moving_average(values: np.ndarray) -> np.ndarray:
    """Return the mean of each value and up to 49 values before it. The minimum is 1e-8, for a logarithmic axis."""
    sums = np.concatenate([[0], np.cumsum(values)])
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(ends - SMOOTHING, 0)
    return np.maximum((sums[ends] - sums[starts]) / (ends - starts), 1e-8)
