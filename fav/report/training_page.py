"""The report of a job that learns styles: the contact sheets, the losses, and the tasks, as one page of HTML."""

import base64
from collections.abc import Iterator
from contextlib import suppress
from html import escape
from itertools import islice

from fav.monitor.snapshot import SnapshotReader
from fav.pipeline.provenance import lines_of
from fav.pipeline.training_files import bundle_of
from fav.pipeline.training_job import TrainingJob, training_of
from fav.pipeline.training_progress import ChainProgress, training_progress
from fav.util.text import duration
from shared.attempts import attempts_of_job
from shared.errors import JobQueueError
from shared.jobs import Job

SHEET_LIMIT = 1 << 26  # bytes
MAX_ATTEMPTS = 50  # that are listed
WIDTH, HEIGHT = 640, 240  # pixels of the plot of the losses
COLORS = {"content": "#1f77b4", "style": "#d62728", "total": "#888888"}
STYLE = """
body { font: 16px/1.4 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; } th, td { text-align: left; padding: .2rem 1rem .2rem 0; vertical-align: top; }
img { max-width: 100%; } svg { background: #f6f6f6; max-width: 100%; }
"""


def training_page(job: Job, mark: str) -> str:
    """Make the page of a training. `mark`: the HTML comment at the head that marks the page as made by this program."""
    training = training_of(job)
    now = training_progress(job, training)
    parts = [
        f"<h1>{escape(job.name)}</h1>",
        _table(_summary(job, training)),
        *(part for chain in now.chains for part in _chain(job, chain, now.iterations)),
        "<h2>Failed attempts</h2>",
        _table({str(task): attempt.cause for task, attempt in islice(attempts_of_job(job), MAX_ATTEMPTS)})
        or "<p>No attempt failed.</p>",
        "<h2>Options</h2>",
        _table({name: str(value) for name, value in training.chains[0].recipe.items()}),
    ]
    return (
        f"<!DOCTYPE html>\n<!-- {escape(mark)} -->\n<html lang=en><meta charset=utf-8>"
        f"<title>{escape(job.name)}</title><style>{STYLE}</style>\n" + "\n".join(parts) + "\n</html>\n"
    )


def _summary(job: Job, training: TrainingJob) -> dict[str, str]:
    return {
        "state": str(SnapshotReader(job.share).state(job)),
        "styles": ", ".join(training.outs),
        "iterations": f"{training.iterations} of each chain, {training.task_iterations} in a task",
        **({"notes": "; ".join(training.notes)} if training.notes else {}),
        **lines_of(training.provenance),
    }


def _chain(job: Job, chain: ChainProgress, iterations: int) -> Iterator[str]:
    yield f"<h2>{escape(chain.label)}</h2>"
    lines = {"done": f"{chain.iterations} of {iterations} iterations"}
    if chain.verdict:
        lines["verdict"] = f"the style is {chain.verdict}"
    if chain.facts:
        lines["losses"] = ", ".join(f"{name} {value:.4g}" for name, value in chain.facts.losses.items())
        lines["last task"] = f"{duration(chain.facts.seconds)} on {chain.facts.node}: {chain.facts.numeric_class}"
    yield _table(lines)
    if chain.facts:
        yield _plot(chain.facts.curve, iterations)
    sheet = None
    with suppress(JobQueueError, OSError):
        if chain.verdict is not None:
            sheet = bundle_of(job, chain.number).files[".sheet.png"]
        elif chain.sheet:
            sheet = job.share.system.read(chain.sheet, SHEET_LIMIT)
    if sheet:
        data = base64.b64encode(sheet).decode()
        yield f'<p><img alt="contact sheet of {escape(chain.label)}" src="data:image/png;base64,{data}"></p>'


def _plot(curve: tuple[tuple[float, ...], ...], iterations: int) -> str:
    """The losses over the iterations, each relative to its largest value, as SVG."""
    lines = []
    for column, (name, color) in enumerate(COLORS.items(), 1):
        values = [(point[0], point[column]) for point in curve if len(point) > column]
        largest = max((value for _, value in values), default=0)
        if largest <= 0:
            continue
        places = " ".join(
            f"{WIDTH * iteration / iterations:.1f},{HEIGHT * (1 - value / largest):.1f}" for iteration, value in values
        )
        lines.append(
            f'<polyline fill="none" stroke="{color}" stroke-width="2" points="{places}">'
            f"<title>{name}: largest {largest:.3g}, last {values[-1][1]:.3g}</title></polyline>"
        )
    legend = ", ".join(f'<span style="color:{color}">{name}</span>' for name, color in COLORS.items())
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}">{"".join(lines)}</svg>'
        f"<p>Losses over {iterations} iterations, each relative to its largest value: {legend}</p>"
    )


def _table(lines: dict[str, str]) -> str:
    rows = (f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in lines.items())
    return f"<table>{''.join(rows)}</table>" if lines else ""
