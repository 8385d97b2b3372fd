"""Several styles as one network: their weights, interpolated."""

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
    """The network of a video style with those of others mixed in, each by its weight; the first has what is left of 1.

    The weights of the networks are summed up in float64 and rounded once, the same on every machine. Without `temporal`,
    an image model may be the style, of an ONNX file as well; it is not mixed. FavError as for `load_style`, or where a style
    is of another architecture.
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
                f"--mix {path}: expected the architecture of {style}, {_words(network)}, got {_words(other)}"
            )
    shares = [1 - fsum(share for _, share in mix), *(share for _, share in mix)]
    states = [one.state_dict() for one in (network, *others)]
    network.load_state_dict({key: _sum([state[key] for state in states], shares) for key in states[0]})
    return network


def _sum(tensors: Sequence[torch.Tensor], shares: Sequence[float]) -> torch.Tensor:
    total = sum(tensor.numpy().astype(np.float64) * share for tensor, share in zip(tensors, shares))
    return torch.from_numpy(np.asarray(total, np.float32))


def _words(network: StyleNetwork) -> str:
    return f"{network.arch} (tanh constant {network.tanh_constant:g})"
