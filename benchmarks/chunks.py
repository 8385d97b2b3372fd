"""A take cut into chunks that are painted at the same time: which way of joining them is not seen, and what does it cost?

A chunk begins some frames early (its lead-in), from nothing or from an anchor: a picture that was carried there from the
beginning of the lead-in before, over all frames between, by one long step of flow. The chunk before it ends at the boundary
at once, or passes over into the other within the lead-in.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click
import cv2
import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import reel
from benchmarks.take import STILL, VIDEOS, Take, check, runner_of, takes
from fav import flow as flows
from fav.evaluation.comparison import use_threads
from fav.evaluation.metrics import boundary_zscore, distance, local_contrast, warping_error
from fav.flow.field import (
    FlowField,
    estimate,
    estimate_long_range,
)
from fav.flow.warp import warp
from fav.stylize.blend import blend
from fav.stylize.chain import MIN_CHUNKS, chunk_starts
from fav.synthetic.motions import MOTIONS

PATH = click.Path(path_type=Path)
SIGMA = 16  # of the Gaussian before colors are compared, pixels
WINDOW = 8  # frames by which boundaries may move
WITHIN = 1.0  # RMS in gray levels at which a repair takes two pictures for the same


@dataclass(frozen=True, eq=False)
class Film:
    """The pictures of a take, where its chunks begin, and how many frames were painted for them, steps of flow made, and how
    many frames in a row each wait for the one before."""

    pictures: list[np.ndarray]
    edges: list[int]
    painted: int
    steps: int
    serial: int


Leap = Callable[[Take, int, int], FlowField]  # how a frame hangs on an earlier one, some dozens of frames away
Lead = list[np.ndarray]  # the pictures of a lead-in, and of the boundary itself


def direct(take: Take, number: int, earlier: int) -> FlowField:
    return estimate(take.flow, take.frames[number], take.frames[earlier])


def in_steps(take: Take, number: int, earlier: int) -> FlowField:
    return estimate_long_range(take.flow, take.frames[number], take.frames[earlier], take.steps[number:earlier:-1])


def hard(take: Take, prior: np.ndarray, begin: int, lead: Lead) -> list[np.ndarray]:
    """The frames that a lead-in has, as the chunk before it shows them, from the picture `prior` of the frame before."""
    return list(take.chain(begin, begin + len(lead) - 1, prior))


def cross_faded(take: Take, prior: np.ndarray, begin: int, lead: Lead) -> list[np.ndarray]:
    shares = np.arange(1, len(lead)) / len(lead)
    return [blend(*pair, share) for *pair, share in zip(hard(take, prior, begin, lead), lead, shares)]


def passed_over(take: Take, prior: np.ndarray, begin: int, lead: Lead) -> list[np.ndarray]:
    """Painted on from a mixture of both chains, in which the share of the other grows, so that the rest ends in a line."""
    made, other = [], None
    for at, picture in enumerate(lead[:-1]):
        prior = prior if other is None else blend(prior, other, 1 / (len(lead) - at))
        prior, other = take.next(begin + at, prior), picture
        made.append(prior)
    return made


@dataclass(frozen=True)
class Scheme:
    """Lead-ins of so many frames; leap None begins them from nothing; `join` makes the frames of a lead-in that are shown.

    settled: the anchors wait for the first chunk, whose end is the first of them. window: boundaries move by up to so many
    frames, to where the flow of the passage is least reliable.
    """

    lead: int
    leap: Leap | None
    join: Callable[[Take, np.ndarray, int, Lead], list[np.ndarray]] = hard
    settled: bool = False
    window: int = 0

    def __call__(self, take: Take, size: int) -> Film:
        edges = [self._moved(take, edge) for edge in chunk_starts(len(take), size)]
        leads = self._leads(take, edges, size)
        pictures: list[np.ndarray] = []
        for begin, end in zip([0, *edges], [*edges, len(take)]):
            pictures.append(leads[begin][-1] if begin else take.first(0))
            stop = end - self.lead if end in leads else end
            pictures += take.chain(begin + 1, stop, pictures[-1])
            if end in leads:
                pictures += self.join(take, pictures[-1], stop, leads[end])
        extra, longest = len(edges) * self.lead, size + self.lead + 2 * self.window
        serial = longest + (len(edges) if self.leap else 0) + self.settled * size
        known = len(edges) * size if self.leap is in_steps else 0  # steps that another node has made, too
        return Film(pictures, edges, len(take) + extra, len(take) + extra + known, serial)

    def _moved(self, take: Take, edge: int) -> int:
        def reliability(at: int) -> float:
            return float(
                np.mean([take.steps[number].reliability.mean() for number in range(at - self.lead + 1, at + 1)])
            )

        return min(range(edge - self.window, edge + self.window + 1), key=reliability) if self.window else edge

    def _leads(self, take: Take, edges: list[int], size: int) -> dict[int, Lead]:
        at = size - self.lead - 1 if self.settled else 0
        *_, anchor = take.chain(0, at + 1)
        found = {}
        for edge in edges:
            begin = edge - self.lead
            hang = self.leap(take, begin, at) if self.leap else None
            anchor = take.hung(begin, anchor, hang) if hang else take.first(begin)
            at, found[edge] = begin, [anchor, *take.chain(begin + 1, edge + 1, anchor)]
        return found


def off(take: Take, size: int) -> Film:
    return Film(list(take.chain(0, len(take))), [*chunk_starts(len(take), size)], len(take), len(take), len(take))


def repaired(take: Take, size: int) -> Film:
    """Hard restarts; then each chunk, in its turn, is painted anew from its beginning until nothing changes any more."""
    restarted = Scheme(0, None)(take, size)
    pictures, again = restarted.pictures, 0
    for edge in restarted.edges:
        prior = pictures[edge - 1]
        for number in range(edge, len(take)):
            prior = take.next(number, prior)
            again += 1
            same = distance(prior, pictures[number]) <= WITHIN
            pictures[number] = prior
            if same:
                break
    return Film(pictures, restarted.edges, len(take) + again, len(take) + again, size + again)


def two_sided(take: Take, size: int, lead: int = 7) -> Film:
    """Chunks begin with their anchors; back from there a chain of some frames, which the chunk before passes over into."""
    edges = [*chunk_starts(len(take), size)]
    anchors = {edge: lead_in[0] for edge, lead_in in Scheme(0, direct)._leads(take, edges, size).items()}
    pictures: list[np.ndarray] = []
    for begin, end in zip([0, *edges], [*edges, len(take)]):
        pictures.append(anchors[begin] if begin else take.first(0))
        stop = end - lead if end in anchors else end
        pictures += take.chain(begin + 1, stop, pictures[-1])
        if end in anchors:
            back = [anchors[end]]
            for number in range(end - 1, stop - 1, -1):
                back.append(take.hung(number, back[-1], direct(take, number, number + 1)))
            pictures += passed_over(take, pictures[-1], stop, back[::-1])
    extra = len(edges) * lead
    return Film(pictures, edges, len(take) + extra, len(take) + extra, size + len(edges))


def schemes(lead: int) -> dict[str, Callable[[Take, int], Film]]:
    return {
        "off": off,
        "hard restart": Scheme(0, None),
        f"warm-up {lead}": Scheme(lead, None),
        f"warm-up {lead}, cross-faded": Scheme(lead, None, cross_faded),
        f"warm-up {lead}, cross-faded, moved": Scheme(lead, None, cross_faded, window=WINDOW),
        f"warm-up {lead}, passed over": Scheme(lead, None, passed_over),
        "anchors": Scheme(0, direct),
        "anchors, in steps": Scheme(0, in_steps),
        f"anchors, warm-up {lead}": Scheme(lead, direct),
        f"anchors, {lead} cross-faded": Scheme(lead, direct, cross_faded),
        f"anchors, {lead} passed over": Scheme(lead, direct, passed_over),
        f"settled anchors, {lead} cross-faded": Scheme(lead, direct, cross_faded, settled=True),
        f"settled anchors, {lead} passed over": Scheme(lead, direct, passed_over, settled=True),
        f"anchors in steps, {lead} passed over": Scheme(lead, in_steps, passed_over),
        f"two-sided over {lead}": lambda take, size: two_sided(take, size, lead),
        "repair": repaired,
    }


@dataclass(frozen=True)
class Course:
    """A film, frame after frame: warping error, None for the first; how far colors jump (delta E); local contrast."""

    errors: list[float | None]
    jumps: list[float]
    contrasts: list[float]


def course(take: Take, pictures: list[np.ndarray]) -> Course:
    errors, jumps = [None], [0.0]
    for number in range(1, len(take)):
        errors.append(warping_error(pictures[number], pictures[number - 1], take.steps[number]).reliable)
        fetched = warp(pictures[number - 1].astype(np.float32), take.steps[number].flow)
        step = _colors(pictures[number].astype(np.float32)) - _colors(fetched)
        jumps.append(float(np.percentile(np.linalg.norm(step, axis=-1), 95)))
    return Course(errors, jumps, [local_contrast(picture) for picture in pictures])


def _colors(picture: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(cv2.GaussianBlur(picture / np.float32(255), (0, 0), SIGMA), cv2.COLOR_BGR2Lab)


@dataclass(frozen=True)
class Seam:
    """At one boundary, the worst frame of the `crossfade` that leads over it: all but contrast are minus the same for `off`.

    z: how far the warping error stands out from that of the 12 frames around, the others of the passage left out; edge: the
    same of the boundary itself, nothing left out; change: root of the warping error, gray levels; jump: of low-frequency
    colors, delta E; contrast: local, by that of off.
    """

    z: float
    edge: float
    change: float
    jump: float
    contrast: float


def seam(edge: int, crossfade: int, film: Course, plain: Course) -> Seam:
    frames, shots = range(edge - crossfade + 1, edge + 1), [0] * len(film.errors)

    def score(errors: list[float | None], at: int) -> float:
        alone = [error if number == at or number not in frames else None for number, error in enumerate(errors)]
        return boundary_zscore(alone, shots, at) or 0.0

    return Seam(
        max(score(film.errors, at) - score(plain.errors, at) for at in frames),
        (boundary_zscore(film.errors, shots, edge) or 0) - (boundary_zscore(plain.errors, shots, edge) or 0),
        max(255 * (film.errors[at] ** 0.5 - plain.errors[at] ** 0.5) for at in frames),
        max(film.jumps[at] - plain.jumps[at] for at in frames),
        min(film.contrasts[at] / plain.contrasts[at] for at in frames),
    )


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("style", type=PATH)
@click.option("--motions", default=",".join([*MOTIONS, STILL]), show_default=True, help="Of the drawn takes.")
@click.option(
    "--video",
    "videos",
    type=PATH,
    multiple=True,
    default=VIDEOS,
    help="Of each its longest shot, forth and "
    "back.  [default: " + ", ".join(video.name for video in VIDEOS) + " in the shared material]",
)
@click.option("--frames", type=click.IntRange(60), default=240, show_default=True)
@click.option("--size", type=click.IntRange(30), default=48, show_default=True, help="Frames of a chunk.")
@click.option("--lead", type=click.IntRange(1, 12), default=7, show_default=True, help="Frames of a lead-in.")
@click.option("--only", metavar="WORDS", default="", help="Only schemes with these words in their name (one|other).")
@click.option("--width", type=click.IntRange(128), default=320, show_default=True)
@click.option("--flow", type=click.Choice(list(flows.METHODS)), default="dis", show_default=True)
@click.option("--sheets", type=PATH, metavar="DIR", help="Write the frames around each film's worst boundary here.")
@click.option("--threads", type=click.IntRange(1), help="Threads of OpenCV and PyTorch.  [default: theirs]")
def main(
    style: Path,
    motions: str,
    videos: tuple[Path, ...],
    frames: int,
    size: int,
    lead: int,
    only: str,
    width: int,
    flow: str,
    sheets: Path | None,
    threads: int | None,
) -> None:
    """Print how well the seams are hidden when a long take in STYLE is cut into chunks, by several schemes.

    Of each take the mean and the worst over its boundaries: z of the warping error at the worst frame of the passage, and at
    the boundary itself; how many gray levels (root of the warping error) change there more than in off; the jump of
    low-frequency colors; the least local contrast. Then the warping error of the whole film by that of off (whose change is
    told in gray levels, g), frames and steps of flow made beyond off's, and how many frames wait for each other in a row.
    """

    def fail(words: str) -> None:
        raise click.ClickException(words)

    use_threads(threads)
    check(motions, videos, fail)
    if frames < MIN_CHUNKS * size:
        fail(f"--frames: expected {MIN_CHUNKS} chunks or more, {MIN_CHUNKS * size} frames, got {frames}")
    click.echo(f"{style.stem}, {frames} frames, {width} wide, flow {flow}, chunks of {size}; mean and worst")
    click.echo(
        f"{'take, scheme':44}{'z, crossfade':>14}{'z, boundary':>14}{'change':>14}"
        f"{'color jump':>14}{'contrast':>12}{'error/off':>11}{'painted':>9}{'flows':>8}{'serial':>8}"
    )
    for name, take in takes(runner_of(style), motions, videos, frames, width, flow, again=True):
        plain = course(take, off(take, size).pictures)
        for scheme, make in schemes(lead).items():
            if not any(words in scheme for words in only.split("|")):
                continue
            click.echo(f"{name}, {scheme} …", err=True)
            film = make(take, size)
            seams = tell(f"{name}, {scheme}", film, course(take, film.pictures), plain, lead)
            if sheets:
                sheets.mkdir(parents=True, exist_ok=True)
                worst = max(seams, key=lambda edge: seams[edge].z)
                words = f"{name}-{scheme}".replace(" ", "_").replace(",", "")
                cv2.imwrite(str(sheets / f"{words}.png"), around(film.pictures, worst))


def tell(name: str, film: Film, mine: Course, plain: Course, lead: int) -> dict[int, Seam]:
    """Print the line of one film; its seams by their boundaries."""
    count = len(film.pictures)
    seams = {edge: seam(edge, lead, mine, plain) for edge in film.edges}

    def cell(field: str, worst: Callable, form: str) -> str:
        values = [getattr(one, field) for one in seams.values()]
        return f"{np.mean(values):{form}} {worst(values):{form}}"

    whole, usual = (np.mean([error for error in one.errors if error is not None]) for one in (mine, plain))
    told = f"{255 * usual**0.5:9.2f} g" if mine.errors == plain.errors else f"{whole / usual:.3f}"
    click.echo(
        f"{name:44}{cell('z', max, '6.1f'):>14}{cell('edge', max, '6.1f'):>14}{cell('change', max, '6.2f'):>14}"
        f"{cell('jump', max, '6.2f'):>14}{cell('contrast', min, '5.2f'):>12}{told:>11}"
        f"{film.painted / count - 1:9.1%}{film.steps / count - 1:8.1%}{film.serial:8}"
    )
    return seams


def around(pictures: list[np.ndarray], edge: int) -> np.ndarray:
    """The four frames before a boundary and the two from it on, side by side, and their changes, ten times."""
    numbers = range(edge - 4, edge + 2)
    pairs = ((pictures[number].astype(np.float32), pictures[number - 1]) for number in numbers)
    changes = [cv2.convertScaleAbs(picture - before, alpha=10) for picture, before in pairs]
    return reel.sheet(
        [
            [(f"{number}{', boundary' if number == edge else ''}", pictures[number]) for number in numbers],
            [("change, times 10", change) for change in changes],
        ]
    )


if __name__ == "__main__":
    main()
