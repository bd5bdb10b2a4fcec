"""Statistics over batches: what GET /v1/jobs/stats and the cards of the history show."""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, Generic, TypeVar

from sqlalchemy.orm import Session

from app.core.batch_status import history_status
from app.core.shared_answers import LONGEST_SECONDS, PATIENCE_SECONDS
from app.core.sql import statement

CACHE_SECONDS = 30.0
_FEW = 2000
_HOUR = 3600
_POINT_LIMIT = 1000

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class TimelinePoint:
    """Jobs created in the step that begins at `timestamp` (Unix seconds)."""

    timestamp: int
    jobs: int


@dataclass(frozen=True)
class JobStats:
    """Rates are 0..1 over what is final, None-free: 0.0 when there is nothing to judge."""

    total_jobs: int
    by_status: dict[str, int]
    by_model: dict[str, int]
    success_rate: float
    request_success_rate: float
    avg_duration: float
    total_requests: int
    completed_requests: int
    failed_requests: int
    total_tokens: int
    avg_token_throughput: float
    timeline: list[TimelinePoint]


def job_stats(
    session: Session,
    *,
    owner_id: int | None,
    start_date: datetime | None = None,
    end_date: datetime | None = None,
) -> JobStats:
    """Statistics of the batches created in the range (all of them when none is given)."""
    range_ = {"owner_id": owner_id, "start_date": start_date, "end_date": end_date}
    rows = session.execute(statement("stats", "totals"), range_).all()
    by_status: Counter[str] = Counter()
    by_model: Counter[str] = Counter()
    for row in rows:
        in_progress_at = None if row.has_not_run else datetime.now(UTC)
        seen: Any = SimpleNamespace(status=row.status, in_progress_at=in_progress_at)
        by_status[history_status(seen)] += row.jobs
        if row.model is not None:
            by_model[row.model] += row.jobs
    total = {
        name: sum(getattr(row, name) or 0 for row in rows)
        for name in (
            "requests",
            "completed",
            "failed",
            "tokens",
            "seconds",
            "timed",
            "timed_tokens",
        )
    }
    final = by_status["completed"] + by_status["failed"]
    answered = total["completed"] + total["failed"]
    return JobStats(
        total_jobs=sum(by_status.values()),
        by_status=dict(by_status),
        by_model=dict(by_model),
        success_rate=_ratio(by_status["completed"], final),
        request_success_rate=_ratio(total["completed"], answered),
        avg_duration=_ratio(total["seconds"], total["timed"]),
        total_requests=int(total["requests"]),
        completed_requests=int(total["completed"]),
        failed_requests=int(total["failed"]),
        total_tokens=int(total["tokens"]),
        avg_token_throughput=_ratio(total["timed_tokens"], total["seconds"]),
        timeline=_timeline(session, owner_id, start_date, end_date),
    )


def _ratio(part: float, whole: float) -> float:
    return round(float(part) / float(whole), 4) if whole else 0.0


def _timeline(
    session: Session, owner_id: int | None, start_date: datetime | None, end_date: datetime | None
) -> list[TimelinePoint]:
    last = end_date or datetime.now(UTC)
    first = start_date or last - timedelta(hours=23)
    first = _floor(first)
    seconds = max((last - first).total_seconds(), 0)
    # Hours, or as many whole hours as keep the answer within bounds.
    hours_per_point = int(seconds // _HOUR // _POINT_LIMIT) + 1
    rows = session.execute(
        statement("stats", "timeline"),
        {
            "owner_id": owner_id,
            "first": first,
            "last": last,
            "step_seconds": float(hours_per_point * _HOUR),
        },
    )
    return [TimelinePoint(row.timestamp, row.jobs) for row in rows]


def _floor(moment: datetime) -> datetime:
    return datetime.fromtimestamp(moment.timestamp() // _HOUR * _HOUR, UTC)


def if_many(count: int) -> float:
    """How long figures of so many rows may be kept: those of few are always read anew."""
    return math.inf if count > _FEW else 0.0


class _Kept(Generic[Answer]):
    """Of one key: what was computed last, since when, and until when it may be given."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.answer: tuple[float, float, Answer] | None = None


class StatsCache(Generic[Answer]):
    """Keeps answers for CACHE_SECONDS, so that a wall of dashboards costs one query.

    With `patience`, an answer is kept for at most that many times as long as it took: what is
    cheap is always fresh, and what is dear is asked for seldom. With `lasts` for at most so many seconds
    as that says of the answer. Who asks while one is computed waits for that one.
    """

    def __init__(
        self,
        seconds: float = CACHE_SECONDS,
        size: int = 256,
        patience: float | None = None,
        lasts: Callable[[Answer], float] | None = None,
    ) -> None:
        self._seconds = seconds
        self._size = size
        self._patience = patience
        self._lasts = lasts
        self._lock = threading.Lock()
        self._places: dict[object, _Kept[Answer]] = {}

    def get(
        self, key: object, compute: Callable[[], Answer], told_at: float | None = None
    ) -> Answer:
        """The kept answer, or a new one.

        One that was begun since the page was told that something changed (`told_at`, as
        app.core.shared_answers has it) serves it also when it may not be kept.
        """
        place = self._place(key)
        asked_at = time.monotonic()
        enough = asked_at if told_at is None else max(told_at, asked_at - LONGEST_SECONDS)
        kept = place.answer
        if kept is not None and asked_at < kept[1]:
            return kept[2]
        is_mine = place.lock.acquire(timeout=PATIENCE_SECONDS)
        try:
            began = time.monotonic()
            kept = place.answer
            if kept is not None and (kept[0] >= enough or began < kept[1]):
                return kept[2]
            answer = compute()
            now = time.monotonic()
            seconds = self._seconds
            if self._patience is not None:
                seconds = min(seconds, (now - began) * self._patience)
            if self._lasts is not None:
                seconds = min(seconds, self._lasts(answer))
            # Two may compute at once where one takes long: what was begun later stays.
            if place.answer is None or place.answer[0] <= began:
                place.answer = (began, now + seconds, answer)
            return answer
        finally:
            if is_mine:
                place.lock.release()

    def _place(self, key: object) -> _Kept[Answer]:
        with self._lock:
            if key not in self._places:
                if len(self._places) >= self._size:
                    self._places.clear()
                self._places[key] = _Kept()
            return self._places[key]
