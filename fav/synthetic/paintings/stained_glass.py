"""A window of stained glass: a river that winds from mountains at sunset, a tree on its bank, irises before it.

Panes are cut as the drawing asks: rays and rings around the sun, bands along hills and water, each leaf and petal.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from fav.synthetic.paintings.marks import (
    FINE,
    HEIGHT,
    WIDTH,
    Color,
    blurred,
    curve,
    fill,
    grid,
    noise,
    path,
    reduced,
    ribbon,
    step,
)

SEED = 5
SUN = (640.0, 318.0)
FRAME = 44  # width of the border, units
LEAD, SHINE = np.array([24, 21, 20]), np.array([96, 88, 84])

SUNSET = (
    (150, 235, 255), (60, 205, 255), (38, 150, 250), (80, 110, 240), (150, 90, 205), (190, 80, 120), (200, 96, 52),
    (150, 52, 22), (96, 26, 22),
)  # fmt: skip
FAR, NEAR = ((176, 92, 108), (205, 140, 150), (140, 60, 84)), ((120, 66, 26), (160, 104, 40), (96, 40, 34))
MEADOWS = (
    ((104, 150, 66), (84, 124, 40), (130, 170, 110)),
    ((60, 150, 96), (40, 120, 60), (90, 190, 150)),
    ((34, 96, 40), (30, 72, 24), (50, 130, 80)),
)
WATER = ((190, 225, 250), (225, 190, 110), (205, 140, 40), (150, 80, 20), (110, 46, 16))
BARK = ((36, 58, 116), (52, 88, 150), (84, 92, 112), (40, 46, 90), (70, 104, 168))
LEAVES = ((26, 70, 24), (36, 116, 40), (44, 146, 48), (60, 165, 96), (40, 180, 170), (30, 140, 210), (28, 84, 200))
IRIS = ((190, 60, 110), (160, 40, 80), (210, 96, 150), (150, 30, 50))
BLADES = ((70, 140, 40), (50, 105, 24), (100, 170, 90), (40, 80, 20))
BORDER = ((30, 26, 150), (24, 60, 175), (36, 36, 110), (24, 96, 190))


class Window:
    """Panes, each cut over what was there before: the pane of each place, and the color and the lead of each pane."""

    def __init__(self, rng: np.random.Generator):
        self.rng = rng
        self.panes = np.zeros((HEIGHT * FINE, WIDTH * FINE), np.int32)
        self.colors: list[Color] = [(0, 0, 0)]
        self.lead: list[float] = [0]  # width of the line around each, units

    def _new(self, color: Color, lead: float) -> int:
        varied = np.array(color, float) * self.rng.uniform(0.84, 1.22) * self.rng.uniform(0.9, 1.1, 3)
        self.colors.append(tuple(varied))
        self.lead.append(lead)
        return len(self.colors) - 1

    def cut(self, outline: np.ndarray, color: Color, lead: float = 3) -> None:
        """One pane."""
        fill(self.panes, outline, self._new(color, lead))

    def cut_cells(
        self, where: np.ndarray, cells: np.ndarray, colors: dict[int, Color] | Sequence[Color], lead: float = 3
    ) -> None:
        """A pane for each number in `cells` (H, W) int, within `where` (H, W) bool."""
        numbers, place = np.unique(cells[where], return_inverse=True)
        first = len(self.colors)
        for number in numbers:
            self._new(colors[number] if isinstance(colors, dict) else colors[int(self.rng.integers(len(colors)))], lead)
        self.panes[where] = first + place

    def cut_band(
        self,
        line: np.ndarray,
        widths: np.ndarray | float,
        pieces: int,
        strips: int,
        colors: Sequence[Color],
        lead: float = 3,
    ) -> None:
        """A band along a line, in `strips` lengthwise, each cut across at its own places."""
        outline = ribbon(line, widths)
        left, right = outline[: len(line)], outline[len(line) :][::-1]
        for strip in range(strips):
            near, far = (left + (right - left) * share for share in (strip / strips, (strip + 1) / strips))
            cuts = (
                (np.arange(pieces + 1) + np.r_[0, self.rng.uniform(-0.35, 0.35, pieces - 1), 0])
                / pieces
                * (len(line) - 1)
            )
            for start, stop in zip(np.round(cuts[:-1]).astype(int), np.round(cuts[1:]).astype(int), strict=True):
                piece = np.vstack([near[start : stop + 1], far[start : stop + 1][::-1]])
                self.cut(piece, colors[int(self.rng.integers(len(colors)))], lead)


def _mixed(colors: Sequence[Color], place: float) -> Color:
    """The color at `place` (0 to 1) of a row of colors."""
    at = np.clip(place, 0, 1) * (len(colors) - 1)
    low = min(int(at), len(colors) - 2)
    return tuple(np.array(colors[low]) * (1 - at + low) + np.array(colors[low + 1]) * (at - low))


def _sky(window: Window, x: np.ndarray, y: np.ndarray) -> None:
    rng = window.rng
    radius = np.hypot(x - SUN[0], (y - SUN[1]) * 1.06)
    bent = radius * (1 + 0.035 * np.sin(5 * np.arctan2(y - SUN[1], x - SUN[0]) + 1) + 0.03 * np.sin(x / 70))
    angle = np.arctan2(y - SUN[1], x - SUN[0]) + 0.0006 * radius
    edges = np.array([0, 34, 66, 104, 156, 218, 290, 372, 466, 575, 720, 1000])
    ring = np.searchsorted(edges, bent.ravel()).reshape(x.shape)
    count = np.array([1, 1, 9, 18, 18, 24, 24, 30, 30, 36, 36, 36])
    shift = rng.uniform(0, 1, len(count))
    wedge = np.floor((angle / (2 * np.pi)) * count[ring] + shift[ring]).astype(int)
    cells = ring * 1000 + wedge % count[ring]
    colors = {
        int(cell): _mixed(
            SUNSET, float((edges[min(cell // 1000, len(edges) - 1)] / 640) ** 0.75 + rng.normal(0, 0.035))
        )
        for cell in np.unique(cells)
    }
    for cell in colors:
        if cell // 1000 <= 2:
            colors[cell] = ((250, 290, 300), (110, 238, 265))[cell // 1000 - 1]
    window.cut_cells(np.ones(x.shape, bool), cells, colors, 3.2)
    for points, width in (
        (path("300,190 420,150 540,172 660,140 790,160 930,118 1010,130"), 34),
        (path("700,232 790,222 880,246 1010,214"), 24),
        (path("230,330 330,296 430,312 520,286"), 22),
    ):
        line = curve(points)
        along = np.linspace(0, 1, len(line))
        widths = width * np.sin(np.pi * along) ** 0.6 * (1 + 0.25 * np.sin(17 * along)) + 1
        window.cut_band(line, widths, 7, 2, ((214, 205, 248), (190, 170, 245), (222, 225, 250), (170, 150, 225)), 3.2)


def _ridge(x: np.ndarray, points: np.ndarray) -> np.ndarray:
    return np.interp(x, points[:, 0], points[:, 1])


def _land(window: Window, x: np.ndarray, y: np.ndarray) -> None:
    rng = window.rng
    far = path("0,380 90,330 170,372 280,262 345,330 400,300 500,392 590,418 690,400 780,336 850,372 930,284 1024,350")
    near = path("0,420 120,388 250,420 380,380 520,436 640,444 740,402 850,430 960,372 1024,392")
    for points, colors, size, lead in ((far, FAR, (62, 54), 3.6), (near, NEAR, (78, 40), 3.6)):
        below = y - _ridge(x, points)
        slope = np.interp(x, (points[:-1, 0] + points[1:, 0]) / 2, np.sign(np.diff(points[:, 1])))
        row = np.floor(below / size[1] + 0.3 * np.sin(x / 60)).astype(int)
        column = np.floor((x - slope * below * 0.55) / size[0] + rng.uniform(0, 1, 40)[np.clip(row, 0, 39)]).astype(int)
        cells = (row + 2) * 1000 + column + 100
        lit = {}
        for cell in np.unique(cells):
            top = cell // 1000 - 2
            lit[int(cell)] = _mixed((colors[1], colors[0], colors[2]), 0.25 * top + rng.uniform(0, 0.5))
            if top <= 0 and colors is FAR and rng.random() < 0.6:
                lit[int(cell)] = (235, 205, 226)
        window.cut_cells(below > 0, cells, lit, lead)
    hills = (
        (path("0,452 160,436 330,470 520,454 700,462 860,440 1024,452"), MEADOWS[0], 30, 92),
        (path("0,500 140,490 300,530 470,556 640,552 800,500 1024,486"), MEADOWS[1], 40, 110),
        (path("0,600 160,590 330,640 430,720 600,740 760,640 900,590 1024,570"), MEADOWS[2], 54, 124),
    )
    for points, colors, high, wide in hills:
        below = y - (_ridge(x, points) + 6 * np.sin(x / 83))
        row = np.floor(below / high + 0.35 * np.sin(x / 120 + below / 90)).astype(int)
        column = np.floor((x + 0.5 * below) / wide + rng.uniform(0, 1, 60)[np.clip(row, 0, 59)]).astype(int)
        window.cut_cells(below > 0, (row + 2) * 1000 + column + 100, colors, 4)
        if colors is not MEADOWS[1]:
            continue
        banks = curve(path("628,446 668,462 590,486 446,510 404,548 450,592 590,626 640,690 540,770 480,860"))
        along = np.linspace(0, 1, len(banks))
        widths = 14 + 250 * along**1.5
        outline = ribbon(banks, widths)
        left, right = outline[: len(banks)], outline[len(banks) :][::-1]
        stretches = ((2, 0, 40), (3, 40, 84), (5, 84, len(banks) - 1))  # strips, and where each begins and ends
        for strip, strips, source, mouth in ((strip, *stretch) for stretch in stretches for strip in range(stretch[0])):
            near_side, far_side = (left + (right - left) * (part / strips) for part in (strip, strip + 1))
            cuts = source + np.cumsum(np.r_[rng.uniform(8, 22), np.linspace(16, 46, 20) * rng.uniform(0.7, 1.3, 20)])
            cuts = np.r_[source, cuts[cuts < mouth - 8], mouth].astype(int)
            for start, stop in zip(cuts[:-1], cuts[1:], strict=True):
                gold = (
                    0.28
                    + 0.5 * abs(strip - (strips - 1) / 2) / 2
                    + rng.normal(0, 0.12)
                    - 0.35 * (1 - along[start]) ** 2
                )
                window.cut(
                    np.vstack([near_side[start : stop + 1], far_side[start : stop + 1][::-1]]),
                    _mixed(WATER, float(gold)),
                    3.2,
                )


def _leaf(place: np.ndarray, angle: float, length: float, width: float) -> np.ndarray:
    along = np.linspace(0, 1, 14)
    swell = np.sin(np.pi * along**0.8) * width
    line = np.stack([along * length, 0.12 * length * np.sin(np.pi * along)], axis=1)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return ribbon(line @ turn + place, np.maximum(swell, 0.5))


def _tree(window: Window) -> None:
    rng = window.rng
    branches = [
        (curve(path("150,330 230,250 330,215 440,120")), 26),
        (curve(path("172,210 240,140 330,100 400,60")), 20),
        (curve(path("140,400 90,320 60,220 40,180")), 22),
        (curve(path("165,160 120,110 100,60 90,30")), 18),
        (curve(path("240,250 330,270 400,262")), 14),
    ]
    trunk = curve(path("112,830 134,700 128,560 152,430 148,320 176,200 190,100 215,30"))
    for line, width in branches:
        window.cut_band(line, np.linspace(width, 7, len(line)), max(2, len(line) // 16), 1, BARK, 3.4)
    shape = np.linspace(86, 26, len(trunk)) + 60 * np.exp(-np.arange(len(trunk)) / 22)
    window.cut_band(trunk, shape, 9, 3, BARK, 3.8)
    for line, count in zip([*(line for line, _ in branches), trunk[-70:]], (52, 46, 34, 30, 24, 36)):
        for _ in range(count):
            at = int(rng.integers(len(line) // 6, len(line)))
            ahead = line[min(at + 3, len(line) - 1)] - line[max(at - 3, 0)]
            side = rng.choice((-1, 1))
            angle = np.arctan2(ahead[1], ahead[0]) + side * rng.uniform(0.3, 1.5) + 0.25
            place = line[at] + rng.normal(0, 26, 2)
            light = np.clip((place[0] - 60) / 400 + rng.normal(0, 0.28), 0, 1)
            color = _mixed(LEAVES, float(light) * 0.9)
            window.cut(_leaf(place, angle, rng.uniform(46, 74), rng.uniform(22, 32)), color, 2.5)


def _irises(window: Window) -> None:
    rng = window.rng
    roots = path("700,40 770,10 842,30 905,0 962,30 640,60")
    for x, _ in roots:
        for _ in range(4):
            foot, lean = x + rng.normal(0, 20), np.clip(rng.normal(0, 26), -36, 36)
            top = rng.uniform(500, 660)
            bend = ((foot + lean * 0.15, 720), (foot + lean * 0.6, (720 + top) / 2), (foot + lean * 1.5, top))
            line = curve(((foot, 830), *bend))
            window.cut_band(line, 25 * np.linspace(1, 0.05, len(line)) ** 0.6, 3, 1, BLADES, 3)
    flowers = path("704,612,1.0 778,548,1.1 846,640,1.12 914,566,1.16 966,662,0.95 640,682,0.9")
    for x, y, size in flowers:
        window.cut_band(curve(((x - 6, 830), (x + 4, 740), (x, y + 20))), 11, 3, 1, BLADES[1:], 3)
        center = np.array([x, y], float)
        for angle, length, width in ((-2.35, 54, 34), (-0.8, 54, 34), (-1.57, 62, 40)):
            window.cut(
                _leaf(center, angle + rng.normal(0, 0.1), length * size, width * size), IRIS[int(rng.integers(0, 3))], 3
            )
        for angle, length, width in ((2.75, 58, 36), (0.4, 58, 36), (1.57, 64, 42)):
            turn = angle + rng.normal(0, 0.12)
            window.cut(_leaf(center, turn, length * size, width * size), IRIS[int(rng.integers(0, 4))], 3)
            window.cut(_leaf(center, turn, 30 * size, 12 * size), (40, 200, 250), 2.2)


def _border(window: Window) -> None:
    for inner, outer, count in ((14, FRAME, 0), (-8, 14, 1)):
        middle, width = (inner + outer) / 2, outer - inner
        sides = ((WIDTH, middle), (WIDTH, HEIGHT - middle), (HEIGHT, middle), (HEIGHT, WIDTH - middle))
        for side, (long, fixed) in enumerate(sides):
            cuts = np.arange(outer + 8, long - outer, 152 if count else 76)
            cuts = np.r_[middle - width / 2, cuts, long - middle + width / 2]
            low, high = fixed - width / 2, fixed + width / 2
            for number, (start, stop) in enumerate(zip(cuts[:-1], cuts[1:], strict=True)):
                box = np.array(((start, low), (stop, low), (stop, high), (start, high)))
                color = (120, 60, 20) if count else BORDER[number % 4]
                window.cut(box[:, ::-1] if side > 1 else box, color, 5)
    for x in (FRAME / 2 + 6, WIDTH - FRAME / 2 - 6):
        for y in (FRAME / 2 + 6, HEIGHT - FRAME / 2 - 6):
            square = path("-1,-1 1,-1 1,1 -1,1") * (FRAME / 2 + 2)
            window.cut(square + (x, y), (150, 70, 24), 5)
            turn = np.arange(12) / 12 * 2 * np.pi
            window.cut(np.stack([x + 12 * np.cos(turn), y + 12 * np.sin(turn)], axis=1), (50, 190, 250), 4)


def _leaded(window: Window) -> np.ndarray:
    """How much lead covers each place, (HEIGHT, WIDTH) 0 to 1, and in its second channel how much it shines."""
    panes, lead = window.panes, np.array(window.lead, np.float32)
    widest = np.zeros(panes.shape, np.float32)
    for one, other in ((np.s_[:, :-1], np.s_[:, 1:]), (np.s_[:-1], np.s_[1:])):
        edge = panes[one] != panes[other]
        widest[one] = np.maximum(widest[one], edge * np.maximum(lead[panes[one]], lead[panes[other]]))
    uneven = 1 + 0.16 * noise(np.random.default_rng(SEED), 26, FINE)
    cover, shine = np.zeros(panes.shape, np.float32), np.zeros(panes.shape, np.float32)
    for width in np.unique(widest[widest > 0]):
        away = cv2.distanceTransform((widest < width).astype(np.uint8), cv2.DIST_L2, 5) / FINE
        half = width * uneven / 1.55
        cover = np.maximum(cover, np.clip((half - away) * FINE + 0.5, 0, 1))
        shine = np.maximum(shine, np.clip(1 - away / (half * 0.55), 0, 1))
    return reduced(np.dstack([cover, shine]))


def stained_glass() -> np.ndarray:
    """The window, (HEIGHT, WIDTH, 3) uint8 BGR."""
    rng = np.random.default_rng(SEED)
    window = Window(rng)
    x, y = grid(FINE)
    _sky(window, x, y)
    _land(window, x, y)
    _tree(window)
    _irises(window)
    _border(window)
    cover, shine = np.moveaxis(_leaded(window), 2, 0)

    panes = window.panes[::FINE, ::FINE]
    x, y = grid()
    many = len(window.colors)
    size = np.maximum(np.bincount(panes.ravel(), minlength=many), 1)
    middle_x, middle_y = (np.bincount(panes.ravel(), side.ravel(), many) / size for side in (x, y))
    angle, kind = rng.uniform(0, 2 * np.pi, many), rng.integers(0, 3, many)
    slope = ((x - middle_x[panes]) * np.cos(angle)[panes] + (y - middle_y[panes]) * np.sin(angle)[panes]) / np.sqrt(
        size
    )[panes]
    streaks = np.stack(
        [noise(rng, 14, stretch=5, octaves=2), noise(rng, 70, stretch=0.22, octaves=2), noise(rng, 20, octaves=2)]
    )
    streak = np.take_along_axis(streaks, kind[panes][None], 0)[0]
    within = cv2.distanceTransform((cover < 0.5).astype(np.uint8), cv2.DIST_L2, 5)
    glow = (0.8 + 0.36 * step(0, 15, within)) * (1 + 0.3 * np.clip(slope, -1, 1) + 0.13 * streak)
    glass = np.array(window.colors, np.float32)[panes]
    hue = noise(rng, 34, octaves=2)[..., None] * np.array([0.04, 0.0, -0.04])
    glass = glass * (glow[..., None] + hue)
    pale = np.clip(glow - 1.08, 0, 1)[..., None]
    glass = glass + (235 - glass) * pale * 0.5
    lead = LEAD + (SHINE - LEAD) * (shine * (0.5 + 0.3 * np.clip(noise(rng, 18), -1, 1)))[..., None]
    picture = glass * (1 - cover[..., None]) + lead * cover[..., None]
    bright = np.clip(glass - 120, 0, None) * (1 - cover[..., None])
    picture = picture + 0.22 * blurred(bright.astype(np.float32), 5) + 0.2 * blurred(bright.astype(np.float32), 22)
    return np.clip(picture, 0, 255).round().astype(np.uint8)
