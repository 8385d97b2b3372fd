"""The recurrence of `fav.stylize.recurrence`, unrolled with gradients.

All tensors are (N, C, H, W) float32, images BGR, 0 to 255. The values equal those of `network_input` and `StyleRunner`.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fav.flow.warp_torch import warp_tensor
from fav.model.network import InstanceNorm, StyleNetwork
from fav.model.preprocessing import MEAN_BGR
from fav.training.losses import outlier_loss


@dataclass(frozen=True)
class UnrollOutput:
    """The results for S frames.

    Attributes:
        stylized: S stylized frames, neither clipped nor rounded.
        pre_tanh: The input of the tanh for each frame.
        outliers: The `outlier_loss` of the input of each normalization layer, for each frame.
        warped: For each frame but the first, the stylized frame before it, rounded, clipped and warped.
    """

    stylized: list[Tensor]
    pre_tanh: list[Tensor]
    outliers: list[Tensor]
    warped: list[Tensor]


def unroll(
    network: StyleNetwork, frames: list[Tensor], flows: list[Tensor], reliability: list[Tensor], bptt: bool
) -> UnrollOutput:
    """Stylize S consecutive frames: the first without a prior, each other one with the stylized frame before it.

    Args:
        network: A video model.
        frames: S frames (N, 3, H, W).
        flows: S - 1 flows (N, 2, H, W) in pixels; flows[t] leads from frame t + 1 to frame t.
        reliability: S - 1 tensors (N, 1, H, W), 0 to 1; the reliability of each flow.
        bptt: Back-propagation through time: gradients pass through all frames. Otherwise they stop at each frame.
    """
    tanh = next(layer for layer in network if isinstance(layer, nn.Tanh))
    pre_tanh: list[Tensor] = []
    outliers: list[Tensor] = []
    hooks = [tanh.register_forward_pre_hook(lambda layer, inputs: pre_tanh.append(inputs[0].float()))]
    hooks += [
        norm.register_forward_pre_hook(lambda layer, inputs: outliers.append(outlier_loss(inputs[0])))
        for norm in network.modules()
        if isinstance(norm, InstanceNorm)
    ]
    try:
        stylized, warped = [run(network, network_input(frames[0]))], []
        for frame, flow, mask in zip(frames[1:], flows, reliability):
            previous = quantize_ste(stylized[-1] if bptt else stylized[-1].detach())
            warped.append(warp_tensor(previous, flow))
            stylized.append(run(network, network_input(frame, warped[-1], mask)))
    finally:
        for hook in hooks:
            hook.remove()
    return UnrollOutput(stylized, pre_tanh, outliers, warped)


def network_input(frame: Tensor, warped: Tensor | None = None, reliability: Tensor | None = None) -> Tensor:
    """Return the input (N, 7, H, W) of a video model, as `fav.model.preprocessing.network_input` does without fill."""
    mean = mean_bgr(frame)
    if warped is None or reliability is None:
        return torch.cat([frame - mean, torch.zeros_like(frame), torch.zeros_like(frame[:, :1])], 1)
    return torch.cat([frame - mean, (warped - mean) * reliability, reliability], 1)


def quantize_ste(stylized: Tensor) -> Tensor:
    """Round to gray levels and clip, as a film does, with a straight-through estimator (Bengio et al. 2013).

    Gradients pass unchanged, also where values are clipped.
    """
    return stylized + (stylized.round().clamp(0, 255) - stylized).detach()


def mean_bgr(like: Tensor) -> Tensor:
    """Return the mean color (1, 3, 1, 1) on the device of `like`."""
    return torch.from_numpy(MEAN_BGR).to(like.device).view(1, 3, 1, 1)


def run(network: StyleNetwork, x: Tensor) -> Tensor:
    """Stylize inputs (N, 7, H, W) of `network_input`. The result is not clipped."""
    return network(x.contiguous(memory_format=torch.channels_last)).float() + mean_bgr(x)
