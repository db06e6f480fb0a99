from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from neuralpatch_cuda.pipeline import ahead, in_order


def test_results_keep_the_order_of_the_inputs() -> None:
    def slow_if_even(number: int) -> int:
        time.sleep(0.02 if number % 2 == 0 else 0)
        return number * number

    assert list(in_order(slow_if_even, range(20), workers=4)) == [number * number for number in range(20)]
    assert list(in_order(slow_if_even, [])) == []


def test_work_goes_on_while_the_caller_is_busy() -> None:
    begun = threading.Event()

    def work(number: int) -> int:
        if number == 1:
            begun.set()
        return number

    results = in_order(work, range(3))
    assert next(results) == 0
    assert begun.wait(10)
    assert list(results) == [1, 2]


@pytest.mark.parametrize(("workers", "ahead"), [(1, 1), (2, 3)])
def test_few_inputs_are_held(workers: int, ahead: int) -> None:
    fetched = []

    def endless() -> Iterator[int]:
        while True:
            fetched.append(len(fetched))
            yield fetched[-1]

    results = in_order(lambda number: number, endless(), workers, ahead)
    for number in range(10):
        assert next(results) == number
        assert len(fetched) <= number + workers + ahead
    results.close()  # type: ignore[attr-defined]


def test_stages_work_side_by_side() -> None:
    both = threading.Barrier(2, timeout=10)
    first = in_order(lambda number: both.wait() * 0 + number if number == 1 else number, range(3))
    second = in_order(lambda number: both.wait() * 0 + number if number == 0 else number, first)
    assert list(second) == [0, 1, 2]


def test_an_error_comes_in_its_turn_and_ends_the_rest() -> None:
    done = []

    def work(number: int) -> int:
        if number == 2:
            raise ValueError("two")
        done.append(number)
        return number

    results = in_order(work, range(100))
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ValueError, match="two"):
        next(results)
    assert len(done) < 10


def test_an_error_of_the_inputs_is_passed_on() -> None:
    def inputs() -> Iterator[int]:
        yield 1
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        list(in_order(lambda number: number, inputs()))


def test_inputs_are_fetched_while_the_caller_is_busy() -> None:
    fetched = threading.Event()

    def inputs() -> Iterator[int]:
        yield 0
        fetched.set()
        yield 1

    numbers = ahead(inputs())
    assert next(numbers) == 0
    assert fetched.wait(10)
    assert list(numbers) == [1]
    assert list(ahead([])) == []
