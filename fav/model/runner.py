"""One frame through the network, fast on this machine."""

import numpy as np
import torch

from fav.errors import FavError
from fav.model.backends import make
from fav.model.devices import _processor, best_precision, device_of
from fav.model.network import StyleNetwork
from fav.model.onnx_style import OnnxBackend, OnnxStyle
from fav.model.preprocessing import MEAN_BGR, network_input


class StyleRunner:
    """A network that stylizes frames on one device, by a backend that `fav.model.backends.choose` has named.

    threads is torch's number for the whole process, which is the backend's as well; None leaves it. `precision` is what
    is allowed, float32 or bfloat16: a device that is not made for bfloat16 computes in float32 all the same, and the
    runner's own `precision` says so. The network belongs to the runner and moves to `device`; an ONNX model is run by
    OpenVINO on the processor, whatever they are. Raises FavError for a device that this machine does not have.
    """

    def __init__(
        self,
        network: StyleNetwork | OnnxStyle,
        threads: int | None = None,
        device: str = "cpu",
        backend: str = "torch",
        precision: str = "float32",
    ):
        if threads:
            torch.set_num_threads(threads)
        self.device = device_of(device if isinstance(network, StyleNetwork) else "cpu")
        self.network = network.eval() if isinstance(network, StyleNetwork) else network
        if self.device.type == "cuda":
            torch.backends.cudnn.allow_tf32 = False
            torch.backends.cudnn.deterministic = True
        self.precision = precision if best_precision(self.device) == "bfloat16" else "float32"
        self._backend = (
            OnnxBackend(network, self.precision)
            if isinstance(network, OnnxStyle)
            else make(backend, network, self.precision, self.device)
        )

    @property
    def in_channels(self) -> int:
        """3 for an image model, which sees the frame alone; 7 for a video model."""
        return self.network.in_channels

    def stylize(
        self,
        frame: np.ndarray,
        warped_prior: np.ndarray | None = None,
        reliability: np.ndarray | None = None,
        fill: np.ndarray | None = None,
    ) -> np.ndarray:
        """`frame` (H, W, 3) uint8 BGR stylized: the same shape and kind.

        The rest is as for `fav.model.preprocessing.network_input`; an image model does not look at it.
        """
        if min(frame.shape[:2]) < self.network.smallest:
            size = f"{frame.shape[1]}x{frame.shape[0]}"
            raise FavError(
                f"frame: expected at least {self.network.smallest} pixels a side for this style, got {size}; say --width"
            )
        video = self.in_channels == 7
        return self._backend(network_input(frame, warped_prior, reliability, fill) if video else frame - MEAN_BGR)

    def numeric_class(self) -> str:
        """What decides the last bits of a result, in one line: equal lines, equal bytes.

        The number of threads is in it: OpenVINO's and bfloat16's norms split their sums by it, and on tiny
        pictures (20x37 with 32 threads) PyTorch's convolutions do.
        """
        if self.device.type == "cuda":
            card = torch.cuda.get_device_name(self.device)
            return f"{self._backend.description}, {card}, cudnn {torch.backends.cudnn.version()}"
        capability = torch.backends.cpu.get_cpu_capability()
        return f"{self._backend.description} {capability}, {torch.get_num_threads()} threads, {_processor()}"
