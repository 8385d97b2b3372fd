"""Whether a place that comes back after it was hidden should look as before: priors from frames further back.

    .venv/bin/python benchmarks/remember.py --style starry_night

The long-term consistency of Ruder, Dosovitskiy and Brox (2016), section 3.3: where the flow to the frame before is
unreliable, the prior is taken from the nearest frame of LAGS to which the flow is reliable. The scene of `fav sample
--truth` tells exactly which pixels come back. For today's recurrence and for this one:

    returns    the difference from the last sight of a place, at pixels that come back, in gray levels
    alone      the same if each frame were stylized without a prior: what the style does by itself
    error      the difference from the frame before, at all pixels that it shows, too

and how many pixels come back, and the time of the flow.
"""

import argparse
import time
from pathlib import Path

import numpy as np

from fav import flow as flows
from fav.flow.field import FlowField, estimate
from fav.flow.warp import warp
from fav.model.bundled_styles import style_file
from fav.model.checkpoints import load_style
from fav.model.runner import StyleRunner
from fav.stylize.recurrence import Recurrence
from fav.synthetic.scene import HIDDEN, RELIABLE, Scene, truth, view

LAGS = (2, 4, 8, 16)  # frames


def remembered(film: list[np.ndarray], frames: list[np.ndarray], number: int, field: FlowField, flow) -> tuple:
    """The prior of a frame with its reliability, each pixel from the nearest reliable frame."""
    prior = warp(film[number - 1].astype(np.float32), field.flow)
    reliable = field.reliability.astype(bool)
    for lag in LAGS:
        if lag > number or reliable.all():
            break
        further = estimate(flow, frames[number], frames[number - lag])
        more = further.reliability.astype(bool) & ~reliable
        prior[more] = warp(film[number - lag].astype(np.float32), further.flow)[more]
        reliable |= more
    return prior, reliable.astype(np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--style", default="starry_night")
    parser.add_argument("--motion", default="handheld")
    parser.add_argument("--frames", type=int, default=30)
    words = parser.parse_args()
    scene = Scene(320, 180, words.motion, 2 * words.frames)
    views = [view(scene, number) for number in range(words.frames)]
    frames = [each.image for each in views]
    runner, flow = StyleRunner(load_style(style_file(Path(words.style)), 7)), flows.make("dis")
    recurrence = Recurrence(runner)
    films: dict[str, list[np.ndarray]] = {
        name: [recurrence.first(frames[0])] for name in ("today", "remember", "alone")
    }
    seconds = {"today": 0.0, "remember": 0.0}
    for number in range(1, words.frames):
        began = time.monotonic()
        field = estimate(flow, frames[number], frames[number - 1])
        seconds["today"] += time.monotonic() - began
        films["today"].append(recurrence.next(frames[number], films["today"][-1], field, number))
        began = time.monotonic()
        known = remembered(films["remember"], frames, number, field, flow)
        seconds["remember"] += time.monotonic() - began
        films["remember"].append(runner.stylize(frames[number], *known))
        films["alone"].append(recurrence.first(frames[number], number))
    returns: dict[str, list[np.ndarray]] = {name: [] for name in films}
    errors: dict[str, list[float]] = {name: [] for name in films}
    for number in range(1, words.frames):
        one = truth(views[number], views[number - 1])
        for name, film in films.items():
            change = np.abs(film[number] - warp(film[number - 1].astype(np.float32), one.flow)).mean(-1)
            errors[name].append(float(change[one.seen == RELIABLE].mean()))
        back = one.seen == HIDDEN
        for lag in range(2, min(number, LAGS[-1]) + 1):
            if not back.any():
                break
            before = truth(views[number], views[number - lag])
            here = back & (before.seen == RELIABLE)
            for name, film in films.items():
                if here.any():
                    returned = warp(film[number - lag].astype(np.float32), before.flow)
                    returns[name].append(np.abs(film[number] - returned).mean(-1)[here])
            back &= ~here
    pixels = sum(map(len, returns["today"]))
    share = pixels / (words.frames - 1) / frames[0].shape[0] / frames[0].shape[1]
    print(f"{words.style}, {words.motion}: {100 * share:.2f} % of a frame's pixels come back")
    for name in films:
        mean = np.concatenate(returns[name]).mean() if pixels else float("nan")
        more = f", flow {1000 * seconds[name] / (words.frames - 1):.0f} ms more a frame" if name == "remember" else ""
        print(f"  {name:<9} returns {mean:5.1f}  error {np.mean(errors[name]):5.2f}{more}")


if __name__ == "__main__":
    main()
