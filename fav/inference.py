"""One frame through the network, fast on this machine."""

import platform
from pathlib import Path

import numpy as np
import torch

from fav.backends import make
from fav.errors import FavError
from fav.network import StyleNetwork
from fav.stylize import MEAN_BGR, network_input


class StyleRunner:
    """A network that stylizes frames on one device, by a backend that `fav.backends.choose` has named.

    threads is torch's number for the whole process, which is the backend's as well; None leaves it. `precision` is what
    is allowed, float32 or bfloat16: a device that is not made for bfloat16 computes in float32 all the same, and the
    runner's own `precision` says so. The network belongs to the runner and moves to `device`. Raises FavError for a device
    that this machine does not have.
    """

    def __init__(self, network: StyleNetwork, threads: int | None = None, device: str = "cpu", backend: str = "torch",
                 precision: str = "float32"):
        if threads:
            torch.set_num_threads(threads)
        self.device = device_of(device)
        self.network = network.eval()
        if self.device.type == "cuda":
            torch.backends.cudnn.allow_tf32 = False
            torch.backends.cudnn.deterministic = True
        self.precision = precision if best_precision(self.device) == "bfloat16" else "float32"
        self._backend = make(backend, network, self.precision, self.device)

    @property
    def in_channels(self) -> int:
        """3 for an image model, which sees the frame alone; 7 for a video model."""
        return self.network.in_channels

    def stylize(self, frame: np.ndarray, warped_prior: np.ndarray | None = None, reliability: np.ndarray | None = None,
                fill: np.ndarray | None = None) -> np.ndarray:
        """`frame` (H, W, 3) uint8 BGR stylized: the same shape and kind.

        The rest is as for `fav.stylize.network_input`; an image model does not look at it.
        """
        video = self.in_channels == 7
        return self._backend(network_input(frame, warped_prior, reliability, fill) if video else frame - MEAN_BGR)

    def numeric_class(self) -> str:
        """What decides the last bits of a result, in one line: equal lines, equal bytes.

        The number of threads is in it: OpenVINO's and bfloat16's norms split their sums by it, and on tiny
        pictures (20x37 with 32 threads) PyTorch's convolutions do.
        """
        if self.device.type == "cuda":
            card = torch.cuda.get_device_name(self.device)
            return f"{self._backend.words}, {card}, cudnn {torch.backends.cudnn.version()}"
        capability = torch.backends.cpu.get_cpu_capability()
        return f"{self._backend.words} {capability}, {torch.get_num_threads()} threads, {_processor()}"


def device_of(name: str) -> torch.device:
    """The device of that name; FavError where this machine does not have it."""
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
        return device
    except (RuntimeError, AssertionError) as error:
        raise FavError(f"device {name}: not usable here: expected cpu, or cuda:0 and so on with a card and its driver "
                       f"({str(error).splitlines()[0][:80]})") from error


def best_precision(device: torch.device) -> str:
    """bfloat16 on devices that are made for it, float32 elsewhere."""
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    facts = getattr(torch.cpu, "get_capabilities", dict)()  # not there before PyTorch 2.10
    return "bfloat16" if facts.get("avx512_bf16") or facts.get("amx_bf16") else "float32"


def _processor() -> str:
    """Maker, family and model of the processor, as Linux knows them; elsewhere the name of its kind."""
    try:
        lines = Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    facts = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    known = [facts[name] for name in ("vendor_id", "cpu family", "model") if name in facts]
    return " ".join(known) or platform.machine()
