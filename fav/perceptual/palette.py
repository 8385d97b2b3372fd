"""The distance between the colors of images and those of a painting: the sliced Wasserstein distance.

Source: Bonneel, Rabin, Peyre, Pfister, "Sliced and Radon Wasserstein barycenters of measures" (2015). Colors are compared
at a quarter of the size, so that strokes and grain are averaged as a viewer averages them.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

FACTOR = 4  # images are downsampled by it
BORDER = 8  # pixels; a network detects the border, and would put rare colors there


def colors(images: Tensor) -> Tensor:
    """Return the colors of images at a quarter of their size, without 8 pixels along their borders.

    Shape:
        images: (N, 3, H, W). Returns (N * pixels, 3).
    """
    inner = images[..., BORDER:-BORDER, BORDER:-BORDER] if min(images.shape[2:]) > 4 * BORDER else images
    return downsample(inner.float(), FACTOR).permute(0, 2, 3, 1).flatten(0, 2)


def squared_distance(a: Tensor, b: Tensor, directions: Tensor) -> Tensor:
    """Return the squared sliced Wasserstein distance of two sets of colors, times three, in gray levels squared.

    If the sets differ only by a shift, and the directions are evenly distributed (`even_directions`), the result is the
    squared length of the shift. For example, 30 levels in one color channel give 900.

    Args:
        a: (n, 3) colors.
        b: (m, 3) colors.
        directions: (3, k), the directions of the projections. Their length has no effect.
    """
    directions = directions / directions.norm(dim=0)
    sorted_a, sorted_b = ((one @ directions).sort(0).values for one in (a, b))
    positions = (torch.arange(len(sorted_a), device=sorted_a.device) + 0.5) * len(sorted_b) / len(sorted_a)
    return 3 * (sorted_a - sorted_b[positions.long()]).square().mean()


def even_directions() -> Tensor:
    """Return (3, 16) float32: the axes through the vertices of an icosahedron and of a dodecahedron.

    For any vector, the mean square of its products with the axes is a third of its squared length.
    """
    golden = (1 + 5**0.5) / 2
    pairs = [(1, golden), (1, -golden)]
    vertices = [np.roll((0, a, b), shift) for shift in range(3) for a, b in pairs]
    vertices += [np.roll((0, a / golden, b), shift) for shift in range(3) for a, b in pairs]
    vertices += [(1, a, b) for a in (1, -1) for b in (1, -1)]
    axes = np.array(vertices, np.float32).T
    return torch.from_numpy(axes / np.linalg.norm(axes, axis=0))


def downsample(images: Tensor, factor: float) -> Tensor:
    """Return images (N, 3, H, W) resized by 1 / `factor`, as float32. A factor below 1 enlarges them."""
    if factor == 1:
        return images
    size = [max(round(side / factor), 1) for side in images.shape[2:]]
    return F.interpolate(images.float(), size=size, mode="bilinear", antialias=factor > 1, align_corners=False)
