"""SPyNet: optical flow by a pyramid of up to six small networks (Ranjan and Black 2017), in PyTorch.

Each level doubles the flow of the coarser level, warps the second frame by it, and adds a correction. The number of levels
is that of the authors' `easyComputeFlow`: frames are halved until both sides have at most 32 pixels, at most five times. The
first network belongs to the coarsest level.
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

MAX_BYTES = 1 << 28  # of a file of weights; they have 6 MB
LEVELS = 6
COARSEST = 32  # pixels; maximum of the longer side at the coarsest level, if there are enough levels
CHANNELS = (8, 32, 64, 32, 16, 2)
MULTIPLE = 32  # sides are resized to multiples of it, so that all levels have whole pixels
MEAN = (0.485, 0.456, 0.406)  # RGB
STD = (0.229, 0.224, 0.225)
SETS = {"F": "Sintel final", "C": "Sintel clean", "3": "Chairs final", "4": "Chairs clean", "K": "KITTI"}
FIVE_NETWORKS = "34"  # sets in which the fifth network is also used for the sixth level


class SpyNet:
    """A flow network. Called with two frames (H, W, 3) uint8 BGR, it returns the flow (H, W, 2) from the first to the second.

    In float32 on a CPU, the convolutions are computed by `toom_cook`.
    """

    def __init__(self, weights: Path, device: str = "cpu", precision: str = "float32", shrink: int = 1):
        """Load the networks.

        Args:
            weights: As in `load_weights`.
            device: The device of PyTorch.
            precision: float32 or bfloat16, of the convolutions.
            shrink: The network sees frames that are so many times smaller.
        """
        tensors = load_weights(weights)
        levels = [make_level() for _ in range(LEVELS)]
        for number, level in enumerate(levels):
            level.load_state_dict({key: tensors[name_of(number, key)] for key in level.state_dict()})
        self.device, self.type, self.shrink = device, getattr(torch, precision), shrink
        placed(nn.ModuleList(levels).eval(), device, self.type)
        use_toom_cook = torch.device(device).type == "cpu" and precision == "float32"
        self.levels = [ToomCookChain(level) if use_toom_cook else self._pytorch_level(level) for level in levels]
        self._pyramids: deque[tuple[np.ndarray, list[Tensor]]] = deque(maxlen=3)  # of the last frames

    @torch.inference_mode()
    def __call__(self, frame_a: np.ndarray, frame_b: np.ndarray) -> np.ndarray:
        height, width = frame_a.shape[:2]
        flow = self.flow(self._pyramid(frame_a), self._pyramid(frame_b))
        scale = flow.new_tensor([width / flow.shape[3], height / flow.shape[2]])
        flow = F.interpolate(flow, (height, width), mode="bilinear", align_corners=False)[0].permute(1, 2, 0)
        return (flow * scale).cpu().numpy()

    def flow(self, first: list[Tensor], second: list[Tensor]) -> Tensor:
        """Return the flow (1, 2, H, W) between two frames, given their pyramids (`pyramid_of`)."""
        flow = first[0].new_zeros(1, 2, *first[0].shape[2:])
        for level, one, two in zip(self.levels, first, second):
            if flow.shape[2:] != one.shape[2:]:
                flow = 2 * F.interpolate(flow, scale_factor=2, mode="bilinear", align_corners=True)
            flow = flow + level(torch.cat([one, warp_tensor(two, flow), flow], dim=1)[0])[None]
        return flow

    def _pytorch_level(self, level: nn.Module):
        return lambda x: level(x[None].to(self.type, memory_format=torch.channels_last)).float()[0]

    def _pyramid(self, frame: np.ndarray) -> list[Tensor]:
        """Return the pyramid of a frame (H, W, 3), from a cache: each is needed for two pairs in two directions."""
        for cached, pyramid in self._pyramids:
            if np.array_equal(cached, frame):
                return pyramid
        image = torch.from_numpy(frame[..., ::-1].copy()).to(self.device).permute(2, 0, 1)[None]
        pyramid = pyramid_of(image, self.shrink)
        self._pyramids.append((frame.copy(), pyramid))
        return pyramid


def pyramid_of(frame: Tensor, shrink: int = 1) -> list[Tensor]:
    """Return the image pyramid of a frame, coarse to fine, normalized. The finest level is `shrink` times smaller.

    Shape:
        frame: (1, 3, H, W) RGB, 0 to 255. Returns tensors (1, 3, h, w) float32.
    """
    size = [-(-side // (MULTIPLE * shrink)) * MULTIPLE for side in frame.shape[2:]]
    frame = frame.float() / 255
    frame = (frame - frame.new_tensor(MEAN).view(1, 3, 1, 1)) / frame.new_tensor(STD).view(1, 3, 1, 1)
    pyramid = [F.interpolate(frame, size, mode="bilinear", align_corners=False, antialias=shrink > 1)]
    while len(pyramid) < LEVELS and max(pyramid[0].shape[2:]) > COARSEST:
        pyramid.insert(0, F.avg_pool2d(pyramid[0], 2))
    return pyramid


def load_weights(path: Path) -> dict[str, Tensor]:
    """Load the 60 tensors of the networks. No code in the files is executed.

    Args:
        path: The authors' directory with modelL1_F.t7 to modelL6_F.t7, or another of their SETS. If a directory has
            several sets, a pattern such as models/modelL%d_C.t7. Or a .safetensors file, or a PyTorch state dict with the
            names of the result or the older `moduleBasic`.

    Returns:
        Tensors named `netBasic.{level}.netBasic.{layer}.{weight|bias}`, coarse to fine.

    Raises:
        FavError: The file is missing, is of another format, or has other shapes.
    """
    path = Path(path)
    try:
        if path.is_dir() or is_sequence(str(path)):
            tensors = _from_torch7(*_set_of(path))
        elif path.suffix == ".t7":
            raise FavError(
                f"SPyNet weights {path}: expected all levels of a set, got one of their files; give its directory, or a "
                f"pattern in quotes like '{path.with_name('modelL%d_C.t7')}'"
            )
        elif path.suffix == ".safetensors":
            tensors = safetensors.load(read_file(path, f"SPyNet weights {path}", MAX_BYTES))
        else:
            tensors = _from_pickle(path)
    except FavError:
        raise
    except OSError as error:
        raise FavError(f"SPyNet weights {path}: {error.strerror}") from error
    except Exception as error:  # PyTorch does not document what it raises for damaged files
        raise FavError(
            f"SPyNet weights {path}: expected a state dict or safetensors, got a file that does not read as one"
        ) from error
    tensors = {str(key).replace("moduleBasic", "netBasic"): value for key, value in tensors.items()}
    expected = {
        name_of(level, key): value.shape for level in range(LEVELS) for key, value in make_level().state_dict().items()
    }
    for key, shape in expected.items():
        value = tensors.get(key)
        if not is_dense(value) or value.shape != shape:
            got = tuple(value.shape) if is_dense(value) else "none"
            raise FavError(f"SPyNet weights {path}: expected {key} {tuple(shape)}, got {got}")
        if not value.float().isfinite().all():
            raise FavError(f"SPyNet weights {path}: expected finite values in {key}, got some that are not")
    return {key: tensors[key].float() for key in expected}


def save_weights(weights: dict[str, Tensor], path: Path) -> None:
    """Write the result of `load_weights` to one .safetensors file."""
    path.write_bytes(safetensors.save({key: value.contiguous() for key, value in weights.items()}, {"arch": "spynet"}))


def name_of(level: int, key: str) -> str:
    """Return the name of a tensor, such as `netBasic.0.netBasic.2.weight`. Level 0 is the coarsest."""
    return f"netBasic.{level}.netBasic.{key}"


def make_level() -> nn.Sequential:
    """Make one network of the pyramid, with random weights.

    Shape:
        Input (N, 8, H, W): the first frame, the warped second frame, and the flow of the coarser level. Output
        (N, 2, H, W).
    """
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
    """Return the directory and the letter of a set of the authors' files. In a directory with several, Sintel final."""
    if not path.is_dir():
        name = path.name.removeprefix("modelL%d_").removesuffix(".t7")
        if name not in SETS or path.name != f"modelL%d_{name}.t7":
            raise FavError(
                f"SPyNet weights {path}: expected modelL%d_X.t7 with X one of {', '.join(SETS)}, got {path.name!r}"
            )
        return path.parent, name
    existing = [name for name in SETS if (path / f"modelL1_{name}.t7").is_file()]
    if len(existing) > 1 and "F" not in existing:
        names = " or ".join(f"'{path / f'modelL%d_{name}.t7'}' ({SETS[name]})" for name in existing)
        raise FavError(f"SPyNet weights {path}: expected one set, got {len(existing)}; give one of them: {names}")
    return path, existing[0] if existing else "F"


def _from_torch7(directory: Path, name: str) -> dict[str, Tensor]:
    tensors = {}
    for level in range(LEVELS):
        file = directory / f"modelL{level + 1}_{name}.t7"
        if name in FIVE_NETWORKS and level == LEVELS - 1 and not file.exists():
            file = directory / f"modelL{level}_{name}.t7"
        network = torch7.load(file)
        if isinstance(network, torch7.TorchObject) and network.class_name == "nn.DataParallelTable":
            network = network.fields.get("modules", {}).get(1)  # saved after training on several GPUs
        if not isinstance(network, torch7.TorchObject) or network.class_name != "nn.Sequential":
            got = getattr(network, "class_name", type(network).__name__)
            raise FavError(f"SPyNet weights {file}: expected an nn.Sequential, got {got}")
        for number, layer in network.fields["modules"].items():  # numbers count from 1
            for key in {"weight", "bias"} & layer.fields.keys():
                tensors[name_of(level, f"{int(number) - 1}.{key}")] = torch.from_numpy(
                    np.array(layer.fields[key], np.float32)
                )
    return tensors
