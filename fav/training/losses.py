"""What a stylized picture is blamed for; every loss is a mean without a unit, about 1 for a picture that is all wrong.

Sources: Gatys, Ecker, Bethge (2016), content and Gram matrices; Johnson et al. (2016), total variation; Ruder et al.
(2018), the temporal loss. Pictures are (N, 3, H, W) float32, BGR, 0 to 255, if not said otherwise.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from fav.training.loss_network import LossNetwork

LEVELS = 255.0
DRIVE = 2.0
SPIKES = 10.0  # once they are there, less does not move them
LOUD = 4.0  # standard deviations: what one value in 16,000 exceeds where they are normally distributed
TINY = 1e-20  # a unit that nothing is divided by
OFFSETS = 8  # the stride of the layers that are looked at


class Perception:
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
        stylized, frames = (x[..., offset[1]:offset[1] + height, offset[0]:offset[0] + width] for x in (stylized, frames))
        with torch.no_grad():
            wanted = self.network(frames, self.content_layers)
        features = self.network(stylized)
        content = [_distance(features[layer].float(), wanted[layer].float()) / unit
                   for layer, unit in zip(self.content_layers, self.content_units)]
        style = [_distance(gram(features[layer]), self.target[layer]) / unit
                 for layer, unit in zip(self.style_layers, self.style_units)]
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


def temporal(stylized: Tensor, warped: Tensor, reliability: Tensor) -> Tensor:
    """How far pictures are from the warped pictures before them, where those can be trusted.

    1/(N 3 H W) sum over all values of reliability (stylized - warped)^2 / 255^2, with reliability (N, 1, H, W), 0 to 1:
    the temporal loss of Ruder et al. with 255 levels as the unit. It is the mean over all pixels, not over the reliable
    ones, so that a sequence of which little can be trusted counts little.
    """
    return (reliability * (stylized - warped).square()).mean() / LEVELS**2


def forgetting(stylized: Tensor, alone: Tensor) -> Tensor:
    """How far the last picture of a chain is from the same frame painted from nothing: the mean square, in units of 255 levels squared."""
    return _distance(stylized, alone) / LEVELS**2


def total_variation(stylized: Tensor) -> Tensor:
    """Mean squared difference of neighbours, across and down, in units of 255 levels squared."""
    across, down = stylized.diff(dim=3), stylized.diff(dim=2)
    return (across.square().mean() + down.square().mean()) / LEVELS**2


def beyond_range(stylized: Tensor) -> Tensor:
    """Mean squared excess over 255 and below 0, which a film would cut off, in units of 255 levels squared."""
    return (stylized - stylized.clamp(0, LEVELS)).square().mean() / LEVELS**2


def saturation(drive: Tensor) -> Tensor:
    """How far what goes into the tanh is beyond +-2, where a picture is white or black in any case: the mean, squared up to 1.

    There the tanh is flat and lets no other loss through. Instance normalization invites spots that grow without bound,
    since they rule the mean and variance of all others; in trials without this they reached -77 within 150 iterations
    and stayed, black and burnt out.
    """
    excess = (drive.abs() - DRIVE).clamp(min=0)
    return 2 * F.huber_loss(excess, torch.zeros_like(excess))


def spikes(features: Tensor) -> Tensor:
    """How far values of features (N, C, H, W) stand out of their channel, beyond 4 standard deviations: the mean square, ten times.

    A norm invites such spots: a few huge values rule the mean and the variance by which all others are seen (Karras et al.
    2020 found them as droplets in StyleGAN). In a picture they are burnt, with the grid of the layers beneath.
    """
    with torch.autocast(features.device.type, enabled=False):
        centred = features.float()
        centred = centred - centred.mean((2, 3), keepdim=True)
        deviation = (centred.square().mean((2, 3), keepdim=True) + 1e-5).sqrt()
        return SPIKES * (centred.abs() / deviation - LOUD).clamp(min=0).square().mean()


def _units(rows: list[list[Tensor]]) -> list[float]:
    """The mean over the photographs, a row each, of every layer."""
    return torch.tensor(rows).mean(0).clamp(min=TINY).tolist()


def _distance(a: Tensor, b: Tensor) -> Tensor:
    return (a - b).square().mean()
