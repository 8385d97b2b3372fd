"""Write the metrics of a film as a table, CSV, JSON and a plot."""

import csv
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fav.evaluation.comparison import FILMS, EvaluationConfig, FrameMetrics
from fav.evaluation.metrics import ColorStats, Metrics, boundary_zscore, drift, mean_and_95th
from fav.util.plot_text import plain_text

MEASURES = tuple(field.name for field in fields(Metrics))
FRAME = tuple(field.name for field in fields(FrameMetrics) if field.name not in FILMS)
UNITS = (
    "errors: mean squared difference of samples in [0, 1]; colors, contrasts, palette distance and lattice: gray levels, "
    "0 to 255; widths: pixels; reliable: fraction of the frame"
)
LABELS = {
    "warping_error": "warping error, reliable pixels", "warping_error_all": "warping error, by all pixels",
    "long_term_error": "1 s error, reliable pixels", "long_term_error_all": "1 s error, by all pixels",
    "local_contrast": "local contrast", "style_loss": "style loss", "content_loss": "content loss",
    "palette_distance": "palette distance, gray levels", "lattice": "lattice, gray levels",
    "stroke_width": "stroke width, pixels", "edge_width": "edge width, pixels",
}  # fmt: skip
# Limits of a steady and clean film: ratios to the source's value, and gray levels. docs/how-to/evaluate.md explains them.
GOOD_RATIOS = {"warping_error": 2.0, "lattice": 1.2, "edge_width": 1.5}
GOOD_PALETTE = 15.0
COLORS = {"film": "tab:blue", "source": "tab:gray", "against": "tab:orange"}


@dataclass(frozen=True)
class BoundaryCheck:
    """A frame of `--seams`, and the z-score of its warping error (`boundary_zscore`); None if that is undefined."""

    frame: int
    score: float | None


@dataclass(frozen=True)
class Evaluation:
    """The metrics of a film.

    Attributes:
        comparison: What was compared.
        size: (width, height) of the film.
        rows: One per frame; at least one.
        seams: Frames whose warping error is compared with that of their neighbors.
        painting_strokes: The width of the strokes of the painting in pixels, if a painting was given.
    """

    comparison: EvaluationConfig
    size: tuple[int, int]
    rows: tuple[FrameMetrics, ...]
    seams: tuple[int, ...] = ()
    painting_strokes: float | None = None

    @property
    def films(self) -> tuple[str, ...]:
        return FILMS if self.rows[0].against else FILMS[:2]

    @property
    def shots(self) -> list[int]:
        return [row.shot for row in self.rows]

    def values(self, film: str, measure: str) -> list[float | None]:
        return [getattr(getattr(row, film), measure) for row in self.rows]

    def totals(self, film: str) -> dict[str, tuple[float, float] | None]:
        """Return the mean and the 95th percentile of every metric; None if it is undefined in all frames."""
        return {measure: mean_and_95th(self.values(film, measure)) for measure in MEASURES}

    def ratio(self, measure: str, other: str) -> float | None:
        """Return the film's mean divided by that of `other`; None if that is 0 or undefined."""
        if other not in self.films:
            return None
        total, baseline = (mean_and_95th(self.values(film, measure)) for film in ("film", other))
        return total[0] / baseline[0] if total and baseline and baseline[0] else None

    @property
    def drifts(self) -> dict[str, tuple[ColorStats, ColorStats]]:
        """The `fav.evaluation.metrics.drift` of each pair of films."""

        def offsets(film: str, other: str) -> list[ColorStats]:
            return [getattr(row, film).tone.minus(getattr(row, other).tone) for row in self.rows]

        pairs = [("film", "source"), ("against", "source"), ("film", "against")][: 3 if self.rows[0].against else 1]
        return {f"{film} - {other}": drift(offsets(film, other), self.shots) for film, other in pairs}

    def scores(self) -> list[BoundaryCheck]:
        """Return the z-scores of the seams."""
        errors, indices = self.values("film", "warping_error"), {row.frame: at for at, row in enumerate(self.rows)}
        return [
            BoundaryCheck(frame, boundary_zscore(errors, self.shots, indices[frame]) if frame in indices else None)
            for frame in self.seams
        ]


def table(evaluation: Evaluation) -> str:
    """Return the totals as a text table."""
    comparison, films, rows = evaluation.comparison, evaluation.films, evaluation.rows
    shots = rows[-1].shot + 1
    lines = [
        f"{comparison.film}: {len(rows)} frames of {evaluation.size[0]}x{evaluation.size[1]} in {shots} "
        f"shot{'s'[: shots > 1]}, from frame {rows[0].frame} of {comparison.video}; flow {comparison.flow}",
        *([f"against: {comparison.against}"] if comparison.against else []),
        "",
        _line(
            "mean, 95th percentile",
            [head for film in films for head in (film, "95 %")] + [f"film/{film}" for film in films[1:]],
        ),
    ]
    totals = {film: evaluation.totals(film) for film in films}
    for measure, label in LABELS.items():
        if totals["film"][measure] is not None:
            cells = [_number(value) for film in films for value in totals[film][measure] or (None, None)]
            lines.append(
                _line(label, cells + [_number(evaluation.ratio(measure, other), ".2f") for other in films[1:]])
            )
    if evaluation.painting_strokes is not None:
        lines.append(f"{'strokes of the painting, pixels':31}{_number(evaluation.painting_strokes):>13}")
    names = [field.name for field in fields(ColorStats)]
    fractions = (mean_and_95th([getattr(row, name) for row in rows]) for name in ("reliable", "long_reliable"))
    short, long = (_number(fraction and fraction[0], ".1%") for fraction in fractions)
    lines += [
        f"{'reliable pixels':31}{short} from frame to frame, {long} over 1 s",
        "",
        _line("gray levels: drift a frame, max", [*names, *(f"{name} max" for name in names)]),
    ]
    for pair, drifts in evaluation.drifts.items():
        cells = [_number(part, form) for tone, form in zip(drifts, ("+.3f", ".1f")) for part in asdict(tone).values()]
        lines.append(_line(pair, cells))
    lines += ["", *verdict(evaluation)]
    lines += [""] * bool(evaluation.seams)
    lines += [f"{f'seam at frame {seam.frame}':31}z = {_number(seam.score, '+.1f')}" for seam in evaluation.scores()]
    return "\n".join(lines)


def verdict(evaluation: Evaluation) -> list[str]:
    """Compare the measures that have a limit with it. Also say how many frames and pixels the 1 s error is measured on."""
    lines = []
    for measure, limit in GOOD_RATIOS.items():
        if (ratio := evaluation.ratio(measure, "source")) is not None:
            what = LABELS[measure].partition(",")[0]
            lines.append(f"{what}: {ratio:.2f} of the source's, {_judged(ratio, limit)}")
    if palette := evaluation.totals("film")["palette_distance"]:
        lines.append(f"palette distance: {palette[0]:.1f} gray levels, {_judged(palette[0], GOOD_PALETTE)}")
    seen = [row.long_reliable for row in evaluation.rows if row.film.long_term_error is not None]
    if seen:
        share = mean_and_95th(seen)
        lines.append(
            f"1 s error: measured on {len(seen)} frames, and {_number(share and share[0], '.1%')} of their pixels"
        )
    return lines


def _judged(value: float, limit: float) -> str:
    return f"{'good' if value <= limit else 'not good'} (up to {limit:g})"


def summary(evaluation: Evaluation) -> str:
    """Return the most important means in one line."""
    labels = {"warping_error": "warping error", "long_term_error": "1 s error", "local_contrast": "local contrast",
             "style_loss": "style loss"}  # fmt: skip
    parts = []
    for measure, name in labels.items():
        total, ratio = evaluation.totals("film")[measure], evaluation.ratio(measure, "source")
        if total:
            parts.append(f"{name} {total[0]:.3g}" + ("" if ratio is None else f" ({ratio:.2f} of the source's)"))
    return ", ".join(parts)


def write_text(path: Path, evaluation: Evaluation) -> None:
    """Write the summary, an empty line, and the table."""
    path.write_text(f"{summary(evaluation)}\n\n{table(evaluation)}\n", encoding="utf-8")


def write_csv(path: Path, evaluation: Evaluation) -> None:
    """Write one row per frame, with columns such as `film_warping_error`. Undefined values are empty."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        lines = csv.writer(file)
        lines.writerow([*FRAME, *(f"{film}_{measure}" for film in evaluation.films for measure in MEASURES)])
        for row in evaluation.rows:
            lines.writerow(
                [
                    *(getattr(row, name) for name in FRAME),
                    *(getattr(getattr(row, film), measure) for film in evaluation.films for measure in MEASURES),
                ]
            )


def write_json(path: Path, evaluation: Evaluation) -> None:
    """Write all data: inputs, units, totals, ratios, drift, seams and the metrics of each frame. Undefined values are null."""
    comparison, films = evaluation.comparison, evaluation.films
    record = {
        **{name: value if value is None else str(value) for name in ("video", "film", "against", "flow", "flow_weights")
           for value in [getattr(comparison, name)]},
        "width": evaluation.size[0], "height": evaluation.size[1], "units": UNITS,
        "painting": {"stroke_width": evaluation.painting_strokes},
        "cuts": [row.frame for before, row in zip(evaluation.rows, evaluation.rows[1:]) if row.shot != before.shot],
        "totals": {film: {measure: total and {"mean": total[0], "p95": total[1]}
                          for measure, total in evaluation.totals(film).items()} for film in films},
        "ratios": {f"film/{other}": {measure: evaluation.ratio(measure, other) for measure in LABELS} for other in films[1:]},
        "drift": {pair: {"slope": asdict(slope), "furthest": asdict(furthest)}
                  for pair, (slope, furthest) in evaluation.drifts.items()},
        "seams": [asdict(seam) for seam in evaluation.scores()],
        "frames": [asdict(row) for row in evaluation.rows],
    }  # fmt: skip
    path.write_text(json.dumps(record, indent=1, allow_nan=False) + "\n", encoding="utf-8")


@plain_text()
def write_plot(path: Path, evaluation: Evaluation) -> None:
    """Write the plot as a PNG."""
    plot(evaluation).savefig(path, format="png", dpi=100)


def plot(evaluation: Evaluation) -> Figure:
    """Plot warping error, 1 s error, drift, local contrast and losses over the frames.

    Cuts are dotted lines, seams are red lines.
    """
    panels = ["warping_error", "long_term_error", "drift", "local_contrast"]
    panels += [name for name in ("style_loss", "content_loss") if evaluation.totals("film")[name]]
    figure = Figure(figsize=(11, 2.3 * len(panels)), layout="constrained")
    frames = [row.frame for row in evaluation.rows]
    for axes, panel in zip(figure.subplots(len(panels), sharex=True), panels):
        if panel == "drift":
            _plot_drift(axes, frames, evaluation)
        else:
            for film in evaluation.films:
                if evaluation.totals(film)[panel]:
                    axes.plot(
                        frames,
                        _gaps(evaluation.values(film, panel)),
                        ".-",
                        label=film,
                        color=COLORS[film],
                        linewidth=1,
                        markersize=3,
                    )
            axes.set_ylabel(LABELS[panel].replace(", ", ",\n"))
            axes.set_ylim(bottom=0)
        for before, row in zip(evaluation.rows, evaluation.rows[1:]):
            if row.shot != before.shot:
                axes.axvline(row.frame - 0.5, color="black", linestyle=":", linewidth=1)
        for seam in evaluation.seams:
            axes.axvline(seam, color="tab:red", alpha=0.3, linewidth=1)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize="small")
    figure.axes[-1].set_xlabel("frame of the source")
    return figure


def _plot_drift(axes: Axes, frames: Sequence[int], evaluation: Evaluation) -> None:
    offsets = [row.film.tone.minus(row.source.tone) for row in evaluation.rows]
    first = {row.shot: offset for row, offset in reversed(list(zip(evaluation.rows, offsets)))}
    changes = [offset.minus(first[row.shot]) for row, offset in zip(evaluation.rows, offsets)]
    for name, color in (("blue", "tab:blue"), ("green", "tab:green"), ("red", "tab:red"), ("contrast", "black")):
        axes.plot(frames, [getattr(change, name) for change in changes], label=name, color=color, linewidth=1)
    axes.axhline(0, color="black", linewidth=0.5)
    axes.set_ylabel("drift of film,\ngray levels")


def _gaps(values: Sequence[float | None]) -> list[float]:
    return [float("nan") if value is None else value for value in values]


def _line(head: str, cells: Sequence[str]) -> str:
    return f"{head:31}" + "".join(f"{cell:>13}" for cell in cells).rstrip()


def _number(value: float | None, form: str = ".4g") -> str:
    return "–" if value is None else f"{value:{form}}"


WRITERS = {".csv": write_csv, ".json": write_json, ".png": write_plot}
