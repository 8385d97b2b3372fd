"""SPyNet: optical flow by a pyramid of up to six small networks (Ranjan and Black 2017), in PyTorch.

Each level doubles the flow found so far, warps the second frame by it, and adds what is missing. The pyramid has as many
levels as its authors' `easyComputeFlow` gives it: it is halved until both sides have at most 32 pixels, at most five times, and
the coarsest level has the first network.
"""

from collections import deque
from pathlib import Path

import numpy as np
import torch
from safetensors import torch as safetensors
from torch import Tensor, nn
from torch.nn import functional as F

from fav.errors import FavError
from fav.flow.toom_cook import ToomCookChain
from fav.flow.warp_torch import warp_tensor
from fav.model import torch7
from fav.model.checkpoints import is_dense, read_pickle
from fav.model.devices import placed
from fav.util.image_sequence import is_sequence
from fav.util.reading import read_file

LARGEST = 1 << 28  # bytes of a file of weights, which has 6 MB
LEVELS = 6
COARSEST = 32  # pixels of the longer side, at most, if there are levels enough
CHANNELS = (8, 32, 64, 32, 16, 2)
STEP = 32  # sides are multiples of it, so that every level has whole pixels
MEAN = (0.485, 0.456, 0.406)  # RGB
STD = (0.229, 0.224, 0.225)
SETS = {"F": "Sintel final", "C": "Sintel clean", "3": "Chairs final", "4": "Chairs clean", "K": "KITTI"}
FIVE = "34"  # sets whose authors use the fifth network for the sixth level, too


class SpyNet:
    """A loaded network; called with two frames (H, W, 3) uint8 BGR it returns the flow from the first to the second.

    `weights` as for `load_weights`; `device` is PyTorch's; `precision`, float32 or bfloat16, that of the convolutions. The flow
    is (H, W, 2) float32, pixels. In float32 on a processor the convolutions are those of `toom_cook`, twice as fast.
    """

    def __init__(self, weights: Path, device: str = "cpu", precision: str = "float32"):
        found = load_weights(weights)
        levels = [make_level() for _ in range(LEVELS)]
        for number, level in enumerate(levels):
            level.load_state_dict({key: found[name_of(number, key)] for key in level.state_dict()})
        self.device, self.type = device, getattr(torch, precision)
        placed(nn.ModuleList(levels).eval(), device, self.type)
        chained = torch.device(device).type == "cpu" and precision == "float32"
        self.levels = [ToomCookChain(level) if chained else self._plain(level) for level in levels]
        self._pyramids: deque[tuple[np.ndarray, list[Tensor]]] = deque(maxlen=3)  # of the frames seen last

    @torch.inference_mode()
    def __call__(self, frame_a: np.ndarray, frame_b: np.ndarray) -> np.ndarray:
        height, width = frame_a.shape[:2]
        flow = self.flow(self._pyramid(frame_a), self._pyramid(frame_b))
        scale = flow.new_tensor([width / flow.shape[3], height / flow.shape[2]])
        flow = F.interpolate(flow, (height, width), mode="bilinear", align_corners=False)[0].permute(1, 2, 0)
        return (flow * scale).cpu().numpy()

    def flow(self, first: list[Tensor], second: list[Tensor]) -> Tensor:
        """Flow (1, 2, H, W) between two frames by their pyramids of (1, 3, …, …), coarse to fine."""
        flow = first[0].new_zeros(1, 2, *first[0].shape[2:])
        for level, one, two in zip(self.levels, first, second):
            if flow.shape[2:] != one.shape[2:]:
                flow = 2 * F.interpolate(flow, scale_factor=2, mode="bilinear", align_corners=True)
            flow = flow + level(torch.cat([one, warp_tensor(two, flow), flow], dim=1)[0])[None]
        return flow

    def _plain(self, level: nn.Module):
        return lambda seen: level(seen[None].to(self.type, memory_format=torch.channels_last)).float()[0]

    def _pyramid(self, frame: np.ndarray) -> list[Tensor]:
        """`frame` (H, W, 3) as the networks see it. Each frame is asked for four times: in two directions, by two pairs."""
        for known, pyramid in self._pyramids:
            if np.array_equal(known, frame):
                return pyramid
        pyramid = pyramid_of(torch.from_numpy(frame[..., ::-1].copy()).to(self.device).permute(2, 0, 1)[None])
        self._pyramids.append((frame.copy(), pyramid))
        return pyramid


def pyramid_of(frame: Tensor) -> list[Tensor]:
    """The levels of one frame (1, 3, H, W) RGB, 0 to 255, coarse to fine: (1, 3, …, …) float32, normalized."""
    whole = [-(-side // STEP) * STEP for side in frame.shape[2:]]
    frame = frame.float() / 255
    frame = (frame - frame.new_tensor(MEAN).view(1, 3, 1, 1)) / frame.new_tensor(STD).view(1, 3, 1, 1)
    pyramid = [F.interpolate(frame, whole, mode="bilinear", align_corners=False)]
    while len(pyramid) < LEVELS and max(pyramid[0].shape[2:]) > COARSEST:
        pyramid.insert(0, F.avg_pool2d(pyramid[0], 2))
    return pyramid


def load_weights(path: Path) -> dict[str, Tensor]:
    """The network's 60 tensors, named `netBasic.{level}.netBasic.{layer}.{weight|bias}`, coarse to fine.

    path is the authors' directory of modelL1_F.t7 … modelL6_F.t7, or of another of their SETS; one set of several in a
    directory, as a pattern like models/modelL%d_C.t7; a .safetensors file; or a PyTorch state dict with these names or the
    older `moduleBasic`. Nothing in it is executed. Raises FavError where it is missing, is none of these, or has other shapes.
    """
    path = Path(path)
    try:
        if path.is_dir() or is_sequence(str(path)):
            found = _from_torch7(*_set_of(path))
        elif path.suffix == ".t7":
            raise FavError(
                f"SPyNet weights {path}: expected all levels of a set, got one of their files; give its directory, or a "
                f"pattern in quotes like '{path.with_name('modelL%d_C.t7')}'"
            )
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


def _set_of(path: Path) -> tuple[Path, str]:
    """The directory and the letter of a set of the authors' files; of several in a directory, Sintel final."""
    if not path.is_dir():
        name = path.name.removeprefix("modelL%d_").removesuffix(".t7")
        if name not in SETS or path.name != f"modelL%d_{name}.t7":
            raise FavError(
                f"SPyNet weights {path}: expected modelL%d_X.t7 with X one of {', '.join(SETS)}, got {path.name!r}"
            )
        return path.parent, name
    there = [name for name in SETS if (path / f"modelL1_{name}.t7").is_file()]
    if len(there) > 1 and "F" not in there:
        names = " or ".join(f"'{path / f'modelL%d_{name}.t7'}' ({SETS[name]})" for name in there)
        raise FavError(f"SPyNet weights {path}: expected one set, got {len(there)}; say which: {names}")
    return path, there[0] if there else "F"


def _from_torch7(directory: Path, name: str) -> dict[str, Tensor]:
    found = {}
    for level in range(LEVELS):
        file = directory / f"modelL{level + 1}_{name}.t7"
        if name in FIVE and level == LEVELS - 1 and not file.exists():
            file = directory / f"modelL{level}_{name}.t7"
        network = torch7.load(file)
        if isinstance(network, torch7.TorchObject) and network.class_name == "nn.DataParallelTable":
            network = network.fields.get("modules", {}).get(1)  # as it was trained, on several cards
        if not isinstance(network, torch7.TorchObject) or network.class_name != "nn.Sequential":
            got = getattr(network, "class_name", type(network).__name__)
            raise FavError(f"SPyNet weights {file}: expected an nn.Sequential, got {got}")
        for number, layer in network.fields["modules"].items():  # counted from 1
            for key in {"weight", "bias"} & layer.fields.keys():
                found[name_of(level, f"{int(number) - 1}.{key}")] = torch.from_numpy(
                    np.array(layer.fields[key], np.float32)
                )
    return found
