"""Fast 7x7 convolutions on a CPU, by the Toom-Cook algorithm (Winograd 1980) along rows.

Each row is divided into tiles of 8 pixels. The algorithm needs 14 multiplications per tile and kernel row, instead of 56.
The 7 rows of a kernel are summed directly, by a 7x1 convolution for each evaluation point. PyTorch computes these by oneDNN at
nearly the peak speed of the CPU, also on AMD's, where its matrix products (MKL) run at half of it.
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
STRIP_BYTES = 8 << 20  # of the transformed input of a strip of rows, so that it stays in the cache


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
            weight = torch.einsum("px,oiyx->poiy", kernels, layer.weight.detach().double()).float()[..., None]
            # The product of point 1 is added to all pixels of a tile, so its convolution also adds the bias.
            biases = [None, layer.bias.detach().float().clone(), *[None] * (len(weight) - 2)]
            self._layers.append([(w.contiguous(memory_format=torch.channels_last), b) for w, b in zip(weight, biases)])

    def __call__(self, image: Tensor) -> Tensor:
        _, height, width = image.shape
        tiles = -(-width // TILE)
        x = _Phases(len(image), height, tiles)
        padded = F.pad(image, (0, tiles * TILE - width))
        x.put(padded.unflatten(2, (tiles, TILE)).permute(3, 1, 2, 0), 0)
        for layer in self._layers[:-1]:
            outputs = _Phases(len(layer[0][0]), height, tiles)
            for first, strip in self._strips(x, layer):
                strip.clamp_(min=0)
                strip[width - (tiles - 1) * TILE :, :, tiles - 1] = 0  # beyond the right border
                outputs.put(strip, first)
            x = outputs
        out = image.new_empty(len(self._layers[-1][0][0]), height, tiles, TILE)
        for first, strip in self._strips(x, self._layers[-1]):
            out[:, first : first + strip.shape[1]] = strip.permute(3, 1, 2, 0)
        return out.flatten(2)[..., :width]

    def _strips(self, x: "_Phases", layer: list[tuple[Tensor, Tensor | None]]) -> Iterable[tuple[int, Tensor]]:
        """Compute a layer strip by strip. Yields the first row, and the output (TILE, rows, tiles, channels)."""
        points, channels, row_size = len(layer), len(layer[0][0]), x.channels * x.columns
        max_rows = max(TAPS, STRIP_BYTES // (4 * points * row_size) - TAPS)
        for first in range(0, x.height, max_rows):
            rows = min(max_rows, x.height - first)
            begin, end = first * row_size, (first + rows + TAPS - 1) * row_size
            values = self._input_matrix[:, :TILE] @ x.flat[:, begin:end]
            values.addmm_(self._input_matrix[:, TILE:], x.flat[: points - TILE, begin + x.channels : end + x.channels])
            images = values.view(points, 1, rows + TAPS - 1, x.columns, x.channels).permute(0, 1, 4, 2, 3)
            sums = values.new_empty(points, rows, x.columns, channels)
            for image, (weight, bias), total in zip(images, layer, sums):
                total.copy_(F.conv2d(image, weight, bias)[0].permute(1, 2, 0))
            strip = self._output_matrix @ sums.view(points, -1)
            yield first, strip.view(TILE, rows, x.columns, channels)[:, :, : x.tiles]


class _Phases:
    """An image with zero padding, stored in TILE phases. Column c of the padded image is in phase c % TILE, at c // TILE."""

    def __init__(self, channels: int, height: int, tiles: int):
        self.channels, self.height, self.tiles = channels, height, tiles
        self.columns = tiles + 1  # for the padding
        size = (height + TAPS - 1) * self.columns * channels
        self.flat = torch.zeros(TILE, size + channels)  # one more column, because a tile also reads the next one
        self.rows = self.flat[:, :size].unflatten(1, (height + TAPS - 1, self.columns, channels))

    def put(self, strip: Tensor, first: int) -> None:
        """Write rows (TILE, rows, tiles, channels), from row `first` of the image on."""
        rows = slice(first + REACH, first + REACH + strip.shape[1])
        self.rows[REACH:, rows, : self.tiles] = strip[:-REACH]
        self.rows[:REACH, rows, 1:] = strip[-REACH:]


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
