"""How far the colors of pictures are from those of a painting: the sliced Wasserstein distance.

Source: Bonneel, Rabin, Peyre, Pfister, "Sliced and Radon Wasserstein barycenters of measures" (2015). Colors are seen at a
quarter of the size, where strokes and grain have become the color that one sees.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

FACTOR = 4  # how much smaller pictures are looked at
BORDER = 8  # pixels: a network finds the border of a picture, and would park rare colors there


def colors(pictures: Tensor) -> Tensor:
    """(N * pixels, 3) of pictures (N, 3, H, W), a quarter of their size, without 8 pixels along their borders."""
    inner = pictures[..., BORDER:-BORDER, BORDER:-BORDER] if min(pictures.shape[2:]) > 4 * BORDER else pictures
    return smaller(inner.float(), FACTOR).permute(0, 2, 3, 1).flatten(0, 2)


def squared_distance(found: Tensor, wanted: Tensor, directions: Tensor) -> Tensor:
    """Squared sliced Wasserstein distance of two sets of colors (n, 3) and (m, 3), grey levels squared, times three.

    directions: (3, k) of any length. For directions that are spread evenly, as `even_directions`, it is the squared
    length of the shift between two sets that are alike but for a shift: 30 levels in one color alone are 900.
    """
    directions = directions / directions.norm(dim=0)
    ours, theirs = ((one @ directions).sort(0).values for one in (found, wanted))
    places = (torch.arange(len(ours), device=ours.device) + 0.5) * len(theirs) / len(ours)
    return 3 * (ours - theirs[places.long()]).square().mean()


def even_directions() -> Tensor:
    """(3, 16) float32: the axes through the corners of an icosahedron and of a dodecahedron.

    The mean square of their products with any vector is a third of its squared length.
    """
    golden = (1 + 5**0.5) / 2
    pairs = [(1, golden), (1, -golden)]
    corners = [np.roll((0, a, b), turn) for turn in range(3) for a, b in pairs]
    corners += [np.roll((0, a / golden, b), turn) for turn in range(3) for a, b in pairs]
    corners += [(1, a, b) for a in (1, -1) for b in (1, -1)]
    axes = np.array(corners, np.float32).T
    return torch.from_numpy(axes / np.linalg.norm(axes, axis=0))


def smaller(pictures: Tensor, factor: float) -> Tensor:
    """Pictures (N, 3, H, W) so many times smaller, or larger with a factor below 1; float32."""
    if factor == 1:
        return pictures
    size = [max(round(side / factor), 1) for side in pictures.shape[2:]]
    return F.interpolate(pictures.float(), size=size, mode="bilinear", antialias=factor > 1, align_corners=False)
