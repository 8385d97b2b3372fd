"""Fetch pictures along flows in PyTorch: `fav.flow.warp.warp` for batches, on any device, with gradients."""

import torch
import torch.nn.functional as F
from torch import Tensor


def warp_tensor(image: Tensor, flow: Tensor) -> Tensor:
    """`image` (N, C, H, W) fetched along `flow` (N, 2, H, W), pixels, x to the right then y down, as `fav.flow.warp.warp` does.

    Positions are off by up to 1e-5 of the picture's side, so a flow of zeros returns the image but for the last bits.
    """
    height, width = image.shape[2:]
    y, x = torch.meshgrid(
        torch.arange(height, device=flow.device), torch.arange(width, device=flow.device), indexing="ij"
    )
    x, y = (x + flow[:, 0]) * (2 / max(width - 1, 1)) - 1, (y + flow[:, 1]) * (2 / max(height - 1, 1)) - 1
    return F.grid_sample(image, torch.stack([x, y], dim=-1), mode="bilinear", padding_mode="border", align_corners=True)
