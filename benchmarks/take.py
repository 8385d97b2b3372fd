"""Single takes to try chains on: frames of one shot, how each hangs on the one before it, and a style to paint them with."""

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import reel
from fav import flow as flows
from fav.flow.field import (
    FlowField,
    estimate,
)
from fav.model.backends import choose
from fav.model.checkpoints import load_style
from fav.model.runner import StyleRunner
from fav.stylize.recurrence import Recurrence
from fav.synthetic.motions import MOTIONS

STILL = "still"  # one frame of the test scene, again and again
VIDEOS = tuple(reel.MATERIAL / "videos" / name for name in ("bigbuckbunny.mp4", "scene_cuts.mp4"))


@dataclass(frozen=True, eq=False)
class Take:
    """One shot. frames (H, W, 3) uint8; steps: how each frame hangs on the one before it, None for the first."""

    frames: Sequence[np.ndarray]
    steps: Sequence[FlowField | None]
    flow: flows.Flow
    runner: StyleRunner

    def __len__(self) -> int:
        return len(self.frames)

    def first(self, number: int) -> np.ndarray:
        """A frame painted from nothing."""
        return self.runner.stylize(self.frames[number])

    def next(self, number: int, prior: np.ndarray) -> np.ndarray:
        """A frame painted on from the picture of the one before it."""
        return self.hung(number, prior, self.steps[number])

    def hung(self, number: int, prior: np.ndarray, geometry: FlowField) -> np.ndarray:
        """A frame painted on from the picture of another one."""
        return Recurrence(self.runner).next(self.frames[number], prior, geometry)

    def chain(self, start: int, stop: int, prior: np.ndarray | None = None) -> Iterator[np.ndarray]:
        """The pictures of the frames `[start, stop)`, from that of the frame before `start`, or from nothing."""
        for number in range(start, min(stop, len(self))):
            prior = self.first(number) if prior is None else self.next(number, prior)
            yield prior


def runner_of(style: Path) -> StyleRunner:
    """A style as films are painted with it: by the fastest backend that is there, in bfloat16 where the processor has it."""
    return StyleRunner(load_style(style, in_channels=7), backend=choose("auto", "cpu"), precision="bfloat16")


def takes(
    runner: StyleRunner, motions: str, videos: Sequence[Path], frames: int, width: int, flow: str, again: bool
) -> Iterator[tuple[str, Take]]:
    """Of each drawn camera motion, or STILL (commas between), a take, and of each video its longest shot; so many frames.

    again: a shorter shot is played forth and back.
    """
    size = width, round(width * 9 / 16)
    for motion in filter(None, motions.split(",")):
        drawn = reel.scene("tripod", size, 1) if motion == STILL else reel.scene(motion, size, frames)
        shot = [image for image, *_ in drawn]
        yield motion, _take(shot * frames if motion == STILL else shot, runner, flow)
    for video in videos:
        shot = reel.longest_shot(reel.video(video, width))
        if again:
            shot = [image for image, *_ in reel.forth_and_back(shot, frames)]
        yield video.stem, _take(shot[:frames], runner, flow)


def check(motions: str, videos: Sequence[Path], fail: Callable[[str], None]) -> None:
    """`fail` with a word for what is not there."""
    if words := reel.wrong_motions(motions, [*MOTIONS, STILL]):
        fail(words)
    if missing := [str(video) for video in videos if not video.exists()]:
        fail(f"expected videos, but there is no {', '.join(missing)}; say --video FILE")


def _take(frames: list[np.ndarray], runner: StyleRunner, flow: str) -> Take:
    method = flows.make(flow)
    steps = [None, *(estimate(method, here, there) for there, here in zip(frames, islice(frames, 1, None)))]
    return Take(frames, steps, method, runner)
