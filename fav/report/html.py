"""The report as one self-contained page of HTML: pictures, the timeline of the nodes, the warping error, the options."""

import base64
import platform
from collections.abc import Iterator
from dataclasses import replace
from html import escape
from pathlib import Path
from string import Template

import cv2
import numpy as np

from fav.errors import FavError, sanitize
from fav.pipeline.provenance import lines_of
from fav.report import plots
from fav.report.data import JobReportData
from fav.stylize.postprocess import postprocess
from fav.util.text import duration
from fav.video import FrameReader

PICTURES = 5
WORST = 3  # of the pictures are the frames with the largest warping error, if it was measured
MAX_WIDTH = 960  # pixels of a picture
JPEG = [cv2.IMWRITE_JPEG_QUALITY, 85, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
TEMPLATE = Path(__file__).with_name("page.html")


def page(facts: JobReportData, video: Path, mark: str) -> str:
    """Make the page of a job.

    Args:
        facts: the job.
        video: its source, for the pictures.
        mark: the HTML comment at the head that marks the page as made by this program.
    """
    worst = worst_frames(facts)
    chosen = shown_frames(facts, worst)
    shown = dict(comparison_frames(facts, video, chosen))
    not_shown = {"pictures that cannot be shown": len(chosen) - len(shown)} if len(shown) < len(chosen) else {}
    parts = {
        "title": escape(facts.name), "mark": escape(mark), "summary": _table({**summary(facts), **left_out(facts, not_shown)}),
        "pictures": "\n".join(_picture(facts, number, *pair) for number, pair in shown.items()),
        "choices": "".join(f'<button data-frame="{number}">{number}</button>' for number in shown) or "–",
        "timeline": plots.timeline(facts), "rate": plots.rate(facts), "nodes": _nodes(facts),
        "steadiness": _warping_errors(facts, worst), "attempts": _attempts(facts), "options": _table(options(facts)),
    }  # fmt: skip
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(parts)


def summary(facts: JobReportData) -> dict[str, str]:
    """The job in a few lines."""
    frames, timeline, spec = facts.of("frame"), facts.artifacts.timeline, facts.artifacts.spec
    wall = frames[-1].published - facts.created
    hosts = {one.node.rsplit("-", 2)[0] for one in facts.done}
    known = str(timeline.end - spec.start) if timeline.is_complete else "?"
    return {
        "state": str(facts.state),
        "frames": f"{len(frames)} of {known}, {spec.width}×{spec.height}, in {_count(len(facts.cuts) + 1, 'shot')}",
        "film": spec.out if facts.stitched else "not made yet",
        "time": f"{duration(wall)} from the job's creation to the last frame: {len(frames) / wall:.2f} frames a second"
        if wall > 0
        else "?",
        "work": f"{duration(plots.span(facts.done))} of all nodes together, "
        f"{_count(len(plots.nodes_of(facts)), 'node')} on {_count(len(hosts), 'machine')}",
        **({"measured": facts.measured} if facts.measured else {}),
        **({"notes": "; ".join(notes)} if (notes := dict.fromkeys((*spec.notes, *timeline.notes))) else {}),
    }


def left_out(facts: JobReportData, not_shown: dict[str, int]) -> dict[str, str]:
    """A line about frames and values that were ignored; empty if there are none."""
    frames = facts.left_out.describe(facts.artifacts.timeline.end - facts.artifacts.spec.start)
    odd = ", ".join(f"{times} {what}" for what, times in sorted({**facts.odd, **not_shown}.items()))
    return {"left out": "; ".join(filter(None, (frames, odd)))} if frames or odd else {}


def options(facts: JobReportData) -> dict[str, str]:
    """The job's options, and the numeric classes of its nodes."""
    spec = {
        name: value
        for name, value in facts.artifacts.spec.to_json().items()
        if name not in ("notes", "provenance")
        and not name.endswith(("_hash", "_hashes"))
        and value not in (None, [], False)
    }  # without hashes and empty values
    classes = sorted({one.numeric_class for one in facts.done})
    return {
        **lines_of(facts.artifacts.spec.provenance or {}),
        **{f"recorded {name.replace('_', ' ')}": sanitize(value, 2000) for name, value in spec.items()},
        "computed with": "\n".join(classes),
        "reported by": f"Python {platform.python_version()}, OpenCV {cv2.__version__}",
    }


def worst_frames(facts: JobReportData) -> list[int]:
    """The frames with the largest warping error, the worst first. Frames after a cut have none."""
    measured = {frame: error for frame, error in facts.errors.items() if error is not None}
    return sorted(measured, key=lambda frame: -measured[frame])[:WORST]


def shown_frames(facts: JobReportData, worst: list[int]) -> list[int]:
    """The frames to show: the worst ones, and others at even distances."""
    done = sorted(one.number for one in facts.of("frame"))
    return sorted({*worst, *(done[round(place)] for place in np.linspace(0, len(done) - 1, PICTURES - len(worst)))})


def comparison_frames(
    facts: JobReportData, video: Path, frames: list[int]
) -> Iterator[tuple[int, tuple[np.ndarray, np.ndarray]]]:
    """Yield (number, (source, film)) for each frame that can be shown, (H, W, 3) uint8 BGR at the size of the film."""
    spec, index = facts.artifacts.spec, facts.artifacts.timeline.index
    try:
        settings = replace(spec.postprocess_settings(facts.artifacts.job.share.layout.root), sixteen_bit=False)
        with FrameReader(video, size=settings.size, settings=spec.source) as reader:
            for number in frames:
                if (stylized := facts.picture(number)) is not None:
                    film = next(postprocess([stylized], settings, video, index, number, spec.source))
                    yield number, (reader.read(number, index), film)
    except FavError:
        return  # the video or the mask has changed since


def _picture(facts: JobReportData, number: int, source: np.ndarray, film: np.ndarray) -> str:
    error = facts.errors.get(number)
    words = f"frame {number}" + ("" if error is None else f", warping error {error:.2g}")
    return (
        f'<figure data-frame="{number}" style="--cut: 50%"><div class="stack">'
        f'<img alt="source, {words}" src="{_jpeg(source)}">'
        f'<img class="after" alt="film, {words}" src="{_jpeg(film)}"><div class="edge"></div></div>'
        f'<input type="range" min="0" max="100" value="50" aria-label="source or film, {words}">'
        f"<figcaption>{words}: the source on the left, the film on the right</figcaption></figure>"
    )


def _jpeg(picture: np.ndarray) -> str:
    height, width = picture.shape[:2]
    if width > MAX_WIDTH:
        picture = cv2.resize(picture, (MAX_WIDTH, round(height * MAX_WIDTH / width)), interpolation=cv2.INTER_AREA)
    data = cv2.imencode(".jpg", picture, JPEG)[1].tobytes()
    return f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"


def _nodes(facts: JobReportData) -> str:
    rows = []
    for node in plots.nodes_of(facts):
        mine = [one for one in facts.done if one.node == node]
        frames, flows = ([one for one in mine if one.kind in kinds] for kinds in (("frame", "warmup"), ("flow",)))
        since, until = min(one.published - (one.took or 0) for one in mine), max(one.published for one in mine)
        busy = plots.span(mine) / (until - since) if until > since else None
        each = plots.span(frames) / len(frames) if frames else None
        rows.append(
            [
                node,
                str(len(frames)),
                str(len(flows)),
                "–" if each is None else f"{each:.2f} s",
                "–" if busy is None else f"{min(busy, 1):.0%}",
                mine[0].numeric_class,
            ]
        )
    heads = ("node", "frames", "flows", "a frame took", "busy between its first and last", "computes with")
    return _rows(heads, rows)


def _warping_errors(facts: JobReportData, worst: list[int]) -> str:
    if not facts.errors:
        return "<p>Not measured. Use <code>--evaluate PAINTING</code>, or <code>python -m fav evaluate</code>.</p>"
    return plots.plot_warping_error(facts, worst)


def _attempts(facts: JobReportData) -> str:
    if not facts.attempts:
        return "<p>No attempt failed.</p>"
    return _rows(("what", "how often"), [[cause, str(times)] for cause, times in facts.attempts.most_common(50)])


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'s'[: number != 1]}"


def _table(lines: dict[str, str]) -> str:
    rows = (f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in lines.items())
    return f"<table>{''.join(rows)}</table>"


def _rows(heads: tuple[str, ...], rows: list[list[str]]) -> str:
    head = "".join(f"<th>{escape(word)}</th>" for word in heads)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table class=rows><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
