"""Content, style and palette losses, computed with a loss network.

Sources: Gatys, Ecker, Bethge (2016); Johnson, Alahi, Fei-Fei (2016); Snelgrove, "High-resolution multi-scale neural
texture synthesis" (2017).
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from fav.perceptual.loss_network import LossNetwork
from fav.perceptual.palette import colors, downsample, squared_distance

TINY = 1e-20  # minimum of a divisor
OFFSETS = 8  # pixels; the total stride of the layers of the losses
SCALES = (1, 2, 4)  # downsampling factors of the style loss
MIN_SIDE = 32  # pixels of the shorter side at the smallest scale; the loss network needs about 20


class PerceptualLoss:
    """Content, style and palette losses for one painting and one loss network.

    All losses are normalized, so that the same weights suit every painting and every loss network:

    - The loss of a style layer is the squared distance of the Gram matrices, divided by its mean over unchanged
      photographs. 0 means the painting's own statistics; 1 means as different as a photograph.
    - The loss of a content layer is the squared distance of the features, divided by the mean energy of the features of
      the photographs.
    - The palette loss is divided by its mean over the photographs.

    The style loss is the mean over all scales and style layers. The content loss uses the second scale, if there is one,
    because strokes may change freely there.
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
        """Compute the targets of the painting and the normalization from the photographs.

        Args:
            network: The loss network.
            painting: (1, 3, H, W).
            photos: (1, 3, H, W) each, of any sizes.
            scales: Downsampling factors. Those that leave less than 32 pixels per side are ignored, except the first.
            style_layers: Layers and their weights. None: the layers of the network's specification, with equal weights.
            content_layers: As `style_layers`.
        """
        self.network = network
        self.content_layers = tuple(content_layers or network.design.content_layers)
        self.style_layers = tuple(style_layers or network.design.style_layers)
        self.content_weights = _normalized_weights(content_layers, self.content_layers)
        self.style_weights = _normalized_weights(style_layers, self.style_layers)
        shortest = min(min(image.shape[2:]) for image in (painting, *photos))
        self.scales = [scale for scale in scales if scale == scales[0] or shortest / scale >= MIN_SIDE]
        self.content_scale = self.scales[min(1, len(self.scales) - 1)]
        with torch.no_grad():
            self.target = self._features(painting)[0]
            style, content = [], []
            for photo in photos:
                grams, features = self._features(photo)
                style.append([mean_squared_error(*pair) for pair in zip(grams, self.target)])
                content.append([feature.float().square().mean() for feature in features])
            self.style_norms, self.content_norms = _column_means(style), _column_means(content)
            self.colors, self.palette_norm = colors(painting), 1.0
            directions = torch.eye(3, device=painting.device)
            palettes = [[self.palette(photo, directions)] for photo in photos]
            self.palette_norm = _column_means(palettes)[0]

    def losses(
        self, stylized: Tensor, frames: Tensor, offset: tuple[int, int] = (0, 0), zoom: float = 1
    ) -> tuple[Tensor, Tensor]:
        """Return the content loss and the style loss of stylized frames.

        A loss network with strides cannot detect some patterns. A random offset and zoom in each iteration prevent such
        patterns.

        Args:
            stylized: (N, 3, H, W).
            frames: The source frames, (N, 3, H, W).
            offset: Pixels (x, y) that are cropped on the left and at the top, 0 to OFFSETS - 1.
            zoom: The factor by which both are enlarged.
        """
        height, width = (side - OFFSETS + 1 for side in stylized.shape[2:])
        stylized, frames = (
            downsample(x[..., offset[1] : offset[1] + height, offset[0] : offset[0] + width], 1 / zoom)
            for x in (stylized, frames)
        )
        with torch.no_grad():
            wanted = self.network(downsample(frames, self.content_scale), self.content_layers)
        grams, features = self._features(stylized)
        content = [
            mean_squared_error(feature.float(), wanted[layer].float()) / norm
            for feature, layer, norm in zip(features, self.content_layers, self.content_norms)
        ]
        style = [
            mean_squared_error(found, target) / norm
            for found, target, norm in zip(grams, self.target, self.style_norms)
        ]
        return _weighted_mean(content, self.content_weights), _weighted_mean(
            style, self.style_weights and self.style_weights * len(self.scales)
        )

    def palette(self, stylized: Tensor, directions: Tensor) -> Tensor:
        """Return the distance between the colors of all images together and those of the painting.

        1 is the distance of photographs.

        Args:
            stylized: (N, 3, H, W).
            directions: (3, k), the directions of the projections (`fav.perceptual.palette`).
        """
        return squared_distance(colors(stylized), self.colors, directions) / self.palette_norm

    def _features(self, images: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Return the Gram matrices of all style layers at all scales, and the content features."""
        grams: list[Tensor] = []
        content: list[Tensor] = []
        for scale in self.scales:
            layers = self.style_layers
            if scale == self.content_scale:
                layers = tuple(dict.fromkeys(layers + self.content_layers))
            features = self.network(downsample(images, scale), layers)
            grams += [gram(features[layer]) for layer in self.style_layers]
            if scale == self.content_scale:
                content = [features[layer] for layer in self.content_layers]
        return grams, content


def gram(features: Tensor) -> Tensor:
    """Return the Gram matrices of features: the mean over all positions of the products of channels.

    The gradients are correct only for a loss that is symmetric in the two channels, such as `mean_squared_error`.

    Shape:
        features: (N, C, H, W). Returns (N, C, C) float32.
    """
    with torch.autocast(features.device.type, enabled=False):
        rows = features.float().permute(0, 2, 3, 1).flatten(1, 2)
        # Both factors have the same gradient, so it is computed once and doubled. This saves a fifth of an iteration.
        products = rows.detach().transpose(1, 2) @ rows / rows.shape[1]
        return 2 * products - products.detach()


def mean_squared_error(a: Tensor, b: Tensor) -> Tensor:
    """Return the mean squared difference of two tensors of one shape."""
    return (a - b).square().mean()


def as_tensor(image: np.ndarray) -> Tensor:
    """Convert an image (H, W, 3) uint8 to the input of the losses, (1, 3, H, W) float32, 0 to 255."""
    return torch.from_numpy(image).permute(2, 0, 1)[None].float()


def _normalized_weights(weights: Mapping[str, float] | None, layers: Sequence[str]) -> list[float] | None:
    """Return the weights of layers divided by their mean; None for equal weights."""
    if weights is None:
        return None
    mean = sum(weights[layer] for layer in layers) / len(layers)
    return [weights[layer] / mean for layer in layers]


def _weighted_mean(losses: list[Tensor], weights: list[float] | None) -> Tensor:
    terms = [weight * loss for weight, loss in zip(weights, losses, strict=True)] if weights else losses
    return torch.stack(terms).mean()


def _column_means(rows: list[list[Tensor]]) -> list[float]:
    """Return the mean of each layer over the photographs. Each photograph is one row."""
    return torch.tensor(rows).mean(0).clamp(min=TINY).tolist()
