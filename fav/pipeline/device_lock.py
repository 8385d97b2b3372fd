"""Choose a GPU that no other process of this user has taken on this machine."""

from functools import cache

import torch
from filelock import FileLock, Timeout

from fav.model.backends import BACKENDS
from shared.local import lock_file

_held: list[FileLock] = []  # until this process ends


@cache
def acquire_device(device: str, backend: str = "auto") -> str:
    """`device` as PyTorch calls it. `auto` is the first card that this machine's other processes of this user left,
    `cuda:0` and so on, which this process then has until it ends; `cpu` where there is none, or `backend` knows no cards.
    """
    if device != "auto":
        return device
    if (backend != "auto" and BACKENDS[backend].only_cpu) or not torch.cuda.is_available():
        return "cpu"
    # By what is printed on it: its number is another one where Slurm shows each process its own card only.
    cards = (str(torch.cuda.get_device_properties(number).uuid) for number in range(torch.cuda.device_count()))
    return next((f"cuda:{number}" for number, card in enumerate(cards) if _try_lock(card)), "cpu")


def _try_lock(card: str) -> bool:
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
