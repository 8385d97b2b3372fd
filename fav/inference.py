"""One frame through the network, fast on this machine."""

import platform
from pathlib import Path

import numpy as np
import torch

from .errors import FavError
from .network import StyleNetwork
from .stylize import MEAN_BGR, network_input


class StyleRunner:
    """A network that stylizes frames on one device.

    threads is torch's number for the whole process; None leaves it. The network moves to `device`.
    Raises FavError for a device that this machine does not have.
    """

    def __init__(self, network: StyleNetwork, threads: int | None = None, device: str = "cpu"):
        if threads:
            torch.set_num_threads(threads)
        self.device = device_of(device)
        # channels_last: the faster order of memory on CPUs (0.35 to 0.5 s a frame, half width), and the
        # one in which convolutions did not depend on the number of threads.
        self.network = network.eval().to(self.device, memory_format=torch.channels_last)
        if self.device.type == "cuda":
            torch.backends.cudnn.allow_tf32 = False
            torch.backends.cudnn.deterministic = True

    @property
    def in_channels(self) -> int:
        """3 for an image model, which sees the frame alone; 7 for a video model."""
        return self.network.in_channels

    def stylize(self, frame: np.ndarray, warped_prior: np.ndarray | None = None, reliability: np.ndarray | None = None,
                fill: np.ndarray | None = None) -> np.ndarray:
        """`frame` (H, W, 3) uint8 BGR stylized: the same shape and kind.

        The rest is as for `fav.stylize.network_input`; an image model does not look at it.
        """
        seen = network_input(frame, warped_prior, reliability, fill) if self.in_channels == 7 else frame - MEAN_BGR
        with torch.inference_mode():
            x = torch.from_numpy(seen).to(self.device).permute(2, 0, 1)[None]
            y = self.network(x)[0].permute(1, 2, 0) + torch.from_numpy(MEAN_BGR).to(self.device)
            return np.ascontiguousarray(y.round().clamp(0, 255).to(torch.uint8).cpu().numpy())

    def numeric_class(self) -> str:
        """What decides the last bits of a result, in one line: equal lines, equal bytes.

        The number of threads is in it although it mattered in no picture of ordinary size: on tiny
        ones (20x37 with 32 threads) the convolutions split their sums otherwise.
        """
        backend = f"torch {torch.__version__} {self.device.type} float32"
        if self.device.type == "cuda":
            return f"{backend}, {torch.cuda.get_device_name(self.device)}, cudnn {torch.backends.cudnn.version()}"
        capability = torch.backends.cpu.get_cpu_capability()
        return f"{backend} {capability}, {torch.get_num_threads()} threads, {_processor()}"


def device_of(name: str) -> torch.device:
    """The device of that name; FavError where this machine does not have it."""
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
        return device
    except (RuntimeError, AssertionError) as error:
        raise FavError(f"device {name}: not usable here: expected cpu, or cuda:0 and so on with a card and its driver "
                       f"({str(error).splitlines()[0][:80]})") from error


def _processor() -> str:
    """Maker, family and model of the processor, as Linux knows them; elsewhere the name of its kind."""
    try:
        lines = Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    facts = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    known = [facts[name] for name in ("vendor_id", "cpu family", "model") if name in facts]
    return " ".join(known) or platform.machine()
