"""Backward warping in PyTorch: like `fav.flow.warp.warp`, for batches, on any device, with gradients."""

import torch
import torch.nn.functional as F
from torch import Tensor


def warp_tensor(image: Tensor, flow: Tensor) -> Tensor:
    """Warp images: the result at (x, y) is the image at (x, y) + flow at (x, y).

    Positions have an error of up to 1e-5 of the image's side. So zero flow returns the image except for the last bits.

    Args:
        image: (N, C, H, W).
        flow: (N, 2, H, W) in pixels; x to the right, then y down.
    """
    height, width = image.shape[2:]
    y, x = torch.meshgrid(
        torch.arange(height, device=flow.device), torch.arange(width, device=flow.device), indexing="ij"
    )
    x, y = (x + flow[:, 0]) * (2 / max(width - 1, 1)) - 1, (y + flow[:, 1]) * (2 / max(height - 1, 1)) - 1
    return F.grid_sample(image, torch.stack([x, y], dim=-1), mode="bilinear", padding_mode="border", align_corners=True)
