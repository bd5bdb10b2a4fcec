"""Whose turn it is: grouped by model, urgent ones first, and nobody waits for ever."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from app.core.queue import WaitingModel, is_early, next_model

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TURN = 900.0


def waits(model: str, *, number: int = 1, priority: int = 0, seconds: float = 0) -> WaitingModel:
    return WaitingModel(model, priority, number, NOW - timedelta(seconds=seconds))


def turn(active: str | None, had_seconds: float, *waiting: WaitingModel) -> str | None:
    since = None if active is None else NOW - timedelta(seconds=had_seconds)
    return next_model(waiting, active=active, active_since=since, now=NOW, turn_seconds=TURN)


def test_the_loaded_model_goes_on_while_something_waits_for_it() -> None:
    assert turn("a", 10, waits("b", number=1), waits("a", number=2)) == "a"


def test_the_loaded_model_stays_when_nothing_waits() -> None:
    assert turn("a", 10_000) == "a"


def test_the_first_in_line_is_next_when_nothing_waits_for_the_loaded_one() -> None:
    assert turn("a", 10, waits("c", number=3), waits("b", number=2)) == "b"


def test_an_urgent_batch_has_its_model_loaded() -> None:
    assert turn("a", 10, waits("b", number=9, priority=1), waits("a", number=1)) == "b"


def test_who_has_waited_for_the_bound_is_next() -> None:
    assert turn("a", TURN, waits("a"), waits("b", seconds=TURN)) == "b"
    assert turn("a", TURN - 1, waits("a"), waits("b", seconds=TURN)) == "a"


def test_an_overdue_model_keeps_its_turn_although_another_is_more_urgent() -> None:
    urgent, patient = waits("a", priority=1), waits("b", priority=0, seconds=TURN)
    assert turn("a", TURN, urgent, patient) == "b"
    assert turn("b", 1, urgent, patient) == "b"


def test_two_models_with_endless_work_alternate() -> None:
    both = (waits("a", seconds=3 * TURN), waits("b", seconds=2 * TURN))
    assert turn("a", TURN, *both) == "b"
    assert turn("b", 1, *both) == "b"
    assert turn("b", TURN, *both) == "a"


def test_a_swap_waits_for_a_batch_that_goes_before_and_is_about_to_arrive() -> None:
    waiting = [waits("b", number=5)]
    assert is_early((0, 4), waiting, "b")
    assert is_early((-1, 9), waiting, "b")
    assert not is_early((0, 6), waiting, "b")
    assert not is_early(None, waiting, "b")
