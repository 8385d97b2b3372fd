"""Choose a GPU that no other process of this user has locked on this machine."""

from functools import cache

import torch
from filelock import FileLock, Timeout

from fav.model.backends import BACKENDS
from shared.local import lock_file

_held: list[FileLock] = []  # locks are held until this process ends


@cache
def acquire_device(device: str, backend: str = "auto") -> str:
    """The name of a device for PyTorch.

    Args:
        device: a name for PyTorch, which is returned, or `auto`.
        backend: of the style network.

    Returns:
        For `auto`, the first GPU that no other process of this user has locked. It is locked until this process ends.
        `cpu` if there is no such GPU, or if the backend supports none.
    """
    if device != "auto":
        return device
    if (backend != "auto" and BACKENDS[backend].only_cpu) or not torch.cuda.is_available():
        return "cpu"
    # The UUID identifies a GPU. Its number does not: under Slurm, each process sees only its own GPUs.
    uuids = (str(torch.cuda.get_device_properties(number).uuid) for number in range(torch.cuda.device_count()))
    return next((f"cuda:{number}" for number, uuid in enumerate(uuids) if _try_lock(uuid)), "cpu")


def device_words(device: str) -> str:
    """The device that `auto` chose, as text for users; empty on a machine without a GPU, which has no choice."""
    if not torch.cuda.is_available():
        return ""
    if device == "cpu":
        return "cpu, because no GPU is free, or the backend uses none"
    return f"{device}, {torch.cuda.get_device_name(device)}"


def _try_lock(uuid: str) -> bool:
    path = lock_file(uuid)
    if path is None:
        return True
    lock = FileLock(path)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        return False
    except (OSError, NotImplementedError):  # another kind of file has its name, or the file system has no locks
        return True
    _held.append(lock)
    return True
