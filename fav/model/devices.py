"""Devices that networks run on, what they are made for, and what this processor is."""

import platform
from pathlib import Path
from typing import TypeVar

import torch
from torch import nn

from fav.errors import FavError

Module = TypeVar("Module", bound=nn.Module)


def device_of(name: str) -> torch.device:
    """The device of that name; FavError where this machine does not have it."""
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
        return device
    except (RuntimeError, AssertionError) as error:
        raise FavError(
            f"device {name}: not usable here: expected cpu, or cuda:0 and so on with a card and its driver "
            f"({str(error).splitlines()[0][:80]})"
        ) from error


def placed(network: Module, device: torch.device | str, dtype: torch.dtype | None = None) -> Module:
    """The network itself, moved to a device, in channels_last; `dtype` is that of its weights, None for the one they have."""
    # torch's types do not know memory_format here.
    return network.to(device, dtype, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]


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
