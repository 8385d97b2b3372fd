"""An image model as the teacher of a video style: its own pictures are the target, so that no painting is needed.

Source of the idea: distillation (Hinton, Vinyals, Dean 2015); the losses on motion are those of every training here.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fav.errors import FavError
from fav.model.onnx_style import load_image_model
from fav.model.runner import StyleRunner
from fav.perceptual.loss import OFFSETS, gram
from fav.perceptual.loss_network import LossNetwork
from fav.perceptual.palette import smaller

Teacher = Callable[[Tensor], Tensor]
TINY = 1e-12  # an energy that nothing is divided by


def load_teacher(path: Path, device: torch.device, crop: int) -> Teacher:
    """What an image model makes of pictures (N, 3, H, W), BGR levels, 0 to 255, float32: pictures of that size, without
    gradients. `crop` is their side. Raises FavError as `load_image_model`, or where the model needs larger ones."""
    network = load_image_model(path)
    if crop < network.smallest:
        raise FavError(f"--crop: expected at least {network.smallest} pixels for {path}, got {crop}")
    runner = StyleRunner(network, device=str(device))

    def teach(pictures: Tensor) -> Tensor:
        frames = pictures.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
        painted = np.stack([runner.stylize(np.ascontiguousarray(frame)) for frame in frames])
        return torch.from_numpy(painted).permute(0, 3, 1, 2).float().to(pictures.device)

    return teach


class MatchLoss:
    """How unlike pictures look to their targets, by a loss network: the counterpart of `fav.perceptual.loss.PerceptualLoss`.

    A content layer's loss is the squared distance of the features by the energy of the target's; a style layer's that of
    the Gram matrices. Layers of a kind count alike, or by weights. Without a network both are 0: the pixels alone teach.
    """

    def __init__(
        self,
        network: LossNetwork | None,
        style: dict[str, float] | None = None,
        content: dict[str, float] | None = None,
    ):
        self.network = network
        layers = network.design if network else None
        self.style = style or dict.fromkeys(layers.style_layers if layers else (), 1.0)
        self.content = content or dict.fromkeys(layers.content_layers if layers else (), 1.0)

    def losses(
        self, stylized: Tensor, wanted: Tensor, offset: tuple[int, int] = (0, 0), zoom: float = 1
    ) -> tuple[Tensor, Tensor]:
        """(content, style) of pictures (N, 3, H, W) against their targets; offset and zoom as for `PerceptualLoss.losses`."""
        if self.network is None:
            return stylized.new_zeros(()), stylized.new_zeros(())
        height, width = (side - OFFSETS + 1 for side in stylized.shape[2:])
        seen, target = (
            smaller(x[..., offset[1] : offset[1] + height, offset[0] : offset[0] + width], 1 / zoom)
            for x in (stylized, wanted)
        )
        layers = tuple(dict.fromkeys((*self.style, *self.content)))
        found = self.network(seen, layers)
        with torch.no_grad():
            aim = self.network(target, layers)
        content = {layer: _relative(found[layer].float(), aim[layer].float()) for layer in self.content}
        style = {layer: _relative(gram(found[layer]), gram(aim[layer])) for layer in self.style}
        return _mean(content, self.content), _mean(style, self.style)

    def palette(self, stylized: Tensor, directions: Tensor) -> Tensor:
        """0: the pixels have the colors of the target already."""
        return stylized.new_zeros(())


def _relative(found: Tensor, aim: Tensor) -> Tensor:
    return (found - aim).square().mean() / aim.square().mean().clamp(min=TINY)


def _mean(losses: dict[str, Tensor], weights: dict[str, float]) -> Tensor:
    return torch.stack([weight * losses[layer] for layer, weight in weights.items()]).sum() / sum(weights.values())
