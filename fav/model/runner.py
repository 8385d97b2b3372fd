"""Stylize frames with a network on one device."""

import numpy as np
import torch

from fav.errors import FavError
from fav.model.backends import make
from fav.model.devices import best_precision, cpu_model, device_of
from fav.model.network import StyleNetwork
from fav.model.onnx_style import OnnxBackend, OnnxStyle
from fav.model.preprocessing import MEAN_BGR, network_input


class StyleRunner:
    """Stylizes frames with one network, on one device, by one backend.

    Attributes:
        network: The network, or an ONNX model.
        device: The device of PyTorch. ONNX models run on the CPU.
        precision: float32 or bfloat16. It is float32 on devices without hardware for bfloat16.
    """

    def __init__(
        self,
        network: StyleNetwork | OnnxStyle,
        threads: int | None = None,
        device: str = "cpu",
        backend: str = "torch",
        precision: str = "float32",
    ):
        """Move the network to a device, and make the backend.

        Args:
            network: The network. The runner may change it. An ONNX model is always run by OpenVINO on the CPU.
            threads: Number of threads of PyTorch and the backend, for the whole process; None: unchanged.
            device: The name of the device, as in PyTorch.
            backend: A name that `fav.model.backends.choose` returned.
            precision: float32, or bfloat16 if the device has hardware for it.

        Raises:
            FavError: This machine does not have the device.
        """
        if threads:
            torch.set_num_threads(threads)
        self.device = device_of(device if isinstance(network, StyleNetwork) else "cpu")
        self.network = network.eval() if isinstance(network, StyleNetwork) else network
        if self.device.type == "cuda":
            torch.backends.cudnn.allow_tf32 = False
            torch.backends.cudnn.deterministic = True
        self.precision = precision if best_precision(self.device) == "bfloat16" else "float32"
        self._backend_name = backend
        self._backend = (
            OnnxBackend(network, self.precision)
            if isinstance(network, OnnxStyle)
            else make(backend, network, self.precision, self.device)
        )

    def change_network(self, network: StyleNetwork) -> None:
        """Stylize with another network of the same architecture from now on. The runner may change it."""
        self.network = network.eval()
        self._backend = make(self._backend_name, network, self.precision, self.device)

    @property
    def in_channels(self) -> int:
        """The number of input channels: 3 for an image model, 7 for a video model."""
        return self.network.in_channels

    def stylize(
        self,
        frame: np.ndarray,
        warped_prior: np.ndarray | None = None,
        reliability: np.ndarray | None = None,
        fill: np.ndarray | None = None,
    ) -> np.ndarray:
        """Stylize a frame.

        Args:
            frame: (H, W, 3) uint8 BGR.
            warped_prior: As in `fav.model.preprocessing.network_input`; an image model ignores it.
            reliability: As `warped_prior`.
            fill: As `warped_prior`.

        Returns:
            (H, W, 3) uint8 BGR.

        Raises:
            FavError: The frame is too small for the network, or the sizes differ.
        """
        if min(frame.shape[:2]) < self.network.min_side:
            size = f"{frame.shape[1]}x{frame.shape[0]}"
            raise FavError(
                f"frame: expected at least {self.network.min_side} pixels per side for this style, got {size}; "
                f"use a larger --width"
            )
        video = self.in_channels == 7
        return self._backend(network_input(frame, warped_prior, reliability, fill) if video else frame - MEAN_BGR)

    def numeric_class(self) -> str:
        """Describe everything that affects the bits of a result, in one line: equal lines give equal bytes.

        This includes the number of threads. The norms of OpenVINO and bfloat16 split their sums by it; so do PyTorch's
        convolutions of tiny images (20x37 with 32 threads).
        """
        if self.device.type == "cuda":
            gpu = torch.cuda.get_device_name(self.device)
            return f"{self._backend.description}, {gpu}, cudnn {torch.backends.cudnn.version()}"
        capability = torch.backends.cpu.get_cpu_capability()
        return f"{self._backend.description} {capability}, {torch.get_num_threads()} threads, {cpu_model()}"
