"""Load the pretrained weights of loss networks, in all published formats.

Supported are the authors' SqueezeNet with Caffe's names, torchvision's SqueezeNet and VGG-16, and the VGG-16 of Torch7.
"""

import logging
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fav.errors import FavError
from fav.model import torch7
from fav.model.checkpoints import HEAD, format_of, is_dense, read_pickle, read_safetensors, unexpected_as_fav_error
from fav.perceptual.loss_network import CAFFE_MEAN, LOSS_NETWORKS, Borders, LossNetwork
from fav.util.fingerprint import fingerprint
from fav.util.reading import opened

logger = logging.getLogger(__name__)

URL = "https://download.pytorch.org/models/"
PUBLISHED = {  # files that are downloaded on first use; the eight digits in a name begin the file's SHA-256
    "squeezenet1_1": "squeezenet1_1-b8a52dc0.pth",
    "squeezenet1_0": "squeezenet1_0-b66bff10.pth",
    "vgg16": "vgg16-397923af.pth",
}
VGG_MEAN = (103.939, 116.779, 123.68)  # BGR, 0 to 255
TORCHVISION_MEAN, TORCHVISION_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # RGB, 0 to 1
EXPECTED = "SqueezeNet v1.0 or v1.1 (.safetensors or .pth), or VGG-16 (.pth, .safetensors or .t7)"
CAFFE = re.compile(r"^(fire\d)[./](squeeze|expand)(?:(\d)(?:x\d)?)?")


def load_loss_network(
    source: str, borders: Borders = "zeros", pooling: str = "max", extra: tuple[str, ...] = ()
) -> tuple[LossNetwork, str, str]:
    """Load a loss network from a file, or a published one by its name.

    The architecture of a file is detected from the names and shapes of its tensors.

    Args:
        source: A path, or a name in PUBLISHED. A published network is read from PyTorch's cache, or downloaded into it.
        borders: As in `LossNetwork`.
        pooling: As in `LossNetwork`.
        extra: Layers that are needed besides the default layers of the losses.

    Returns:
        The network, its kind (a key of LOSS_NETWORKS), and the fingerprint of its file.

    Raises:
        FavError: The file is missing, cannot be downloaded, or is not a known network.
    """
    path = cached_network(source) if source in PUBLISHED else Path(source)
    with unexpected_as_fav_error(f"loss network {source}"):
        state = _read(path)
        try:
            kind, state, mean = detect_network(state)
            design = LOSS_NETWORKS[kind]
            if unknown := [layer for layer in extra if layer not in design.steps or layer.startswith("pool")]:
                known = ", ".join(layer for layer in design.steps if not layer.startswith("pool"))
                raise FavError(f"{design.name}: expected layers among {known}, got {unknown[0]}")
            layers = tuple(dict.fromkeys(design.style_layers + design.content_layers + extra))
            network = LossNetwork(design, layers, mean, borders, pooling)
            network.load_state_dict(_state_dict_for(network, state))
        except FavError as error:
            raise FavError(f"loss network {source}: {error}") from error
    return network, kind, fingerprint(path)


def cached_network(name: str) -> Path:
    """Return the file of a published network in PyTorch's cache. Downloads and verifies it first if it is missing.

    Raises:
        FavError: It cannot be downloaded, or has the wrong hash.
    """
    file = PUBLISHED[name]
    path = Path(torch.hub.get_dir()) / "checkpoints" / file
    if path.exists():
        return path
    logger.info("loss network %s: downloading %s%s to %s", name, URL, file, path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(URL + file, str(path), hash_prefix=Path(file).stem.rpartition("-")[2])
        return path
    except OSError as error:
        reason = getattr(error, "reason", None) or error
        raise FavError(
            f"loss network {name}: cannot be downloaded ({reason}); download {URL}{file} on another machine, "
            f"and give its path with --loss-network"
        ) from error
    except RuntimeError as error:
        raise FavError(
            f"loss network {name}: {URL}{file} is not the published file ({error}); download it from another source, "
            f"and give its path with --loss-network"
        ) from error


def detect_network(state: Mapping[str, Tensor]) -> tuple[str, dict[str, Tensor], tuple[float, float, float]]:
    """Detect the architecture of weights, and convert them.

    torchvision's networks expect normalized RGB; the converted weights expect BGR, 0 to 255, minus the mean.

    Args:
        state: The weights by their names in the file.

    Returns:
        The kind (a key of LOSS_NETWORKS), the weights with the names of `LossNetwork`, and the mean color of the input
        (BGR, 0 to 255).

    Raises:
        FavError: The names are not those of a known network.
    """
    if (first := state.get("features.0.weight")) is not None and first.ndim == 4:
        small_kernel = "squeezenet1_1" if "features.3.squeeze.weight" in state else "vgg16"
        kind = "squeezenet1_0" if first.shape[-1] == 7 else small_kernel
        red, green, blue = TORCHVISION_MEAN
        return kind, _rgb_to_bgr(_rename_torchvision(kind, state)), (255 * blue, 255 * green, 255 * red)
    if "conv1_1.weight" in state:
        return "vgg16", dict(state), VGG_MEAN
    if (first := state.get("conv1.weight")) is not None and first.ndim == 4:
        renamed = {CAFFE.sub(_caffe_name, key): value for key, value in state.items()}
        return "squeezenet1_0" if first.shape[-1] == 7 else "squeezenet1_1", renamed, CAFFE_MEAN
    raise FavError(f"expected {EXPECTED}, got weights {', '.join([*state][:3])[:80] or 'none'}")


def _caffe_name(match: re.Match) -> str:
    return f"{match[1]}.{match[2]}" + (match[3] or "" if match[2] == "expand" else "")


def _rename_torchvision(kind: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename torchvision's `features.N` to the names of `LossNetwork`. N also counts activations."""
    numbers, number = {}, 0
    for name, (step, *_) in LOSS_NETWORKS[kind].steps.items():
        numbers[number] = name
        number += 2 if step == "conv" else 1
    renamed = {}
    for key, value in state.items():
        match = re.fullmatch(r"features\.(\d+)\.(.*)", key)
        if match and int(match[1]) in numbers:
            inner = match[2].replace("expand1x1", "expand1").replace("expand3x3", "expand3")
            renamed[f"{numbers[int(match[1])]}.{inner}"] = value
    return renamed


def _rgb_to_bgr(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Convert the first convolution from normalized RGB to BGR, 0 to 255, minus the mean."""
    first = "conv1.weight" if "conv1.weight" in state else "conv1_1.weight"
    if first in state and state[first].ndim == 4 and state[first].shape[1] == 3:
        scaled = state[first].float() / (255 * torch.tensor(TORCHVISION_STD).view(1, 3, 1, 1))
        state = {**state, first: scaled.flip(1)}
    return state


def _state_dict_for(network: LossNetwork, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights with the keys of the network's state dict. Raises FavError at the first that does not fit."""
    result = {}
    for key, value in network.state_dict().items():
        name = re.sub(r"^steps\.(conv[\d_]+)\.0\.", r"\1.", key).removeprefix("steps.")
        found = state.get(name)
        if found is None or found.shape != value.shape or not found.is_floating_point():
            got = "none" if found is None else f"{tuple(found.shape)} {found.dtype}"
            raise FavError(f"{network.design.name}: expected {name} {tuple(value.shape)}, got {got}")
        result[key] = found.float()
        if not result[key].isfinite().all():
            raise FavError(f"{network.design.name}: expected finite weights in {name}, got some that are not")
    return result


def _read(path: Path) -> dict[str, Tensor]:
    try:
        with opened(path, f"loss network {path}") as file:
            head = file.read(HEAD)
    except OSError as error:
        known = ", ".join(PUBLISHED)
        raise FavError(
            f"loss network {path}: {error.strerror}; expected a file, {EXPECTED}, or one of {known}"
        ) from error
    readers = {"safetensors": lambda path: read_safetensors(path)[0], "pytorch": read_pickle, "torch7": _from_torch7}
    if (kind := format_of(head)) not in readers:
        raise FavError(f"loss network {path}: expected {EXPECTED}, got a file that begins with {head[:4]!r}")
    return {key: value for key, value in readers[kind](path).items() if is_dense(value)}


def _from_torch7(path: Path) -> dict[str, Tensor]:
    """Return the convolutions of a Torch7 VGG-16, in their order, with the names of `LossNetwork`."""
    root = torch7.load(path)
    modules = root.fields.get("modules") if isinstance(root, torch7.TorchObject) else None
    items = modules.items() if isinstance(modules, dict) else ()
    layers = [
        module.fields
        for _, module in sorted(item for item in items if isinstance(item[0], float))
        if isinstance(module, torch7.TorchObject) and "SpatialConvolution" in module.class_name
    ]
    state = {}
    convolutions = [(name, step) for name, step in LOSS_NETWORKS["vgg16"].steps.items() if step[0] == "conv"]
    for fields, (name, step) in zip(layers, convolutions):
        _, inputs, outputs, kernel, *_ = step
        for part, shape in (("weight", (outputs, inputs, kernel, kernel)), ("bias", (outputs,))):
            value = fields.get(part)
            if not isinstance(value, np.ndarray) or value.size != np.prod(shape):
                got = value.shape if isinstance(value, np.ndarray) else type(value).__name__
                raise FavError(f"loss network {path}: VGG-16: expected {name}.{part} {shape}, got {got}")
            state[f"{name}.{part}"] = torch.from_numpy(np.array(value, np.float32)).reshape(shape)
    if not state:
        raise FavError(f"loss network {path}: expected the convolutions of VGG-16, got none")
    return state
