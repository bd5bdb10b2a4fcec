"""What open pages read at the same time is read once, and never from before what they were told of."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.core.shared_answers import SharedAnswers


@pytest.fixture
def answers() -> SharedAnswers[int]:
    return SharedAnswers()


def test_who_is_told_of_the_same_change_shares_an_answer(
    answers: SharedAnswers[int], count: Callable[[], int]
) -> None:
    told_at = time.monotonic()
    assert [answers.get("a", told_at, count) for _ in range(3)] == [1, 1, 1]


def test_who_is_told_later_gets_a_newer_answer(
    answers: SharedAnswers[int], count: Callable[[], int]
) -> None:
    answers.get("a", time.monotonic(), count)
    assert answers.get("a", time.monotonic(), count) == 2


def test_an_answer_that_was_begun_before_a_change_is_not_given_to_who_was_told_of_it(
    answers: SharedAnswers[int],
) -> None:
    told = []

    def slow() -> int:
        told.append(time.monotonic())  # something changes while it is read
        return len(told)

    answers.get("a", time.monotonic(), slow)
    assert answers.get("a", told[0], slow) == 2


def test_who_was_told_nothing_gets_a_new_answer(
    answers: SharedAnswers[int], count: Callable[[], int]
) -> None:
    assert [answers.get("a", None, count) for _ in range(2)] == [1, 2]


def test_other_keys_have_other_answers(
    answers: SharedAnswers[int], count: Callable[[], int]
) -> None:
    told_at = time.monotonic()
    assert [answers.get(key, told_at, count) for key in "ab"] == [1, 2]


def test_all_who_ask_at_once_wait_for_the_one_that_reads(answers: SharedAnswers[int]) -> None:
    told_at = time.monotonic()
    calls = []
    have_asked = threading.Barrier(4)

    def slow() -> int:
        calls.append(1)
        time.sleep(0.05)  # the others ask meanwhile
        return len(calls)

    def ask(_: int) -> int:
        have_asked.wait()
        return answers.get("a", told_at, slow)

    with ThreadPoolExecutor(4) as readers:
        assert list(readers.map(ask, range(4))) == [1, 1, 1, 1]


def test_a_failed_reading_is_the_failure_of_its_own_reader_only(
    answers: SharedAnswers[int], count: Callable[[], int]
) -> None:
    told_at = time.monotonic()

    def fail() -> int:
        raise ValueError("away")

    with pytest.raises(ValueError, match="away"):
        answers.get("a", told_at, fail)
    assert answers.get("a", told_at, count) == 1
