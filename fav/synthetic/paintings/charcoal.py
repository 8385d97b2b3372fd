"""A charcoal drawing of a still life: a jug, a bottle, fruit and a cloth on a table, hatched along their forms.

The things are solids given by their distance functions, lit by one lamp (sphere tracing: Hart 1996). The light decides
how many layers of strokes a place gets, and the form their direction.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from fav.synthetic.paintings.marks import (
    FINE,
    HEIGHT,
    WIDTH,
    blurred,
    fill,
    noise,
    path,
    reduced,
    ribbon,
    spaced_lines,
    step,
    taper,
)

SEED = 11
SEEN = 0.5  # the scene is traced at this size
EYE, AIM, LENS = np.array([0.25, 2.75, 8.6]), np.array([0.0, 1.0, 0.0]), 2.36
LAMP = np.array([-0.74, 0.66, 0.52]) / np.linalg.norm([-0.74, 0.66, 0.52])
PAPER, COAL, CHALK = np.array([176, 203, 222]), np.array([36, 33, 36]), np.array([226, 240, 248])

# Heights and radii of what was turned on a wheel, in units of about 10 cm.
JUG = path("0,0.5 0.05,0.62 0.5,0.95 1.0,1.06 1.45,0.93 1.85,0.6 2.1,0.47 2.35,0.5 2.5,0.6")
BOTTLE = path("0,0.5 0.08,0.56 1.5,0.57 1.75,0.52 2.05,0.3 2.3,0.19 2.95,0.17 3.0,0.22 3.15,0.22")
BOWL = path("0,0.34 0.1,0.36 0.16,0.3 0.3,0.62 0.5,0.9 0.72,1.05 0.76,1.06")
PEAR = path("0,0.12 0.06,0.3 0.3,0.46 0.5,0.48 0.75,0.37 0.98,0.23 1.15,0.18 1.24,0.08 1.26,0.0")
APPLE = path("0.0,0.16 0.05,0.27 0.22,0.43 0.42,0.49 0.62,0.45 0.76,0.31 0.8,0.18 0.76,0.05 0.74,0")


@dataclass(frozen=True)
class Turned:
    """A solid of revolution: where it stands, its size, its profile, and its own tone."""

    place: tuple[float, float, float]
    size: float
    profile: np.ndarray
    tone: float
    lean: tuple[float, float] = (0, 0)  # dx and dz for a unit of height
    hollow: float = 0  # thickness of its wall, 0 where it is solid


THINGS = (
    Turned((-1.55, 0, -0.2), 1.0, JUG, 0.9, hollow=0.07),
    Turned((0.1, 0, -0.95), 1.02, BOTTLE, 0.13),
    Turned((1.75, 0, -0.35), 1.0, BOWL, 0.75, hollow=0.08),
    Turned((1.35, 0.44, -0.3), 0.95, APPLE, 0.42),
    Turned((2.12, 0.46, -0.25), 0.9, APPLE, 0.5, (0.1, 0.1)),
    Turned((1.75, 0.55, -0.75), 0.95, PEAR, 0.62, (0.12, -0.1)),
    Turned((0.62, 0, 0.75), 1.0, PEAR, 0.72, (-0.22, 0.1)),
    Turned((-0.3, 0, 0.75), 0.95, APPLE, 0.42, (0.1, 0.1)),
    Turned((-2.75, 0, 0.75), 0.85, APPLE, 0.5),
)
HANDLE, TABLE, CLOTH, WALL, STEMS = range(len(THINGS), len(THINGS) + 5)
TONES = (*(thing.tone for thing in THINGS), 0.9, 0.55, 1.0, 0.62, 0.12)
INSIDE, FRONT = len(TONES), len(TONES) + 1  # of the jug, of the table: seen as things of their own
EDGE = 1.75  # z of the table's front


def _turned(thing: Turned, place: np.ndarray) -> np.ndarray:
    y = (place[:, 1] - thing.place[1]) / thing.size
    x = (place[:, 0] - thing.place[0]) / thing.size - thing.lean[0] * y
    z = (place[:, 2] - thing.place[2]) / thing.size - thing.lean[1] * y
    heights, radii = thing.profile.T
    fine = np.linspace(heights.min(), heights.max(), 80)
    if np.all(np.diff(heights) > 0):
        around = np.interp(fine, heights, radii)
        around = np.convolve(np.pad(around, 3, mode="edge"), np.ones(7) / 7, "valid")
        from_axis = np.hypot(x, z)
        distance = (from_axis - np.interp(y, fine, around)) * 0.75
        if thing.hollow:
            within = (np.interp(y, fine, around) - thing.hollow - from_axis) * 0.75
            distance = np.maximum(distance, np.minimum(within, (y - 0.25) * 0.8))
        distance = np.maximum(distance, np.maximum(heights.min() - y, y - heights.max()))
    else:  # a dent at the top: the distance to the outline itself, negative within
        from_axis = np.hypot(x, z)
        outer, top = heights[: int(heights.argmax()) + 1], radii[: int(heights.argmax()) + 1]
        dent = np.interp(from_axis, radii[int(heights.argmax()) :][::-1], heights[int(heights.argmax()) :][::-1])
        distance = np.maximum((from_axis - np.interp(y, outer, top)) * 0.6, (y - dent) * 0.7)
        distance = np.maximum(distance, -y)
    return distance * thing.size * 0.9


def _distances(place: np.ndarray) -> np.ndarray:
    """Distance of each place (n, 3) to each thing, (things, n)."""
    x, y, z = place.T
    out = [_turned(thing, place) for thing in THINGS]
    ring = np.hypot(x + 2.42, (y - 1.55) * 0.82) - 0.52  # the jug's handle: a ring that stands upright
    handle = np.hypot(ring, (z + 0.2) * 0.7) - 0.095
    out.append(np.maximum(handle * 0.8, x + 2.05))
    out.append(np.maximum(np.maximum(y, z - EDGE), -y - 3) * 0.95)
    # A cloth over the table and its front: it hangs in folds, and lies in waves.
    share = np.clip(-y / 0.8, 0, 1)
    left, right = -0.95 + 0.35 * np.sin(z * 1.3) - 0.25 * share, 2.95 + 0.3 * np.sin(z * 1.7 + 1)
    folds = (
        (0.05 + 0.08 * share) * (1 + np.sin(5.6 * x + 1.9 * np.sin(1.3 * x + 2) + 0.8 * y + 0.7)) * step(0, 0.35, -y)
    )
    waves = 0.045 * (1 + np.sin(3.1 * x + 2.6 * z + 1.2 * np.sin(1.3 * z))) * step(-0.4, 0.9, z)
    slab = np.maximum(y - 0.035 - waves, z - EDGE - 0.05 - folds)
    hem = -1.35 - 0.12 * np.sin(2.3 * x + 0.5)
    slab = np.maximum(
        np.maximum(slab, np.maximum(left - x, x - right)), np.maximum(hem - y, 0.15 * np.sin(x * 2.1) + 0.05 - z)
    )
    out.append(slab * 0.55)
    out.append(z + 3.2)
    stems = [np.full(len(place), 9.0)]
    for thing in THINGS:
        if thing.profile is PEAR or thing.profile is APPLE:
            high = 1.2 if thing.profile is PEAR else 0.7
            root = np.array(thing.place) + thing.size * high * np.array([thing.lean[0], 1, thing.lean[1]])
            tip = np.array([0.13 + thing.lean[0] * 0.5, 0.27, 0.03]) * thing.size
            share = np.clip((place - root) @ tip / (tip @ tip), 0, 1)
            bent = root + share[:, None] * tip + (share * (1 - share))[:, None] * np.array([-0.2, 0.1, 0])
            stems.append(np.linalg.norm(place - bent, axis=1) - 0.03 - 0.022 * share**4)
    out.append(np.min(stems, axis=0))
    return np.stack(out)


def _march(
    start: np.ndarray, ahead: np.ndarray, longest: float, steps: int, soft: float = 0
) -> tuple[np.ndarray, np.ndarray]:
    """How far each ray goes (n,), and with `soft` how much light comes through (n,) 0 to 1."""
    far = np.full(len(start), 0.02)
    light = np.ones(len(start))
    going = np.arange(len(start))
    for _ in range(steps):
        near = _distances(start[going] + ahead[going] * far[going, None]).min(axis=0)
        if soft:
            light[going] = np.minimum(light[going], np.clip(soft * near / far[going], 0, 1))
        far[going] += np.maximum(near, 0.002)
        going = going[(near > 0.003) & (far[going] < longest)]
        if not len(going):
            break
    return far, light


def _seen() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What stands where (H, W) int, how light it is (H, W) 0 to 1, and its normal (H, W, 3): right, up, to the eye."""
    width, height = round(WIDTH * SEEN), round(HEIGHT * SEEN)
    back = (EYE - AIM) / np.linalg.norm(EYE - AIM)
    right = np.cross([0, 1, 0], back)
    right /= np.linalg.norm(right)
    up = np.cross(back, right)
    u, v = np.meshgrid(
        (np.arange(width) + 0.5 - width / 2) / (width / 2), -(np.arange(height) + 0.5 - height / 2) / (width / 2)
    )
    ahead = u.reshape(-1, 1) * right + v.reshape(-1, 1) * up - back * LENS
    ahead /= np.linalg.norm(ahead, axis=1, keepdims=True)
    eye = np.broadcast_to(EYE, ahead.shape)
    far, _ = _march(eye, ahead, 20, 90)
    place = eye + ahead * far[:, None]
    which = _distances(place).argmin(axis=0)
    nudge = 0.004 * np.array([[1, -1, -1], [-1, -1, 1], [-1, 1, -1], [1, 1, 1]])
    normal = np.zeros_like(place)
    for aside in nudge:
        normal += aside * _distances(place + aside)[which, np.arange(len(place))][:, None]
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9)
    facing = np.clip(normal @ LAMP, 0, 1)
    _, open_ = _march(place + normal * 0.03, np.broadcast_to(LAMP, place.shape), 7, 40, soft=7)
    around = np.clip(_distances(place + normal * 0.3).min(axis=0) / 0.3, 0, 1) * np.clip(
        _distances(place + normal * 0.8).min(axis=0) / 0.8 + 0.3, 0, 1
    )
    light = 0.1 * around + 0.08 * around * np.clip(normal @ np.array([0.8, 0.1, 0.3]), 0, 1) + 0.86 * facing * open_
    light *= np.array(TONES)[which]
    halfway = LAMP - ahead
    halfway /= np.linalg.norm(halfway, axis=1, keepdims=True)
    glossy = np.isin(which, (*range(len(THINGS)), HANDLE))
    light += glossy * open_ * np.clip((normal * halfway).sum(axis=1), 0, 1) ** 60 * 0.8
    inside_jug = (which == 0) & (((place[:, [0, 2]] - np.array([-1.55, -0.2])) * normal[:, [0, 2]]).sum(axis=1) < 0)
    front = (which == TABLE) & (normal[:, 2] > 0.7)
    light[front] *= 0.3
    which = np.where(inside_jug, INSIDE, np.where(front, FRONT, which))
    shape = (height, width)
    to_eye = np.stack([normal @ right, normal @ up, normal @ back], axis=1)
    return which.reshape(shape), light.reshape(shape), to_eye.reshape(*shape, 3)


def _enlarged(image: np.ndarray) -> np.ndarray:
    return cv2.resize(image.astype(np.float32), (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)


def _strokes(
    rng: np.random.Generator, lines: list[np.ndarray], dark: np.ndarray, width: float, firm: float
) -> np.ndarray:
    """A layer of strokes, (HEIGHT, WIDTH) 0 to 1: wider and firmer where it is dark."""
    layer = np.zeros((HEIGHT * FINE, WIDTH * FINE), np.uint8)
    for line in lines:
        column, row = line[len(line) // 2].astype(int)
        here = float(dark[min(row, HEIGHT - 1), min(column, WIDTH - 1)])
        wobble = np.cumsum(rng.standard_normal((len(line), 2)) * 0.12, axis=0)
        swell = width * (0.55 + 0.75 * here) * rng.uniform(0.8, 1.25)
        fill(
            layer,
            ribbon(line + wobble - wobble.mean(axis=0), taper(len(line), 0.25, 0.5) * swell),
            255 * min(1, firm * (0.55 + 0.6 * here) * rng.uniform(0.8, 1.1)),
        )
    return reduced(layer).astype(np.float32) / 255


def _contours(rng: np.random.Generator, which: np.ndarray, dark: np.ndarray) -> np.ndarray:
    """Lines along the edges of things, heavy in the shade and lost in the light."""
    layer = np.zeros((HEIGHT * FINE, WIDTH * FINE), np.uint8)
    deep = blurred(dark, 4)
    for number in np.unique(which):
        mask = blurred(_enlarged(which == number), 2.2) > 0.5
        for outline in cv2.findContours(mask.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)[0]:
            chain = outline[:, 0].astype(np.float64) + 0.5
            if len(chain) < 40:
                continue
            chain = np.stack(
                [np.convolve(np.pad(side, 6, mode="wrap"), np.ones(13) / 13, "valid") for side in chain.T], axis=1
            )[::3]
            start = 0
            while start < len(chain) - 6:
                count = int(rng.integers(14, 50))
                piece = chain[start : start + count]
                start += int(count * rng.uniform(0.75, 1.0))
                inside = (piece > 6).all(axis=1) & (piece[:, 0] < WIDTH - 6) & (piece[:, 1] < HEIGHT - 6)
                if len(piece) < 6 or not inside.all():
                    continue
                middle = piece.astype(int)
                here = float(deep[middle[:, 1], middle[:, 0]].mean())
                if rng.random() < 0.75 - 1.6 * here:
                    continue
                for _ in range(1 + (here > 0.6)):
                    moved = (
                        piece + rng.normal(0, 1.1, 2) + np.linspace(-1, 1, len(piece))[:, None] * rng.normal(0, 1.2, 2)
                    )
                    fill(
                        layer,
                        ribbon(moved, taper(len(piece), 0.4, 0.5) * (1.6 + 5.5 * here**1.7) * rng.uniform(0.7, 1.2)),
                        255 * min(1, 0.5 + 0.6 * here),
                    )
    return reduced(layer).astype(np.float32) / 255


def _on_tooth(cover: np.ndarray, tooth: np.ndarray) -> np.ndarray:
    """What a stroke leaves on paper whose hollows it does not reach, the less the firmer it is."""
    return np.clip(cover * 1.22 - 0.5 * np.clip(tooth, -0.4, 1.6) * cover * (1.15 - cover), 0, 1)


def charcoal() -> np.ndarray:
    """The drawing, (HEIGHT, WIDTH, 3) uint8 BGR."""
    rng = np.random.default_rng(SEED)
    which, light, normal = _seen()
    light = np.clip(_enlarged(light), 0, 1)
    kind = cv2.resize(which.astype(np.float32), (WIDTH, HEIGHT), interpolation=cv2.INTER_NEAREST).astype(int)
    right, up, near = (blurred(_enlarged(normal[..., axis]), 1.5) for axis in range(3))
    down = np.linspace(0, 1, HEIGHT)[:, None]
    across = np.linspace(0, 1, WIDTH)[None]
    dark = 1 - light**0.62
    wall = kind == WALL
    dark[wall] = (np.clip(0.93 - 0.75 * across + 0.12 * down + 0.1 * noise(rng, 150), 0.12, 0.95) * 0.75 + 0.3 * dark)[
        wall
    ]
    dark = np.clip(dark, 0, 1).astype(np.float32)

    around = np.arctan2(right * 0.38, near + 0.35)  # along the ellipses of a turned thing, seen from a little above
    around = np.where(np.isin(kind, (*range(len(THINGS)), HANDLE, INSIDE)), around, 0)
    flat = {TABLE: 0.06, CLOTH: 0.0, WALL: -0.9, FRONT: 1.25, STEMS: -1.2}
    for number, angle in flat.items():
        around = np.where(kind == number, angle + 0.07 * noise(rng, 120), around)
    folds = (kind == CLOTH) & (up < 0.75)
    around = np.where(folds, 1.45 + 0.9 * right, around).astype(np.float32)

    edges = (
        cv2.dilate(
            cv2.morphologyEx(kind.astype(np.float32), cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)),
            np.ones((2, 2), np.uint8),
        )
        > 0
    )
    total = (
        0.62 * blurred(dark, 6) ** 1.25 * step(0.1, 0.5, blurred(dark, 10)) * (1 + 0.16 * noise(rng, 50, octaves=2))
    )  # rubbed in
    tooth = noise(rng, 4) * 0.75 + noise(rng, 8) * 0.45
    # How dark a place must be, turn of the strokes, their distance where it is light and dark, width, firmness, length.
    layers = (
        (0.20, 0.0, (14.0, 9.0), 6.0, 0.72, 170),
        (0.42, 1.0, (14.0, 10.0), 6.6, 0.75, 130),
        (0.60, -0.75, (13.5, 10.0), 8.5, 0.85, 120),
        (0.72, 0.25, (15.0, 11.0), 17.0, 0.85, 170),
    )
    for least, turn, (wide, tight), width, firm, longest in layers:
        ragged = dark + 0.05 * noise(rng, 24)
        distance = wide + (tight - wide) * np.clip((dark - least) / 0.4, 0, 1)
        lines = spaced_lines(rng, around + turn, distance, (ragged > least) & ~edges, longest, 24 if width < 10 else 45)
        cover = _strokes(rng, lines, dark, width, firm)
        cover = _on_tooth(blurred(cover, 0.8), tooth)
        total = 1 - (1 - total) * (1 - cover * (0.66 if width < 10 else 0.8))
    total = 1 - (1 - total) * (1 - 0.88 * _on_tooth(blurred(_contours(rng, which, dark), 0.7), tooth))
    total = np.maximum(total, 0.8 * blurred((kind == STEMS).astype(np.float32), 1.2))
    total = np.clip(total, 0, 1)[..., None]
    paper = PAPER + 3.0 * noise(rng, 60, octaves=3)[..., None] + 1.5 * noise(rng, 6)[..., None]
    picture = paper * (1 - total) + COAL * total
    white = (blurred(step(0.9, 1.0, light) * np.isin(kind, (*range(len(THINGS)), HANDLE, CLOTH)), 1.2))[
        ..., None
    ] * 0.75
    return np.clip(picture * (1 - white) + CHALK * white, 0, 255).round().astype(np.uint8)
