"""The next one made while this one is used."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def prefetch(make: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """`make` of each item, in order. A thread makes the next one while the caller uses this one; never more than that.

    An error of `make` is raised where its result would have come.
    """
    with ThreadPoolExecutor(1, "ahead") as helper:
        coming: Future[R] | None = None
        for item in items:
            ready, coming = coming, helper.submit(make, item)
            if ready is not None:
                yield ready.result()
        if coming is not None:
            yield coming.result()
