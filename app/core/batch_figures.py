"""Figures over the batches that meet some filters: in all, and by the time that they were made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import func, literal, select
from sqlalchemy.orm import Session

from app.core import batch_matching
from app.core.batch_matching import BatchFilters
from app.core.batch_status import history_status_column
from app.core.models import Batch

# The newest so many are summed up: what more cost would be felt by everybody.
FIGURES_LIMIT = 250_000
MOST_STEPS = 62
_STEPS = (60, 300, 900, 3600, 3 * 3600, 6 * 3600, 86_400, 7 * 86_400, 28 * 86_400)
_EPOCH = datetime(2000, 1, 3, tzinfo=UTC)  # a Monday: weeks begin there


@dataclass
class Sums:
    """What some batches come to. Seconds are of completed batches' runs, as are `timed_tokens`."""

    by_status: Counter[str] = field(default_factory=Counter)
    requests: int = 0
    completed: int = 0
    failed: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    seconds: float = 0.0
    timed: int = 0
    timed_tokens: int = 0

    @property
    def batches(self) -> int:
        return self.by_status.total()

    @property
    def ended(self) -> int:
        """Those that can be judged: completed or failed."""
        return self.by_status["completed"] + self.by_status["failed"]

    @property
    def success_rate(self) -> float | None:
        """0..1 of the batches that completed or failed; None where none has."""
        return self.by_status["completed"] / self.ended if self.ended else None

    @property
    def answered(self) -> int:
        return self.completed + self.failed

    @property
    def request_success_rate(self) -> float | None:
        """0..1 of the answered requests; None where there is none."""
        return self.completed / self.answered if self.answered else None

    @property
    def tokens(self) -> int:
        """Read and written."""
        return self.input_tokens + self.output_tokens

    @property
    def average_seconds(self) -> float | None:
        """The mean run of the completed."""
        return self.seconds / self.timed if self.timed else None

    @property
    def tokens_per_second(self) -> float | None:
        """Of the completed, while they ran."""
        return self.timed_tokens / self.seconds if self.seconds else None

    def add(self, row: Any) -> None:
        """Take in a row of the statement."""
        self.by_status[row.status] += row.batches
        for name in ("requests", "completed", "failed", "input_tokens", "output_tokens", "timed"):
            setattr(self, name, getattr(self, name) + int(getattr(row, name) or 0))
        self.seconds += float(row.seconds or 0)
        self.timed_tokens += int(row.timed_tokens or 0)


@dataclass(frozen=True)
class Figures:
    """All of them, and steps of `step_seconds` without gaps; `is_cut`: only the newest are in it."""

    whole: Sums
    step_seconds: int
    steps: list[tuple[datetime, Sums]]
    until: datetime | None
    is_cut: bool


def read(session: Session, filters: BatchFilters, now: datetime | None = None) -> Figures:
    """The figures of what matches. Raises Invalid (a filter)."""
    now = now or datetime.now(UTC)
    until = min(filters.until or now, now)
    is_short = filters.since is not None and until - filters.since <= timedelta(hours=6)
    rows = _rows(session, filters, 60 if is_short else 3600)
    whole = Sums()
    for row in rows:
        whole.add(row)
    if not rows:
        return Figures(whole, 3600, [], None, is_cut=False)
    first = min(row.begins_at for row in rows)
    since = max(filters.since, _EPOCH) if filters.since is not None else first
    last = max(until, max(row.begins_at for row in rows) + timedelta(minutes=1))
    step = _step((last - since).total_seconds(), 60 if is_short else 3600)
    return Figures(
        whole,
        step,
        _steps(rows, since, last, step),
        last,
        is_cut=whole.batches >= FIGURES_LIMIT,
    )


def _rows(session: Session, filters: BatchFilters, seconds: int) -> Sequence[Any]:
    matching = batch_matching.match(session, filters)
    run = Batch.completed_at - Batch.in_progress_at
    run_seconds = func.extract("epoch", run)
    tokens = Batch.input_tokens + Batch.output_tokens
    newest = (
        matching.select(
            history_status_column().label("status"),
            Batch.created_at,
            Batch.total,
            Batch.completed,
            Batch.failed,
            Batch.input_tokens,
            Batch.output_tokens,
            run_seconds.label("seconds"),
            tokens.label("tokens"),
        )
        .order_by(Batch.created_at.desc(), Batch.number.desc())
        .limit(FIGURES_LIMIT)
        .subquery("newest")
    )
    begins_at = func.date_bin(
        func.make_interval(0, 0, 0, 0, 0, 0, seconds), newest.c.created_at, literal(_EPOCH)
    ).label("begins_at")
    return session.execute(
        select(
            begins_at,
            newest.c.status,
            func.count().label("batches"),
            func.sum(newest.c.total).label("requests"),
            func.sum(newest.c.completed).label("completed"),
            func.sum(newest.c.failed).label("failed"),
            func.sum(newest.c.input_tokens).label("input_tokens"),
            func.sum(newest.c.output_tokens).label("output_tokens"),
            func.sum(newest.c.seconds).label("seconds"),
            func.count(newest.c.seconds).label("timed"),
            func.sum(newest.c.tokens).filter(newest.c.seconds > 0).label("timed_tokens"),
        ).group_by(begins_at, newest.c.status)
    ).all()


def _step(seconds: float, least: int) -> int:
    """The shortest step of which MOST_STEPS cover the time."""
    for step in _STEPS:
        if step >= least and seconds <= step * (MOST_STEPS - 1):
            return step
    return _STEPS[-1]


def _steps(
    rows: Sequence[Any], since: datetime, until: datetime, step: int
) -> list[tuple[datetime, Sums]]:
    length = timedelta(seconds=step)
    begin = _floor(since, length)
    count = int((until - begin) / length) + 1
    # A history of many years has more steps of the longest than can be told apart.
    begin, count = begin + length * max(0, count - 4 * MOST_STEPS), min(count, 4 * MOST_STEPS)
    steps = [(begin + length * place, Sums()) for place in range(count)]
    for row in rows:
        place = int((row.begins_at - begin) / length)
        if 0 <= place < count:
            steps[place][1].add(row)
    return steps


def _floor(moment: datetime, length: timedelta) -> datetime:
    return _EPOCH + length * ((moment - _EPOCH) // length)
