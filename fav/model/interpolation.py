"""Interpolate the weights of several styles."""

from collections.abc import Sequence
from math import fsum
from pathlib import Path
from typing import overload

import numpy as np
import torch

from fav.errors import FavError
from fav.model.checkpoints import load_style
from fav.model.network import StyleNetwork
from fav.model.onnx_style import OnnxStyle, holds_onnx, load_onnx


@overload
def load_mixture(style: Path, mix: Sequence[tuple[Path, float]] = ()) -> StyleNetwork: ...
@overload
def load_mixture(
    style: Path, mix: Sequence[tuple[Path, float]] = (), *, temporal: bool
) -> StyleNetwork | OnnxStyle: ...
def load_mixture(
    style: Path, mix: Sequence[tuple[Path, float]] = (), *, temporal: bool = True
) -> StyleNetwork | OnnxStyle:
    """Load a style, or the weighted mean of several.

    The weights of the networks are summed in float64 and rounded once, so the result is the same on every machine.

    Args:
        style: The first style. Its fraction is 1 minus those of the others.
        mix: Other styles and their fractions.
        temporal: False also allows an image model, which cannot be mixed.

    Raises:
        FavError: As in `load_style`, or the architectures differ.
    """
    if not mix and not temporal:
        return load_onnx(style) if holds_onnx(style) else load_style(style)
    network = load_style(style, in_channels=7)
    if not mix:
        return network
    others = [load_style(path, in_channels=7) for path, _ in mix]
    for (path, _), other in zip(mix, others):
        if (other.arch, other.tanh_constant) != (network.arch, network.tanh_constant):
            raise FavError(
                f"--mix {path}: expected the architecture of {style}, {_describe(network)}, got {_describe(other)}"
            )
    fractions = [1 - fsum(fraction for _, fraction in mix), *(fraction for _, fraction in mix)]
    states = [one.state_dict() for one in (network, *others)]
    network.load_state_dict({key: _weighted_sum([state[key] for state in states], fractions) for key in states[0]})
    return network


def _weighted_sum(tensors: Sequence[torch.Tensor], fractions: Sequence[float]) -> torch.Tensor:
    total = sum(tensor.numpy().astype(np.float64) * fraction for tensor, fraction in zip(tensors, fractions))
    return torch.from_numpy(np.asarray(total, np.float32))


def _describe(network: StyleNetwork) -> str:
    return f"{network.arch} (tanh constant {network.tanh_constant:g})"
