"""What an attempt did and when, as its worker kept it (worker.record.milestones)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from app.core.models import Attempt

# A worker keeps 100; whoever writes more by hand is not shown more.
_MOST = 200
_CHARACTERS = 1000


@dataclass(frozen=True)
class Milestone:
    """The attempt said something else of itself; `percent` and `done` were known or not."""

    at: datetime
    message: str | None
    percent: int | None
    done: int | None


@dataclass(frozen=True)
class Step:
    """For so long it said the same; `seconds` go on where it `is_current`."""

    message: str
    at: datetime
    seconds: float
    percent: int | None
    is_current: bool


def read(attempt: Attempt) -> list[Milestone]:
    """In the order of their times. What is no milestone is left out: another app's worker wrote it."""
    written: Any = attempt.milestones
    found = [_read(each) for each in written[:_MOST]] if isinstance(written, list) else []
    return sorted((each for each in found if each is not None), key=lambda each: each.at)


def _read(written: Any) -> Milestone | None:
    if not isinstance(written, dict):
        return None
    try:
        at = datetime.fromtimestamp(written["at"], UTC)
    except (KeyError, TypeError, ValueError, OverflowError, OSError):
        return None
    message, percent, done = (written.get(name) for name in ("message", "percent", "done"))
    return Milestone(
        at,
        message[:_CHARACTERS] if isinstance(message, str) else None,
        max(0, min(100, percent)) if isinstance(percent, int) else None,
        done if isinstance(done, int) else None,
    )


def steps(attempt: Attempt, milestones: list[Milestone], now: datetime) -> list[Step]:
    """Its messages in their order, each for as long as it was the same."""
    said = [each for each in milestones if each.message]
    changes = [
        each
        for place, each in enumerate(said)
        if place == 0 or each.message != said[place - 1].message
    ]
    return list(_steps(changes, attempt.ended_at, now))


def _steps(changes: list[Milestone], ended_at: datetime | None, now: datetime) -> Iterator[Step]:
    for place, each in enumerate(changes):
        is_last = place == len(changes) - 1
        until = (ended_at or now) if is_last else changes[place + 1].at
        seconds = max(0.0, (until - each.at).total_seconds())
        yield Step(each.message or "", each.at, seconds, each.percent, is_last and ended_at is None)
