"""Backends that run the network, with one interface. For example `make("openvino", network, "bfloat16", device)`.

`pytorch` and `openvino` run it.

A backend takes the input of the network, (H, W, in_channels) float32 (`fav.model.preprocessing.network_input`), and returns
the stylized frame, (H, W, 3) uint8 BGR. The same input gives the same bytes in every process, if the backend's
`description`, the number of threads and the processor are the same.
"""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from fav.errors import FavError

if TYPE_CHECKING:
    import numpy as np
    import torch

    from fav.model.network import StyleNetwork

COMPILERS = ("g++", "clang++")


class Backend(Protocol):
    """A function that runs the network.

    Attributes:
        description: The library, its version, the device and the precision, in one line.
    """

    description: str

    def __call__(self, x: "np.ndarray") -> "np.ndarray": ...


@dataclass(frozen=True)
class BackendSpec:
    """One backend.

    Attributes:
        summary: Its costs and benefits.
        make: Makes the backend from a network, a precision and a device.
        missing: Returns what is missing on this machine and how to install it, or None.
        only_cpu: Whether it runs only on CPUs.
    """

    summary: str
    make: "Callable[[StyleNetwork, str, torch.device], Backend]"
    missing: Callable[[], str | None] = lambda: None
    only_cpu: bool = False


def choose(name: str, device: str) -> str:
    """Resolve the name of a backend on a device. `auto` is the fastest available one that starts within seconds.

    Raises:
        FavError: The backend is unknown, or cannot be used on this machine.
    """
    cpu = device.partition(":")[0] in ("cpu", "auto")  # only a worker knows which device `auto` is
    if name == "auto":
        return "openvino" if cpu and BACKENDS["openvino"].missing() is None else "torch"
    if name not in BACKENDS:
        raise FavError(f"backend: expected auto or one of {', '.join(BACKENDS)}, got {name!r}")
    if BACKENDS[name].only_cpu and not cpu:
        raise FavError(f"backend {name}: expected --device cpu, got {device}; leave --backend out")
    if missing := BACKENDS[name].missing():
        raise FavError(f"backend {name}: {missing}, or leave --backend out")
    return name


def make(name: str, network: "StyleNetwork", precision: str, device: "torch.device") -> Backend:
    """Make a backend, given a name that `choose` returned. The backend may change `network`."""
    return BACKENDS[name].make(network, precision, device)


def _make_torch(network: "StyleNetwork", precision: str, device: "torch.device") -> Backend:
    from fav.model.backends.pytorch import PyTorch

    return PyTorch(network, precision, device)


def _make_compiled(network: "StyleNetwork", precision: str, device: "torch.device") -> Backend:
    from fav.model.backends.pytorch import PyTorch

    return PyTorch(network, precision, device, compiled=True)


def _make_openvino(network: "StyleNetwork", precision: str, device: "torch.device") -> Backend:
    from fav.model.backends.openvino import OpenVino

    return OpenVino(network, precision)


def _no_compiler() -> str | None:
    configured = os.environ.get("CXX")
    if any(shutil.which(compiler) for compiler in ((configured,) if configured else COMPILERS)):
        return None
    return (
        f"expected a C++ compiler ({configured or ' or '.join(COMPILERS)}), found none; "
        "on Debian and Ubuntu: sudo apt install g++"
    )


def _no_openvino() -> str | None:
    try:
        import openvino  # noqa: F401
    except (ImportError, OSError) as error:  # it is not installed, or its libraries do not run on this system
        return f"expected the package openvino, got {str(error)[:200]!r}; .venv/bin/pip install openvino"
    return None


BACKENDS = {
    "torch": BackendSpec("PyTorch as it is", _make_torch),
    "compile": BackendSpec(
        "torch.compile, half a minute to start, hardly faster on CPUs", _make_compiled, _no_compiler
    ),
    "openvino": BackendSpec("the fastest on CPUs, starts at once", _make_openvino, _no_openvino, only_cpu=True),
}
