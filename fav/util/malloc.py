"""Tune glibc's malloc: keep freed pages in the process, to avoid page faults in each frame."""

import ctypes

# Parameters of glibc's mallopt (malloc.h); Python has no names for them.
TRIM_THRESHOLD, TOP_PAD, MMAP_MAX, ARENA_MAX = -1, -2, -4, -8
STEP = 64 << 20  # bytes by which the heap grows


def tune_malloc() -> bool:
    """Let large arrays and tensors reuse freed memory of this process instead of new pages of the system.

    Each frame needs the same few hundred MB. The system would clear new pages for each one, which takes a third of the
    time of a 1920x1080 frame (`benchmarks/README.md`). The peak memory grows by about a tenth, until `malloc_trim`.
    Returns False if the C library is not glibc.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return False
    # One arena only: those of other threads cannot hold a large array.
    return all(
        mallopt(name, value) for name, value in ((MMAP_MAX, 0), (TRIM_THRESHOLD, -1), (TOP_PAD, STEP), (ARENA_MAX, 1))
    )


def malloc_trim() -> None:
    """Return unused memory to the system, if the C library can."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (OSError, AttributeError, TypeError):
        pass
