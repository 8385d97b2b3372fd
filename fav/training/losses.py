"""What a stylized picture is blamed for; every loss is a mean without a unit, about 1 for a picture that is all wrong.

Sources: Gatys, Ecker, Bethge (2016), content and Gram matrices; Johnson et al. (2016), total variation; Ruder et al.
(2018), the temporal loss. Pictures are (N, 3, H, W) float32, BGR, 0 to 255, if not said otherwise.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from fav.perceptual.loss import _distance

LEVELS = 255.0
DRIVE = 2.0
SPIKES = 10.0  # once they are there, less does not move them
LOUD = 4.0  # standard deviations: what one value in 16,000 exceeds where they are normally distributed


def temporal_loss(stylized: Tensor, warped: Tensor, reliability: Tensor) -> Tensor:
    """How far pictures are from the warped pictures before them, where those can be trusted.

    1/(N 3 H W) sum over all values of reliability (stylized - warped)^2 / 255^2, with reliability (N, 1, H, W), 0 to 1:
    the temporal loss of Ruder et al. with 255 levels as the unit. It is the mean over all pixels, not over the reliable
    ones, so that a sequence of which little can be trusted counts little.
    """
    return (reliability * (stylized - warped).square()).mean() / LEVELS**2


def history_loss(stylized: Tensor, alone: Tensor) -> Tensor:
    """How far the last picture of a chain is from the same frame painted from nothing: the mean square, in units of 255 levels squared."""
    return _distance(stylized, alone) / LEVELS**2


def total_variation(stylized: Tensor) -> Tensor:
    """Mean squared difference of neighbours, across and down, in units of 255 levels squared."""
    across, down = stylized.diff(dim=3), stylized.diff(dim=2)
    return (across.square().mean() + down.square().mean()) / LEVELS**2


def range_loss(stylized: Tensor) -> Tensor:
    """Mean squared excess over 255 and below 0, which a film would cut off, in units of 255 levels squared."""
    return (stylized - stylized.clamp(0, LEVELS)).square().mean() / LEVELS**2


def tanh_saturation_loss(drive: Tensor) -> Tensor:
    """How far what goes into the tanh is beyond +-2, where a picture is white or black in any case: the mean, squared up to 1.

    There the tanh is flat and lets no other loss through. Instance normalization invites spots that grow without bound,
    since they rule the mean and variance of all others; in trials without this they reached -77 within 150 iterations
    and stayed, black and burnt out.
    """
    excess = (drive.abs() - DRIVE).clamp(min=0)
    return 2 * F.huber_loss(excess, torch.zeros_like(excess))


def outlier_loss(features: Tensor) -> Tensor:
    """How far values of features (N, C, H, W) stand out of their channel, beyond 4 standard deviations: the mean square, ten times.

    A norm invites such spots: a few huge values rule the mean and the variance by which all others are seen (Karras et al.
    2020 found them as droplets in StyleGAN). In a picture they are burnt, with the grid of the layers beneath.
    """
    with torch.autocast(features.device.type, enabled=False):
        centred = features.float()
        centred = centred - centred.mean((2, 3), keepdim=True)
        deviation = (centred.square().mean((2, 3), keepdim=True) + 1e-5).sqrt()
        return SPIKES * (centred.abs() / deviation - LOUD).clamp(min=0).square().mean()
