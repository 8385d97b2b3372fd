"""Compute the next item in a thread while the caller uses the current one."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def prefetch(make: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """Yield `make(item)` for each item, in order. A thread computes one item ahead.

    An error of `make` is raised in place of its result.
    """
    with ThreadPoolExecutor(1, "prefetch") as executor:
        pending: Future[R] | None = None
        for item in items:
            previous, pending = pending, executor.submit(make, item)
            if previous is not None:
                yield previous.result()
        if pending is not None:
            yield pending.result()
