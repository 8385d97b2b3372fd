"""The sample clip: two drawn scenes with a moving camera, moving objects, a cut and a chord.

Everything is drawn from numbers, so there is nothing to download; the same size gives the same frames.
Distances are in units of 1/360 of the height, so that a larger clip shows the same scenes.
"""

from collections.abc import Iterator
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

import av
import cv2
import numpy as np

from fav.errors import FavError
from fav.util.opencv import NO_ARRAY

RATE = 25  # frames a second
COAST, VALLEY = 56, 44  # frames of the two shots
AUDIO_RATE = 48000

# Colors are BGR.
NIGHT_TO_GOLD = ((112, 52, 24), (190, 118, 52), (225, 182, 120), (170, 205, 250), (120, 190, 255))
NOON = ((196, 116, 44), (222, 160, 88), (238, 205, 160), (240, 226, 205))
SEA = ((70, 42, 12), (118, 80, 24), (150, 122, 50), (190, 178, 110))
FAR_HILL = ((110, 72, 60), (140, 98, 84), (165, 128, 118))
WOOD = ((24, 38, 16), (34, 72, 30), (52, 110, 62), (86, 150, 120))
GRASS = ((20, 62, 34), (36, 110, 70), (52, 150, 116), (96, 190, 176))
WHEAT = ((30, 88, 128), (52, 128, 164), (92, 164, 196))


def sample_frames(width: int = 640, height: int = 360) -> Iterator[np.ndarray]:
    """The 100 frames of the clip, (height, width, 3) uint8 BGR, 25 a second; frame 56 is the first after the cut."""
    for scene, count in ((coast, COAST), (valley, VALLEY)):
        for number in range(count):
            yield scene(width, height, number / RATE)


def write_sample(out: Path, width: int = 640, height: int = 360) -> None:
    """Write the clip with its sound, H.264 and AAC in an MP4 file. Sides must be even."""
    if width % 2 or height % 2:
        raise FavError(f"sample: expected even sides, got {width}x{height}")
    with av.open(str(out), "w", format="mp4") as container:
        picture = container.add_stream(
            "libx264", RATE, width=width, height=height, pix_fmt="yuv420p", options={"crf": "16"}
        )
        sound = container.add_stream("aac", AUDIO_RATE, layout="stereo")
        for number, frame in enumerate(sample_frames(width, height)):
            container.mux(picture.encode(_timed(av.VideoFrame.from_ndarray(frame, "bgr24"), number, RATE)))
        samples = chord(COAST + VALLEY)
        for start in range(0, samples.shape[1], 1024):
            block = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples[:, start : start + 1024]), "fltp", "stereo")
            block.sample_rate = AUDIO_RATE
            container.mux(sound.encode(_timed(block, start, AUDIO_RATE)))
        container.mux(picture.encode())
        container.mux(sound.encode())


def coast(width: int, height: int, t: float) -> np.ndarray:
    """Boats before a wooded coast in the evening, seen from a camera that travels right; t in seconds."""
    unit, pan = height / 360, 34 * t
    horizon = 0.52 * height
    sun = (0.66 * width - 0.15 * pan * unit, 0.36 * height)
    frame = _sky(width, height, t, NIGHT_TO_GOLD, clouds=(124, 158, 228), seed=1)
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    away = np.hypot(columns - sun[0], rows - sun[1]) / unit
    frame = mix(frame, (190, 235, 255), np.clip(22.5 - away, 0, 1) + 0.6 * np.exp(-away / 50))
    frame = _over(frame, _hill(width, height, horizon, 62, 120, FAR_HILL, seed=2), 0.25 * pan * unit)
    frame = _over(frame, _hill(width, height, horizon, 40, 70, WOOD, seed=3), 0.5 * pan * unit)
    frame = _sea(frame, horizon, sun[0], t).astype(np.uint8)  # smooth edges are drawn on 8 bits alone
    for start, speed, distance, hull in (
        (250, 20, 12, (60, 60, 150)),
        (120, 34, 34, (48, 40, 52)),
        (520, -16, 62, (120, 60, 40)),
    ):
        scale = unit * (0.35 + distance / 55)
        x = start * width / 640 + (speed * t - pan * (0.5 + distance / 60)) * unit
        _boat(
            frame,
            x,
            horizon + distance * unit + scale * np.sin(2.4 * t + start),
            scale,
            np.sin(1.9 * t + start) * 0.06,
            hull,
        )
    frame = _over(frame, _hill(width, height, 1.02 * height, 46, 34, WOOD[:3], seed=4, ragged=5), 2.2 * pan * unit)
    return np.clip(frame, 0, 255).astype(np.uint8)


def valley(width: int, height: int, t: float) -> np.ndarray:
    """Balloons over fields and trees at noon, seen from a camera that travels left; t in seconds."""
    unit, pan = height / 360, 40 - 38 * t
    frame = _sky(width, height, t, NOON, clouds=(252, 250, 246), seed=11)
    frame = _over(frame, _hill(width, height, 0.62 * height, 70, 140, FAR_HILL, seed=12), 0.2 * pan * unit)
    frame = _over(frame, _hill(width, height, 0.78 * height, 70, 170, GRASS, seed=13), 0.45 * pan * unit)
    frame = frame.astype(np.uint8)
    _balloon(frame, (0.30 * width + 9 * t * unit, (150 - 20 * t) * unit), 34 * unit, ((50, 60, 215), (225, 235, 245)))
    _balloon(frame, (0.73 * width - 14 * t * unit, (84 - 6 * t) * unit), 19 * unit, ((40, 170, 240), (150, 70, 40)))
    frame = _over(frame, _hill(width, height, 0.92 * height, 60, 200, WHEAT, seed=14, furrows=True), 0.8 * pan * unit)
    frame = _over(frame, _trees(width, height, 0.86 * height, seed=15), 1.1 * pan * unit)
    frame = _over(frame, _hill(width, height, 1.04 * height, 40, 60, GRASS, seed=16, ragged=4), 1.7 * pan * unit)
    return np.clip(frame, 0, 255).astype(np.uint8)


def chord(frames: int) -> np.ndarray:
    """A soft chord as long as `frames` frames: (2, N) float32 at 48000 samples per second; left and right differ."""
    t = np.arange(frames * AUDIO_RATE // RATE) / AUDIO_RATE
    length = frames / RATE
    swell = np.clip(np.minimum(t, length - t) / 0.6, 0, 1)
    voices = [(110.0, 0.0), (164.81, -0.6), (220.0, 0.4), (277.18, 0.7), (329.63, -0.3)]
    sides = np.zeros((2, len(t)))
    for number, (pitch, place) in enumerate(voices):
        voice = np.sin(2 * np.pi * pitch * t) * (0.75 + 0.25 * np.sin(2 * np.pi * (0.4 + 0.13 * number) * t))
        sides += np.outer([1 - place, 1 + place], voice)
    return (0.05 * swell * sides).astype(np.float32)


def _timed(frame, pts: int, rate: int):
    frame.pts, frame.time_base = pts, Fraction(1, rate)
    return frame


def _noise(height: int, width: int, cell: float, seed: int, stretch: float = 1, octaves: int = 5) -> np.ndarray:
    """Cloudy noise (height, width) float32 in [0, 1]; its largest blobs are `cell` pixels high and `stretch` times as wide."""
    rng, total = np.random.default_rng(seed), np.zeros((height, width), np.float32)
    for octave in range(octaves):
        rows, columns = (int(side / (cell / 2**octave * wide)) + 4 for side, wide in ((height, 1), (width, stretch)))
        grid = rng.random((rows, columns), np.float32)
        scale = np.array([[cell / 2**octave * stretch, 0, -cell], [0, cell / 2**octave, -cell]], np.float32)
        total += (
            cv2.warpAffine(grid, scale, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
            / 2**octave
        )
    return cv2.normalize(total, NO_ARRAY, 0, 1, cv2.NORM_MINMAX)


def ramp(values: np.ndarray, colors: tuple) -> np.ndarray:
    """Values in [0, 1] as colors, from the first to the last."""
    stops = np.linspace(0, 1, len(colors))
    return np.dstack([np.interp(values, stops, channel) for channel in zip(*colors)]).astype(np.float32)


def mix(frame: np.ndarray, color, share: np.ndarray) -> np.ndarray:
    return frame + (np.asarray(color, np.float32) - frame) * np.clip(share, 0, 1).astype(np.float32)[..., None]


def _over(frame: np.ndarray, layer: np.ndarray, shift: float) -> np.ndarray:
    """`frame` behind `layer`, a wider picture with opacity (H, W, 4), moved left by `shift` pixels from its middle."""
    height, width = frame.shape[:2]
    left = (layer.shape[1] - width) / 2 + shift
    move = np.array([[1, 0, -left], [0, 1, 0]], np.float32)
    seen = cv2.warpAffine(layer, move, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return mix(frame, seen[..., :3], seen[..., 3])


def _sky(width: int, height: int, t: float, colors: tuple, clouds: tuple, seed: int) -> np.ndarray:
    unit = height / 360
    backdrop, cover = _sky_layers(width, height, colors, seed)
    drift = np.array([[1, 0, -(40 + 9 * t) * unit], [0, 1, 0]], np.float32)
    cover = cv2.warpAffine(cover, drift, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    light = np.clip(cover[..., None] - 0.3, 0, 1)
    return mix(backdrop, np.array(clouds, np.float32) * (0.72 + 0.28 * light), 1.5 * np.clip(cover - 0.1, 0, 1))


@lru_cache(maxsize=4)
def _sky_layers(width: int, height: int, colors: tuple, seed: int) -> tuple[np.ndarray, np.ndarray]:
    unit = height / 360
    down = np.linspace(0, 1.5, height, dtype=np.float32)[:, None] + 0.25 * (
        _noise(height, width, 40 * unit, seed, stretch=4) - 0.5
    )
    clouds = _noise(height, width + int(200 * unit), 70 * unit, seed + 100, stretch=2.2, octaves=6)
    return ramp(np.clip(down, 0, 1), colors), np.maximum(2.6 * (clouds - 0.42), 0)


@lru_cache(maxsize=16)
def _hill(
    width: int,
    height: int,
    foot: float,
    rise: float,
    cell: float,
    colors: tuple,
    seed: int,
    ragged: float = 1,
    furrows: bool = False,
) -> np.ndarray:
    """A hill with leafy texture that ends upwards in a noisy line, (H, wider, 4); it reaches the bottom of the picture."""
    unit = height / 360
    wide = width + int(460 * unit)
    line = foot - rise * unit * _noise(1, wide, cell * unit, seed, octaves=3)
    line = line - ragged * unit * _noise(1, wide, 5 * unit, seed + 1, octaves=2)
    y, x = np.mgrid[0:height, 0:wide].astype(np.float32)
    depth = (y - line) / unit
    leaves = _noise(height, wide, 22 * unit, seed + 2, octaves=5)
    if furrows:
        leaves = 0.5 * leaves + 0.25 + 0.25 * np.sin((x / unit - 1.4 * depth) * 120 / (60 + np.abs(depth)) / 3)
    tone = 1.5 * (leaves - 0.2) - 0.35 * np.clip(depth / 90, 0, 1) + 0.25 * np.exp(-np.abs(depth) / 6)
    return np.dstack([ramp(np.clip(tone, 0, 1), colors), np.clip(depth * unit + 0.5, 0, 1)]).astype(np.float32)


@lru_cache(maxsize=2)
def _trees(width: int, height: int, foot: float, seed: int) -> np.ndarray:
    """A row of round trees with leaves that catch the light from the upper left, (H, wider, 4)."""
    unit, rng = height / 360, np.random.default_rng(seed)
    wide = width + int(460 * unit)
    leaves = _noise(height, wide, 16 * unit, seed + 1, octaves=4)
    y, x = np.mgrid[0:height, 0:wide].astype(np.float32) + 14 * unit * (leaves - 0.5)
    layer = np.zeros((height, wide, 4), np.float32)
    for place in range(40, int(wide / unit), 118):
        place += rng.uniform(-34, 34)
        size, base = rng.uniform(26, 46) * unit, foot + rng.uniform(-4, 26) * unit
        trunk = (np.abs(x - place * unit) < 0.11 * size) & (y > base - size) & (y < base)
        layer[trunk] = (34, 50, 74, 1)
        dx, dy = (x - place * unit) / size, (y - base + 1.7 * size) / (1.15 * size)
        tone = 0.62 + 0.9 * (leaves - 0.5) - 0.34 * dx - 0.42 * dy
        inside = np.clip((1 - np.hypot(dx, dy)) * size + 0.5, 0, 1)[..., None]
        crown = np.dstack([ramp(np.clip(tone, 0, 1), WOOD), np.ones_like(tone)])
        layer += (crown - layer) * inside
    return layer


def _sea(frame: np.ndarray, horizon: float, glint: float, t: float) -> np.ndarray:
    """Waves from the horizon down, in perspective, with the sun's path at the column `glint`."""
    height, width = frame.shape[:2]
    unit, top = height / 360, int(horizon)
    y, x = np.mgrid[top:height, 0:width].astype(np.float32)
    near = (y - horizon + 3 * unit) / (height - horizon)
    swell = _wave_noise(unit)
    waves = np.zeros_like(near)
    for speed, seed_shift in ((18, 0), (-11, 170)):
        u = (x - width / 2 + 90 * unit) / (0.25 + 1.6 * near) / unit + speed * t + seed_shift + 800
        v = 150 * np.log(near + 0.02) + 700 + 0.5 * speed * t + seed_shift
        waves += 0.5 * cv2.remap(
            swell, u.astype(np.float32), v.astype(np.float32), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
        )
    water = ramp(np.clip(2.2 * (waves - 0.5) + 0.75 - 0.55 * near, 0, 1), SEA)
    path = np.exp(-(((x - glint) / (unit * (26 + 70 * near))) ** 2)) * np.clip(5 * (waves - 0.47), 0, 1)
    frame = frame.copy()
    frame[top:] = mix(water, (150, 215, 255), path + 0.25 * np.exp(-near * 14))
    return frame


@lru_cache(maxsize=1)
def _wave_noise(unit: float) -> np.ndarray:
    return _noise(1400, 2400, 26, 7, stretch=2.6, octaves=4)


def _fill(frame: np.ndarray, points: list | np.ndarray, color: tuple) -> None:
    """A filled polygon with smooth edges, placed to 1/16 of a pixel, so that slow things do not jump."""
    cv2.fillPoly(frame, [np.rint(np.asarray(points, np.float32) * 16).astype(np.int32)], color, cv2.LINE_AA, shift=4)


def _boat(frame: np.ndarray, x: float, y: float, scale: float, roll: float, hull: tuple) -> None:
    """A sailing boat whose waterline is at (x, y); `scale` pixels are 1/40 of its length."""
    turn = np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]], np.float32)

    def part(points, color):
        _fill(frame, np.array(points, np.float32) @ turn.T * scale + (x, y), color)

    part([(-20, -6), (22, -7), (14, 2), (-14, 2)], hull)
    part([(-20, -6), (22, -7), (21, -5), (-19, -4)], (190, 205, 215))
    part([(-1, -6), (0.5, -6), (0.5, -48), (-1, -48)], (40, 60, 80))
    part([(1.5, -46), (1.5, -10), (20, -10), (11, -26)], (225, 238, 245))
    part([(1.5, -28), (1.5, -22), (15.2, -19), (11, -26)], (60, 90, 210))
    part([(-2, -44), (-2, -10), (-17, -9), (-8, -24)], (195, 215, 232))


def _balloon(frame: np.ndarray, centre: tuple[float, float], radius: float, colors: tuple) -> None:
    """A hot-air balloon in vertical stripes, darker to the right, with its basket."""
    x, y = centre
    across = np.linspace(-1, 1, 13)
    angles = np.linspace(0, np.pi, 24)
    for number, (left, right) in enumerate(zip(across, across[1:])):
        edges = []
        for side, order in ((left, 1), (right, -1)):
            bulge = np.sin(angles) * np.where(angles > np.pi / 2, 0.28 + 0.72 * np.sin(angles), 1)
            edges += list(zip(x + np.sin(side * np.pi / 2) * radius * bulge, y - 1.15 * radius * np.cos(angles)))[
                ::order
            ]
        shade = 1.05 - 0.35 * (number / 12)
        _fill(frame, edges, tuple(min(255, shade * channel) for channel in colors[number % 2]))
    ropes = [[(side * 0.22, 1.08), (side * 0.15, 1.5), (side * 0.12, 1.5)] for side in (-1, 1)]
    basket = [(-0.16, 1.5), (0.16, 1.5), (0.13, 1.75), (-0.13, 1.75)]
    for points, color in ((ropes[0], (50, 60, 70)), (ropes[1], (50, 60, 70)), (basket, (40, 72, 110))):
        _fill(frame, np.array(points, np.float32) * radius + (x, y), color)
