"""The recurrence of `fav.stylize.recurrence` with gradients: what the network sees, and what one frame hands to the next.

Everything is (N, C, H, W) float32, pictures BGR, 0 to 255; the numbers are those of `network_input` and `StyleRunner`.
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
    """What the network made of S frames: `stylized`, S pictures, neither clipped nor rounded; `pre_tanh`, S times what went
    into the tanh that they come from; `outliers`, for each norm that was passed, the `outlier_loss` of what came in; and for
    each frame but the first `warped`, the state of the frame before it, fetched to where it belongs, which the network saw.
    """

    stylized: list[Tensor]
    pre_tanh: list[Tensor]
    outliers: list[Tensor]
    warped: list[Tensor]


def unroll(
    network: StyleNetwork, frames: list[Tensor], flows: list[Tensor], reliability: list[Tensor], through: bool
) -> UnrollOutput:
    """S frames in a row, the first from nothing, each further one painted on from the one before.

    flows[t] (N, 2, H, W) leads from frame t + 1 to frame t, reliability[t] (N, 1, H, W) belongs to it. With `through`,
    gradients go through the states back to the first frame; without, each state is taken as given.
    """
    tanh = next(layer for layer in network if isinstance(layer, nn.Tanh))
    pre_tanh: list[Tensor] = []
    outliers: list[Tensor] = []
    listening = [tanh.register_forward_pre_hook(lambda layer, inputs: pre_tanh.append(inputs[0].float()))]
    listening += [
        norm.register_forward_pre_hook(lambda layer, inputs: outliers.append(outlier_loss(inputs[0])))
        for norm in network.modules()
        if isinstance(norm, InstanceNorm)
    ]
    try:
        stylized, warped = [_painted(network, network_input(frames[0]))], []
        for frame, flow, trust in zip(frames[1:], flows, reliability):
            state = quantize_ste(stylized[-1] if through else stylized[-1].detach())
            warped.append(warp_tensor(state, flow))
            stylized.append(_painted(network, network_input(frame, warped[-1], trust)))
    finally:
        for ear in listening:
            ear.remove()
    return UnrollOutput(stylized, pre_tanh, outliers, warped)


def network_input(frame: Tensor, warped: Tensor | None = None, reliability: Tensor | None = None) -> Tensor:
    """What a video model sees (N, 7, H, W), as `fav.model.preprocessing.network_input` gives it without fill."""
    mean = mean_bgr(frame)
    if warped is None or reliability is None:
        return torch.cat([frame - mean, torch.zeros_like(frame), torch.zeros_like(frame[:, :1])], 1)
    return torch.cat([frame - mean, (warped - mean) * reliability, reliability], 1)


def quantize_ste(stylized: Tensor) -> Tensor:
    """The state that a frame hands to the next: rounded to grey levels and clipped as in a film.

    Gradients go straight through (Bengio et al. 2013), also where values are clipped.
    """
    return stylized + (stylized.round().clamp(0, 255) - stylized).detach()


def mean_bgr(like: Tensor) -> Tensor:
    """The mean color (1, 3, 1, 1) on the device of `like`."""
    return torch.from_numpy(MEAN_BGR).to(like.device).view(1, 3, 1, 1)


def _painted(network: StyleNetwork, seen: Tensor) -> Tensor:
    return network(seen.contiguous(memory_format=torch.channels_last)).float() + mean_bgr(seen)
