"""What `--chunk auto` decides: how long the parts of long shots are, or that shots stay whole.

It is decided once, when the job is made, and recorded there. So the film does not depend on which nodes, or how many,
make it.
"""

from collections.abc import Iterator
from functools import lru_cache
from math import sqrt
from pathlib import Path

import torch
from msgspec.structs import replace

from fav.evaluation.metrics import distance
from fav.flow.field import FlowField
from fav.model.interpolation import load_mixture
from fav.model.runner import StyleRunner
from fav.pipeline.option import AUTO_CHUNK
from fav.pipeline.over_time import mixtures
from fav.pipeline.request import Request
from fav.pipeline.spec import CHUNK
from fav.stylize.chain import MIN_CHUNKS
from fav.stylize.recurrence import Recurrence
from fav.stylize.settings import CROSSFADE
from fav.synthetic.scene import RELIABLE, Scene, truth, view
from fav.util.fingerprint import hash_of
from fav.video import VideoInfo

NODES = 64  # machines for which the extra work and the waiting at the end are balanced; any number may come
LONGEST_CHUNK = 240  # frames: a longer one saves less than 3 % of the work
LEAST_WORK = 600 * 640 * 360  # pixels of a film: one thread stylizes as many in a minute, so chunks are not worth while
SCENE = Scene(192, 108, "handheld", frames=1)  # drawn frames, whose flow is exact; without a cut
BEFORE = 6  # frames of them that one chain has and the other has not
KEPT = 3.0  # gray levels (RMSE): bundled styles have 0.2 or less, earlier styles with visible joints had 7


def chunk_length(frames: int | None, size: tuple[int, int], longest: int | None = None) -> int | None:
    """The length of chunks for a film, in frames; None: shots stay whole.

    Each chunk repeats CROSSFADE frames. Shorter ones repeat more; with longer ones, nodes wait longer for the last
    chunk. Both cost the same at the square root of 2 * CROSSFADE * frames / NODES.

    Args:
        frames: Of the film; None: not known.
        size: (width, height) of the frames as they are stylized.
        longest: Frames of the longest shot; None: not known.
    """
    if frames is None:
        return CHUNK
    if frames * size[0] * size[1] < LEAST_WORK:
        return None
    length = min(max(round(sqrt(2 * CROSSFADE * frames / NODES)), CHUNK), LONGEST_CHUNK)
    return None if (frames if longest is None else longest) < MIN_CHUNKS * length else length


def with_chunk(request: Request, source: VideoInfo, size: tuple[int, int]) -> tuple[Request, tuple[str, ...]]:
    """Decide `--chunk auto`: return the request with the length of chunks, and a line for the user. Other requests stay.

    Args:
        request: A request whose cuts are read.
        source: What its video is.
        size: (width, height) of the frames as they are stylized.
    """
    if request.chunk != AUTO_CHUNK:
        return request, ()
    frames = _frames(request, source)
    length = None if request.no_temporal else chunk_length(frames, size, _longest_shot(request, frames))
    kept = length is not None and max(_kept_pasts(request)) > KEPT
    if kept:
        said = (
            f"shots stay whole: the style depends on more than {CROSSFADE} earlier frames, so joints would be visible"
        )
    elif length is None:
        said = "shots stay whole: the film is short, or none of its shots is long enough"
    else:
        said = (
            f"shots of {MIN_CHUNKS * length} frames or more are painted in parts of {length} frames by several nodes "
            f"at the same time, which adds {CROSSFADE / length:.0%} to their work"
        )
    return replace(request, chunk=None if kept else length, auto_chunk=True), (f"--chunk auto: {said}",)


def _kept_pasts(request: Request) -> Iterator[float]:
    """Yield `kept_past` of all styles of a request."""
    yield from (kept_past(request.style, mix) for mix in mixtures(request.mix))
    if request.outside:
        yield kept_past(request.outside)


def kept_past(style: Path, mix: tuple[tuple[Path, float], ...] = ()) -> float:
    """How strongly a style depends on earlier frames: the RMSE, in gray levels, between two chains of one drawn scene.

    One chain begins BEFORE frames earlier. They are compared CROSSFADE frames after the other has begun, which is where
    a film changes from one chunk to the next. Raises FavError if a style cannot be read.
    """
    return _kept_past(tuple((hash_of(path), str(path), weight) for path, weight in ((style, 1.0), *mix)))


@lru_cache(16)
def _kept_past(styles: tuple[tuple[str | None, str, float], ...]) -> float:
    (_, style, _), *mix = styles
    network = load_mixture(Path(style), tuple((Path(path), weight) for _, path, weight in mix))
    recurrence = Recurrence(StyleRunner(network))
    views = [view(SCENE, number) for number in range(BEFORE + CROSSFADE + 1)]
    prior, later = None, None
    with torch.inference_mode():
        for number, here in enumerate(views):
            if prior is None:
                prior = recurrence.first(here.image)
                continue
            known = truth(here, views[number - 1])
            geometry = FlowField(known.flow, (known.seen == RELIABLE).astype("float32"))
            prior = recurrence.next(here.image, prior, geometry, number)
            if number == BEFORE:
                later = recurrence.first(here.image, number)
            elif later is not None:
                later = recurrence.next(here.image, later, geometry, number)
    assert prior is not None and later is not None
    return distance(prior, later)


def _frames(request: Request, source: VideoInfo) -> int | None:
    """The number of frames of a film, according to the container of its video; None if unknown."""
    guess = round(source.seconds * source.rate) if source.seconds and source.rate else None
    ends = [end for end in (request.last, source.frames or guess) if end is not None]
    return max(min(ends) - request.range[0], 0) if ends else None


def _longest_shot(request: Request, frames: int | None) -> int | None:
    """The number of frames of a film's longest shot; None if the request does not give its cuts."""
    if frames is None or request.no_cuts or not request.read_cuts:
        return frames if request.no_cuts else None
    start = request.range[0]
    edges = [start, *(cut for cut in request.cuts or () if start < cut < start + frames), start + frames]
    return max(after - before for before, after in zip(edges, edges[1:]))
