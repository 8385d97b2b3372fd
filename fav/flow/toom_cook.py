"""Fast 7x7 convolutions on a CPU, by the Toom-Cook algorithm (Winograd 1980) along rows.

Each row is divided into tiles of 8 pixels. The algorithm needs 14 multiplications per tile and kernel row, instead of 56.
The 7 rows of a kernel are summed directly. All steps are matrix products, which run at nearly the peak speed of the CPU.
"""

from collections.abc import Iterable
from fractions import Fraction

import torch
from torch import Tensor, nn
from torch.nn import functional as F

TAPS = 7
REACH = TAPS // 2
TILE = 8  # output pixels of a tile; 10 are 6 % faster with three times the error, up to 0.04 pixels of flow
# Of all tested sets of small fractions, these points have the smallest rounding error in float32: 4e-6 of the result.
POINTS = tuple(Fraction(*pair) * sign for pair in ((1, 1), (4, 1), (1, 4), (4, 3), (3, 4), (3, 5)) for sign in (1, -1))
ALIGNMENT = 8  # columns; matrix products are 10 % faster if their width is a multiple of a register's
STRIP_BYTES = 32 << 20  # of the products of a strip of rows; they fit into the cache, also for 4K frames


class ToomCookChain:
    """Runs an `nn.Sequential` of 7x7 convolutions with padding 3 and ReLU between them.

    The error is less than 1e-5 of the largest result.

    Shape:
        Input and output (C, H, W) float32.
    """

    def __init__(self, layers: nn.Sequential):
        """Copy and transform the weights. Raises ValueError for other layers."""
        convolutions = [layer for layer in layers if isinstance(layer, nn.Conv2d)]
        shapes = {(layer.kernel_size, layer.padding, layer.stride) for layer in convolutions}
        if shapes != {((TAPS, TAPS), (REACH, REACH), (1, 1))} or len(layers) != 2 * len(convolutions) - 1:
            raise ValueError(f"expected 7x7 convolutions with ReLU between them, got {layers}")
        outputs, kernels, inputs = (torch.tensor(matrix, dtype=torch.float64) for matrix in toom_cook(TILE, TAPS))
        self._output_matrix, self._input_matrix = outputs.float().T.contiguous(), inputs.float()
        self._layers = []
        for layer in convolutions:
            if layer.bias is None:
                raise ValueError(f"expected convolutions with a bias, got {layer}")
            weight = torch.einsum("px,oiyx->poyi", kernels, layer.weight.detach().double()).flatten(2)
            self._layers.append((weight.float().contiguous(), layer.bias.detach().float().clone()))

    def __call__(self, image: Tensor) -> Tensor:
        _, height, width = image.shape
        tiles = -(-width // TILE)
        x = _Phases(len(image), height, tiles)
        padded = F.pad(image, (0, tiles * TILE - width))
        x.put(padded.unflatten(2, (tiles, TILE)).permute(3, 1, 0, 2), 0)
        for weight, bias in self._layers[:-1]:
            outputs = _Phases(len(bias), height, tiles)
            for first, strip in self._strips(x, weight, bias):
                strip.clamp_(min=0)
                strip[width - (tiles - 1) * TILE :, ..., tiles - 1] = 0  # beyond the right border
                outputs.put(strip, first)
            x = outputs
        weight, bias = self._layers[-1]
        out = image.new_empty(len(bias), height, tiles, TILE)
        for first, strip in self._strips(x, weight, bias):
            out[:, first : first + strip.shape[1]] = strip.permute(2, 1, 3, 0)
        return out.flatten(2)[..., :width]

    def _strips(self, x: "_Phases", weight: Tensor, bias: Tensor) -> Iterable[tuple[int, Tensor]]:
        """Compute a layer strip by strip. Yields the first row, and the output (TILE, rows, channels, tiles)."""
        points, channels, row_size = len(weight), len(bias), x.channels * x.columns
        max_rows = max(TAPS, STRIP_BYTES // (4 * points * row_size) - TAPS)
        for first in range(0, x.height, max_rows):
            rows = min(max_rows, x.height - first)
            begin, end = first * row_size, (first + rows + TAPS - 1) * row_size
            values = self._input_matrix[:, :TILE] @ x.flat[:, begin:end]
            values.addmm_(self._input_matrix[:, TILE:], x.flat[: points - TILE, begin + 1 : end + 1])
            sums = values.new_empty(points, rows, channels, x.columns)
            for point in range(points):  # each row and the 6 rows below it form one matrix, as a view
                windows = values[point].as_strided(
                    (rows, TAPS * x.channels, x.columns), (row_size, x.columns, 1), values[point].storage_offset()
                )
                torch.bmm(weight[point].expand(rows, -1, -1), windows, out=sums[point])
            strip = self._output_matrix @ sums.view(points, -1)
            yield first, strip.view(TILE, rows, channels, x.columns)[..., : x.tiles].add_(bias[:, None])


class _Phases:
    """An image with zero padding, stored in TILE phases. Column c of the padded image is in phase c % TILE, at c // TILE."""

    def __init__(self, channels: int, height: int, tiles: int):
        self.channels, self.height, self.tiles = channels, height, tiles
        self.columns = -(-(tiles + 1) // ALIGNMENT) * ALIGNMENT  # the padding needs one more tile
        size = (height + TAPS - 1) * channels * self.columns
        self.flat = torch.zeros(TILE, size + 1)  # one more value, because a tile also reads the next column
        self.rows = self.flat[:, :size].unflatten(1, (height + TAPS - 1, channels, self.columns))

    def put(self, strip: Tensor, first: int) -> None:
        """Write rows (TILE, rows, channels, tiles), from row `first` of the image on."""
        rows = slice(first + REACH, first + REACH + strip.shape[1])
        self.rows[REACH:, rows, :, : self.tiles] = strip[:-REACH]
        self.rows[:REACH, rows, :, 1 : self.tiles + 1] = strip[-REACH:]


def toom_cook(tile: int, taps: int) -> tuple[list[list[float]], ...]:
    """Compute the matrices of the Toom-Cook algorithm, in fractions, and round them.

    The evaluation points are the first of 0 and POINTS, and infinity.

    Returns:
        Three matrices, `outputs`, `kernels` and `inputs`. The correlation of a row d of `tile + taps - 1` values with a
        kernel g is outputs.T @ ((kernels @ g) * (inputs @ d)).
    """
    count = tile + taps - 1
    points = (Fraction(0), *POINTS)[: count - 1]

    def powers(columns: int) -> list[list[Fraction]]:
        infinity = [Fraction(column == columns - 1) for column in range(columns)]
        return [[point**power for power in range(columns)] for point in points] + [infinity]

    inverse = _inverse(powers(count))
    inputs = [[inverse[column][row] for column in range(count)] for row in range(count)]
    largest = [max(map(abs, row)) for row in inputs]  # moved to the kernels, so that the products have similar sizes
    kernels = [[value * scale for value in row] for row, scale in zip(powers(taps), largest)]
    inputs = [[value / scale for value in row] for row, scale in zip(inputs, largest)]
    return tuple([[float(value) for value in row] for row in matrix] for matrix in (powers(tile), kernels, inputs))


def _inverse(matrix: list[list[Fraction]]) -> list[list[Fraction]]:
    """Invert a matrix by Gauss-Jordan elimination."""
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
