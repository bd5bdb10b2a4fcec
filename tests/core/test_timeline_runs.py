"""The runs of a window, and what is known where there are more than are looked at."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy.orm import Session

from app.core import timeline_runs
from app.core.models import Attempt
from app.core.timeline_runs import Runs

NOW = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)
SINCE = NOW - timedelta(hours=1)


def fill(session: Session, count: int = 60) -> None:
    """Runs of two types, some of which are still under way."""
    chance = random.Random(3)
    for number in range(1, count + 1):
        started_at = SINCE + timedelta(seconds=chance.randrange(-300, 3500))
        ended_at = started_at + timedelta(seconds=chance.randrange(1, 900))
        is_open = ended_at >= NOW
        session.add(
            Attempt(
                job_id=number,
                job_created_at=started_at,
                number=1,
                task=chance.choice(("export", "backup")),
                queue="tasks",
                started_at=started_at,
                ended_at=None if is_open else ended_at,
                outcome=None if is_open else "completed",
            )
        )
    session.flush()


def read(session: Session, **more: str) -> Runs:
    return timeline_runs.read(session, since=SINCE, until=NOW, now=NOW, **more)  # type: ignore[arg-type]


def test_where_some_are_left_out_all_figures_from_then_on_are_exact(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(session)
    whole = read(session)
    assert not whole.is_capped
    assert whole.since(SINCE) == SINCE
    monkeypatch.setattr(timeline_runs, "MOST_RUNS", 20)

    capped = read(session)

    assert capped.is_capped
    since = capped.since(SINCE)
    assert SINCE < since < NOW
    assert capped.size < whole.size
    exact, told = whole.swept(since, NOW), capped.swept(since, NOW)
    assert told.by_pair == exact.by_pair
    assert told.concurrency == exact.concurrency
    assert told.peak == exact.peak


def test_whoever_has_none_among_those_that_are_looked_at_is_told_that_there_may_be_more(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(session)
    assert not read(session, owner_name="ada").is_capped
    monkeypatch.setattr(timeline_runs, "MOST_RUNS", 20)

    for lane_by in ("type", "user"):
        runs = read(session, owner_name="ada", lane_by=lane_by)
        assert runs.size == 0
        assert runs.is_capped


def test_an_empty_window_has_no_runs_and_misses_none(session: Session) -> None:
    runs = read(session)

    assert (runs.size, runs.is_capped) == (0, False)
    assert runs.swept(SINCE, NOW).peak is None
