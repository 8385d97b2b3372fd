"""A watercolor of a village on a lake under mountains: transparent washes one over another on white paper.

A wash takes light away as pigment does (Beer and Lambert: its strength times the color's absorption). Where it dries its
edge is darker, its pigment settles in the hollows of the paper, and water that runs back into it leaves blooms.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from fav.synthetic.paintings.marks import (
    FINE,
    HEIGHT,
    WIDTH,
    Color,
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
    step,
    taper,
)  # fmt: skip

SEED = 3
SHORE = 486  # y of the far shore
PAPER = np.array([244, 250, 253])
COBALT, CERULEAN, VIOLET, ROSE = (196, 128, 62), (214, 176, 96), (156, 104, 112), (170, 150, 226)
OCHRE, SIENNA, UMBER, RED = (84, 176, 226), (52, 98, 188), (62, 78, 104), (64, 72, 208)
SAP, OLIVE, VIRIDIAN, INDIGO, GREY = (62, 138, 108), (60, 122, 142), (122, 134, 58), (110, 72, 44), (146, 130, 120)
YELLOW, TEAL = (110, 214, 246), (160, 150, 40)


class Sheet:
    """The sheet: how much light its washes have taken, (HEIGHT, WIDTH, 3), and its hollows."""

    def __init__(self, rng: np.random.Generator):
        self.rng = rng
        self.taken = np.zeros((HEIGHT, WIDTH, 3), np.float32)
        self.hollows = noise(rng, 5.5, octaves=1) * 0.7 + noise(rng, 11) * 0.5
        self.x, self.y = grid()

    def wash(
        self,
        where: np.ndarray | Sequence[np.ndarray],
        color: Color,
        strength: float = 1,
        other: Color | None = None,
        wet: float = 0,
        edge: float = 0.5,
        dry: float = 0,
        rough: float = 2.6,
        bloom: int = 0,
    ) -> None:
        """Lays a wash of `color`, which runs into `other` here and there.

        `where` is a mask, (HEIGHT, WIDTH) 0 to 1, or a list of outlines.
        `wet` is how far it spreads (units), `edge` how dark its edge dries, `dry` how much of the paper's ridges a dry
        brush leaves white, `rough` how far its outline strays, `bloom` how many times water runs back into it.
        """
        rng = self.rng
        stray = [noise(rng, 60) * rough * 0.9 + noise(rng, 17, octaves=2) * rough * 0.4 for _ in range(2)]
        mask = where if isinstance(where, np.ndarray) else _mask(*where)
        mask = cv2.remap(
            mask.astype(np.float32),
            self.x - 0.5 + stray[0].astype(np.float32),
            self.y - 0.5 + stray[1].astype(np.float32),
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )
        if wet:
            share = step(-0.7, 0.7, noise(rng, 80))
            mask = blurred(mask, wet) * share + blurred(mask, wet * 0.35) * (1 - share)
        if dry:
            mask = mask * (1 - dry * step(0.1, 0.9, self.hollows + 0.4 * noise(rng, 24, stretch=3)))
        within = cv2.distanceTransform((mask > 0.5).astype(np.uint8), cv2.DIST_L2, 5)
        rim = mask * np.exp(-np.maximum(within - 1, 0) / 2.6) * edge * np.clip(0.75 + 0.5 * noise(rng, 45), 0, 1.6)
        pool = mask * np.exp(-within / 16) * edge * 0.35
        density = mask * np.clip(1 + 0.26 * noise(rng, 90, octaves=2) - 0.1 * self.hollows, 0.2, 2)
        density += (rim + pool) * (0.3 if wet else 1)
        for _ in range(bloom):
            density *= self._bloom(mask)
        absorbed = -np.log(np.array(color, np.float32) / 255)
        if other is not None:
            run = step(-0.8, 0.8, noise(rng, 75, octaves=2))[..., None]
            absorbed = absorbed * (1 - run) + run * -np.log(np.array(other, np.float32) / 255)
        self.taken += strength * density[..., None] * absorbed

    def lift(self, outlines: Sequence[np.ndarray], share: float) -> None:
        """Takes a share of all pigment off again, as a wet brush and a cloth do, or as what was masked stays white."""
        self.taken *= 1 - share * _mask(*outlines)[..., None]

    def _bloom(self, mask: np.ndarray) -> np.ndarray:
        """A factor of density: pale within a bloom, dark along its crinkled edge."""
        rows, columns = np.nonzero(mask > 0.6)
        if not len(rows):
            return np.ones_like(mask)
        at = int(self.rng.integers(len(rows)))
        size = self.rng.uniform(26, 62)
        away = np.hypot((self.x - columns[at]) / 1.35, self.y - rows[at]) / size + 0.13 * noise(self.rng, 30, octaves=3)
        crest = 0.42 * np.exp(-(((away - 1) / 0.055) ** 2)) * step(-1.2, 0.6, noise(self.rng, 60))
        return 1 - 0.4 * step(1, 0.55, away) + crest

    def picture(self) -> np.ndarray:
        shade = PAPER - 2.2 * self.hollows[..., None] + 2.0 * noise(self.rng, 90)[..., None]
        return shade * np.exp(-self.taken)


def _mask(*outlines: np.ndarray) -> np.ndarray:
    mask = np.zeros((HEIGHT * FINE, WIDTH * FINE), np.uint8)
    for outline in outlines:
        fill(mask, np.asarray(outline, float), 255)
    return reduced(mask).astype(np.float32) / 255


def _stroke(points: Points, width: float, begin: float = 0.15, end: float = 0.5) -> np.ndarray:
    line = curve(points, 3)
    return ribbon(line, np.maximum(width * taper(len(line), begin, end), 0.8))


def _dab(rng: np.random.Generator, x: float, y: float, size: float, angle: float) -> np.ndarray:
    turn = np.linspace(0, 2 * np.pi, 18, endpoint=False)
    reach = size / 2 * (1 + 0.22 * rng.standard_normal(18).cumsum() / 4)
    long, short = reach * np.cos(turn) * 1.35, reach * np.sin(turn) * 0.75
    cosine, sine = np.cos(angle), np.sin(angle)
    return np.stack([x + long * cosine - short * sine, y + long * sine + short * cosine], axis=1)


def _below(points: Points, foot: float) -> np.ndarray:
    line = curve(points, 4)
    return np.vstack([line, [(line[-1, 0], foot), (line[0, 0], foot)]])


FAR = path("-20,330 60,290 150,326 250,236 330,180 396,236 470,210 560,300 660,340 780,306 900,356 1044,330")
MIDDLE = path("380,486 520,446 640,398 760,344 850,292 930,318 1044,262")
HILL = path("-20,380 80,352 190,366 300,408 400,452 500,486")
CLOUDS = path(
    "640,150,82 720,120,74 800,160,88 560,180,56 880,176,62 960,150,50 150,110,60 220,130,74 90,140,50 "
    "300,150,44 1010,60,56"
)  # x, y, size
HOUSES = (  # left, foot, width, height, where its roof is dark
    (40, 462, 52, 34, 0), (104, 440, 46, 32, 1), (66, 412, 40, 26, 1), (160, 464, 58, 36, 0), (150, 420, 38, 28, 1),
    (232, 474, 54, 38, 1), (210, 440, 36, 24, 0), (296, 478, 50, 32, 0), (352, 480, 44, 28, 1), (10, 482, 60, 30, 1),
    (404, 482, 34, 22, 0),
)  # fmt: skip


def _sky(sheet: Sheet) -> None:
    rng, x, y = sheet.rng, sheet.x, sheet.y
    sheet.wash(step(520, 380, y) * step(190, 340, y), YELLOW, 0.3, ROSE, wet=20, edge=0)
    clouds = np.zeros((HEIGHT, WIDTH), np.float32)
    for cx, cy, size in CLOUDS:
        clouds = np.maximum(clouds, _mask(_dab(rng, cx, cy, size * 1.5, 0.05)))
    blue = (1 - clouds) * step(300, 60, y + 26 * np.sin(x / 170))
    sheet.wash(blue, COBALT, 0.5, CERULEAN, wet=8, edge=0.35, rough=6, bloom=3)
    sheet.wash((1 - clouds) * step(170, -20, y), COBALT, 0.34, VIOLET, wet=14, edge=0.1, rough=8)
    belly = clouds * np.roll(1 - clouds, -46, 0)
    sheet.wash(belly, VIOLET, 0.24, GREY, wet=8, edge=0.1, rough=5)
    veils = [_stroke(path("420,250 560,236 700,250 860,238"), 18), _stroke(path("-20,226 90,216 210,230"), 16)]
    sheet.wash(veils, ROSE, 0.3, VIOLET, wet=6, edge=0.2, rough=4)


def _mountains(sheet: Sheet) -> None:
    rng = sheet.rng
    far = _mask(_below(FAR, SHORE - 6))
    snow = _mask(
        path("330,174 352,206 340,236 322,216 306,262 290,232 262,262 254,238 286,208"),
        path("470,204 494,232 482,252 466,236 448,262 436,232 452,214"),
        path("60,286 82,304 66,322 40,306"),
    )
    sheet.wash(far * (1 - snow) * step(SHORE + 30, 250, sheet.y), VIOLET, 0.5, COBALT, edge=0.6, rough=2, bloom=2)
    shade = _mask(
        path("330,182 396,238 440,310 470,400 420,420 380,350 352,300 360,250"),
        path("470,212 520,262 566,306 600,400 540,410 516,330 484,280"),
        path("250,240 276,282 266,330 300,400 240,400 232,320"),
        path("60,294 104,316 150,330 170,390 100,360"),
    )
    sheet.wash(shade * step(432, 340, sheet.y), COBALT, 0.52, VIOLET, edge=0.6, rough=3)
    creases = []
    for _ in range(26):
        cx, cy, tall = rng.uniform(180, 640), rng.uniform(262, 380), rng.uniform(40, 90)
        lean = np.sign(cx - 400) * rng.uniform(0.1, 0.7) * tall
        line = ((cx, cy), (cx + lean * 0.4, cy + tall * 0.5), (cx + lean, cy + tall))
        creases.append(_stroke(line, rng.uniform(8, 18), 0.1, 0.8))
    sheet.wash(_mask(*creases) * far, COBALT, 0.3, VIOLET, edge=0.6, rough=1.5, dry=0.5)
    middle = _mask(_below(MIDDLE, SHORE))
    sheet.wash(middle, TEAL, 0.36, OLIVE, edge=0.7, rough=2, bloom=3)
    sheet.wash(middle * step(330, 500, sheet.y + 0.16 * sheet.x - 90), INDIGO, 0.24, VIRIDIAN, wet=9, edge=0.1, rough=5)
    high = curve(MIDDLE, 4)
    firs = []
    for _ in range(130):
        at = high[int(rng.integers(24, len(high)))]
        cy = SHORE - (SHORE - 8 - at[1]) * rng.uniform(0, 1) ** 1.5
        tall = rng.uniform(20, 44)
        line = ((at[0] + rng.normal(0, 4), cy), (at[0], cy - tall * 0.4), (at[0] + rng.normal(0, 2), cy - tall))
        firs.append(_stroke(line, tall * 0.42, 0.06, 1.6))
    sheet.wash(firs[:76], VIRIDIAN, 0.4, SAP, edge=0.6, rough=1.5, dry=0.2)
    sheet.wash(firs[76:], INDIGO, 0.4, VIRIDIAN, edge=0.5, rough=1.5)
    hill = _mask(_below(HILL, SHORE))
    sheet.wash(hill, SAP, 0.46, YELLOW, edge=0.6, rough=2, bloom=2)


def _tree(sheet: Sheet, x: float, foot: float, wide: float, high: float, colors: Sequence[Color], many: int) -> None:
    """A tree in three values: a light wash, then darker dabs away from the sun."""
    rng = sheet.rng
    trunk = ((x, foot), (x + 2, foot - high * 0.3), (x + wide * 0.06, foot - high * 0.62))
    wood = [_stroke(trunk, wide * 0.11, 0.02, 0.6)]
    for lean in (-0.26, 0.22, 0.36):
        fork, tip = (x + 1, foot - high * 0.3), (x + lean * wide, foot - high * 0.74)
        wood.append(_stroke((fork, (x + lean * wide * 0.6, foot - high * 0.5), tip), wide * 0.05, 0.05, 0.8))
    for value, (color, share, shift) in enumerate(zip(colors, (1, 0.6, 0.34), (0, 0.1, 0.17), strict=True)):
        dabs = []
        for _ in range(round(many * share)):
            turn, reach = rng.uniform(0, 2 * np.pi), np.sqrt(rng.uniform(0, 1))
            up = 0.62 - 0.36 * reach * np.sin(turn) * (0.9 if np.sin(turn) > 0 else 0.7) - 0.24 * shift
            across = reach * np.cos(turn) * 0.94 + shift
            size, lean = rng.uniform(0.09, 0.2) * wide + 5, rng.uniform(-0.5, 1.1)
            dabs.append(_dab(rng, x + wide / 2 * across, foot - high * up, size, lean))
        if value == 1:
            sheet.wash(wood, UMBER, 0.9, INDIGO, edge=0.4, rough=1)
        strength, dry = ((0.5, 0.25), (0.42, 0.2), (0.4, 0.1))[value]
        darker = colors[min(value + 1, 2)]
        sheet.wash(dabs, color, strength, darker, edge=0.55, rough=2.2, dry=dry, bloom=int(value == 0))


def _village(sheet: Sheet) -> np.ndarray:
    """The houses. Returns what they cover, for the water to mirror."""
    rng = sheet.rng
    walls, shades, roofs, dark_roofs, windows = [], [], [], [], []
    for left, foot, wide, high, dark in HOUSES:
        size, corner = np.array((wide, high)), np.array((left, foot))
        walls.append(path("0,0 0,-1 0.2,-1.6 0.4,-1 1,-1 1,0") * size + corner)
        shades.append(path("0.4,0 0.4,-1.02 1,-1.02 1,0") * size + corner)
        (dark_roofs if dark else roofs).append(path("0.16,-1.7 0.82,-1.66 1.07,-0.95 0.38,-0.98") * size + corner)
        for share in (0.52, 0.7, 0.88):
            pane = path("-0.042,-0.34 -0.042,-0.68 0.042,-0.68 0.042,-0.34") + (share, 0)
            windows.append(pane * size + corner)
        windows.append(path("0.17,0 0.17,-0.5 0.28,-0.5 0.28,0") * size + corner)  # the door
    tower = path("262,466 262,352 292,352 292,466")
    spire = path("257,354 277,272 297,354")
    walls.append(tower)
    shades.append(path("277,466 277,352 292,352 292,466"))
    windows += [path("267,380 267,366 272,362 277,366 277,380"), path("281,380 281,366 285,362 289,366 289,380")]
    all_of_it = [*walls, *roofs, *dark_roofs, spire]
    sheet.lift(all_of_it, 0.86)
    sheet.wash(walls, OCHRE, 0.28, ROSE, edge=0.5, rough=1)
    sheet.wash(roofs, SIENNA, 0.8, RED, edge=0.55, rough=1.1)
    sheet.wash([*dark_roofs, spire], RED, 0.62, UMBER, edge=0.55, rough=1.1)
    sheet.wash(shades, VIOLET, 0.8, COBALT, edge=0.4, rough=1)
    under_eaves = _mask(*(roof + (0, np.ptp(roof[:, 1])) for roof in roofs)) * _mask(*shades)
    sheet.wash(under_eaves, VIOLET, 0.3, edge=0.3, rough=1)
    sheet.wash(windows, INDIGO, 0.95, UMBER, edge=0.2, rough=0.8)
    feet = zip(rng.uniform(-6, 470, 60), SHORE - np.abs(rng.normal(0, 9, 60)))
    bushes = [_dab(rng, x, y, rng.uniform(13, 26), 0) for x, y in feet]
    sheet.wash(bushes[:34], SAP, 0.6, OLIVE, edge=0.5, rough=2)
    sheet.wash(bushes[34:], VIRIDIAN, 0.55, INDIGO, edge=0.5, rough=2)
    return _mask(*all_of_it)


def _water(sheet: Sheet, houses: np.ndarray) -> None:
    rng, x, y = sheet.rng, sheet.x, sheet.y
    lake = step(SHORE - 1, SHORE + 2, y)
    places = rng.normal(700, 120, 70), rng.uniform(SHORE + 8, 790, 70), rng.uniform(14, 60, 70), rng.uniform(4, 10, 70)
    glints = []
    for cx, cy, wide, thick in zip(*places):
        glints.append(_stroke(((cx - wide, cy), (cx, cy + rng.normal(0, 2)), (cx + wide, cy)), thick, 0.5, 0.5))
    glitter = _mask(*glints)
    sheet.wash(lake * (1 - glitter), CERULEAN, 0.34, COBALT, edge=0.6, rough=2, bloom=4)
    sheet.wash(lake * step(560, 860, y) * (1 - glitter), COBALT, 0.42, TEAL, wet=14, edge=0, rough=8)
    ripple = (9 * np.sin(y / 4.6) * step(SHORE, 700, y) + 5 * noise(rng, 9, stretch=8)).astype(np.float32)
    mirror = (2 * SHORE - y).astype(np.float32)

    def mirrored(mask: np.ndarray, squeeze: float = 1) -> np.ndarray:
        up = (SHORE - (SHORE - mirror) * squeeze).astype(np.float32)
        return cv2.remap(mask, x + ripple, up, cv2.INTER_LINEAR) * lake

    sheet.wash(mirrored(_mask(_below(MIDDLE, SHORE)), 1.15), VIRIDIAN, 0.3, INDIGO, wet=3, edge=0.5, rough=2)
    sheet.wash(mirrored(_mask(_below(HILL, SHORE)), 1.2), SAP, 0.4, VIRIDIAN, wet=3, edge=0.5, rough=2)
    far = mirrored(_mask(_below(FAR, SHORE))) * step(720, 560, y)
    sheet.wash(far, VIOLET, 0.22, COBALT, wet=4, edge=0.4, rough=2)
    sheet.wash(mirrored(houses), SIENNA, 0.4, OCHRE, wet=2, edge=0.4, rough=2)
    layers = ((50, COBALT, TEAL, 0.42, 510), (46, COBALT, INDIGO, 0.36, 560), (34, INDIGO, COBALT, 0.36, 640))
    for many, color, other, strength, top in layers:
        strokes = []
        for _ in range(many):
            cy = top + (796 - top) * rng.uniform(0, 1) ** 0.8
            near = (cy - SHORE) / 314
            wide, cx = rng.uniform(24, 60) * (0.6 + 1.6 * near), rng.uniform(-20, WIDTH + 20)
            if abs(cx - 700) < 90 and rng.random() < 0.6:
                continue
            left, right = (cx - wide, cy + rng.normal(0, 3)), (cx + wide, cy + rng.normal(0, 3))
            line = (left, (cx - wide / 3, cy - 3), (cx + wide / 3, cy + 3), right)
            strokes.append(_stroke(line, 4 + 13 * near, 0.35, 0.45))
        sheet.wash(_mask(*strokes) * (1 - 0.8 * glitter), color, strength, other, edge=0.5, rough=2, dry=0.45)


def _boat(sheet: Sheet, x: float, y: float, size: float, sail: Color, hull: Color) -> None:
    """A sailing boat that was kept white first, and its reflection."""

    def at(points: Points) -> np.ndarray:
        return np.array(points, float) * size + (x, y)

    main = at(path("2,-8 4,-104 14,-84 30,-50 44,-10"))
    jib = at(path("-3,-8 0,-94 -16,-54 -34,-10"))
    body = at(path("-46,-5 54,-6 44,9 28,14 -26,14 -38,8"))
    mast = at(path("0,0 1.4,-112 3,-112 3.4,0"))
    image = [side * np.array((1, -0.62)) + (0, 1.62 * y + 19 * size) for side in (main, jib)]
    rng = sheet.rng
    sheet.lift((main, jib, body, mast), 0.92)
    glints = []
    for cy, wide in zip(y + size * np.linspace(18, 74, 9), size * np.linspace(44, 8, 9) * rng.uniform(0.7, 1.2, 9)):
        glints.append(_stroke(((x - wide, cy), (x + 4, cy + 2), (x + wide, cy)), 6 * size, 0.4, 0.4))
    sheet.lift(glints, 0.6)
    sheet.wash([main], sail, 0.6, OCHRE, edge=0.6, rough=1, bloom=1)
    sheet.wash([jib], OCHRE, 0.16, ROSE, edge=0.8, rough=1)
    sheet.wash([at(path("20,-10 24,-60 32,-46 44,-10"))], VIOLET, 0.4, edge=0.3, rough=1, wet=2)
    sheet.wash([body], hull, 0.95, INDIGO, edge=0.5, rough=1)
    sheet.wash([mast], UMBER, 1.2, edge=0.2, rough=0.5)
    sailor = path("-22,-5 -24,-18 -18,-22 -12,-17 -13,-5"), path("-21,-25 -18,-30 -14,-27 -17,-22")
    sheet.wash([closed(at(part)) for part in sailor], INDIGO, 0.9, SIENNA, edge=0.3, rough=0.6)
    strokes = []
    for low, wide in ((19, 48), (27, 40), (36, 30), (47, 16)):
        cy, reach = y + size * low, size * wide
        strokes.append(_stroke(((x - reach, cy), (x, cy + 2), (x + reach * 0.9, cy - 1)), 7 * size, 0.4, 0.4))
    sheet.wash(strokes, hull, 0.6, INDIGO, edge=0.5, rough=2, dry=0.3)
    sheet.wash(_mask(image[0]) * step(-0.5, 0.5, np.sin(sheet.y / 4.2)), sail, 0.34, wet=2, edge=0.2, rough=3)


def _bank(sheet: Sheet) -> None:
    rng = sheet.rng
    outline = _below(path("-20,690 90,676 200,704 320,750 430,790 470,820"), 830)
    bank = _mask(outline)
    sheet.lift([outline], 0.7)
    sheet.wash(bank, OCHRE, 0.6, SAP, edge=0.6, rough=3, bloom=2)
    sheet.wash(bank * step(700, 790, sheet.y), OLIVE, 0.5, UMBER, wet=8, edge=0.2, rough=6)
    grasses = ((60, SAP, YELLOW, 0.6, 90), (50, OLIVE, UMBER, 0.62, 110), (30, INDIGO, VIRIDIAN, 0.5, 120))
    for many, color, other, strength, tall in grasses:
        blades = []
        for _ in range(many):
            x = rng.uniform(-10, 440)
            foot = 700 + 0.24 * max(x - 60, 0) + rng.uniform(0, 100)
            lean, high = rng.normal(14, 22), tall * rng.uniform(0.5, 1.1)
            line = ((x, foot), (x + lean * 0.3, foot - high * 0.5), (x + lean, foot - high))
            blades.append(_stroke(line, rng.uniform(5, 11), 0.1, 0.9))
        sheet.wash(blades, color, strength, other, edge=0.4, rough=1.6, dry=0.25)
    blooms, stems = [], []
    for x, y in zip(rng.uniform(6, 350, 30), rng.uniform(604, 716, 30)):
        foot = (x - rng.uniform(4, 16), y + rng.uniform(60, 110))
        stems.append(_stroke((foot, ((x + foot[0]) / 2 - 3, (y + foot[1]) / 2), (x, y)), 4.5, 0.1, 0.6))
        size, turn = rng.uniform(10, 17), rng.uniform(-0.4, 0.4)
        petals = ((-0.42, 0, 0.5), (0.42, 0, -0.5), (0, -0.3, 0))
        blooms.append([_dab(rng, x + dx * size, y + dy * size, size, turn + lean) for dx, dy, lean in petals])
    sheet.wash(stems, SAP, 0.7, OLIVE, edge=0.4, rough=1)
    colors = ((blooms[:18], RED, SIENNA), (blooms[18:24], YELLOW, OCHRE), (blooms[24:], VIOLET, COBALT))
    for part, color, other in colors:
        petals = [petal for bloom in part for petal in bloom]
        sheet.lift(petals, 0.93)
        sheet.wash(petals, color, 0.8, other, edge=0.7, rough=1)
        sheet.wash([bloom[2] for bloom in part], color, 0.35, other, edge=0.8, rough=1)


def watercolor() -> np.ndarray:
    """The painting, (HEIGHT, WIDTH, 3) uint8 BGR."""
    rng = np.random.default_rng(SEED)
    sheet = Sheet(rng)
    _sky(sheet)
    _mountains(sheet)
    for x, foot, wide, high in ((128, 412, 60, 86), (196, 424, 54, 76), (20, 420, 66, 96), (330, 462, 46, 64)):
        _tree(sheet, x, foot, wide, high, (SAP, OLIVE, VIRIDIAN), 34)
    houses = _village(sheet)
    _water(sheet, houses)
    _boat(sheet, 610, 566, 1.0, RED, UMBER)
    _boat(sheet, 836, 640, 1.55, OCHRE, INDIGO)
    _boat(sheet, 500, 512, 0.44, OCHRE, SIENNA)
    _bank(sheet)
    pencil = [ribbon(curve(points, 4) + rng.normal(0, 1.2, 2), 1.5) for points in (FAR, MIDDLE)]
    lines = _mask(*pencil) * step(-0.6, 0.5, noise(rng, 40))
    sheet.taken += 0.35 * lines[..., None] * np.array([0.9, 1, 1.05], np.float32)
    spots = zip(rng.uniform(0, WIDTH, 16), rng.uniform(0, HEIGHT, 16))
    drops = [_dab(rng, x, y, rng.uniform(3, 7), 0) for x, y in spots]
    sheet.wash(drops, COBALT, 0.3, OCHRE, edge=0.8, rough=0.5)
    return np.clip(sheet.picture(), 0, 255).round().astype(np.uint8)
