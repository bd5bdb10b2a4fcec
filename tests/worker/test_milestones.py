"""What an attempt did and when: few enough to keep, and true."""

from __future__ import annotations

from collections import deque

import pytest

from worker.record import milestones
from worker.record.attempt import Attempt
from worker.record.milestones import MOST, Milestones


class Clock:
    """Time as the test lets it pass; seconds since the epoch."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(milestones, "time", clock)
    return clock


def test_each_change_of_the_message_and_the_percentage_is_kept_once(clock: Clock) -> None:
    kept = Milestones()
    for message, percent, done in (("Read", 0, 0), (None, None, 5), ("Write", 0, 5), (None, 50, 9)):
        kept.note(message, percent, done)
        clock.now += 2

    found = [(each["message"], each["percent"], each["done"]) for each in kept.take()]

    assert found == [("Read", 0, 0), ("Write", 0, 5), ("Write", 50, 9)]
    assert not kept.is_new


def test_of_very_many_the_true_steps_stay_and_the_counting_gets_coarser(clock: Clock) -> None:
    kept = Milestones()
    for number in range(1000):
        kept.note(f"Loading {number} of 1000", None, number)
        clock.now += 1
    kept.note("Writing", None, 1000)
    clock.now += 1
    for number in range(1000):
        kept.note(f"Checking {number}", number // 10, number)
        clock.now += 1

    found = kept.take()
    times = [each["at"] for each in found]

    assert len(found) <= MOST
    assert times == sorted(times)
    assert found[0]["message"] == "Loading 0 of 1000"
    assert "Writing" in [each["message"] for each in found]
    assert found[-1]["message"] == "Checking 999"
    assert sum("Loading" in each["message"] for each in found) > 5


def test_messages_that_have_nothing_in_common_are_bounded_too(clock: Clock) -> None:
    kept = Milestones()
    for number in range(5000):
        kept.note("abcdefghij"[number % 10] * (1 + number % 7), None, number)
        clock.now += 1
    assert len(kept.take()) <= MOST


def test_what_was_over_at_once_gives_way_to_what_followed(clock: Clock) -> None:
    kept = Milestones()
    kept.note("Begin", None, 0)
    clock.now += 1
    for number in range(1000):
        clock.now += 0.001
        kept.note(f"item {number}", None, number)
    assert len(kept.take()) < 30


def test_a_long_list_is_written_less_often(clock: Clock) -> None:
    kept = Milestones()
    kept.note("first", None, 0)
    assert kept.is_due
    kept.take()
    clock.now += 1
    for number in range(50):
        clock.now += 0.06
        kept.note(f"step {number}", None, number)
    assert not kept.is_due
    clock.now += 5
    assert kept.is_due


async def _flush() -> None:
    """Nothing is written here."""


def test_what_is_not_written_yet_is_said_at_the_end() -> None:
    attempt = Attempt(1, 1, deque(), _flush)
    attempt.progress(1, 10, "x" * 5000)
    step = attempt.take_step()
    assert [each["percent"] for each in step["milestones"]] == [10]
    assert len(step["milestones"][0]["message"]) == milestones.CHARACTERS
    assert not attempt.has_step
    attempt.progress(1, 10)
    assert "milestones" not in attempt.take_step()
