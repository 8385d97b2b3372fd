"""What runs the network: several backends, all alike to call. `make("openvino", network, "bfloat16", device)` gives one.

A backend takes what the network sees, (H, W, in_channels) float32 as of `fav.model.preprocessing.network_input`, and returns the
stylized frame, (H, W, 3) uint8 BGR. The same input gives the same bytes, from run to run and from process to process,
as long as its `description`, the number of threads and the processor are the same.
"""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from fav.errors import FavError

if TYPE_CHECKING:
    import torch

    from fav.model.network import StyleNetwork

COMPILERS = ("g++", "clang++")


class Backend(Protocol):
    """`description` say in one line what decides the last bits: the library, its version, the device and the precision."""

    description: str

    def __call__(self, seen: np.ndarray) -> np.ndarray: ...


@dataclass(frozen=True)
class BackendSpec:
    """One way to run the network. `summary` says what it costs and gives, `missing` what it lacks here and the cure, or None."""

    summary: str
    make: "Callable[[StyleNetwork, str, torch.device], Backend]"
    missing: Callable[[], str | None] = lambda: None
    only_cpu: bool = False


def choose(name: str, device: str) -> str:
    """The backend that `name` means on `device`: `auto` is the fastest that is there and starts in seconds.

    Raises FavError, before any work, for one that cannot be used here.
    """
    cpu = device.partition(":")[0] in ("cpu", "auto")  # which of them auto is, only a worker knows
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
    """A backend that `choose` has named; `network` is its own from now on."""
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
    named = os.environ.get("CXX")
    if any(shutil.which(compiler) for compiler in ((named,) if named else COMPILERS)):
        return None
    return f"expected a C++ compiler ({named or ' or '.join(COMPILERS)}), found none; on Debian and Ubuntu: sudo apt install g++"


def _no_openvino() -> str | None:
    try:
        import openvino  # noqa: F401
    except (ImportError, OSError) as error:  # it is not there, or its libraries do not fit this system
        return f"expected the package openvino, got {str(error)[:200]!r}; .venv/bin/pip install openvino"
    return None


BACKENDS = {
    "torch": BackendSpec("PyTorch as it is", _make_torch),
    "compile": BackendSpec(
        "torch.compile, half a minute to start, hardly faster on CPUs", _make_compiled, _no_compiler
    ),
    "openvino": BackendSpec("the fastest on CPUs, starts at once", _make_openvino, _no_openvino, only_cpu=True),
}
