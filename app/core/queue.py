"""The queue: whose turn it is in the engine, who stands where, and how long it will take."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Row, func, select
from sqlalchemy.orm import Session

from app.core.models import IS_OPEN, Batch, Worker
from app.core.sql import statement

# Where our jobs wait: batches to be validated, then in their model's queue (model_queue), and tasks.
BATCHES = "batches"
TASKS = "tasks"

# Beyond it nobody needs an exact place; the page and the API say how many wait in all.
LIMIT = 2000
_ALIVE_SECONDS = 30
# A million requests take about half of it.
_VALIDATION_SECONDS = 60.0
_UNKNOWN_TOKENS_PER_SECOND = 100.0


def model_queue(model: str) -> str:
    """The Procrastinate queue of batches that wait for `model`."""
    return f"model:{model}"


@dataclass(frozen=True)
class WaitingModel:
    """The batches that wait for one model; `number` is the best-ranked one's."""

    model: str
    priority: int
    number: int
    oldest_at: datetime


def list_waiting_models(session: Session, crowded: Sequence[str] = ()) -> list[WaitingModel]:
    """One entry for each model that some validated batch waits for which could be fetched.

    `crowded` are the users of whom nothing more may start; see app.core.admission.
    """
    rows = session.execute(statement("queue", "waiting_models"), {"crowded": list(crowded)})
    return [WaitingModel(row.model, row.priority, row.number, row.oldest_at) for row in rows]


def first_arriving(session: Session) -> tuple[int, int] | None:
    """The rank of the best batch that is still being validated, None when there is none.

    Read it before `list_waiting_models`: a batch that arrives in between is then seen twice
    rather than not at all.
    """
    row = session.execute(
        statement("queue", "first_arriving"),
        {"queue": BATCHES, "seconds": _VALIDATION_SECONDS},
    ).one_or_none()
    return None if row is None else (-row.priority, row.number)


def is_early(arriving: tuple[int, int] | None, waiting: Sequence[WaitingModel], due: str) -> bool:
    """Whether a swap to `due` should wait for a batch that goes before all of its batches.

    It may be for the model that is loaded; the swap would have to be undone at once.
    """
    return arriving is not None and all(
        arriving <= (-entry.priority, entry.number) for entry in waiting if entry.model == due
    )


def next_model(
    waiting: Sequence[WaitingModel],
    *,
    active: str | None,
    active_since: datetime | None,
    now: datetime,
    turn_seconds: float,
) -> str | None:
    """The model whose turn it is, given the one that is loaded.

    Batches are grouped by model, since a swap costs a model load: the loaded model goes on while
    something waits for it, unless something of a higher priority waits for another. Beyond that,
    a model that has been waited for `turn_seconds` gets a turn as long, whatever the priorities.
    """
    if not waiting:
        return active
    overdue = [
        entry for entry in waiting if (now - entry.oldest_at).total_seconds() >= turn_seconds
    ]
    if active_since is None or (now - active_since).total_seconds() >= turn_seconds:
        others = [entry for entry in overdue if entry.model != active]
        if others:
            return min(others, key=lambda entry: entry.oldest_at).model
    elif any(entry.model == active for entry in overdue):
        return active
    best = min(waiting, key=lambda entry: (-entry.priority, entry.model != active, entry.number))
    return best.model


@dataclass(frozen=True)
class Place:
    """Where a batch stands: 0 = running. Times are estimates, None = nothing to judge by."""

    position: int
    starts_in_seconds: float | None
    duration_seconds: float | None


@dataclass(frozen=True)
class Queue:
    """The open batches in the order in which they will run, and their places."""

    rows: list[Row[Any]]
    places: dict[str, Place]
    speeds: dict[str, Row[Any]]

    @property
    def running(self) -> list[Row[Any]]:
        return [row for row in self.rows if self.places[row.id].position == 0]

    @property
    def waiting(self) -> list[Row[Any]]:
        return [row for row in self.rows if self.places[row.id].position > 0]


def is_running(row: Row[Any]) -> bool:
    """Whether an attempt works on the batch's requests (validation does not count)."""
    return bool(row.is_held and row.in_progress_at is not None) or row.status == "finalizing"


def read(session: Session) -> Queue:
    """The queue as it stands, at most LIMIT batches of it."""
    rows = list(session.execute(statement("queue", "open_batches"), {"limit": LIMIT}))
    speeds = {row.model: row for row in session.execute(statement("queue", "model_speeds"))}
    active = next((row.model for row in rows if is_running(row)), None) or _loaded_model(session)
    # The loaded model's batches go first within a priority: see next_model.
    rows.sort(key=lambda row: (not is_running(row), -row.priority, row.model != active, row.number))
    places: dict[str, Place] = {}
    position = 0
    ahead_seconds = 0.0
    for row in rows:
        duration = remaining_seconds(row, speeds)
        if is_running(row):
            places[row.id] = Place(0, 0.0, duration)
        else:
            position += 1
            places[row.id] = Place(position, ahead_seconds, duration)
        ahead_seconds += duration
    return Queue(rows, places, speeds)


def positions(session: Session) -> dict[str, Place]:
    """The place of every open batch, by its id."""
    return read(session).places


def remaining_seconds(row: Row[Any], speeds: dict[str, Row[Any]]) -> float:
    """How long the rest of a batch will take, from its own pace or else its model's."""
    done = row.completed + row.failed
    if row.first_result_at is not None and row.in_progress_at is not None and done:
        ran = ((row.last_result_at or row.first_result_at) - row.in_progress_at).total_seconds()
        return float(max(ran, 0.001) / done * (row.total - done))
    speed = speeds.get(row.model)
    if speed is None:
        return float(row.estimated_tokens) / _UNKNOWN_TOKENS_PER_SECOND
    tokens = float(row.estimated_tokens) * float(speed.token_ratio)
    return tokens / max(float(speed.tokens_per_second), 0.001)


def _loaded_model(session: Session) -> str | None:
    worker = live_worker(session)
    return worker.current_model if worker else None


def live_worker(session: Session) -> Worker | None:
    """The worker that was heard of last, however long ago."""
    return session.scalar(
        select(Worker)
        .where(Worker.kind == "worker")
        .order_by(Worker.last_heartbeat_at.desc())
        .limit(1)
    )


def overview(
    session: Session, reasons_of: Callable[[Queue], Mapping[str, str]] = lambda _: {}
) -> dict[str, Any]:
    """The answer of GET /v1/queue.

    `reasons_of` a queue says why batches of it, by their ids, wait although it is their turn.
    """
    now = datetime.now(UTC)
    queue = read(session)
    reasons = reasons_of(queue)
    running = queue.running
    worker = live_worker(session)
    return {
        "worker": _worker(worker, now),
        "current_job": current_job(running[0], queue, worker, now) if running else None,
        "queue": [entry(row, queue, reasons.get(row.id)) for row in queue.waiting],
        "queue_length": count_open(session) - len(running),
    }


def count_open(session: Session) -> int:
    """How many batches are not final, however many (a partial index serves it)."""
    return session.scalar(select(func.count()).select_from(Batch).where(IS_OPEN)) or 0


def _worker(worker: Worker | None, now: datetime) -> dict[str, Any]:
    if worker is None:
        return {"status": "absent", "current_model": None, "last_seen": None, "age_seconds": None}
    age = (now - worker.last_heartbeat_at).total_seconds()
    is_alive = worker.stopped_at is None and age < _ALIVE_SECONDS
    return {
        "status": worker.status if is_alive else "offline",
        "current_model": worker.current_model,
        "last_seen": int(worker.last_heartbeat_at.timestamp()),
        "age_seconds": round(max(age, 0.0), 1),
    }


def current_job(
    row: Row[Any], queue: Queue, worker: Worker | None, now: datetime
) -> dict[str, Any]:
    done = row.completed + row.failed
    tokens = row.input_tokens + row.output_tokens
    # What the rest will take is judged by what the finished part took.
    tokens_total = round(tokens / done * row.total) if done else row.estimated_tokens
    eta = queue.places[row.id].duration_seconds or 0.0
    last_update = row.last_result_at or row.in_progress_at
    ran = (last_update - row.in_progress_at).total_seconds() if row.in_progress_at else 0.0
    average = tokens / ran if ran > 0 else 0.0
    return {
        "batch_id": row.id,
        "model": row.model,
        "status": row.status,
        "progress": {
            "completed_requests": done,
            "total_requests": row.total,
            "progress_percent": round(100 * done / row.total, 1) if row.total else 0.0,
            "tokens_processed": tokens,
            "tokens_total": tokens_total,
            "tokens_remaining": max(tokens_total - tokens, 0),
        },
        "throughput": {
            # What the worker has counted in the last seconds, as of its last heartbeat.
            "current_tokens_per_sec": worker.metrics.get("tokens_per_second", 0.0)
            if worker
            else 0.0,
            "average_tokens_per_sec": round(average, 1),
        },
        "timing": {
            "started_at": int(row.in_progress_at.timestamp()) if row.in_progress_at else None,
            "last_update": int(last_update.timestamp()) if last_update else None,
            "estimated_completion": int(now.timestamp() + eta),
            "eta_seconds": round(eta, 1),
            "eta_minutes": round(eta / 60, 1),
        },
    }


def entry(row: Row[Any], queue: Queue, waiting_reason: str | None) -> dict[str, Any]:
    place = queue.places[row.id]
    duration = place.duration_seconds or 0.0
    starts_in = place.starts_in_seconds or 0.0
    return {
        "position": place.position,
        "batch_id": row.id,
        "model": row.model,
        "status": row.status,
        "total_requests": row.total,
        "total_tokens": row.estimated_tokens,
        "created_at": int(row.created_at.timestamp()),
        "estimated_duration_seconds": round(duration, 1),
        "estimated_duration_minutes": round(duration / 60, 1),
        "starts_in_seconds": round(starts_in, 1),
        "starts_in_minutes": round(starts_in / 60, 1),
        "waiting_reason": waiting_reason,
    }
