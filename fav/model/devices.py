"""Which card a process works on: one that no other process of this user has, as long as there are any."""

import platform
from functools import cache
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from fav.errors import FavError
from fav.model.backends import BACKENDS
from shared.local import lock_file

_held: list[FileLock] = []  # until this process ends


@cache
def own_device(device: str, backend: str = "auto") -> str:
    """`device` as PyTorch calls it. `auto` is the first card that this machine's other processes of this user left,
    `cuda:0` and so on, which this process then has until it ends; `cpu` where there is none, or `backend` knows no cards.
    """
    if device != "auto":
        return device
    if (backend != "auto" and BACKENDS[backend].only_cpu) or not torch.cuda.is_available():
        return "cpu"
    # By what is printed on it: its number is another one where Slurm shows each process its own card only.
    cards = (str(torch.cuda.get_device_properties(number).uuid) for number in range(torch.cuda.device_count()))
    return next((f"cuda:{number}" for number, card in enumerate(cards) if _taken(card)), "cpu")


def _taken(card: str) -> bool:
    path = lock_file(card)
    if path is None:
        return True
    lock = FileLock(path)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        return False
    except (OSError, NotImplementedError):  # odd files under its name, a file system without locks
        return True
    _held.append(lock)
    return True


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
