"""Parse the architecture string of a style network, and compute sizes from it. Pure functions.

docs/reference/architectures.md describes every entry. docs/explanation/architecture.md gives the reasons for the default.
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
# Half the channels of the authors' network. On a CPU, an iteration takes 0.5 and a frame of a film 0.36 of its time.
HALF_WIDTH = "c9s1-16,d32,d64,R64,R64,R64,R64,R64,U2,c3s1-32,U2,c9s1-3"
# The receptive field is 305 pixels; a frame takes 0.3 of the time of half width (docs/explanation/architecture.md).
WIDE_VIEW = "E,c5s2-16,d32,R32,[d64,R64,[d128,R128,R128,U2,c3s1-64],R64,U2,c3s1-32],R32,U2,c5s1-24,U2,c5s1-3"
# Twice the channels. A frame takes 3.8 times the multiplications of `wide-view`, 0.74 of those of half width.
WIDE_VIEW_FULL = "E,c5s2-32,d64,R64,[d128,R128,[d256,R256,R256,U2,c3s1-128],R128,U2,c3s1-64],R64,U2,c5s1-48,U2,c5s1-3"
# Names for `--arch`. The first is the default.
PRESETS = {"wide-view": WIDE_VIEW, "wide-view-full": WIDE_VIEW_FULL, "half": HALF_WIDTH, "full": DEFAULT_ARCH}
MAX_LAYERS = 100
MAX_STRIDE = 64
MAX_DEPTH = 6  # of nested branches
EDGE = "E"  # the entry for replicate padding in all convolutions
FIXED_NORMS, SCALED, LINEAR = "BAL"  # norms are a fixed scale and shift; scale and shift of each channel; no tanh
Padding = Literal["zeros", "reflect", "replicate"]  # padding modes of PyTorch
PADDINGS: dict[str, Padding] = {"m": "reflect", "e": "replicate", "z": "zeros"}  # letters after c, d and R
MARGIN = 8  # pixels of reflection padding at each side of a frame, with E
CROP = 2  # pixels that two 3x3 convolutions without padding remove at each side
_TOKEN = re.compile(
    r"(?P<kind>[cfp])(?P<kernel>\d{1,2})s(?P<stride>[1-9])-(?P<channels>[1-9]\d{0,3})(?P<padding>[me])?"
    r"|(?P<short>[du])(?P<short_channels>[1-9]\d{0,3})(?P<short_padding>[me])?|U(?P<factor>[1-9])(?P<plain>p)?"
    r"|R(?P<block>[1-9]\d{0,3})(d(?P<dilation>[1-9]))?(?P<block_padding>[mez])?(?P<rectified>r)?"
    r"|S(?P<separable>[1-9]\d{0,3})x(?P<expansion>[1-8])k(?P<wide>\d{1,2})|(?P<modifier>[EBAL])"
)
_FORMS = "cKsS-C, fKsS-C, pKsS-C, dC, uC, RC, RCdD, SCxXkK, UN, E, B, A, L or [...]"


@dataclass(frozen=True)
class Layer:
    """One entry of an architecture string.

    Attributes:
        kind: c convolution, f full (transposed) convolution, p sub-pixel convolution, R residual block, S separable
            residual block, U nearest-neighbor upsampling, [ residual branch; E, B, A and L are modifiers without a size.
            The entries `d` and `u` are parsed as a c and an f of 3x3 and stride 2.
        kernel: Side of the kernel.
        stride: The factor by which the size is divided (c) or multiplied (f, p, U).
        channels: Output channels; 0 for U, [ and modifiers.
        dilation: Dilation of the convolutions (R).
        expansion: Channels between the pointwise convolutions, divided by those of the block (S).
        inner: The layers of a residual branch.
        padding: A key of PADDINGS (c, R); "" for the network's default.
        plain: No norm and no ReLU follow (U).
        rectified: A ReLU follows the sum (R).
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
        """The entry in its shortest form."""
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
    """Return the architecture string of layers. `parse` is the inverse."""
    return ",".join(map(str, layers))


def parse(arch: str) -> list[Layer]:
    """Parse an architecture string.

    Raises:
        FavError: An entry is invalid; the message names the first one.
    """
    entries = arch.split(",")
    if len(entries) > MAX_LAYERS:
        raise FavError(f"architecture {arch[:200]!r}: expected at most {MAX_LAYERS} layers, got {len(entries)}")
    levels: list[list[Layer]] = [[]]  # the layers of all open branches, the outermost first
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
    _check_modifiers(levels[0], arch)
    return levels[0]


def _check_modifiers(layers: Sequence[Layer], arch: str) -> None:
    """Raise FavError if E, B, A or L is at a wrong position."""
    order = re.fullmatch(r"(B?A?|E)[^BALE]*L?A?", "".join(layer.kind for layer in layers))
    in_branch = [layer for layer in layers if layer.kind == "[" and set("BAL") & set(str(layer))]
    if order is None or in_branch:
        raise FavError(
            f"architecture {arch[:200]!r}: expected E, or B and A, at the beginning, and L and A at the end, got others"
        )
    if layers[0].kind == EDGE and any(layer.kind in ("B", "A", "L") for layer in layers):
        raise FavError(f"architecture {arch[:200]!r}: expected B, A and L only without E")


def body(layers: Sequence[Layer]) -> list[Layer]:
    """Return the layers without the modifiers E, B, A and L."""
    return [layer for layer in layers if layer.kind not in "EBAL"]


def _parse_entry(entry: str, arch: str) -> Layer:
    match = _TOKEN.fullmatch(entry)
    if match is None:
        raise FavError(f"architecture {arch[:200]!r}: expected {_FORMS}, got {entry[:40]!r}")
    if match["modifier"]:
        return Layer(match["modifier"], 1, 1, 0)
    if match["factor"]:
        return Layer("U", 1, int(match["factor"]), 0, plain=bool(match["plain"]))
    padding = match["padding"] or match["short_padding"] or ""
    if padding and (match["kind"] or match["short"]) not in ("c", "d"):
        raise FavError(f"architecture {arch[:200]!r}: expected {padding!r} only after c, d and R, got {entry!r}")
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
    """Compute the padding of the frame and the total stride of a network.

    Args:
        specification: The parsed layers.
        arch: The string, for error messages.

    Returns:
        The padding at each side of the frame, in pixels, and the total stride. The padding is what the residual blocks
        remove; with `E`, it is a margin that is cropped at the end.

    Raises:
        FavError: The output does not have the size of the frame, or an entry is not allowed there.
    """
    edge = specification[0].kind == EDGE
    scale, multiple, removed = _scales(specification, arch, edge, Fraction(1))
    if scale != 1:
        raise FavError(
            f"architecture {arch!r}: expected an output of the size of the frame, got {1 / scale} times that"
        )
    return MARGIN if edge else math.ceil(removed), multiple


def _scales(layers: Sequence[Layer], arch: str, edge: bool, scale: Fraction) -> tuple[Fraction, int, Fraction]:
    """Follow the size through layers, given the size `scale` of an input pixel in pixels of the frame.

    Returns:
        The size of an output pixel in pixels of the frame, the total stride, and the removed border in pixels of the
        frame.
    """
    multiple, removed = 1, Fraction(0)
    for layer in layers:
        if layer.kind in "fS[" and edge == (layer.kind == "f"):
            wanted = "f and u only without E" if edge else "S and [...] only after an E at the beginning"
            raise FavError(f"architecture {arch[:200]!r}: expected {wanted}, got {str(layer)[:40]!r}")
        if edge and (layer.padding or layer.plain):
            raise FavError(
                f"architecture {arch[:200]!r}: expected m, e, z and p after an entry only without E, got {str(layer)[:40]!r}"
            )
        if layer.kind == "R" and not edge and not layer.padding:
            removed += CROP * layer.dilation * scale
        if layer.kind == "[":
            after, strides, _ = _scales(layer.inner, arch, edge, scale)
            if after != scale:
                raise FavError(
                    f"architecture {arch[:200]!r}: expected a branch that keeps the size, got {scale / after} times "
                    f"that from {str(layer)[:80]!r}"
                )
            multiple = math.lcm(multiple, strides)
        scale = scale * layer.stride if layer.kind == "c" else scale / layer.stride
        multiple = math.lcm(multiple, scale.numerator)
        if multiple > MAX_STRIDE or scale.denominator > 4:
            raise FavError(
                f"architecture {arch[:200]!r}: expected feature maps of 1/{MAX_STRIDE} to 4 times the size of the frame"
            )
    return scale, multiple, removed


def receptive_field(arch: str) -> int:
    """Return the side of the receptive field in pixels of the frame: the largest over all output pixels.

    Norms are ignored: they depend on the whole frame.
    """
    layers = parse(arch)
    _, multiple = geometry(layers, arch)
    return max(1 + last - first for first, last in (_input_range(layers, pixel, pixel) for pixel in range(multiple)))


def _input_range(layers: Sequence[Layer], first: int, last: int) -> tuple[int, int]:
    """Return the first and the last input pixel, in one dimension, that the output pixels `first` to `last` depend on.

    Positions are counted as if residual blocks kept the size.
    """
    for layer in reversed(layers):
        reach = layer.kernel // 2
        match layer.kind:
            case "U":
                first, last = first // layer.stride, last // layer.stride
            case "p":
                first, last = first // layer.stride - reach, last // layer.stride + reach
            case "f":  # the transposed convolution adds a kernel at each stride-th output pixel
                first, last = -((reach - first) // layer.stride), (last + reach) // layer.stride
            case "R":
                first, last = first - 2 * layer.dilation, last + 2 * layer.dilation
            case "[":
                inner = _input_range(layer.inner, first, last)
                first, last = min(first, inner[0]), max(last, inner[1])
            case _:
                first, last = first * layer.stride - reach, last * layer.stride + reach
    return first, last
