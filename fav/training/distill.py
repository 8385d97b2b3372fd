"""Distill a model into a style: the outputs of a teacher are the targets, so no painting is needed.

The teacher is an image model, which the style makes steady, or a style of another architecture, which it copies.

Source: knowledge distillation (Hinton, Vinyals, Dean 2015). The temporal losses are those of every training.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fav.errors import FavError
from fav.model.checkpoints import load_style
from fav.model.devices import placed
from fav.model.onnx_style import load_image_model
from fav.model.runner import StyleRunner
from fav.perceptual.loss import OFFSETS, gram
from fav.perceptual.loss_network import LossNetwork
from fav.perceptual.palette import downsample
from fav.training.unroll import mean_bgr, run

# From the inputs of a video model (N, 7, H, W) to stylized images (N, 3, H, W) float32 BGR, 0 to 255, without gradients.
Teacher = Callable[[Tensor], Tensor]
TINY = 1e-12  # minimum of a divisor


def load_image_teacher(path: Path, device: torch.device, crop: int) -> Teacher:
    """Load an image model as a teacher. It sees the frame alone, not the previous result.

    Args:
        path: The model, as in `load_image_model`.
        device: Where to run it.
        crop: The side of the images, in pixels.

    Raises:
        FavError: The model cannot be read, or needs larger images.
    """
    network = load_image_model(path)
    if crop < network.min_side:
        raise FavError(f"--crop: expected at least {network.min_side} pixels for {path}, got {crop}")
    runner = StyleRunner(network, device=str(device))

    def teacher(inputs: Tensor) -> Tensor:
        images = inputs[:, :3] + mean_bgr(inputs)
        frames = images.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
        with torch.autocast(inputs.device.type, enabled=False):
            stylized = np.stack([runner.stylize(np.ascontiguousarray(frame)) for frame in frames])
        return torch.from_numpy(stylized).permute(0, 3, 1, 2).float().to(inputs.device)

    return teacher


def load_style_teacher(path: Path, device: torch.device) -> Teacher:
    """Load a style (a video model) as a teacher. It sees the previous result of the student, warped and masked.

    Raises:
        FavError: The style cannot be read, or is an image model.
    """
    network = placed(load_style(path, in_channels=7), device).eval().requires_grad_(False)

    @torch.no_grad()
    def teacher(inputs: Tensor) -> Tensor:
        return run(network, inputs).clamp(0, 255)

    return teacher


class MatchLoss:
    """Content and style losses between images and targets. It replaces `fav.perceptual.loss.PerceptualLoss`.

    The loss of a content layer is the squared distance of the features, divided by the energy of the target's features.
    The loss of a style layer is the same for the Gram matrices. Without a network, both losses are 0; then the training
    uses the pixel loss only.
    """

    def __init__(
        self,
        network: LossNetwork | None,
        style: dict[str, float] | None = None,
        content: dict[str, float] | None = None,
    ):
        """Choose the layers.

        Args:
            network: The loss network, or None.
            style: Layers of the style loss and their weights. None: the network's default layers, with equal weights.
            content: The same for the content loss.
        """
        self.network = network
        layers = network.design if network else None
        self.style = style or dict.fromkeys(layers.style_layers if layers else (), 1.0)
        self.content = content or dict.fromkeys(layers.content_layers if layers else (), 1.0)

    def losses(
        self, stylized: Tensor, target: Tensor, offset: tuple[int, int] = (0, 0), zoom: float = 1
    ) -> tuple[Tensor, Tensor]:
        """Return the content loss and the style loss between stylized images and their targets, (N, 3, H, W) each.

        `offset` and `zoom` are as in `PerceptualLoss.losses`.
        """
        if self.network is None:
            return stylized.new_zeros(()), stylized.new_zeros(())
        height, width = (side - OFFSETS + 1 for side in stylized.shape[2:])
        stylized, target = (
            downsample(x[..., offset[1] : offset[1] + height, offset[0] : offset[0] + width], 1 / zoom)
            for x in (stylized, target)
        )
        layers = tuple(dict.fromkeys((*self.style, *self.content)))
        features = self.network(stylized, layers)
        with torch.no_grad():
            targets = self.network(target, layers)
        content = {layer: _relative_error(features[layer].float(), targets[layer].float()) for layer in self.content}
        style = {layer: _relative_error(gram(features[layer]), gram(targets[layer])) for layer in self.style}
        return _weighted_mean(content, self.content), _weighted_mean(style, self.style)

    def palette(self, stylized: Tensor, directions: Tensor) -> Tensor:
        """Return 0: the pixel loss already compares the colors."""
        return stylized.new_zeros(())


def _relative_error(values: Tensor, target: Tensor) -> Tensor:
    return (values - target).square().mean() / target.square().mean().clamp(min=TINY)


def _weighted_mean(losses: dict[str, Tensor], weights: dict[str, float]) -> Tensor:
    return torch.stack([weight * losses[layer] for layer, weight in weights.items()]).sum() / sum(weights.values())
