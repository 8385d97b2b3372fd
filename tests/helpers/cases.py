"""Which cases of a parametrized test run always."""

from collections.abc import Iterable

import pytest


def usual(cases: Iterable, *kept) -> list:
    """All cases, of which those that are not `kept` are marked slow: they take another way through a library, not through us."""
    cases = list(cases)
    missing = [case for case in kept if case not in cases]
    assert not missing, f"expected cases of {cases}, got {missing}"
    slow = lambda case: pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=pytest.mark.slow)
    return [case if case in kept else slow(case) for case in cases]
