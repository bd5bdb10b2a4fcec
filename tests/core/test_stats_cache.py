"""What many pages count at once is counted once, and is as old as it may be, no older."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.core.stats import StatsCache


def test_those_who_ask_while_it_is_counted_get_the_same(count: Callable[[], int]) -> None:
    cache = StatsCache[int](seconds=60)
    is_counting, may_end = threading.Event(), threading.Event()

    def slow() -> int:
        is_counting.set()
        may_end.wait(30)
        return count()

    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(cache.get, "a", slow)
        assert is_counting.wait(30)
        others = [pool.submit(cache.get, "a", count) for _ in range(3)]
        may_end.set()
        answers = {each.result() for each in (first, *others)}
    # One that waited in vain for longer than its patience, on a slow machine, counts itself.
    assert 1 in answers
    assert cache.get("a", count) in answers


def test_who_was_told_of_the_same_change_shares_what_may_not_be_kept(
    count: Callable[[], int],
) -> None:
    cache = StatsCache[int](lasts=lambda _: 0.0)
    told_at = time.monotonic()
    assert [cache.get("a", count, told_at) for _ in range(3)] == [1, 1, 1]
    assert cache.get("a", count, time.monotonic()) == 2
    assert cache.get("a", count) == 3


def test_what_was_begun_before_a_change_is_not_given_to_who_was_told_of_it() -> None:
    cache = StatsCache[int](lasts=lambda _: 0.0)
    told: list[float] = []

    def slow() -> int:
        told.append(time.monotonic())  # something changes while it is counted
        return len(told)

    cache.get("a", slow, time.monotonic())
    assert cache.get("a", slow, told[0]) == 2


def test_what_failed_is_counted_again(count: Callable[[], int]) -> None:
    cache = StatsCache[int]()

    def fail() -> int:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        cache.get("a", fail)
    assert cache.get("a", count) == 1


def test_a_kept_answer_serves_all_until_its_time_is_over(count: Callable[[], int]) -> None:
    cache = StatsCache[int](seconds=60)
    assert [cache.get("a", count, time.monotonic()) for _ in range(3)] == [1, 1, 1]
    assert cache.get("b", count) == 2
    never = StatsCache[int](seconds=0.0)
    assert never.get("a", count) == 3
    assert never.get("a", count) == 4
