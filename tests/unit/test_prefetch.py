from threading import Event

import pytest

from fav.util.prefetch import prefetch


def test_results_come_in_order():
    assert list(prefetch(lambda number: number * number, range(5))) == [0, 1, 4, 9, 16]
    assert list(prefetch(str, [])) == []


def test_the_next_one_is_made_while_this_one_is_used_and_no_other():
    made = {number: Event() for number in range(4)}
    results = prefetch(lambda number: made[number].set(), range(4))
    next(results)
    assert made[1].wait(10)
    assert not made[2].wait(0.05)
    next(results)
    assert made[2].wait(10)


def test_an_error_is_raised_where_its_result_would_have_come():
    results = prefetch(lambda number: 6 // number, [3, 2, 0, 1])
    assert [next(results), next(results)] == [2, 3]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_who_stops_early_leaves_no_work_behind():
    made = []
    results = prefetch(made.append, range(100))
    next(results)
    results.close()
    assert made == [0, 1]
