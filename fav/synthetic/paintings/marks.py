"""What the four paintings have in common: their size, smooth noise, curves, ribbons and lines that keep their distance.

Places are (x, y) in units of the finished picture's pixels. What is drawn sharply is drawn FINE times as large
and then reduced, so that its edges are smooth. Colors are BGR, 0 to 255.
"""

from collections.abc import Sequence

import cv2
import numpy as np

WIDTH, HEIGHT = 1024, 800
FINE = 2  # drawn larger by this
SUBPIXEL = 4  # binary digits of OpenCV's coordinates behind the point
Points = Sequence[Sequence[float]] | np.ndarray
Color = Sequence[float]


def grid(scale: float = 1) -> tuple[np.ndarray, np.ndarray]:
    """x and y of every pixel's center, (HEIGHT·scale, WIDTH·scale) float32 each, in units of the finished picture."""
    x = (np.arange(round(WIDTH * scale), dtype=np.float32) + 0.5) / np.float32(scale)
    y = (np.arange(round(HEIGHT * scale), dtype=np.float32) + 0.5) / np.float32(scale)
    across, down = np.meshgrid(x, y)
    return across, down


def noise(rng: np.random.Generator, cell: float, scale: float = 1, stretch: float = 1, octaves: int = 1) -> np.ndarray:
    """Smooth noise of mean 0 and deviation about 1, (HEIGHT·scale, WIDTH·scale) float32.

    `cell` is the size of its blotches in units, `stretch` how many times as wide as high they are; each further octave
    has half the size and 0.6 times the strength.
    """
    total = np.zeros((round(HEIGHT * scale), round(WIDTH * scale)), np.float32)
    strength, power = 1.0, 0.0
    for _ in range(octaves):
        rows, columns = int(HEIGHT / cell) + 3, int(WIDTH / (cell * stretch)) + 3
        coarse = rng.standard_normal((rows, columns)).astype(np.float32)
        large = cv2.resize(
            coarse, (round(columns * cell * stretch * scale), round(rows * cell * scale)), interpolation=cv2.INTER_CUBIC
        )
        top, left = round(cell * scale), round(cell * stretch * scale)
        total += np.float32(strength) * large[top : top + total.shape[0], left : left + total.shape[1]]
        power += strength**2
        strength, cell = strength * 0.6, cell / 2
    return total / np.float32(0.7 * power**0.5)


def step(low: float, high: float, value: np.ndarray) -> np.ndarray:
    """0 below `low`, 1 above `high`, and a smooth way between."""
    share = np.clip((value - low) / (high - low), 0, 1)
    return share * share * (3 - 2 * share)


def path(text: str) -> np.ndarray:
    """Points as SVG writes them, "x,y x,y …", (n, 2), or rows of more numbers than two."""
    return np.array([point.split(",") for point in text.split()], np.float64)


def curve(points: Points, spacing: float = 4) -> np.ndarray:
    """A smooth line through all points (Catmull-Rom), (n, 2), with a point about every `spacing` units."""
    given = np.asarray(points, np.float64)
    padded = np.vstack([2 * given[0] - given[1], given, 2 * given[-1] - given[-2]])
    pieces = []
    for before, start, end, after in zip(padded, padded[1:], padded[2:], padded[3:], strict=False):
        count = max(2, round(np.linalg.norm(end - start) / spacing))
        t = np.arange(count)[:, None] / count
        pieces.append(
            0.5
            * (
                2 * start
                + (end - before) * t
                + (2 * before - 5 * start + 4 * end - after) * t**2
                + (3 * start - before - 3 * end + after) * t**3
            )
        )
    return np.vstack([*pieces, given[-1:]])


def closed(points: Points, spacing: float = 4) -> np.ndarray:
    """The same, closed: it ends just before its first point."""
    given = [tuple(point) for point in points]
    round_trip = curve([*given[-2:], *given, *given[:2]], spacing)
    first = np.flatnonzero(np.all(np.isclose(round_trip, given[0]), axis=1))
    return round_trip[first[0] : first[1]] if len(first) > 1 else round_trip


def ribbon(line: np.ndarray, widths: np.ndarray | float) -> np.ndarray:
    """The outline of a stroke along `line`, (n, 2), that is `widths` wide, (n,) or one number."""
    ahead = np.gradient(line, axis=0)
    ahead /= np.maximum(np.linalg.norm(ahead, axis=1, keepdims=True), 1e-9)
    aside = np.stack([-ahead[:, 1], ahead[:, 0]], axis=1) * (np.broadcast_to(widths, len(line))[:, None] / 2)
    return np.vstack([line + aside, (line - aside)[::-1]])


def taper(count: int, begin: float = 0.3, end: float = 0.5) -> np.ndarray:
    """Widths (count,) from 0 to 1 and back, for a stroke that swells over its first and thins over its last part."""
    place = np.linspace(0, 1, count)
    return np.sqrt(np.clip(np.minimum(place / max(begin, 1e-6), (1 - place) / max(end, 1e-6)), 0, 1))


def fill(image: np.ndarray, outline: np.ndarray, value: float, scale: float = FINE) -> None:
    """Fills an outline of units with `value` in an image that is `scale` times as large as the finished picture."""
    fixed = np.round((outline * scale - 0.5) * (1 << SUBPIXEL)).astype(np.int32)
    cv2.fillPoly(image, [fixed], value, cv2.LINE_8, SUBPIXEL)


def reduced(image: np.ndarray) -> np.ndarray:
    """What was drawn FINE times as large, in the size of the finished picture."""
    return cv2.resize(image, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)


def blurred(image: np.ndarray, sigma: float) -> np.ndarray:
    return cv2.GaussianBlur(image, (0, 0), sigma)


def spaced_lines(
    rng: np.random.Generator,
    direction: np.ndarray,
    distance: np.ndarray,
    inside: np.ndarray,
    longest: float = 200,
    shortest: float = 12,
    bend: float = 0.8,
) -> list[np.ndarray]:
    """Lines along `direction` (H, W) radians, `distance` (H, W) units from each other, where `inside` (H, W) is true.

    All three have the finished picture's size. A line ends where it comes too near to one that is there already (Jobard
    and Lefer 1997), leaves `inside`, or would turn by more than `bend` radians in a step. Each is (n, 2), with a point
    every 3 units.
    """
    height, width = direction.shape
    taken = np.zeros((height, width), np.uint8)
    rows, columns = np.nonzero(inside)
    order = rng.permutation(len(rows))[: len(rows) // 3]
    cosine, sine = np.cos(direction) * 3, np.sin(direction) * 3
    lines = []
    for x0, y0 in zip(columns[order].tolist(), rows[order].tolist(), strict=True):
        if taken[y0, x0]:
            continue
        halves = []
        for sign in (1, -1):
            x, y, ahead = x0 + 0.5, y0 + 0.5, (sign * cosine[y0, x0], sign * sine[y0, x0])
            points = []
            while len(points) * 3 < longest / 2:
                row, column = int(y), int(x)
                if not (0 <= row < height and 0 <= column < width) or taken[row, column] or not inside[row, column]:
                    break
                points.append((x, y))
                dx, dy = cosine[row, column], sine[row, column]
                along = dx * ahead[0] + dy * ahead[1]
                if abs(along) < 9 * np.cos(bend):
                    break
                ahead = (dx, dy) if along > 0 else (-dx, -dy)
                x, y = x + ahead[0], y + ahead[1]
            halves.append(points)
        line = halves[1][:0:-1] + halves[0]
        if len(line) * 3 < shortest:
            continue
        line = np.array(line)
        lines.append(line)
        thick = max(1, round(2 * float(distance[y0, x0])) - 1)
        fixed = np.round((line - 0.5) * (1 << SUBPIXEL)).astype(np.int32)
        cv2.polylines(taken, [fixed], False, 255, thick, cv2.LINE_8, SUBPIXEL)
    return lines
