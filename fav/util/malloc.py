"""Memory that a process has used stays with it."""

import ctypes

# glibc's names for what can be set (malloc.h), none of which Python knows.
TRIM_THRESHOLD, TOP_PAD, MMAP_MAX, ARENA_MAX = -1, -2, -4, -8
STEP = 64 << 20  # bytes by which the heap grows


def tune_malloc() -> bool:
    """Have large arrays and tensors reuse memory of this process instead of asking the system for fresh pages each time.

    Every frame takes the same few hundred MB and frees them, and the system would clear them anew for each: a third of the
    time of a 1920x1080 frame (`benchmarks/README.md`). The most that a process holds grows by a tenth or so, and stays until
    `malloc_trim`. False where the C library cannot do that (only glibc can).
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return False
    # One arena: those of other threads cannot hold a large array.
    return all(
        mallopt(name, value) for name, value in ((MMAP_MAX, 0), (TRIM_THRESHOLD, -1), (TOP_PAD, STEP), (ARENA_MAX, 1))
    )


def malloc_trim() -> None:
    """Give memory that nothing uses back to the system; where the C library cannot, it keeps it."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (OSError, AttributeError, TypeError):
        pass
