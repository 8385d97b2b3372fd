"""A woodcut of a sower at sunrise: a black block with its lines cut out, over three flat colors on cream paper.

Each part of the drawing is left black and then carved along its form, the wider the lighter it is; the rims stay.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from fav.synthetic.paintings.marks import (
    FINE,
    HEIGHT,
    WIDTH,
    Points,
    blurred,
    closed,
    curve,
    fill,
    grid,
    noise,
    path,
    reduced,
    ribbon,
    spaced_lines,
    step,
    taper,
)  # fmt: skip

SEED = 23
SUN = np.array([668.0, 300.0])
RADIUS = 104
CLEAR = 0.13  # what is lighter is cut away whole
PAPER, INK = np.array([206, 228, 240]), np.array([32, 26, 28])
RED, OCHRE, BLUE = np.array([52, 72, 214]), np.array([84, 172, 232]), np.array([158, 122, 62])


class Block:
    """The black block: what is ink, FINE times as large, and how each part is carved."""

    def __init__(self, rng: np.random.Generator):
        self.rng = rng
        self.ink = np.zeros((HEIGHT * FINE, WIDTH * FINE), np.uint8)

    def carve(
        self,
        mask: np.ndarray,
        direction: np.ndarray,
        tone: np.ndarray,
        pitch: float = 10,
        rim: float = 3,
        longest: float = 170,
        halo: float = 0,
    ) -> None:
        """A part: `mask` is FINE times as large; `direction` (radians) and `tone` (0 light, 1 black) are not.

        `pitch` is the distance of the cuts, `rim` the width of the line that stays around them, `halo` that of the line
        that is cut around the part, all in units.
        """
        self.cut_around(mask, halo)
        self.ink[mask > 0] = 255
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * round(rim * FINE) + 1,) * 2)
        inner = cv2.erode(mask, kernel, borderValue=255)
        inside = (cv2.resize(inner, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA) > 127) & (tone < 0.93)
        ragged = np.clip(tone + 0.05 * noise(self.rng, 30), 0, 1)
        cuts = np.zeros_like(self.ink)
        spacing = np.full(tone.shape, pitch, np.float32)
        for line in spaced_lines(self.rng, direction, spacing, inside, longest, 18):
            column, row = line.astype(int).T
            light = 1 - ragged[np.clip(row, 0, HEIGHT - 1), np.clip(column, 0, WIDTH - 1)]
            light = np.convolve(np.pad(light, 3, mode="edge"), np.ones(7) / 7, "valid")
            wide = pitch * np.clip(1.25 * light, 0.08, 1.12) * self.rng.uniform(0.85, 1.12)
            wobble = np.cumsum(self.rng.standard_normal((len(line), 2)) * 0.1, axis=0)
            fill(cuts, ribbon(line + wobble - wobble.mean(axis=0), wide * taper(len(line), 0.22, 0.4)), 255)
        large = cv2.resize(ragged.astype(np.float32), (WIDTH * FINE, HEIGHT * FINE), interpolation=cv2.INTER_LINEAR)
        bright = large < CLEAR
        self.ink[((cuts > 0) | bright) & (inner > 0)] = 0

    def cut_around(self, mask: np.ndarray, halo: float) -> None:
        """A line of light around a part, so that it stands off from what is dark behind it."""
        if halo:
            kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * round(halo * FINE) + 1,) * 2)
            self.ink[cv2.dilate(mask, kernel) > 0] = 0

    def open(self, mask: np.ndarray, rim: float) -> None:
        """A part that is cut away whole, but for its rim."""
        self.ink[mask > 0] = 255
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * round(rim * FINE) + 1,) * 2)
        self.ink[cv2.erode(mask, kernel, borderValue=255) > 0] = 0

    def line(self, points: Points, width: float, ink: int = 255) -> None:
        """One tapering line, black or cut."""
        along = curve(points)
        fill(self.ink, ribbon(along, width * taper(len(along))), ink)


def _mask(*outlines: np.ndarray) -> np.ndarray:
    mask = np.zeros((HEIGHT * FINE, WIDTH * FINE), np.uint8)
    for outline in outlines:
        fill(mask, np.asarray(outline, float), 255)
    return mask


def _small(mask: np.ndarray) -> np.ndarray:
    return cv2.resize(mask, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA).astype(np.float32) / 255


def _relief(mask: np.ndarray, sigma: float, toward: Sequence[float] | np.ndarray) -> np.ndarray:
    """Light on a part taken as a cushion, (HEIGHT, WIDTH), about -1 to 1; `toward` points to the lamp (x, y)."""
    soft = blurred(_small(mask), sigma)
    slope = -(cv2.Sobel(soft, cv2.CV_32F, 1, 0) * toward[0] + cv2.Sobel(soft, cv2.CV_32F, 0, 1) * toward[1]) / 8
    return np.clip(slope * sigma * 2.6, -1, 1)


def _below(points: Points) -> np.ndarray:
    """The outline of what lies under a line."""
    x = np.linspace(-10, WIDTH + 10, 260)
    along, high = curve(points, 3).T
    y = np.interp(x, along, high)
    return np.vstack([np.stack([x, y], axis=1), [(WIDTH + 10, HEIGHT + 10), (-10, HEIGHT + 10)]])


def _height(points: Points) -> np.ndarray:
    """y of a line at each column, (WIDTH,)."""
    along, high = curve(points, 3).T
    return np.interp(np.arange(WIDTH), along, high)


RANGE = path("-10,372 70,330 130,352 210,268 262,318 320,290 400,382 470,360 560,410 1034,430")
RANGE_RIGHT = path("-10,470 640,440 760,400 840,352 890,376 960,310 1034,352")
HILLS = (
    path("-10,428 140,404 300,430 470,424 640,438 830,418 1034,430"),
    path("-10,470 150,452 330,490 500,470 690,480 860,458 1034,484"),
)
FIELD = path("-10,540 200,520 420,512 640,514 860,524 1034,512")
VANISH = np.array([560.0, 446.0])


def _sky(block: Block, x: np.ndarray, y: np.ndarray) -> None:
    angle, radius = np.arctan2(y - SUN[1], x - SUN[0]), np.hypot(x - SUN[0], y - SUN[1])
    rays = np.sin(26 * angle + 0.5 * np.sin(radius / 60))
    tone = 0.06 + 0.46 * step(120, 640, radius) + (0.16 + 0.12 * step(100, 500, radius)) * np.clip(1.6 * rays, -1, 1)
    whole = _mask(np.array(((-9, -9), (WIDTH + 9, -9), (WIDTH + 9, 520), (-9, 520))))
    block.carve(whole, angle, np.clip(tone, 0, 0.9), 11, 0, 210)
    turn = np.linspace(0, 2 * np.pi, 200)
    block.open(_mask(np.stack([np.cos(turn), np.sin(turn)], axis=1) * (RADIUS + 3) + SUN), 4)
    for points, width in (
        (path("-30,150 80,130 200,146 330,120 460,138"), 46),
        (path("760,92 860,74 960,96 1060,80"), 44),
        (path("420,58 520,46 620,60 700,48"), 26),
        (path("850,216 930,206 1050,222"), 26),
    ):
        line = curve(points)
        along = np.arange(len(line))
        swell = np.sin(np.pi * np.linspace(0, 1, len(line))) ** 0.5
        lobes = width * swell * (0.75 + 0.35 * np.abs(np.sin(along / 7.3 + width))) + 1
        cloud = _mask(ribbon(line, lobes))
        tone = np.clip(0.3 - 0.6 * _relief(cloud, 9, (0.1, -1)), 0.03, 0.9)
        block.carve(cloud, np.arctan2(np.sin(x / 40) * 0.5, 1.0), tone, 9, 3, halo=3)


def _land(block: Block, x: np.ndarray, y: np.ndarray) -> None:
    for points, side in ((RANGE, 1), (RANGE_RIGHT, -1)):
        mask = _mask(_below(points))
        high = _height(points)
        slope = np.gradient(np.convolve(np.pad(high, 8, mode="edge"), np.ones(17) / 17, "valid"))
        depth = y - high
        lean = np.clip(slope[None] * np.exp(-depth / 90), -1.4, 1.4)
        shade = 0.44 + 0.5 * np.tanh(-3 * side * lean + 0.25 * np.sin(x / 19 + depth / 23))
        block.carve(mask, np.arctan2(1.0, side * -0.2 + 1.2 * lean), np.clip(shade, 0.19, 0.95), 11, 3, halo=3)
    for number, points in enumerate(HILLS):
        mask = _mask(_below(points))
        high = _height(points)
        depth = y - high
        slope = np.gradient(high)[None]
        tone = 0.06 + (0.62 + 0.12 * number) * step(0, 44 + 20 * number, depth) + 0.14 * np.sin(x / 47 + number)
        direction = np.arctan2(slope * 1.0 + 0.14, 1.0) if number else np.arctan2(1.0, 0.9 + slope * 4)
        block.carve(mask, direction + 0 * y, np.clip(tone, 0.05, 0.95), 9, 2.5, 120, halo=2)
    mask = _mask(_below(FIELD))
    away = np.maximum(y - VANISH[1], 8)
    furrow = (x - VANISH[0]) / away
    rows = np.sin(furrow * 6.2 + 0.2 * np.sin(away / 30))
    tone = 0.3 + 0.5 * np.clip(rows * 1.7, -1, 1) + 0.1 * noise(block.rng, 60)
    tone -= 0.2 * np.exp(-(((x - SUN[0]) / 190) ** 2)) * np.exp(-away / 260)
    block.carve(mask, np.arctan2(away, x - VANISH[0]), np.clip(tone, 0.17, 0.96), 13, 3, 240, halo=2)


def _house(block: Block, left: float, foot: float, size: float) -> np.ndarray:
    """A farmhouse of `size` units a storey. Returns its roof's outline, for the red block."""

    def place(points: Points) -> np.ndarray:
        return np.array(points) * size + (left, foot)

    side = place(path("0,0 0,-1 0.6,-1.75 1.2,-1 1.2,0"))
    wall = place(path("1.2,0 1.2,-1 3.4,-0.94 3.4,0.02"))
    roof = place(path("0.5,-1.85 2.8,-1.78 3.55,-0.88 1.25,-0.93"))
    chimney = place(path("2.2,-1.5 2.2,-2.25 2.5,-2.25 2.5,-1.5"))
    block.open(_mask(chimney), 1.6)
    upright = np.full((HEIGHT, WIDTH), np.pi / 2, np.float32)
    block.carve(_mask(side), upright, np.full((HEIGHT, WIDTH), 0.42, np.float32), 6, 2, halo=2)
    block.cut_around(_mask(wall, roof), 2.5)
    block.open(_mask(wall), 2)
    block.carve(_mask(roof), upright - 0.7, np.full((HEIGHT, WIDTH), 0.3, np.float32), 8, 2.4)
    for x in (1.55, 2.15, 2.9):
        fill(block.ink, place(((x, -0.7), (x + 0.28, -0.7), (x + 0.28, -0.3), (x, -0.3))), 255)
    fill(block.ink, place(path("0.42,0 0.42,-0.55 0.75,-0.55 0.75,0")), 255)
    return roof


def _poplar(block: Block, x: np.ndarray, y: np.ndarray, foot: Sequence[float], high: float, wide: float) -> None:
    t = np.linspace(0, 1, 60)
    half = wide / 2 * np.sin(np.pi * t**0.75) ** 0.8 * (1 + 0.16 * np.sin(t * 26))
    outline = np.vstack(
        [
            np.stack([foot[0] + half, foot[1] - high * t], axis=1),
            np.stack([foot[0] - half * (1 + 0.1 * np.sin(t * 31)), foot[1] - high * t], axis=1)[::-1],
        ]
    )
    mask = _mask(outline)
    sun = SUN - foot
    light = _relief(mask, wide / 5, sun / np.linalg.norm(sun))
    flame = np.arctan2(-1.0, (x - foot[0]) / wide * 1.3 + 0.35 * np.sin(y / 16))
    block.carve(mask, flame, np.clip(0.74 - 0.85 * light, 0.08, 0.96), 8, 2.5, 70, halo=3)


def _tree(block: Block, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The old tree on the left. Returns what its leaves cover, FINE times as large."""
    leaves = np.zeros_like(block.ink)
    rng = block.rng
    trunk = curve(path("60,790 104,700 110,590 130,480 170,390 190,300"))
    widths = np.linspace(104, 36, len(trunk)) + 90 * np.exp(-np.arange(len(trunk)) / 12)
    limbs = [(trunk, widths)]
    boughs = (
        (path("140,450 220,380 300,340 380,330"), 34),
        (path("120,500 60,410 20,330"), 36),
        (path("170,380 230,290 290,240"), 28),
    )
    for points, width in boughs:
        line = curve(points)
        limbs.insert(0, (line, np.linspace(width, 9, len(line))))
    for line, width in limbs:
        mask = _mask(ribbon(line, width))
        near = ((x[::8, ::8, None] - line[::3, 0]) ** 2 + (y[::8, ::8, None] - line[::3, 1]) ** 2).argmin(axis=2)
        ahead = np.gradient(line[::3], axis=0)
        heading = np.arctan2(ahead[:, 1], ahead[:, 0])[near].astype(np.float32)
        heading = cv2.resize(heading, (WIDTH, HEIGHT), interpolation=cv2.INTER_NEAREST) + 0.12 * noise(rng, 40)
        light = _relief(mask, float(np.mean(width)) / 4, (0.9, -0.4))
        block.carve(mask, heading, np.clip(0.66 - 0.75 * light, 0.1, 0.96), 9, 3, 110, halo=3)
    clumps = path(
        "14,320,62 4,200,80 110,44,84 236,74,70 320,170,62 90,240,70 356,270,50 230,190,74 170,290,50 "
        "110,140,72 30,90,66"
    )
    for cx, cy, size in clumps:
        turn = np.linspace(0, 2 * np.pi, 120, endpoint=False)
        lobes = int(rng.integers(7, 10))
        scallops = 0.86 + 0.16 * np.abs(np.sin(turn * lobes / 2 + rng.uniform(0, 3)))
        reach = size * scallops * (1 + 0.08 * np.sin(2 * turn + rng.uniform(0, 6)))
        outline = np.stack([cx + reach * np.cos(turn) * 1.12, cy + reach * np.sin(turn) * 0.82], axis=1)
        mask = _mask(outline)
        leaves |= mask
        away = np.arctan2(y - cy - 0.5 * size, x - cx + 0.3 * size)
        light = _relief(mask, size / 3.2, (0.85, -0.5))
        leaf = 0.14 * np.sin(np.hypot(x - cx, y - cy - 0.5 * size) / 5.5 + 2 * np.sin(5 * away))
        block.carve(mask, away, np.clip(0.5 - 0.95 * light + leaf, 0.06, 0.95), 11.5, 3.5, 54, halo=3.5)
    return leaves


def _sower(block: Block) -> tuple[list[np.ndarray], np.ndarray]:
    """A man who walks and casts seed. Returns the outlines of what is red, and what he covers, FINE times as large."""

    def at(points: Points) -> np.ndarray:
        return np.array(points, float) * 1.62 + (712, 322)

    def limb(points: Points, widths: Sequence[float]) -> np.ndarray:
        line = at(curve(points, 2))
        return ribbon(line, np.interp(np.linspace(0, 1, len(line)), np.linspace(0, 1, len(widths)), widths) * 1.62)

    def shape(points: Points) -> np.ndarray:
        return at(closed(points, 2))

    upright = np.full((HEIGHT, WIDTH), 1.5, np.float32)
    bag = shape(path("12,76 34,70 46,92 34,114 12,108"))
    parts = (
        (limb(path("46,104 42,146 16,182"), (24, 18, 11)), 1.8, 0.66),
        (limb(path("14,184 18,192 34,196"), (10, 11, 5)), 0.2, 0.9),
        (limb(path("56,104 84,144 88,186"), (26, 19, 12)), 1.2, 0.6),
        (limb(path("86,184 92,192 112,195"), (11, 12, 5)), 0.2, 0.9),
        (limb(path("36,40 22,66 36,88"), (17, 13, 9)), 1.7, 0.4),
        (shape(path("38,30 52,26 66,32 71,50 69,84 76,118 52,124 28,120 36,84 31,48")), 1.5, 0.42),
        (bag, 0.9, 0.3),
        (limb(path("64,38 86,62 116,56"), (18, 13, 9)), 0.6, 0.36),
        (limb(path("114,57 124,52"), (9, 5)), 0.0, 0.5),
        (shape(path("44,8 62,8 65,18 60,28 48,28 43,18")), 1.5, 0.4),
        (shape(path("40,10 44,-5 56,-7 64,-2 66,9")), 1.5, 0.5),
        (shape(path("28,13 50,8 78,9 80,12 54,15 32,17")), 0.1, 0.7),
    )
    block.cut_around(_mask(*(part[0] for part in parts)), 4.5)
    for outline, heading, tone in parts:
        mask = _mask(outline)
        light = _relief(mask, 7, (-0.85, -0.5))
        block.carve(mask, upright - 1.5 + heading, np.clip(tone - 0.85 * light, 0.05, 0.97), 6.5, 2.4, 60, halo=1.2)
    rng = block.rng
    for _ in range(46):  # the seed
        share = rng.uniform(0, 1)
        x, y = at([(126 + 62 * share + rng.normal(0, 4), 52 + 86 * share**1.8 + rng.normal(0, 9 + 12 * share))])[0]
        drop = np.array(((x, y), (x + rng.uniform(5, 9), y + rng.uniform(7, 12))))
        fill(block.ink, ribbon(np.linspace(drop[0], drop[1], 5), 10 * taper(5, 0.5, 0.5)), 255)
        fill(block.ink, ribbon(np.linspace(drop[0], drop[1], 5), 5.5 * taper(5, 0.5, 0.5)), 0)
    return [bag, parts[-2][0]], _mask(*(part[0] for part in parts))


def _furrow(x: np.ndarray, y: np.ndarray, shift: float = 0) -> np.ndarray:
    """-1 to 1 across two rows of the field."""
    return np.sin((x - VANISH[0]) / np.maximum(y - VANISH[1], 8) * 3.1 + shift)


def _plates(reds: Sequence[np.ndarray], leaves: np.ndarray, bare: np.ndarray) -> tuple[np.ndarray, ...]:
    """Where the ochre, the blue and the red block print, each (HEIGHT, WIDTH) 0 to 1.

    `reds` are outlines of what is red beside the sun, `leaves` where ochre and blue make green, `bare` is 0 where
    the paper stays.
    """
    x, y = grid()
    turn = np.linspace(0, 2 * np.pi, 200)
    sun = np.stack([np.cos(turn), np.sin(turn)], axis=1) * RADIUS + SUN
    red = np.clip(_small(_mask(sun, *reds)), 0, 1)
    field, ground = _small(_mask(_below(FIELD))), _small(_mask(_below(HILLS[0])))
    radius, angle = np.hypot(x - SUN[0], y - SUN[1]), np.arctan2(y - SUN[1], x - SUN[0])
    waves = radius + 26 * np.sin(13 * angle) + 12 * np.sin(29 * angle + 1)
    sky = 1 - np.clip(_small(_mask(_below(RANGE), _below(RANGE_RIGHT))), 0, 1)
    ochre = step(330, 324, waves) * sky + np.clip(ground - field, 0, 1)
    ochre = np.clip(ochre + field * step(-0.02, 0.02, _furrow(x, y, 0.6)), 0, 1)
    blue = step(392, 400, waves) * sky + np.clip(1 - sky - ground, 0, 1)
    blue = np.clip(blue + field * step(0.89, 0.9, np.abs(_furrow(x, y))), 0, 1)
    ochre = np.maximum(ochre, leaves)
    blue = np.maximum(blue, leaves * step(0.6, -0.6, np.sin(x / 40 + y / 60) + x / 190 - 0.7))
    return ochre * bare, blue * (1 - red) * bare, red


def woodcut() -> np.ndarray:
    """The print, (HEIGHT, WIDTH, 3) uint8 BGR."""
    rng = np.random.default_rng(SEED)
    block = Block(rng)
    x, y = grid()
    _sky(block, x, y)
    _land(block, x, y)
    roofs = [_house(block, *place) for place in ((420, 482, 31), (330, 486, 22), (900, 470, 20))]
    for left, foot, high, wide in path("312,500,116,30 552,492,150,34 592,494,96,26 880,478,92,24 990,486,170,40"):
        _poplar(block, x, y, (left, foot), high, wide)
    smoke = path("494,408 486,372 510,344 488,312 512,284")
    block.line(smoke, 20)
    block.line(np.array(smoke) + (1, 0), 12, 0)
    leaves = _small(_tree(block, x, y))
    reds, sower = _sower(block)
    birds = path("470,190,17 512,214,14 540,176,12 430,226,11 566,236,10 858,262,15 816,236,11")
    for left, top, size in birds:
        for side in (-1, 1):
            elbow, tip = (left + side * size * 0.6, top - size * 0.55), (left + side * size * 1.5, top - size * 0.2)
            block.line(((left, top), elbow, tip), 6)

    picture = PAPER + 2.0 * noise(rng, 50, octaves=3)[..., None] * np.ones(3)
    plates = _plates([*roofs, *reds], leaves, 1 - _small(sower))
    for plate, color, (right, down) in zip(plates, (OCHRE, BLUE, RED), ((2, -1), (-2, 1), (1, 2))):
        moved = np.array([[1, 0, right], [0, 1, down]], np.float32)  # no two blocks lie quite alike
        plate = cv2.warpAffine(plate, moved, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REPLICATE)
        thin = np.clip(plate * (0.93 + 0.04 * noise(rng, 24, octaves=2) + 0.03 * noise(rng, 60)), 0, 1)[..., None]
        picture = picture * (1 - thin + thin * color / PAPER)
    key = reduced(block.ink).astype(np.float32) / 255
    key = (key * np.clip(0.97 - 0.06 * np.clip(noise(rng, 12) - 0.6, 0, 2), 0, 1))[..., None]
    return np.clip(picture * (1 - key) + INK * key, 0, 255).round().astype(np.uint8)
