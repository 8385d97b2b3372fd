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
    with ThreadPoolExecutor(1, "ahead") as helper:
        coming: Future[R] | None = None
        for item in items:
            ready, coming = coming, helper.submit(make, item)
            if ready is not None:
                yield ready.result()
        if coming is not None:
            yield coming.result()
