"""Loss terms on stylized images, except the perceptual loss. Each is a mean, about 1 for an image that is wrong everywhere.

Sources: Johnson, Alahi, Fei-Fei (2016), total variation; Ruder, Dosovitskiy, Brox (2018), the temporal loss. Images are
(N, 3, H, W) float32 BGR, 0 to 255, unless stated otherwise. Every loss is a tensor without dimensions.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from fav.perceptual.loss import mean_squared_error

LEVELS = 255.0
PRE_TANH_LIMIT = 2.0  # beyond it, tanh is nearly flat
OUTLIER_FACTOR = 10.0  # a smaller factor does not remove outliers once they exist
OUTLIER_DEVIATIONS = 4.0  # standard deviations; 1 of 16,000 normally distributed values exceeds them
PERIODS = 4  # a pattern counts if it repeats this often; brush strokes do not
CUBIC_FACTOR = 20.0  # of the cubic term of the palette loss


def temporal_loss(stylized: Tensor, warped: Tensor, reliability: Tensor) -> Tensor:
    """Return the temporal loss of Ruder et al.: 1/(N 3 H W) sum reliability (stylized - warped)^2 / 255^2.

    It is the mean over all pixels, not over the reliable ones. So a sequence with few reliable pixels has little weight.

    Args:
        stylized: Stylized frames.
        warped: The stylized frames before them, warped.
        reliability: (N, 1, H, W), 0 to 1.
    """
    return (reliability * (stylized - warped).square()).mean() / LEVELS**2


def history_loss(stylized: Tensor, single: Tensor) -> Tensor:
    """Return the mean squared difference between the last frame of a sequence and that frame stylized without a prior.

    The unit is 255 levels, squared.
    """
    return mean_squared_error(stylized, single) / LEVELS**2


def pixel_loss(stylized: Tensor, target: Tensor, kind: str) -> Tensor:
    """Return the mean pixel loss between images and their targets.

    Args:
        stylized: Stylized images.
        target: The images to learn.
        kind: `l2`, `l1`, or `smooth-l1`, which is quadratic below one gray level. The unit is 255 levels, or its square
            for `l2`.
    """
    match kind:
        case "l1":
            return (stylized - target).abs().mean() / LEVELS
        case "smooth-l1":
            return F.smooth_l1_loss(stylized, target) / LEVELS
    return mean_squared_error(stylized, target) / LEVELS**2


def total_variation(stylized: Tensor) -> Tensor:
    """Return the mean squared difference of neighboring pixels, horizontal plus vertical. The unit is 255 levels, squared."""
    across, down = stylized.diff(dim=3), stylized.diff(dim=2)
    return (across.square().mean() + down.square().mean()) / LEVELS**2


def lattice_loss(stylized: Tensor, period: int) -> Tensor:
    """Return the power of checkerboard artifacts: patterns that repeat every `period` pixels for four periods.

    A network with strides can add a pattern of its total stride to flat regions. The loss network has strides of the same
    sizes, and hardly detects it.

    The loss is computed on the image minus its local mean. It is the mean square of each pixel's average over the four
    periods. The unit is 255 levels, squared.

    Args:
        stylized: Stylized images. The loss is 0 if they are smaller than four periods.
        period: In pixels; the total stride of the network (`StyleNetwork.period`).
    """
    box = torch.ones(period + 1 - period % 2, device=stylized.device)
    if period % 2 == 0:
        box[0] = box[-1] = 0.5  # centers a box of an even number of pixels
    kernel = (box[:, None] * box / period**2).expand(3, 1, -1, -1)  # removes all patterns of this period
    edge, block = period // 2, period * PERIODS
    means = F.conv2d(stylized, kernel, groups=3)
    detail = stylized[..., edge : edge + means.shape[2], edge : edge + means.shape[3]] - means
    down, across = (length // block for length in detail.shape[2:])
    if period < 2 or not down or not across:
        return stylized.new_zeros(())
    blocks = detail[..., : down * block, : across * block].reshape(-1, down, PERIODS, period, across, PERIODS, period)
    pattern = blocks.mean((2, 5))
    return (pattern - pattern.mean((2, 4), keepdim=True)).square().mean() / LEVELS**2


def scale_palette_loss(palette: Tensor) -> Tensor:
    """Return the palette loss L with a cubic term: L + 20 L^3.

    For some paintings the style loss alone gives the right colors (L is 0.05 to 0.1); for others it does not (L is 0.6).
    At 0.6 the gradient of the result is 23 times that of L. So one weight suits both.
    """
    return palette + CUBIC_FACTOR * palette.pow(3)


def range_loss(stylized: Tensor) -> Tensor:
    """Return the mean squared excess above 255 and below 0, which a film would clip. The unit is 255 levels, squared."""
    return (stylized - stylized.clamp(0, LEVELS)).square().mean() / LEVELS**2


def tanh_saturation_loss(pre_tanh: Tensor) -> Tensor:
    """Return the mean excess of the input of the tanh beyond +-2; it is squared up to 1.

    Beyond 2 the image is white or black, and the gradient of the tanh is almost 0, so other losses have no effect.
    Instance normalization encourages large outliers, since they dominate the mean and the variance. In trials without
    this loss, inputs reached -77 within 150 iterations, and the spots stayed black or white.
    """
    excess = (pre_tanh.abs() - PRE_TANH_LIMIT).clamp(min=0)
    return 2 * F.huber_loss(excess, torch.zeros_like(excess))


def outlier_loss(features: Tensor) -> Tensor:
    """Return ten times the mean squared excess of features beyond 4 standard deviations of their channel.

    Normalization encourages outliers: a few large values dominate the mean and the variance of the channel (Karras et
    al. 2020 found them as droplets in StyleGAN). In an image they are saturated spots with the grid of the layers.

    Args:
        features: (N, C, H, W), the input of a normalization layer.
    """
    with torch.autocast(features.device.type, enabled=False):
        centered = features.float()
        centered = centered - centered.mean((2, 3), keepdim=True)
        deviation = (centered.square().mean((2, 3), keepdim=True) + 1e-5).sqrt()
        return OUTLIER_FACTOR * (centered.abs() / deviation - OUTLIER_DEVIATIONS).clamp(min=0).square().mean()
