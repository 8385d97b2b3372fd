"""The plots of the report as SVG: the timeline of the nodes, the rate, the warping error."""

import io
from collections import defaultdict
from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from fav.report.data import JobReportData, ResultRecord
from fav.util.plot_text import plain_text

COLORS = {"frame": "#3465a4", "warmup": "#8ae234", "flow": "#e9a33b"}
MINUTE, HOUR = 60.0, 3600.0
MAX_BARS, FRAMES_PER_BAR = 60, 8  # of the rate; frames on average
WIDTH = 10.5  # inches


@plain_text()
def timeline(facts: JobReportData) -> str:
    """A row per node and a bar per task, from its beginning (if known) to its publication."""
    nodes = nodes_of(facts)
    figure, axes = _figure(1.1 + 0.28 * len(nodes))
    unit, word = _unit(facts)
    bars = defaultdict(list)  # by node and kind
    for one in facts.done:
        took = one.took or 0
        bars[one.node, one.kind].append(((one.published - took - facts.created) / unit, took / unit))
    for line, node in enumerate(nodes):
        for kind, color in COLORS.items():
            axes.broken_barh(bars[node, kind], (line - 0.4, 0.8), color=color, linewidth=0)
    flags = {"indexed": facts.indexed, "film": facts.stitched}
    for name, when in flags.items():
        if when is not None:
            axes.axvline((when - facts.created) / unit, color="#555753", linestyle=":", linewidth=1)
            axes.text((when - facts.created) / unit, -0.6, name, ha="center", va="bottom", fontsize=8, color="#555753")
    axes.set_yticks(range(len(nodes)), nodes, fontsize=8)
    axes.set_ylim(len(nodes) - 0.5, -0.6)
    axes.set_xlim(left=0)
    axes.set_xlabel(f"{word} since the job was created")
    handles = [Patch(color=color, label=kind) for kind, color in COLORS.items() if facts.of(kind)]
    axes.legend(handles=handles, loc="lower left", bbox_to_anchor=(0, 1.0), ncols=2, frameon=False, fontsize=8)
    return _svg(figure)


@plain_text()
def rate(facts: JobReportData) -> str:
    """Frames per second over time, of all nodes together."""
    figure, axes = _figure(2.2)
    unit, word = _unit(facts)
    times = np.array([one.published for one in facts.of("frame")]) - facts.created
    bars = min(max(len(times) // FRAMES_PER_BAR, 1), MAX_BARS)
    counts, edges = np.histogram(times, bars, (0, max(times[-1], 1e-3)))
    axes.stairs(counts / np.diff(edges), edges / unit, fill=True, color=COLORS["frame"], alpha=0.8)
    axes.set_xlim(left=0)
    axes.set_xlabel(f"{word} since the job was created")
    axes.set_ylabel("frames a second")
    return _svg(figure)


@plain_text()
def plot_warping_error(facts: JobReportData, worst: Sequence[int]) -> str:
    """The warping error of each measured frame, with the cuts and the worst frames."""
    figure, axes = _figure(2.4)
    frames = sorted(facts.errors)
    axes.plot(frames, _errors(facts, frames), color=COLORS["frame"], linewidth=1)
    for name, places, line in (("cuts", facts.cuts, "--"), ("chunks", facts.chunks, ":")):
        for number, place in enumerate(places):
            axes.axvline(place, color="#888a85", linestyle=line, linewidth=0.8, label=None if number else name)
    axes.plot(worst, _errors(facts, worst), "o", color="#cc0000", markersize=4, label="worst frames")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("frame of the source")
    axes.set_ylabel("warping error")
    axes.legend(frameon=False, fontsize=8, loc="lower right", bbox_to_anchor=(1, 1), ncols=3)
    return _svg(figure)


def _errors(facts: JobReportData, frames: Sequence[int]) -> list[float]:
    """The warping errors of frames, NaN if not defined."""
    return [np.nan if (error := facts.errors[frame]) is None else error for frame in frames]


def nodes_of(facts: JobReportData) -> list[str]:
    """The nodes with results, in the order of their first result."""
    first: dict[str, float] = defaultdict(lambda: float("inf"))
    for one in facts.done:
        first[one.node] = min(first[one.node], one.published)
    return sorted(first, key=first.__getitem__)


def span(done: Sequence[ResultRecord]) -> float:
    """The sum of the tasks' durations in seconds, as far as known."""
    return sum(one.took or 0.0 for one in done)


def _unit(facts: JobReportData) -> tuple[float, str]:
    whole = facts.done[-1].published - facts.created
    return (1.0, "seconds") if whole < 3 * MINUTE else (MINUTE, "minutes") if whole < 3 * HOUR else (HOUR, "hours")


def _figure(height: float) -> tuple[Figure, Axes]:
    figure = Figure((WIDTH, height), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _svg(figure: Figure) -> str:
    """The figure as SVG without the XML declaration, to be embedded in a page."""
    file = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "fav"}):
        figure.savefig(file, format="svg", metadata={"Date": None})
    text = file.getvalue()
    return text[text.index("<svg") :]
