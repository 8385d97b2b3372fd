"""Training images for a training without photographs: 64 rendered scenes with the variety of photographs.

Each is a function of its number: landscapes, coasts, leaves, pebbles, things on a table, figures, streets, lights at night
and haze, then exposed as by a camera (white balance, contrast, focus, grain). Textures have the spectrum of natural images,
1/f in amplitude (Field 1987); leaves and pebbles cover each other as in the dead leaves model (Lee, Mumford, Huang 2001).
Colors are BGR, 0 to 255.
"""

from collections.abc import Sequence

import cv2
import numpy as np

COUNT = 64
SHORT = 448  # pixels of the shorter side
LONG = (448, 540, 598, 672)  # pixels of the longer side
Color = Sequence[float]

SKIES = (  # from the zenith to the horizon, and the light on what stands before them
    (((190, 112, 40), (232, 190, 140), (240, 228, 210)), 1.0),  # noon
    (((120, 60, 34), (170, 120, 110), (150, 180, 240), (110, 190, 255)), 0.75),  # evening
    (((205, 200, 196), (226, 224, 220)), 0.85),  # overcast
    (((150, 150, 160), (214, 206, 214), (200, 214, 244)), 0.9),  # morning
    (((48, 26, 12), (92, 58, 30), (120, 92, 70)), 0.4),  # night
    (((110, 100, 92), (160, 156, 150), (196, 204, 206)), 0.6),  # before a storm
)
GROUNDS = (
    ((18, 48, 30), (34, 96, 64), (60, 150, 120)),  # grass
    ((30, 80, 120), (60, 130, 170), (120, 190, 214)),  # wheat
    ((40, 60, 84), (84, 120, 160), (150, 190, 222)),  # sand
    ((44, 44, 46), (92, 94, 98), (150, 152, 156)),  # rock
    ((190, 180, 172), (226, 222, 218), (250, 249, 247)),  # snow
    ((30, 40, 60), (46, 66, 104), (70, 104, 150)),  # earth
)
FOLIAGE = (
    ((8, 30, 14), (26, 84, 44), (60, 150, 110)),
    ((10, 36, 30), (40, 120, 120), (90, 200, 220)),
    ((10, 30, 70), (24, 80, 180), (70, 160, 240)),
    ((30, 40, 20), (90, 110, 60), (170, 190, 150)),
    ((20, 16, 70), (50, 40, 170), (120, 120, 235)),
)


def photograph(number: int) -> np.ndarray:
    """Render one of the images.

    Args:
        number: of the image, from 0 to COUNT - 1. Consecutive images are of different kinds.

    Returns:
        (H, W, 3) uint8 BGR, its shorter side 448 pixels; on one machine always the same bytes.
    """
    rng = np.random.default_rng((number, 2026))
    sides = SHORT, int(rng.choice(LONG))
    height, width = sides if rng.random() < 0.75 else sides[::-1]
    return _developed(SCENES[number % len(SCENES)](rng, height, width), rng)


def noise(rng: np.random.Generator, height: int, width: int, slope: float = 1.0, largest: float = 0) -> np.ndarray:
    """Noise whose amplitude falls with frequency to the power of `slope`: (height, width) float32, mean 0, deviation 1.

    `largest` is the maximum size of blobs in pixels; 0: no limit.
    """
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width))
    frequency[0, 0] = 1
    spectrum = (
        np.fft.rfft2(rng.standard_normal((height, width))) / np.maximum(frequency, 1 / max(height, width)) ** slope
    )
    spectrum[0, 0] = 0
    if largest:
        spectrum *= 1 - np.exp(-((frequency * largest) ** 2))
    values = np.fft.irfft2(spectrum, (height, width))
    return (values / values.std()).astype(np.float32)


def ramp(values: np.ndarray, colors: Sequence[Color]) -> np.ndarray:
    """Values (H, W) from 0 to 1 as colors (H, W, 3) float32, from the first to the last."""
    stops = np.linspace(0, 1, len(colors))
    return np.dstack([np.interp(values, stops, channel) for channel in zip(*colors)]).astype(np.float32)


def _mix(picture: np.ndarray, color: np.ndarray | Color, share: np.ndarray) -> np.ndarray:
    return picture + (np.asarray(color, np.float32) - picture) * np.clip(share, 0, 1).astype(np.float32)[..., None]


def _floats(values: np.ndarray | Sequence) -> np.ndarray:
    return np.asarray(values, np.float32)


def _grid(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns, (H, W) float32, pixels."""
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    return rows, columns


def _pick(rng: np.random.Generator, choices: Sequence):
    return choices[int(rng.integers(len(choices)))]


def _sky(rng: np.random.Generator, height: int, width: int, horizon: float) -> tuple[np.ndarray, float]:
    """A sky with clouds, sun or moon, and the light that it gives, 0 to 1."""
    colors, light = _pick(rng, SKIES)
    rows, columns = _grid(height, width)
    sky = ramp(np.clip(rows / max(horizon, 1) + 0.05 * noise(rng, height, width, 2), 0, 1), colors)
    if rng.random() < 0.4:
        x, y, radius = rng.uniform(0.1, 0.9) * width, rng.uniform(0.1, 0.8) * horizon, rng.uniform(6, 22)
        away = np.hypot(columns - x, rows - y)
        sky = _mix(sky, (225, 245, 255), np.clip(radius - away, 0, 1) + 0.6 * np.exp(-away / (4 * radius)))
    if rng.random() < 0.75:
        # Clouds are flatter and closer together towards the horizon.
        depth = 0.35 + 1.6 * np.clip(1 - rows / max(horizon, 1), 0, 1)
        field = noise(rng, 512, 512, 1.5)
        x = (columns - width / 2) * (0.9 / depth) * (256 / width) + 256
        y = 200 * np.log(depth + 0.3) + 200
        cover = cv2.remap(
            field, x.astype(np.float32), y.astype(np.float32), cv2.INTER_CUBIC, borderMode=cv2.BORDER_WRAP
        )
        thick = np.clip(rng.uniform(0.3, 1.1) * (cover + rng.uniform(-0.8, 0.5)), 0, 1)
        tint = _floats([250, 248, 246]) * np.clip(0.55 + 0.45 * light + 0.12 * cover, 0, 1)[..., None]
        sky = _mix(sky, tint * (0.45 + 0.55 * light), thick)
    return sky, light


def _line(rng: np.random.Generator, width: int, rise: float, rough: float) -> np.ndarray:
    """A ragged outline: heights in pixels, (width,) float32."""
    return rise * noise(rng, 8, width, rough)[3]


def _perspective(field: np.ndarray, rows: np.ndarray, columns: np.ndarray, horizon: float, zoom: float) -> np.ndarray:
    """A texture (512, 512) laid on the ground from the horizon to the foot of the picture."""
    height, width = rows.shape
    near = np.clip((rows - horizon) / max(height - horizon, 1), 0, 1) + 0.06
    x, y = (columns - width / 2) * zoom / near + 256, 60 * zoom / near
    far = cv2.remap(
        cv2.GaussianBlur(field, (0, 0), 6), x.astype(np.float32), y.astype(np.float32), cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_WRAP)  # fmt: skip
    close = cv2.remap(field, x.astype(np.float32), y.astype(np.float32), cv2.INTER_CUBIC, borderMode=cv2.BORDER_WRAP)
    return far + (close - far) * np.clip(near * 2.5 - 0.3, 0, 1)


def _landscape(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Hills in haze behind fields, often with trees, a lake or a path."""
    horizon = rng.uniform(0.3, 0.65) * height
    picture, light = _sky(rng, height, width, horizon)
    haze = picture[max(int(horizon) - 2, 0)].mean(0)
    rows, columns = _grid(height, width)
    ranges = int(rng.integers(1, 4))
    for number in range(ranges):
        share = (number + 1) / ranges
        rise = rng.uniform(0.04, 0.16) * height * (1.3 - share)
        line = horizon + 0.02 * height * number - rise - _line(rng, width, 0.5 * rise, rng.uniform(1, 1.7))
        folds = noise(rng, height, width, rng.uniform(1.1, 1.6))
        color = ramp(np.clip(0.5 + 0.22 * folds, 0, 1), _pick(rng, GROUNDS[:4])) * (0.4 + 0.6 * light)
        picture = _mix(picture, _mix(color, haze, np.full_like(rows, 0.75 - 0.5 * share)), rows - line)
    bed = _perspective(noise(rng, 512, 512, 0.9), rows, columns, horizon, rng.uniform(1.5, 4))
    ground = ramp(np.clip(0.5 + 0.2 * bed, 0, 1), _pick(rng, GROUNDS)) * (0.35 + 0.65 * light)
    below = np.clip(rows - horizon - _line(rng, width, 3, 1.5), 0, 1)
    picture = _mix(picture, ground, below)
    if rng.random() < 0.35:  # a lake, with what stands behind it
        top, foot = horizon + 0.06 * height, horizon + rng.uniform(0.2, 0.4) * height
        ripple = 2.5 * noise(rng, height, width, 0.6)
        mirror = (2 * top - rows + ripple).clip(0, height - 1).astype(np.float32)
        water = cv2.remap(picture, columns + ripple, mirror, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
        shore = _line(rng, width, 4, 1.4)
        inside = np.clip(rows - top - shore, 0, 1) * np.clip(foot - rows + 4 * shore, 0, 1)
        picture = _mix(picture, 0.82 * water, inside)
    for _ in range(int(rng.integers(0, 6))):
        size = rng.uniform(0.06, 0.3) * height
        foot = horizon + rng.uniform(0.03, 0.2) * height + 0.5 * size
        picture = _tree(rng, picture, rng.uniform(0, width), foot, size, light)
    return picture


def _tree(
    rng: np.random.Generator, picture: np.ndarray, x: float, foot: float, size: float, light: float
) -> np.ndarray:
    """A tree whose crown is `size` pixels high, lit from above."""
    height, width = picture.shape[:2]
    rows, columns = _grid(height, width)
    ragged = noise(rng, height, width, 1.0, size / 3)
    round_tree = rng.random() < 0.65
    dy = (rows - foot + 0.75 * size) / (0.55 * size)
    dx = (columns - x) / (rng.uniform(0.35, 0.55) * size)
    if not round_tree:  # a fir
        dx = dx / np.clip(0.5 + 0.5 * dy, 0.02, 1)
    away = np.maximum(np.abs(dx), np.abs(dy)) if not round_tree else np.hypot(dx, dy)
    trunk = (np.abs(columns - x) < 0.04 * size) & (rows > foot - 0.6 * size) & (rows < foot)
    picture = np.where(trunk[..., None], _floats([40, 56, 76]) * light, picture)
    tone = 0.5 + 0.24 * ragged - 0.25 * dy - 0.2 * dx * (round_tree or 0.5)
    crown = ramp(np.clip(tone, 0, 1), _pick(rng, FOLIAGE)) * (0.4 + 0.6 * light)
    shadow = np.exp(-(((columns - x) / (0.5 * size)) ** 2) - ((rows - foot) / (0.07 * size)) ** 2)
    picture = picture * (1 - 0.5 * shadow[..., None])
    return _mix(picture, crown, (1 - away + 0.16 * ragged) * 0.25 * size)


def _coast(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Waves up to the horizon, sometimes with foam and rocks."""
    horizon = rng.uniform(0.25, 0.6) * height
    picture, light = _sky(rng, height, width, horizon)
    rows, columns = _grid(height, width)
    deep = _pick(rng, (((60, 30, 8), (140, 96, 40), (214, 190, 150)), ((66, 52, 26), (120, 112, 64), (190, 196, 170)),
                       ((70, 66, 60), (120, 118, 112), (190, 190, 186))))  # fmt: skip
    field = cv2.GaussianBlur(noise(rng, 512, 512, 1.1), (0, 0), sigmaX=6, sigmaY=1)
    waves = _perspective(field / field.std(), rows, columns, horizon, rng.uniform(1, 2.5))
    near = np.clip((rows - horizon) / (height - horizon), 0, 1)
    water = ramp(np.clip(0.45 + 0.22 * waves * (0.4 + near) - 0.15 * near, 0, 1), deep) * (0.35 + 0.65 * light)
    glint = np.exp(-(((columns - rng.uniform(0.2, 0.8) * width) / (width * (0.05 + 0.12 * near))) ** 2))
    water = _mix(water, (220, 236, 250), glint * np.clip(waves - 0.5, 0, 1) * rng.uniform(0, 1.2))
    foam = np.clip(waves - rng.uniform(0.9, 2.5), 0, 1) * near * 2
    picture = _mix(picture, _mix(water, (245, 244, 240), foam), rows - horizon)
    for _ in range(int(rng.integers(0, 4))):
        x, foot, size = (
            rng.uniform(0, width),
            horizon + rng.uniform(0.05, 0.6) * (height - horizon),
            rng.uniform(20, 110),
        )
        crags = noise(rng, height, width, 1.3, size)
        away = np.hypot((columns - x) / size, np.maximum(foot - rows, 0) / (0.7 * size))
        rock = ramp(np.clip(0.45 + 0.2 * crags - 0.2 * (columns - x) / size, 0, 1), GROUNDS[3]) * light
        picture = _mix(picture, rock, (1 - away + 0.15 * crags) * size * (rows < foot + 2 * crags))
    return picture


def _leaves(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Leaves of all sizes that cover each other, from the dark ones behind to the bright ones in front."""
    colors = _pick(rng, FOLIAGE)
    picture = ramp(np.clip(0.25 + 0.1 * noise(rng, height, width, 1.3), 0, 1), colors) * 0.6
    count = int(rng.integers(160, 420))
    grain = noise(rng, 256, 256, 1.0)
    long, broad = rng.uniform(14, 60), rng.uniform(0.25, 0.6)
    main = rng.uniform(0, 2 * np.pi)
    for number in range(count):
        size, angle = long * rng.uniform(0.5, 1.6), main + rng.normal(0, 0.9)
        shade = 0.25 + 0.55 * number / count + rng.normal(0, 0.12)
        if rng.random() < 0.05:  # a blossom
            _stamp(picture, rng, grain, size * 0.6, 0.95, angle, _pick(rng, ((90, 80, 230), (220, 130, 200), (120, 230, 250),
                   (240, 240, 245))), shade + 0.3)  # fmt: skip
        else:
            tone = ramp(_floats([[np.clip(shade, 0, 1)]]), colors)[0, 0]
            _stamp(picture, rng, grain, size, broad, angle, tone, 0.9, vein=True)
    return picture


def _stamp(
    picture: np.ndarray,
    rng: np.random.Generator,
    grain: np.ndarray,
    size: float,
    broad: float,
    angle: float,
    color: np.ndarray | Color,
    light: float,
    vein: bool = False,
) -> None:
    """Put a pointed or round blob somewhere into a picture, shaded across, with a soft shadow, in place."""
    height, width = picture.shape[:2]
    x, y, reach = rng.uniform(-0.1, 1.1) * width, rng.uniform(-0.1, 1.1) * height, int(1.3 * size) + 3
    left, top = max(int(x) - reach, 0), max(int(y) - reach, 0)
    part = picture[top : int(y) + reach, left : int(x) + reach]
    if not part.size:
        return
    rows, columns = _grid(*part.shape[:2])
    rows, columns = rows + top - y, columns + left - x
    along = (columns * np.cos(angle) + rows * np.sin(angle)) / size
    across = (rows * np.cos(angle) - columns * np.sin(angle)) / (size * broad)
    outline = np.clip(1 - along**2, 0, 1) if vein else np.sqrt(np.clip(1 - along**2, 0, 1))
    inside = np.clip((outline - np.abs(across)) * size * broad + 0.5, 0, 1) * (np.abs(along) < 1)
    shadow = np.exp(-((along - 0.1) ** 2 + (across - 0.25) ** 2) / 0.7)
    corner = rng.integers(0, 100, 2)
    texture = grain[corner[0] :, corner[1] :][: part.shape[0], : part.shape[1]]
    texture = np.pad(texture, [(0, whole - has) for whole, has in zip(part.shape, texture.shape)], "reflect")
    shade = light * (1 + 0.25 * across + 0.08 * texture)
    if vein:
        shade = shade + 0.25 * np.exp(-((across / 0.07) ** 2)) + 0.04 * np.sin(22 * along + 9 * np.abs(across))
    else:
        shade = shade * (0.55 + 0.6 * np.sqrt(np.clip(1 - along**2 - across**2, 0, 1)))
    part *= 1 - 0.45 * shadow[..., None]
    part += (_floats(color) * shade[..., None] - part) * inside[..., None].astype(np.float32)


def _pebbles(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Round things of all sizes, the number of which falls with the cube of their size."""
    base = _floats(_pick(rng, ((120, 140, 160), (150, 150, 150), (90, 120, 170), (170, 150, 120))))
    picture = np.full((height, width, 3), 0.35 * base, np.float32)
    grain = noise(rng, 256, 256, 0.8)
    lively, small = rng.uniform(8, 60), rng.uniform(7, 14)
    for _ in range(int(rng.integers(350, 800))):
        size = min(small * (1 - rng.random()) ** -0.5, 130)
        color = np.clip(base * rng.uniform(0.5, 1.4) + rng.normal(0, lively, 3), 8, 250)
        _stamp(picture, rng, grain, size, rng.uniform(0.55, 1), rng.uniform(0, np.pi), color, rng.uniform(0.8, 1.15))
    return picture


def _backdrop(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A wall, a gradient of two colors with a little texture."""
    rows, columns = _grid(height, width)
    a, b = rng.uniform(20, 235, 3), rng.uniform(20, 235, 3)
    gray = rng.uniform(0.2, 0.9)
    a, b = (color + (color.mean() - color) * np.float32(gray) for color in (a, b))
    angle = rng.uniform(0, 2 * np.pi)
    across = (columns / width - 0.5) * np.cos(angle) + (rows / height - 0.5) * np.sin(angle) + 0.5
    across = across + rng.uniform(0, 0.12) * noise(rng, height, width, 1.7)
    return ramp(np.clip(across, 0, 1), (a, b))


def _table(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Balls, cans and boxes on a table, lit from one side, with their shadows."""
    picture, edge = _backdrop(rng, height, width), rng.uniform(0.4, 0.65) * height
    rows, columns = _grid(height, width)
    grainy = cv2.GaussianBlur(noise(rng, height, width, 0.7), (0, 0), sigmaX=rng.uniform(2, 24), sigmaY=0.8)
    wood = ramp(
        np.clip(0.5 + 0.2 * grainy / grainy.std(), 0, 1),
        _pick(rng, (*GROUNDS[1:4], ((200, 196, 190), (240, 238, 234)))),
    )
    picture = _mix(picture, wood * (0.75 + 0.35 * rows / height)[..., None], rows - edge)
    side = rng.choice([-1.0, 1.0])
    things = sorted(
        (rng.uniform(edge + 10, 0.95 * height), rng.uniform(0.05, 0.95) * width) for _ in range(rng.integers(3, 8))
    )
    for foot, x in things:
        size = rng.uniform(0.09, 0.2) * height * (0.6 + 0.6 * foot / height)
        color = rng.uniform(15, 240, 3)
        color = color + (color.mean() - color) * rng.uniform(0, 0.6)
        shadow = np.exp(
            -(((columns - x + side * 0.7 * size) / (1.3 * size)) ** 2) - ((rows - foot) / (0.22 * size)) ** 2
        )
        picture = picture * (1 - 0.6 * shadow[..., None])
        tall = size * rng.uniform(1, 2.2)
        match int(rng.integers(3)):
            case 0:
                u, v = (columns - x) / size, (rows - foot + size) / size
                inside, bulge = (1 - np.hypot(u, v)) * size, np.sqrt(np.clip(1 - u**2 - v**2, 0, 1))
                light = np.clip(0.25 + 0.55 * side * u - 0.4 * v + 0.35 * bulge, 0.08, 1.1)
                shine = np.exp(-((u - 0.4 * side) ** 2 + (v + 0.45) ** 2) / rng.uniform(0.01, 0.06))
            case 1:
                u, v = (columns - x) / (0.7 * size), (rows - foot + tall) / tall
                lid = 0.1 * np.sqrt(np.clip(1 - u**2, 0, 1))
                inside = np.minimum((1 - np.abs(u)) * 0.7 * size, np.minimum(v + lid, 1 + lid - v) * tall)
                light = np.clip(0.55 + 0.4 * side * u - 0.3 * u**2, 0.1, 1) + 0.3 * (v < lid)
                shine = np.exp(-((u - 0.5 * side) ** 2) / 0.01) * (v > lid) * 0.6
            case _:
                u, v = (columns - x) / size, (rows - foot + tall) / tall
                inside = np.minimum((0.8 - np.abs(u)) * size, np.minimum(v, 1 - v + 0.1 * np.abs(u - 0.2)) * tall)
                light = np.where(u > 0.2, 0.62 + 0.3 * side, 0.62 - 0.25 * side) - 0.15 * v
                shine = np.zeros_like(u)
        pattern = 1 + rng.uniform(0, 0.25) * noise(rng, height, width, 1.1, size)
        if rng.random() < 0.3:
            pattern = pattern * np.where(np.sin(columns / size * rng.uniform(5, 16)) > 0, 1, 0.55)
        body = _floats(color) * (light * pattern)[..., None]
        picture = _mix(
            _mix(picture, body, inside), (255, 255, 255), np.clip(inside, 0, 1) * shine * rng.uniform(0, 0.9)
        )
    return picture


def _figure(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Something large and rounded, as an animal or a toy, before a landscape or a wall that is out of focus."""
    behind = _landscape(rng, height, width) if rng.random() < 0.6 else _backdrop(rng, height, width)
    picture = cv2.GaussianBlur(behind, (0, 0), rng.uniform(2, 9))
    rows, columns = _grid(height, width)
    x, y, size = rng.uniform(0.3, 0.7) * width, rng.uniform(0.45, 0.65) * height, rng.uniform(0.16, 0.26) * height
    hull = np.zeros((height, width), np.float32)
    for _ in range(int(rng.integers(4, 9))):
        turn, far, part = rng.uniform(0, 2 * np.pi), rng.uniform(0, 1.3), size * rng.uniform(0.35, 0.9)
        dx, dy = columns - x - far * size * np.cos(turn), rows - y - 1.1 * far * size * np.sin(turn)
        hull += np.exp(-(dx**2 + dy**2 * rng.uniform(0.6, 1.5)) / part**2)
    bulge = np.sqrt(np.clip(hull - 0.35, 0, None))
    slope_y, slope_x = np.gradient(cv2.GaussianBlur(bulge, (0, 0), 3))
    side = rng.choice([-1.0, 1.0])
    light = 0.66 + size * (-0.22 * side * slope_x + 0.2 * slope_y) - 0.1 * (rows - y) / size
    fur = noise(rng, height, width, rng.uniform(0.8, 1.4), rng.uniform(6, 40))
    fur = cv2.GaussianBlur(fur, (0, 0), sigmaX=0.7, sigmaY=rng.uniform(0.7, 3))
    coat = rng.uniform(20, 225, 3)
    coat = coat + (coat.mean() - coat) * rng.uniform(0.4, 0.9)
    patches = np.clip(0.5 + 2 * noise(rng, height, width, 1.8), 0, 1)
    body = _mix(np.broadcast_to(_floats(coat), picture.shape), coat * rng.uniform(0.3, 1.6), patches)
    body = body * np.clip(light + rng.uniform(0.02, 0.14) * fur / fur.std(), 0.08, 1.25)[..., None]
    picture = _mix(picture, body, (hull - 0.35) * rng.uniform(14, 60))
    for eye in (-1, 1):  # two dark spots with a light: small things of high contrast
        away = np.hypot(columns - x - eye * 0.28 * size, rows - y + 0.7 * size)
        picture = _mix(picture, (18, 16, 14), 0.11 * size - away)
        glint = np.hypot(columns - x - eye * 0.28 * size + 2, rows - y + 0.7 * size + 2)
        picture = _mix(picture, (250, 250, 250), 0.035 * size + 0.5 - glint)
    return picture


def _street(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Houses with windows beside each other, before a sky."""
    floor = rng.uniform(0.78, 0.92) * height
    picture, light = _sky(rng, height, width, floor)
    rows, columns = _grid(height, width)
    wall = noise(rng, height, width, 1.0)
    x = -rng.uniform(0, 60)
    while x < width:
        broad, top = rng.uniform(60, 190), rng.uniform(0.08, 0.55) * height
        color = _floats(_pick(rng, ((130, 170, 210), (150, 150, 160), (110, 120, 180), (190, 190, 196), (120, 150, 160),
                                       (80, 90, 120), (205, 215, 225)))) * rng.uniform(0.6, 1.1)  # fmt: skip
        face = (
            color
            * (0.45 + 0.55 * light)
            * (1 + 0.07 * wall + rng.uniform(-0.2, 0.2) * (columns - x) / broad)[..., None]
        )
        u, v = (columns - x) % (across := rng.uniform(20, 40)) / across, (rows - top) % (up := rng.uniform(26, 48)) / up
        pane = np.minimum(0.26 - np.abs(u - 0.5), 0.32 - np.abs(v - 0.52)) * across
        lit = rng.random((60, 60))[
            np.minimum((rows - top) // up, 59).astype(int) % 60, ((columns - x) // across).astype(int) % 60
        ]
        glass = np.where(
            (lit < 0.75 * light)[..., None], _floats([70, 56, 46]) + 60 * (1 - v)[..., None] * light, (110, 190, 240)
        )
        face = _mix(_mix(face, color * 1.15, pane + 2.5), glass, pane)
        roof = top - rng.uniform(0, 0.1) * height * np.clip(1 - np.abs((columns - x) / broad - 0.5) * 2, 0, 1)
        inside = np.minimum(rows - roof, np.minimum(columns - x, x + broad - columns))
        picture = _mix(picture, _mix(face, color * 0.45, top - rows), inside)
        x += broad + (rng.uniform(4, 50) if rng.random() < 0.3 else 0)
    bed = _perspective(noise(rng, 512, 512, 0.8), rows, columns, floor, 2)
    road = _floats(_pick(rng, ((92, 92, 96), (140, 146, 150), (70, 90, 96)))) * (0.3 + 0.7 * light)
    return _mix(picture, road * (1 + 0.08 * bed)[..., None], rows - floor)


def _lights(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Lamps out of focus before the dark."""
    dark = _pick(rng, (((10, 8, 6), (50, 30, 22)), ((20, 14, 24), (70, 40, 60)), ((12, 18, 22), (30, 44, 60))))
    picture = ramp(np.clip(0.4 + 0.2 * noise(rng, height, width, 1.6), 0, 1), dark)
    rows, columns = _grid(height, width)
    glow = np.zeros_like(picture)
    for _ in range(int(rng.integers(25, 90))):
        x, y = rng.uniform(0, width), height * np.clip(rng.normal(0.5, 0.22), 0, 1)
        radius = rng.uniform(3, 34)
        color = _floats(_pick(rng, ((90, 180, 255), (200, 220, 250), (60, 90, 250), (250, 200, 120), (120, 220, 160))))
        reach = int(radius) + 2
        part = slice(max(int(y) - reach, 0), int(y) + reach), slice(max(int(x) - reach, 0), int(x) + reach)
        disc = np.clip(radius - np.hypot(columns[part] - x, rows[part] - y), 0, 1)[..., None]
        glow[part] += disc * color * rng.uniform(0.1, 0.7)
    picture = picture + glow
    if rng.random() < 0.5:  # wet ground
        at = int(0.62 * height)
        mirrored = cv2.GaussianBlur(picture[2 * at - height : at][::-1], (0, 0), sigmaX=3, sigmaY=18)
        picture[at:] = 0.55 * mirrored[: height - at]
    return picture


def _haze(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Little but gradients: clouds from near by, water, walls, where a style has to leave flat what is flat."""
    picture = _backdrop(rng, height, width)
    for _ in range(int(rng.integers(1, 4))):
        cover = np.clip(0.5 + rng.uniform(0.2, 0.8) * noise(rng, height, width, rng.uniform(1.6, 2.2)), 0, 1)
        picture = _mix(picture, rng.uniform(60, 245, 3), rng.uniform(0.2, 0.6) * cover)
    if rng.random() < 0.5:
        rows, _ = _grid(height, width)
        line = rng.uniform(0.5, 0.9) * height + _line(rng, width, 14, 1.4)
        picture = _mix(picture, rng.uniform(10, 90, 3), rows - line)
    return picture


SCENES = (_landscape, _table, _leaves, _figure, _street, _coast, _pebbles, _landscape, _haze, _figure, _lights)


def _developed(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A scene as a camera gives it: white balance, exposure, contrast, saturation, vignetting, focus and grain."""
    height, width = picture.shape[:2]
    rows, columns = _grid(height, width)
    values = np.clip(picture, 0, 255) / 255
    gray = values.mean(2, keepdims=True)
    values = gray + (values - gray) * np.float32(
        rng.uniform(0.5, 1.35) * (rng.random() > 0.06)
    )  # some in black and white
    values = values * _floats([rng.uniform(0.9, 1.1), 1, rng.uniform(0.9, 1.1)]) * np.float32(rng.uniform(0.8, 1.2))
    values = np.clip(values, 0, 1) ** np.float32(rng.uniform(0.6, 1.15))
    middle = values.mean()
    values = middle + (values - middle) * np.float32(rng.uniform(0.75, 1.3))
    away = np.hypot(columns / width - 0.5, rows / height - 0.5)
    values = values * (1 - rng.uniform(0, 0.5) * away**2)[..., None]
    if rng.random() < 0.6:
        values = cv2.GaussianBlur(values, (0, 0), rng.uniform(0.4, 1.3))
    values = values + rng.uniform(0, 0.014) * rng.standard_normal((height, width, 1), np.float32)
    whole = np.rint(255 * values).clip(0, 255).astype(np.uint8)
    return np.ascontiguousarray(whole)
