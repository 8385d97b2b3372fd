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
PERIODS = 4  # over which a pattern has to repeat: strokes do not
FAR_OFF = 20.0
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


def pixel_loss(stylized: Tensor, wanted: Tensor, kind: str) -> Tensor:
    """How far pictures are from their targets: the mean over all values, in units of 255 levels (of their square for `l2`).

    kind: l2, l1, or smooth-l1, which is quadratic below one grey level.
    """
    match kind:
        case "l1":
            return (stylized - wanted).abs().mean() / LEVELS
        case "smooth-l1":
            return F.smooth_l1_loss(stylized, wanted) / LEVELS
    return _distance(stylized, wanted) / LEVELS**2


def total_variation(stylized: Tensor) -> Tensor:
    """Mean squared difference of neighbours, across and down, in units of 255 levels squared."""
    across, down = stylized.diff(dim=3), stylized.diff(dim=2)
    return (across.square().mean() + down.square().mean()) / LEVELS**2


def lattice(stylized: Tensor, period: int) -> Tensor:
    """What repeats every `period` pixels, over four periods: the mean square of its deviation from what is around.

    In units of 255 levels squared. period is what a network divides the size of a frame by (`StyleNetwork.period`): a
    network that goes down and up again can lay a pattern of that period over all that is flat, and the loss network, whose
    own strides are of the same sizes, hardly sees it. 0 for pictures smaller than four periods.
    """
    side = torch.ones(period + 1 - period % 2, device=stylized.device)
    if period % 2 == 0:
        side[0] = side[-1] = 0.5  # of an even number there is no middle
    kernel = (side[:, None] * side / period**2).expand(3, 1, -1, -1)  # nothing of that period passes it but the mean
    edge, block = period // 2, period * PERIODS
    means = F.conv2d(stylized, kernel, groups=3)
    fine = stylized[..., edge : edge + means.shape[2], edge : edge + means.shape[3]] - means
    down, across = (length // block for length in fine.shape[2:])
    if period < 2 or not down or not across:
        return stylized.new_zeros(())
    blocks = fine[..., : down * block, : across * block].reshape(-1, down, PERIODS, period, across, PERIODS, period)
    cells = blocks.mean((2, 5))
    return (cells - cells.mean((2, 4), keepdim=True)).square().mean() / LEVELS**2


def eased(palette: Tensor) -> Tensor:
    """The palette loss as it is weighted: L + 20 L^3.

    A palette that is far off counts for more: for one weight to suit paintings that the style loss colors by itself (0.05 to
    0.1 is left) and those that it does not (0.6), where the gradient is 23 times as large.
    """
    return palette + FAR_OFF * palette.pow(3)


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
