"""SPyNet: optical flow by a pyramid of six small networks (Ranjan and Black 2017), in PyTorch.

Each level doubles the flow found so far, warps the second frame by it, and adds what is missing.
"""

from pathlib import Path

import numpy as np
import torch
from safetensors import torch as safetensors
from torch import Tensor, nn
from torch.nn import functional as F

from fav.errors import FavError
from fav.flow.warp_torch import warp_tensor
from fav.model import torch7
from fav.model.checkpoints import is_dense, read_pickle
from fav.model.devices import placed
from fav.util.reading import read_file

LARGEST = 1 << 28  # bytes of a file of weights, which has 6 MB
LEVELS = 6
CHANNELS = (8, 32, 64, 32, 16, 2)
STEP = 2 ** (LEVELS - 1)  # sides are multiples of it, so that every level has whole pixels
MEAN = (0.485, 0.456, 0.406)  # RGB
STD = (0.229, 0.224, 0.225)


class SpyNet:
    """A loaded network; called with two frames (H, W, 3) uint8 BGR it returns the flow from the first to the second.

    `weights` as for `load_weights`; `device` is PyTorch's; `precision`, float32 or bfloat16, that of the convolutions. The flow
    is (H, W, 2) float32, pixels.
    """

    def __init__(self, weights: Path, device: str = "cpu", precision: str = "float32"):
        found = load_weights(weights)
        self.levels = nn.ModuleList(make_level() for _ in range(LEVELS))
        for number, level in enumerate(self.levels):
            level.load_state_dict({key: found[name_of(number, key)] for key in level.state_dict()})
        self.device, self.type = device, getattr(torch, precision)
        placed(self.levels.eval(), device, self.type)

    @torch.inference_mode()
    def __call__(self, frame_a: np.ndarray, frame_b: np.ndarray) -> np.ndarray:
        height, width = frame_a.shape[:2]
        whole = [-(-side // STEP) * STEP for side in (height, width)]
        both = torch.from_numpy(np.stack([frame_a, frame_b])[..., ::-1].copy()).to(self.device)
        both = both.permute(0, 3, 1, 2).float() / 255
        both = (both - both.new_tensor(MEAN).view(1, 3, 1, 1)) / both.new_tensor(STD).view(1, 3, 1, 1)
        flow = self.flow(F.interpolate(both, whole, mode="bilinear", align_corners=False))
        flow = F.interpolate(flow, (height, width), mode="bilinear", align_corners=False)[0].permute(1, 2, 0)
        return (flow * flow.new_tensor([width / whole[1], height / whole[0]])).cpu().numpy()

    def flow(self, both: Tensor) -> Tensor:
        """Flow (1, 2, H, W) between two normalized RGB frames (2, 3, H, W), whose sides are multiples of 32."""
        pyramid = [both]
        for _ in range(LEVELS - 1):
            pyramid.insert(0, F.avg_pool2d(pyramid[0], 2))
        flow = both.new_zeros(1, 2, *pyramid[0].shape[2:])
        for level, (first, second) in zip(self.levels, pyramid):
            if flow.shape[2:] != first.shape[1:]:
                flow = 2 * F.interpolate(flow, scale_factor=2, mode="bilinear", align_corners=True)
            seen = torch.cat([first[None], warp_tensor(second[None], flow), flow], dim=1)
            flow = flow + level(seen.to(self.type, memory_format=torch.channels_last)).float()
        return flow


def load_weights(path: Path) -> dict[str, Tensor]:
    """The network's 60 tensors, named `netBasic.{level}.netBasic.{layer}.{weight|bias}`, coarse to fine.

    path is the authors' directory of modelL1_F.t7 … modelL6_F.t7, a .safetensors file, or a PyTorch state dict
    with these names or the older `moduleBasic`; nothing in it is executed. Raises FavError where it is missing,
    is none of these, or has other shapes.
    """
    path = Path(path)
    try:
        if path.is_dir():
            found = _from_torch7(path)
        elif path.suffix == ".safetensors":
            found = safetensors.load(read_file(path, f"SPyNet weights {path}", LARGEST))
        else:
            found = _from_pickle(path)
    except FavError:
        raise
    except OSError as error:
        raise FavError(f"SPyNet weights {path}: {error.strerror}") from error
    except Exception as error:  # PyTorch has no list of what it raises over damaged files
        raise FavError(
            f"SPyNet weights {path}: expected a state dict or safetensors, got a file that does not read as one"
        ) from error
    found = {str(key).replace("moduleBasic", "netBasic"): value for key, value in found.items()}
    expected = {
        name_of(level, key): value.shape for level in range(LEVELS) for key, value in make_level().state_dict().items()
    }
    for key, shape in expected.items():
        value = found.get(key)
        if not is_dense(value) or value.shape != shape:
            got = tuple(value.shape) if is_dense(value) else "none"
            raise FavError(f"SPyNet weights {path}: expected {key} {tuple(shape)}, got {got}")
        if not value.float().isfinite().all():
            raise FavError(f"SPyNet weights {path}: expected finite values in {key}, got some that are not")
    return {key: found[key].float() for key in expected}


def save_weights(weights: dict[str, Tensor], path: Path) -> None:
    """Write what `load_weights` returned to one .safetensors file."""
    path.write_bytes(safetensors.save({key: value.contiguous() for key, value in weights.items()}, {"arch": "spynet"}))


def name_of(level: int, key: str) -> str:
    """The name of a tensor of a pyramid level, 0 the coarsest: `netBasic.0.netBasic.2.weight`."""
    return f"netBasic.{level}.netBasic.{key}"


def make_level() -> nn.Sequential:
    """One network of the pyramid, untrained: (N, 8, H, W) first frame, warped second, flow so far to (N, 2, H, W)."""
    layers = []
    for inputs, outputs in zip(CHANNELS, CHANNELS[1:]):
        layers += [nn.Conv2d(inputs, outputs, 7, padding=3), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def _from_pickle(path: Path) -> dict[str, Tensor]:
    try:
        return read_pickle(path)
    except FavError as error:
        raise FavError(
            f"SPyNet weights {path}: expected a state dict or safetensors, got a file that does not read as one "
            f"({str(error).removeprefix(f'{path}: ')})"
        ) from error


def _from_torch7(directory: Path) -> dict[str, Tensor]:
    found = {}
    for level in range(LEVELS):
        file = directory / f"modelL{level + 1}_F.t7"
        network = torch7.load(file)
        if not isinstance(network, torch7.TorchObject) or network.class_name != "nn.Sequential":
            got = getattr(network, "class_name", type(network).__name__)
            raise FavError(f"SPyNet weights {file}: expected an nn.Sequential, got {got}")
        for number, layer in network.fields["modules"].items():  # counted from 1
            for name in {"weight", "bias"} & layer.fields.keys():
                found[name_of(level, f"{int(number) - 1}.{name}")] = torch.from_numpy(
                    np.array(layer.fields[name], np.float32)
                )
    return found
