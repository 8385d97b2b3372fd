"""Seams of a stylized 360° video: how much it differs across the borders of cube faces, and inside of them.

    .venv/bin/python benchmarks/sphere.py --style starry_night

A textured sphere turns around its axis, by whole pixels of the picture, so the flow is known exactly. It is stylized as it
is (flat), by faces without what their neighbors show, and by faces as `--projection equirectangular` does. For each:

    flicker    the mean difference of a frame and the turned one before it, in gray levels: near borders, and elsewhere
    step       the mean difference of neighboring pixels across borders, divided by that elsewhere: 1 is no seam
    wrap       the same across the ends of the rows, where a flat picture is cut open
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from fav import flow as flows
from fav.flow.field import FlowField, estimate
from fav.model.bundled_styles import style_file
from fav.model.checkpoints import load_style
from fav.model.runner import StyleRunner
from fav.stylize.cube import AXES, Cube, Strip
from fav.stylize.cube_recurrence import CubeRecurrence, FaceFlows
from fav.stylize.recurrence import Recurrence

NEAR = 0.04  # half edges: pixels this near to a border are `near` it


@dataclass(frozen=True)
class Seams:
    """What is measured of a film; see the top of this file."""

    near: float
    elsewhere: float
    step: float
    wrap: float


class Alone(Cube):
    """A cube whose faces know nothing of each other."""

    def strip(self, number: int) -> Strip:
        strip = super().strip(number)
        return replace(strip, sources=(), weights=(), inside=strip.inside & False, outer=strip.outer * 0)


def directions(width: int, height: int) -> np.ndarray:
    """The direction (H, W, 3) of each pixel of a 360° picture."""
    longitude, latitude = np.meshgrid(
        ((np.arange(width) + 0.5) / width - 0.5) * 2 * np.pi, ((np.arange(height) + 0.5) / height - 0.5) * np.pi
    )
    return np.dstack([np.cos(latitude) * np.sin(longitude), np.sin(latitude), np.cos(latitude) * np.cos(longitude)])


def sphere(width: int, height: int) -> np.ndarray:
    """A 360° picture (H, W, 3) uint8 of waves and hard edges in all directions, without a seam."""
    generator, place = np.random.default_rng(5), directions(width, height)
    waves = [
        np.sin(place @ (generator.normal(size=3) * scale) + generator.uniform(0, 6))
        for scale in (2, 3, 5, 8, 8, 13, 13, 21)
    ]
    colors = np.stack([generator.normal(size=3) for _ in waves])
    shades = np.tensordot(
        np.stack([np.where(number % 3 == 0, np.sign(wave), wave) for number, wave in enumerate(waves)], -1), colors, 1
    )
    return np.clip(127 + 32 * shades, 0, 255).astype(np.uint8)


def turning(width: int, frames: int, step: int = 3) -> list[np.ndarray]:
    """Frames of a sphere that turns by `step` pixels of the picture per frame."""
    return [np.roll(sphere(width, width // 2), step * number, axis=1) for number in range(frames)]


def by_faces(frames: Sequence[np.ndarray], cube: Cube, runner: StyleRunner) -> list[np.ndarray]:
    """The film of frames, stylized as faces of a cube."""
    recurrence, flow, made, before, prior = CubeRecurrence(Recurrence(runner), cube), flows.make("dis"), [], None, None
    for number, atlas in enumerate(map(cube.to_atlas, frames)):
        if before is None or prior is None:
            prior = recurrence.first(atlas, number)
        else:
            faces = FaceFlows(cube, lambda one, other: estimate(flow, one, other), atlas, before)
            prior = recurrence.next(atlas, prior, faces, number)
        before = atlas
        made.append(cube.to_picture(prior))
    return made


def flat(frames: Sequence[np.ndarray], runner: StyleRunner) -> list[np.ndarray]:
    """The film of frames, stylized as they are."""
    flow = flows.make("dis")
    fields: list[FlowField | None] = [None]
    fields += [estimate(flow, here, before) for before, here in zip(frames, frames[1:])]
    return list(Recurrence(runner).film(zip(frames, fields)))


def distances(width: int, height: int) -> np.ndarray:
    """The distance (H, W) of each pixel of a 360° picture from the nearest border of a face, in half edges."""
    ahead = directions(width, height) @ AXES[:, 2].T
    two = np.sort(ahead, axis=-1)[..., -2:]  # of the face that shows it, and of the nearest neighbor
    return 1 - two[..., 0] / two[..., 1]


def measure(film: Sequence[np.ndarray], step: int = 3) -> Seams:
    """Measure a film of a sphere that turns by `step` pixels per frame."""
    height, width = film[0].shape[:2]
    near = distances(width, height) < NEAR
    area = np.cos(((np.arange(height) + 0.5) / height - 0.5) * np.pi)[:, None] * np.ones(width)
    change = [np.abs(here - np.roll(before, step, axis=1)).mean(axis=-1)
              for before, here in zip(film, [frame.astype(float) for frame in film[1:]])]  # fmt: skip
    mean = lambda where: float(np.average(np.mean(change, axis=0), weights=area * where))
    steps = np.mean([np.abs(np.roll(frame, -1, axis=1) - frame.astype(float)).mean(axis=-1) for frame in film], axis=0)
    rows = slice(int(height * 0.35), int(height * 0.65))  # around the equator: only borders between left and right
    columns, border = steps[rows].mean(axis=0), [round(width * eighth / 8) - 1 for eighth in (1, 3, 5, 7)]
    others = np.delete(columns, [*border, width - 1]).mean()
    return Seams(mean(near), mean(~near), float(columns[border].mean() / others), float(columns[-1] / others))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--style", default="starry_night")
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--frames", type=int, default=6)
    parser.add_argument("--pictures", type=Path, help="An existing directory for the last frame of each film.")
    words = parser.parse_args()
    frames = turning(words.width, words.frames)
    runner = StyleRunner(load_style(style_file(Path(words.style)), 7))
    size = words.width, words.width // 2
    print("source", measure(frames))
    for name, film in {
        "flat": flat(frames, runner),
        "faces alone": by_faces(frames, Alone(size), runner),
        "faces with neighbors": by_faces(frames, Cube(size), runner),
    }.items():
        print(name, measure(film), flush=True)
        if words.pictures:
            cv2.imwrite(str(words.pictures / f"{name.replace(' ', '-')}.png"), film[-1])


if __name__ == "__main__":
    main()
