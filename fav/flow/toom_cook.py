"""A chain of 7x7 convolutions on a processor, with fewer multiplications than its definition asks for.

Each row is cut into tiles. Per tile the taps of a row become products at a few points (Toom and Cook; Winograd 1980): 14
products in place of 56 for 8 pixels. The 7 rows of a kernel stay as they are. Every step is a product of matrices, which the
library under PyTorch computes at nearly the speed of the processor.
"""

from collections.abc import Iterable
from fractions import Fraction

import torch
from torch import Tensor, nn
from torch.nn import functional as F

TAPS = 7
REACH = TAPS // 2
TILE = 8  # output pixels of a tile; 10 are 6 % faster with three times the error, up to 0.04 pixels of flow
# With these points float32 loses less than a digit (4e-6 of a result), the least of all sets of small fractions that were tried.
POINTS = tuple(Fraction(*pair) * sign for pair in ((1, 1), (4, 1), (1, 4), (4, 3), (3, 4), (3, 5)) for sign in (1, -1))
EVEN = 8  # columns: products of matrices are a tenth faster with a multiple of what a register holds
STRIP_BYTES = 32 << 20  # of the products of a strip of rows: they stay near the processor, and 4K needs no more memory


class ToomCookChain:
    """`nn.Sequential` of 7x7 convolutions with padding 3 and ReLU between them, for a picture (C, H, W) float32.

    Off by less than 1e-5 of the largest result. The layers are copied. ValueError for other layers.
    """

    def __init__(self, layers: nn.Sequential):
        convolutions = [layer for layer in layers if isinstance(layer, nn.Conv2d)]
        shapes = {(layer.kernel_size, layer.padding, layer.stride) for layer in convolutions}
        if shapes != {((TAPS, TAPS), (REACH, REACH), (1, 1))} or len(layers) != 2 * len(convolutions) - 1:
            raise ValueError(f"expected 7x7 convolutions with ReLU between them, got {layers}")
        back, kernels, onward = (torch.tensor(matrix, dtype=torch.float64) for matrix in toom_cook(TILE, TAPS))
        self._back, self._onward = back.float().T.contiguous(), onward.float()
        self._layers = []
        for layer in convolutions:
            if layer.bias is None:
                raise ValueError(f"expected convolutions with a bias, got {layer}")
            weight = torch.einsum("px,oiyx->poyi", kernels, layer.weight.detach().double()).flatten(2)
            self._layers.append((weight.float().contiguous(), layer.bias.detach().float().clone()))

    def __call__(self, picture: Tensor) -> Tensor:
        _, height, width = picture.shape
        tiles = -(-width // TILE)
        x = _Phases(len(picture), height, tiles)
        padded = F.pad(picture, (0, tiles * TILE - width))
        x.put(padded.unflatten(2, (tiles, TILE)).permute(3, 1, 0, 2), 0)
        for weight, bias in self._layers[:-1]:
            following = _Phases(len(bias), height, tiles)
            for first, found in self._strips(x, weight, bias):
                found.clamp_(min=0)
                found[width - (tiles - 1) * TILE :, ..., tiles - 1] = 0  # beyond the right border
                following.put(found, first)
            x = following
        weight, bias = self._layers[-1]
        out = picture.new_empty(len(bias), height, tiles, TILE)
        for first, found in self._strips(x, weight, bias):
            out[:, first : first + found.shape[1]] = found.permute(2, 1, 3, 0)
        return out.flatten(2)[..., :width]

    def _strips(self, x: "_Phases", weight: Tensor, bias: Tensor) -> Iterable[tuple[int, Tensor]]:
        """A layer's results, strip by strip: the first row, and (TILE, rows, channels out, tiles)."""
        points, outs, line = len(weight), len(bias), x.channels * (x.columns)
        many = max(TAPS, STRIP_BYTES // (4 * points * line) - TAPS)
        for first in range(0, x.height, many):
            rows = min(many, x.height - first)
            begin, end = first * line, (first + rows + TAPS - 1) * line
            products = self._onward[:, :TILE] @ x.flat[:, begin:end]
            products.addmm_(self._onward[:, TILE:], x.flat[: points - TILE, begin + 1 : end + 1])
            sums = products.new_empty(points, rows, outs, x.columns)
            for point in range(points):  # a row's products with the 6 rows below it are one matrix, without a copy
                windows = products[point].as_strided(
                    (rows, TAPS * x.channels, x.columns), (line, x.columns, 1), products[point].storage_offset()
                )
                torch.bmm(weight[point].expand(rows, -1, -1), windows, out=sums[point])
            found = (self._back @ sums.view(points, -1)).view(TILE, rows, outs, x.columns)[..., : x.tiles]
            yield first, found.add_(bias[:, None])


class _Phases:
    """A picture between zeros, its columns dealt out to TILE parts: column c, counted from 3 left of the picture, lies in part
    c % TILE at c // TILE."""

    def __init__(self, channels: int, height: int, tiles: int):
        self.channels, self.height, self.tiles = channels, height, tiles
        self.columns = -(-(tiles + 1) // EVEN) * EVEN  # the last tile reaches into one more
        size = (height + TAPS - 1) * channels * self.columns
        self.flat = torch.zeros(TILE, size + 1)  # one more, since products are made of pairs
        self.rows = self.flat[:, :size].unflatten(1, (height + TAPS - 1, channels, self.columns))

    def put(self, found: Tensor, first: int) -> None:
        """Write rows (TILE, rows, channels, tiles) that begin at row `first` of the picture."""
        rows = slice(first + REACH, first + REACH + found.shape[1])
        self.rows[REACH:, rows, :, : self.tiles] = found[:-REACH]
        self.rows[:REACH, rows, :, 1 : self.tiles + 1] = found[-REACH:]


def toom_cook(tile: int, taps: int) -> tuple[list[list[float]], ...]:
    """Three matrices, `back`, `kernels` and `onward`, by which a row of `tile + taps - 1` values is correlated.

    With a row d and a kernel g the `tile` results are back.T @ ((kernels @ g) * (onward @ d)). The points are the first of 0 and
    POINTS, and infinity. Computed in fractions, then rounded.
    """
    count = tile + taps - 1
    points = (Fraction(0), *POINTS)[: count - 1]

    def powers(columns: int) -> list[list[Fraction]]:
        infinity = [Fraction(column == columns - 1) for column in range(columns)]
        return [[point**power for power in range(columns)] for point in points] + [infinity]

    inverse = _inverse(powers(count))
    onward = [[inverse[column][row] for column in range(count)] for row in range(count)]
    largest = [max(map(abs, row)) for row in onward]  # moved to the kernels, so that products are of like sizes
    kernels = [[value * scale for value in row] for row, scale in zip(powers(taps), largest)]
    onward = [[value / scale for value in row] for row, scale in zip(onward, largest)]
    return tuple([[float(value) for value in row] for row in matrix] for matrix in (powers(tile), kernels, onward))


def _inverse(matrix: list[list[Fraction]]) -> list[list[Fraction]]:
    """By Gauss and Jordan."""
    size = len(matrix)
    rows = [row + [Fraction(column == number) for column in range(size)] for number, row in enumerate(matrix)]
    for column in range(size):
        pivot = next(number for number in range(column, size) if rows[number][column])
        rows[column], rows[pivot] = rows[pivot], rows[column]
        rows[column] = [value / rows[column][column] for value in rows[column]]
        for number in range(size):
            if number != column and rows[number][column]:
                factor = rows[number][column]
                rows[number] = [value - factor * other for value, other in zip(rows[number], rows[column])]
    return [row[size:] for row in rows]
