"""Content and style losses by a loss network.

Sources: Gatys, Ecker, Bethge (2016); Johnson, Alahi, Fei-Fei (2016); Snelgrove, "High-resolution multi-scale neural
texture synthesis" (2017).
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from fav.perceptual.loss_network import LossNetwork
from fav.perceptual.palette import colors, smaller, squared_distance

TINY = 1e-20  # a unit that nothing is divided by
OFFSETS = 8  # the stride of the layers that are looked at
SCALES = (1, 2, 4)  # how many times smaller pictures are looked at: strokes, forms, masses
SMALLEST = 32  # pixels of a picture's shorter side at its smallest scale: the loss network needs some 20


class PerceptualLoss:
    """Content, style and palette losses against one painting, by one loss network.

    They are normalized so that one set of weights serves every painting and every loss network. A style layer's loss,
    the squared distance of the Gram matrices, is divided by what untouched photographs have on average: 1 means as
    unlike the painting as a photo, 0 the painting's own statistics. A content layer's loss, the squared distance of
    the features, is divided by the mean energy of the features of the same photographs: 1 means that as much is wrong
    as there is. The palette's is divided by that of the photographs, too. Layers of a kind count alike, and so do the
    scales: the style is looked at so many times smaller (Snelgrove 2017), the content at the second scale, if there is
    one, which leaves the strokes free. `painting` is (1, 3, H, W), `photos` are of any sizes. Scales at which the painting
    or a photograph has less than 32 pixels a side are left out, but for the first. style_layers and content_layers are
    other layers than the network's own, with weights by which those of a kind count.
    """

    def __init__(
        self,
        network: LossNetwork,
        painting: Tensor,
        photos: Sequence[Tensor],
        scales: Sequence[int] = (1,),
        style_layers: Mapping[str, float] | None = None,
        content_layers: Mapping[str, float] | None = None,
    ):
        self.network = network
        self.content_layers = tuple(content_layers or network.design.content_layers)
        self.style_layers = tuple(style_layers or network.design.style_layers)
        self.content_shares = _shares(content_layers, self.content_layers)
        self.style_shares = _shares(style_layers, self.style_layers)
        shortest = min(min(picture.shape[2:]) for picture in (painting, *photos))
        self.scales = [scale for scale in scales if scale == scales[0] or shortest / scale >= SMALLEST]
        self.content_scale = self.scales[min(1, len(self.scales) - 1)]
        with torch.no_grad():
            self.target = self._seen(painting)[0]
            style, content = [], []
            for photo in photos:
                grams, features = self._seen(photo)
                style.append([_distance(*pair) for pair in zip(grams, self.target)])
                content.append([feature.float().square().mean() for feature in features])
            self.style_units, self.content_units = _units(style), _units(content)
            self.colors, self.palette_unit = colors(painting), 1.0
            directions = torch.eye(3, device=painting.device)
            palettes = [[self.palette(photo, directions)] for photo in photos]
            self.palette_unit = _units(palettes)[0]

    def losses(
        self, stylized: Tensor, frames: Tensor, offset: tuple[int, int] = (0, 0), zoom: float = 1
    ) -> tuple[Tensor, Tensor]:
        """(content, style) of stylized pictures of those frames, seen from `offset` (x, y) pixels on, 0 to OFFSETS - 1.

        A loss network that strides over pixels is blind to some of their patterns; seen from elsewhere each time, and
        `zoom` times as large, it is not.
        """
        height, width = (side - OFFSETS + 1 for side in stylized.shape[2:])
        stylized, frames = (
            smaller(x[..., offset[1] : offset[1] + height, offset[0] : offset[0] + width], 1 / zoom)
            for x in (stylized, frames)
        )
        with torch.no_grad():
            wanted = self.network(smaller(frames, self.content_scale), self.content_layers)
        grams, features = self._seen(stylized)
        content = [
            _distance(found.float(), wanted[layer].float()) / unit
            for found, layer, unit in zip(features, self.content_layers, self.content_units)
        ]
        style = [_distance(found, target) / unit for found, target, unit in zip(grams, self.target, self.style_units)]
        return _weighed(content, self.content_shares), _weighed(
            style, self.style_shares and self.style_shares * len(self.scales)
        )

    def palette(self, stylized: Tensor, directions: Tensor) -> Tensor:
        """How far the colors of all pictures together are from the painting's; 1 is as far as photographs.

        directions: (3, k), those in which colors are compared (`fav.perceptual.palette`).
        """
        return squared_distance(colors(stylized), self.colors, directions) / self.palette_unit

    def _seen(self, pictures: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """The Gram matrices of every style layer at every scale, and the content features."""
        grams: list[Tensor] = []
        content: list[Tensor] = []
        for scale in self.scales:
            layers = self.style_layers
            if scale == self.content_scale:
                layers = tuple(dict.fromkeys(layers + self.content_layers))
            features = self.network(smaller(pictures, scale), layers)
            grams += [gram(features[layer]) for layer in self.style_layers]
            if scale == self.content_scale:
                content = [features[layer] for layer in self.content_layers]
        return grams, content


def gram(features: Tensor) -> Tensor:
    """How often channels occur together: (N, C, H, W) to (N, C, C) float32, the mean of their products over all positions.

    Its gradients are right where they come from a loss that looks alike at [a, b] and [b, a], as `_distance` does.
    """
    with torch.autocast(features.device.type, enabled=False):
        rows = features.float().permute(0, 2, 3, 1).flatten(1, 2)
        # Both factors have the same gradient then: one is computed and doubled, a fifth of an iteration's time less.
        products = rows.detach().transpose(1, 2) @ rows / rows.shape[1]
        return 2 * products - products.detach()


def _shares(weights: Mapping[str, float] | None, layers: Sequence[str]) -> list[float] | None:
    """The weights of layers by their mean; None where all count alike."""
    if weights is None:
        return None
    mean = sum(weights[layer] for layer in layers) / len(layers)
    return [weights[layer] / mean for layer in layers]


def _weighed(losses: list[Tensor], shares: list[float] | None) -> Tensor:
    return torch.stack([share * loss for share, loss in zip(shares, losses, strict=True)] if shares else losses).mean()


def _units(rows: list[list[Tensor]]) -> list[float]:
    """The mean over the photographs, a row each, of every layer."""
    return torch.tensor(rows).mean(0).clamp(min=TINY).tolist()


def _distance(a: Tensor, b: Tensor) -> Tensor:
    return (a - b).square().mean()


def as_tensor(picture: np.ndarray) -> Tensor:
    """A picture (H, W, 3) uint8 as the losses take it: (1, 3, H, W) float32, 0 to 255."""
    return torch.from_numpy(picture).permute(2, 0, 1)[None].float()
