"""Interpolate the weights of several styles."""

import copy
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
from fav.util.curve import Curve


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
    if not mix:
        return load_style(style, in_channels=7)
    return Mixture(style, [path for path, _ in mix]).network([fraction for _, fraction in mix])


class Mixture:
    """Several styles of one architecture, and the weighted means of their weights."""

    def __init__(self, style: Path, others: Sequence[Path]):
        """Load the styles.

        Raises:
            FavError: As in `load_style`, or the architectures differ.
        """
        self._network = load_style(style, in_channels=7)
        self._states = [self._network.state_dict()]
        for path in others:
            other = load_style(path, in_channels=7)
            if (other.arch, other.tanh_constant) != (self._network.arch, self._network.tanh_constant):
                raise FavError(
                    f"--mix {path}: expected the architecture of {style}, {_describe(self._network)}, got {_describe(other)}"
                )
            self._states.append(other.state_dict())

    def network(self, fractions: Sequence[float]) -> StyleNetwork:
        """Make a new network. `fractions` are those of the other styles; the first one has the rest of 1."""
        shares, states = [1 - fsum(fractions), *fractions], self._states
        network = copy.deepcopy(self._network)
        network.load_state_dict({key: _weighted_sum([state[key] for state in states], shares) for key in states[0]})
        return network


def fractions_at(mix: Sequence[tuple[Path, Curve]], frame: int = 0, seconds: float = 0.0) -> tuple[float, ...]:
    """The fractions of further styles at a frame, which is shown `seconds` after the first one.

    Where their weights have a sum above 1, they are divided by it, so that the first style has 0.
    """
    weights = [curve.at(frame, seconds) for _, curve in mix]
    total = fsum(weights)
    return tuple(weight / total for weight in weights) if total > 1 else tuple(weights)


def _weighted_sum(tensors: Sequence[torch.Tensor], fractions: Sequence[float]) -> torch.Tensor:
    total = sum(tensor.numpy().astype(np.float64) * fraction for tensor, fraction in zip(tensors, fractions))
    return torch.from_numpy(np.asarray(total, np.float32))


def _describe(network: StyleNetwork) -> str:
    return f"{network.arch} (tanh constant {network.tanh_constant:g})"
