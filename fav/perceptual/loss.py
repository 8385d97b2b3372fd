"""Content and style losses by a loss network.

Sources: Gatys, Ecker, Bethge (2016); Johnson, Alahi, Fei-Fei (2016).
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fav.errors import FavError
from fav.perceptual.loss_network import LossNetwork
from fav.util.images import read_image, resize

TINY = 1e-20  # a unit that nothing is divided by
OFFSETS = 8  # the stride of the layers that are looked at
MIN_STYLE_IMAGE = 64


class PerceptualLoss:
    """Content and style losses against one painting, by one loss network.

    They are normalized so that one set of weights serves every painting and every loss network. A style layer's loss,
    the squared distance of the Gram matrices, is divided by what untouched photographs have on average: 1 means as
    unlike the painting as a photo, 0 the painting's own statistics. A content layer's loss, the squared distance of
    the features, is divided by the mean energy of the features of the same photographs: 1 means that as much is wrong
    as there is. Layers of a kind count alike. `painting` is (1, 3, H, W), `photos` are of any sizes.
    """

    def __init__(self, network: LossNetwork, painting: Tensor, photos: Sequence[Tensor]):
        self.network = network
        self.content_layers, self.style_layers = network.design.content_layers, network.design.style_layers
        with torch.no_grad():
            features = network(painting, self.style_layers)
            self.target = {layer: gram(features[layer]) for layer in self.style_layers}
            style, content = [], []
            for photo in photos:
                features = network(photo)
                style.append([_distance(gram(features[layer]), self.target[layer]) for layer in self.style_layers])
                content.append([features[layer].float().square().mean() for layer in self.content_layers])
            self.style_units, self.content_units = _units(style), _units(content)

    def losses(self, stylized: Tensor, frames: Tensor, offset: tuple[int, int] = (0, 0)) -> tuple[Tensor, Tensor]:
        """(content, style) of stylized pictures of those frames, seen from `offset` (x, y) pixels on, 0 to OFFSETS - 1.

        A loss network that strides over pixels is blind to some of their patterns; seen from elsewhere each time, it is not.
        """
        height, width = (side - OFFSETS + 1 for side in stylized.shape[2:])
        stylized, frames = (
            x[..., offset[1] : offset[1] + height, offset[0] : offset[0] + width] for x in (stylized, frames)
        )
        with torch.no_grad():
            wanted = self.network(frames, self.content_layers)
        features = self.network(stylized)
        content = [
            _distance(features[layer].float(), wanted[layer].float()) / unit
            for layer, unit in zip(self.content_layers, self.content_units)
        ]
        style = [
            _distance(gram(features[layer]), self.target[layer]) / unit
            for layer, unit in zip(self.style_layers, self.style_units)
        ]
        return torch.stack(content).mean(), torch.stack(style).mean()


def gram(features: Tensor) -> Tensor:
    """How often channels occur together: (N, C, H, W) to (N, C, C) float32, the mean of their products over all positions.

    Its gradients are right where they come from a loss that looks alike at [a, b] and [b, a], as `_distance` does.
    """
    with torch.autocast(features.device.type, enabled=False):
        rows = features.float().permute(0, 2, 3, 1).flatten(1, 2)
        # Both factors have the same gradient then: one is computed and doubled, a fifth of an iteration's time less.
        products = rows.detach().transpose(1, 2) @ rows / rows.shape[1]
        return 2 * products - products.detach()


def _units(rows: list[list[Tensor]]) -> list[float]:
    """The mean over the photographs, a row each, of every layer."""
    return torch.tensor(rows).mean(0).clamp(min=TINY).tolist()


def _distance(a: Tensor, b: Tensor) -> Tensor:
    return (a - b).square().mean()


def read_style_image(path: Path, size: int) -> np.ndarray:
    """The painting, its longer side `size` pixels if it has as many."""
    painting = read_image(path)
    if min(painting.shape[:2]) < MIN_STYLE_IMAGE:
        height, width = painting.shape[:2]
        raise FavError(f"picture {path}: expected at least {MIN_STYLE_IMAGE} pixels a side, got {width}x{height}")
    scale = min(1, size / max(painting.shape[:2]))
    return resize(painting, tuple(max(round(side * scale), 1) for side in painting.shape[1::-1]))


def as_tensor(picture: np.ndarray) -> Tensor:
    """A picture (H, W, 3) uint8 as the losses take it: (1, 3, H, W) float32, 0 to 255."""
    return torch.from_numpy(picture).permute(2, 0, 1)[None].float()
