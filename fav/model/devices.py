"""Devices of PyTorch, their best precision, and the model of this machine's CPU."""

import platform
from pathlib import Path
from typing import TypeVar

import torch
from torch import nn

from fav.errors import FavError

Module = TypeVar("Module", bound=nn.Module)


def device_of(name: str) -> torch.device:
    """Return the device of that name. Raises FavError if this machine does not have it."""
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
        return device
    except (RuntimeError, AssertionError) as error:
        raise FavError(
            f"device {name}: not usable here: expected cpu, or cuda:0 and so on with a GPU and its driver "
            f"({str(error).splitlines()[0][:80]})"
        ) from error


def placed(network: Module, device: torch.device | str, dtype: torch.dtype | None = None) -> Module:
    """Move a network to a device, in the memory format channels_last. Returns the same network.

    `dtype` is the new type of its weights; None: unchanged.
    """
    # torch's annotations do not have memory_format here.
    return network.to(device, dtype, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]


def best_precision(device: torch.device) -> str:
    """Return bfloat16 for devices with hardware for it, else float32."""
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()  # since PyTorch 2.10
    return "bfloat16" if capabilities.get("avx512_bf16") or capabilities.get("amx_bf16") else "float32"


def cpu_model() -> str:
    """Return the vendor, family and model of the CPU, as Linux reports them; on other systems, its architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    fields = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    known = [fields[name] for name in ("vendor_id", "cpu family", "model") if name in fields]
    return " ".join(known) or platform.machine()
