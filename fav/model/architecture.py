"""The architecture string of a style network: what its entries mean, and what follows from it without any weights; pure.

docs/reference/architectures.md describes every entry, and docs/explanation/architecture.md why the default is as it is.
Source of the authors' entries: Johnson, Alahi, Fei-Fei, "Perceptual losses for real-time style transfer" (2016).
"""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from fav.errors import FavError

DEFAULT_ARCH = "c9s1-32,d64,d128,R128,R128,R128,R128,R128,U2,c3s1-64,U2,c9s1-3"
# Half the width of the authors': half the time of an iteration and 0.36 of that of a film's frame, as measured on a CPU.
HALF_WIDTH = "c9s1-16,d32,d64,R64,R64,R64,R64,R64,U2,c3s1-32,U2,c9s1-3"
# Sees 305 pixels, and takes 0.3 of the time of half width (docs/explanation/architecture.md).
WIDE_VIEW = "E,c5s2-16,d32,R32,[d64,R64,[d128,R128,R128,U2,c3s1-64],R64,U2,c3s1-32],R32,U2,c5s1-24,U2,c5s1-3"
PRESETS = {
    "wide-view": WIDE_VIEW,
    "half": HALF_WIDTH,
    "full": DEFAULT_ARCH,
}  # names for `--arch`; the first is the default
MAX_LAYERS = 100
MAX_STRIDE = 64
MAX_DEPTH = 6  # of detours in detours: a size each
EDGE = "E"  # the entry that makes all convolutions continue their input by its edge
FIXED_NORMS, SCALED, LINEAR = "BAL"  # norms are a fixed scale and shift; scale and shift of each channel; no tanh
Padding = Literal["zeros", "reflect", "replicate"]  # how a layer continues its input, in PyTorch's words
PADDINGS: dict[str, Padding] = {"m": "reflect", "e": "replicate", "z": "zeros"}  # letters behind c, d and R
MARGIN = 8  # pixels that E mirrors at each side of a frame
CROP = 2  # what a residual block's two valid 3x3 convolutions eat on each side
_TOKEN = re.compile(
    r"(?P<kind>[cfp])(?P<kernel>\d{1,2})s(?P<stride>[1-9])-(?P<channels>[1-9]\d{0,3})(?P<padding>[me])?"
    r"|(?P<short>[du])(?P<short_channels>[1-9]\d{0,3})(?P<short_padding>[me])?|U(?P<factor>[1-9])(?P<plain>p)?"
    r"|R(?P<block>[1-9]\d{0,3})(d(?P<dilation>[1-9]))?(?P<block_padding>[mez])?(?P<rectified>r)?"
    r"|S(?P<separable>[1-9]\d{0,3})x(?P<expansion>[1-8])k(?P<wide>\d{1,2})|(?P<mark>[EBAL])"
)
_FORMS = "cKsS-C, fKsS-C, pKsS-C, dC, uC, RC, RCdD, SCxXkK, UN, E, B, A, L or [...]"


@dataclass(frozen=True)
class Layer:
    """One entry of an architecture string.

    kind: c convolution, f full (transposed) convolution, p sub-pixel convolution, R residual block, S separable residual block,
    U nearest upsampling, E continues every convolution's input by its edge, [ a detour that is added to what it began with;
    `d` and `u` are a c and an f of 3x3 and stride 2. channels is what comes out (0 for U, E and [: unchanged),
    stride what the layer divides (c) or multiplies (f, p, U) the size by. dilation is the distance of a kernel's taps (R),
    expansion the channels between the pointwise convolutions by those of the block (S), inner the layers of a detour.
    padding is how the input of a c or R is continued where that is its own: m, e or z of PADDINGS; "" as the network does.
    plain: no norm and no ReLU follow (U). rectified: a ReLU follows the sum (R). B, A and L are entries without a size.
    """

    kind: str
    kernel: int
    stride: int
    channels: int
    dilation: int = 1
    expansion: int = 1
    inner: tuple["Layer", ...] = ()
    padding: str = ""
    plain: bool = False
    rectified: bool = False

    def __str__(self) -> str:
        """The entry, in its shortest form; commas and all for a detour."""
        match self.kind:
            case "U":
                return f"U{self.stride}" + "p" * self.plain
            case "E" | "B" | "A" | "L":
                return self.kind
            case "R":
                dilation = f"d{self.dilation}" if self.dilation > 1 else ""
                return f"R{self.channels}{dilation}{self.padding}" + "r" * self.rectified
            case "S":
                return f"S{self.channels}x{self.expansion}k{self.kernel}"
            case "[":
                return f"[{join(self.inner)}]"
        if (self.kernel, self.stride) == (3, 2) and self.kind != "p":
            return f"{'d' if self.kind == 'c' else 'u'}{self.channels}{self.padding}"
        return f"{self.kind}{self.kernel}s{self.stride}-{self.channels}{self.padding}"


def join(layers: Iterable[Layer]) -> str:
    """The architecture string of layers, which `parse` takes apart again."""
    return ",".join(map(str, layers))


def parse(arch: str) -> list[Layer]:
    """The layers of an architecture string.

    Raises FavError that names the first entry that is not understood.
    """
    entries = arch.split(",")
    if len(entries) > MAX_LAYERS:
        raise FavError(f"architecture {arch[:200]!r}: expected at most {MAX_LAYERS} layers, got {len(entries)}")
    levels: list[list[Layer]] = [[]]  # of detours that are still open, the outermost first
    for number, entry in enumerate(entries):
        bare = entry.lstrip("[")
        levels += [[] for _ in entry[: len(entry) - len(bare)]]
        if len(levels) > 1 + MAX_DEPTH:
            raise FavError(f"architecture {arch[:200]!r}: expected at most {MAX_DEPTH} open [, got {len(levels) - 1}")
        levels[-1].append(_parse_entry(bare.rstrip("]"), arch))
        if levels[-1][-1].kind == EDGE and (number or len(levels) > 1):
            raise FavError(
                f"architecture {arch[:200]!r}: expected E as the first entry alone, got it as number {number + 1}"
            )
        for _ in bare[len(bare.rstrip("]")) :]:
            if len(levels) == 1:
                raise FavError(f"architecture {arch[:200]!r}: expected a [ for each ], got {entry[:40]!r}")
            inner = tuple(levels.pop())
            levels[-1].append(Layer("[", 1, 1, 0, inner=inner))
    if len(levels) > 1:
        raise FavError(f"architecture {arch[:200]!r}: expected a ] for each [, got {len(levels) - 1} without")
    _check_marks(levels[0], arch)
    return levels[0]


def _check_marks(layers: Sequence[Layer], arch: str) -> None:
    """FavError where B, A and L, or what has a padding of its own, are not where they can be."""
    order = re.fullmatch(r"(B?A?|E)[^BALE]*L?A?", "".join(layer.kind for layer in layers))
    inside = [layer for layer in layers if layer.kind == "[" and set("BAL") & set(str(layer))]
    if order is None or inside:
        raise FavError(
            f"architecture {arch[:200]!r}: expected E, or B and A, at the beginning, and L and A at the end, got others"
        )
    if layers[0].kind == EDGE and any(mark in "BAL" for layer in layers for mark in layer.kind):
        raise FavError(f"architecture {arch[:200]!r}: expected B, A and L only without E")


def body(layers: Sequence[Layer]) -> list[Layer]:
    """The layers without the entries E, B, A and L around them."""
    return [layer for layer in layers if layer.kind not in "EBAL"]


def _parse_entry(entry: str, arch: str) -> Layer:
    match = _TOKEN.fullmatch(entry)
    if match is None:
        raise FavError(f"architecture {arch[:200]!r}: expected {_FORMS}, got {entry[:40]!r}")
    if match["mark"]:
        return Layer(match["mark"], 1, 1, 0)
    if match["factor"]:
        return Layer("U", 1, int(match["factor"]), 0, plain=bool(match["plain"]))
    padding = match["padding"] or match["short_padding"] or ""
    if padding and (match["kind"] or match["short"]) not in ("c", "d"):
        raise FavError(f"architecture {arch[:200]!r}: expected {padding!r} only behind c, d and R, got {entry!r}")
    if match["short"]:
        return Layer({"d": "c", "u": "f"}[match["short"]], 3, 2, int(match["short_channels"]), padding=padding)
    if match["block"]:
        return Layer(
            "R",
            3,
            1,
            int(match["block"]),
            dilation=int(match["dilation"] or 1),
            padding=match["block_padding"] or "",
            rectified=bool(match["rectified"]),
        )
    kernel = int(match["kernel"] or match["wide"])
    if kernel % 2 == 0:
        raise FavError(f"architecture {arch[:200]!r}: expected an odd kernel, got {entry!r}")
    if match["separable"]:
        return Layer("S", kernel, 1, int(match["separable"]), expansion=int(match["expansion"]))
    return Layer(match["kind"], kernel, int(match["stride"]), int(match["channels"]), padding=padding)


def geometry(specification: list[Layer], arch: str) -> tuple[int, int]:
    """Pixels by which the frame is continued on each side, and the total stride. Those pixels are what the residual blocks eat;
    with `E`, which eats nothing, a margin that is cut off."""
    edge = specification[0].kind == EDGE
    scale, multiple, eaten = _scales(specification, arch, edge, Fraction(1))
    if scale != 1:
        raise FavError(
            f"architecture {arch!r}: expected a picture of the size of the frame, got {1 / scale} times that"
        )
    return MARGIN if edge else math.ceil(eaten), multiple


def _scales(layers: Sequence[Layer], arch: str, edge: bool, scale: Fraction) -> tuple[Fraction, int, Fraction]:
    """From pixels of the frame a pixel has before layers: those behind them, the total stride, and pixels of the frame eaten."""
    multiple, eaten = 1, Fraction(0)
    for layer in layers:
        if layer.kind in "fS[" and edge == (layer.kind == "f"):
            wanted = "f and u only without E" if edge else "S and [...] only behind an E at the beginning"
            raise FavError(f"architecture {arch[:200]!r}: expected {wanted}, got {str(layer)[:40]!r}")
        if edge and (layer.padding or layer.plain):
            raise FavError(
                f"architecture {arch[:200]!r}: expected m, e, z and p behind an entry only without E, got {str(layer)[:40]!r}"
            )
        if layer.kind == "R" and not edge and not layer.padding:
            eaten += CROP * layer.dilation * scale
        if layer.kind == "[":
            after, strides, _ = _scales(layer.inner, arch, edge, scale)
            if after != scale:
                raise FavError(
                    f"architecture {arch[:200]!r}: expected a detour that keeps the size, got {scale / after} times "
                    f"that from {str(layer)[:80]!r}"
                )
            multiple = math.lcm(multiple, strides)
        scale = scale * layer.stride if layer.kind == "c" else scale / layer.stride
        multiple = math.lcm(multiple, scale.numerator)
        if multiple > MAX_STRIDE or scale.denominator > 4:
            raise FavError(
                f"architecture {arch[:200]!r}: expected pictures of 1/{MAX_STRIDE} to 4 times the frame on the way"
            )
    return scale, multiple, eaten


def receptive_field(arch: str) -> int:
    """The side, in pixels, of the largest square of the frame that a pixel of the picture depends on, but for the norms,
    which see all of it."""
    layers = parse(arch)
    _, multiple = geometry(layers, arch)
    return max(1 + last - first for first, last in (_seen(layers, pixel, pixel) for pixel in range(multiple)))


def _seen(layers: Sequence[Layer], first: int, last: int) -> tuple[int, int]:
    """The first and the last pixel before layers, in one dimension, on which those from `first` to `last` behind them depend;
    as if residual blocks kept the size."""
    for layer in reversed(layers):
        reach = layer.kernel // 2
        match layer.kind:
            case "U":
                first, last = first // layer.stride, last // layer.stride
            case "p":
                first, last = first // layer.stride - reach, last // layer.stride + reach
            case "f":  # a pixel gets what the taps of the pixels around it hold, at each stride-th place
                first, last = -((reach - first) // layer.stride), (last + reach) // layer.stride
            case "R":
                first, last = first - 2 * layer.dilation, last + 2 * layer.dilation
            case "[":
                inside = _seen(layer.inner, first, last)
                first, last = min(first, inside[0]), max(last, inside[1])
            case _:
                first, last = first * layer.stride - reach, last * layer.stride + reach
    return first, last
