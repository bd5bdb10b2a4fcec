"""Samples: how busy a worker's machine was over time, and which model its engine had."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any
from uuid import UUID

from sqlalchemy import insert
from sqlalchemy.orm import Session

from app.core.models import WorkerSample
from app.core.sql import statement

# A worker tells this often, and at once when its model changes.
PERIOD_SECONDS = 15.0
# Nothing is known of the time after a sample without a next one for this long.
LASTS = timedelta(seconds=3 * PERIOD_SECONDS)
MOST_POINTS = 400
MOST_MACHINES = 4
# Of containers each start may have a host name of its own.
_MOST_ROWS = 20_000


@dataclass(frozen=True)
class Figures:
    """What is measured; None is what nobody tells. Percentages are of the whole machine or GPU."""

    gpu_utilization: float | None = None
    gpu_memory_percent: float | None = None
    cpu_percent: float | None = None
    memory_percent: float | None = None
    worker_cpu_percent: float | None = None
    worker_memory_bytes: float | None = None
    engine_cpu_percent: float | None = None
    engine_memory_bytes: float | None = None


NAMES = tuple(each.name for each in fields(Figures))


@dataclass(frozen=True)
class Point:
    """The means of a slice of time, from `since` until the next slice, or as long as they hold."""

    since: datetime
    until: datetime
    figures: Figures


@dataclass(frozen=True)
class Block:
    """A stretch in which the same models were loaded (more than one: in turn, or by several workers).

    `figures` are its means.
    """

    models: tuple[str, ...]
    since: datetime
    until: datetime
    figures: Figures


@dataclass(frozen=True)
class Machine:
    """What is known of one machine in a window, by time."""

    host: str
    points: list[Point]
    blocks: list[Block]

    @property
    def has_gpu(self) -> bool:
        """Whether its worker tells of a GPU."""
        return any(
            point.figures.gpu_utilization is not None
            or point.figures.gpu_memory_percent is not None
            for point in self.points
        )

    @property
    def figures(self) -> Figures:
        """The means of all of it."""
        return _means(self.points)


@dataclass(frozen=True)
class _Slot:
    models: tuple[str, ...]
    point: Point


def keep(session: Session, worker_id: UUID, host: str, model: str | None, told: Figures) -> None:
    """Write down what a worker measured; commits."""
    values: dict[str, Any] = asdict(told)
    for name in ("worker_memory_bytes", "engine_memory_bytes"):
        if values[name] is not None:
            values[name] = int(values[name])
    session.execute(
        insert(WorkerSample).values(worker_id=worker_id, host=host, model=model, **values)
    )
    session.commit()


def read(session: Session, since: datetime, until: datetime) -> list[Machine]:
    """The machines of a window, with about MOST_POINTS each: those that told last, by their names."""
    step = max((until - since) / MOST_POINTS, timedelta(seconds=1))
    rows = session.execute(
        statement("samples", "slots"),
        {
            "since": since,
            "until": until,
            "step": step.total_seconds(),
            "lasts": LASTS.total_seconds(),
            "most": _MOST_ROWS,
        },
    ).all()
    found = [
        _machine(host, list(told), step, since, until)
        for host, told in groupby(rows, key=lambda row: str(row.host))
    ]
    known = [each for each in found if each.points]
    latest = sorted(known, key=lambda each: each.points[-1].until, reverse=True)
    return sorted(latest[:MOST_MACHINES], key=lambda each: each.host)


def _machine(
    host: str, rows: Sequence[Any], step: timedelta, since: datetime, until: datetime
) -> Machine:
    slots = []
    for row, following in zip(rows, [*rows[1:], None], strict=True):
        ends_at = row.ends_at + max(LASTS, step)
        if following is not None:
            ends_at = min(ends_at, following.begins_at)
        begins_at, ends_at = max(row.begins_at, since), min(ends_at, until)
        if begins_at < ends_at:
            told = Figures(**{name: _number(getattr(row, name)) for name in NAMES})
            models = tuple(each for each in row.models if each)
            slots.append(_Slot(models, Point(begins_at, ends_at, told)))
    return Machine(host, [slot.point for slot in slots], list(_blocks(slots)))


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def _blocks(slots: list[_Slot]) -> Iterator[Block]:
    """Slots of the same models side by side are one; one in which a model gives way to the next
    belongs to the first.
    """
    run: list[_Slot] = []
    models: tuple[str, ...] = ()
    for place, slot in enumerate(slots):
        following = slots[place + 1] if place + 1 < len(slots) else None
        gives_way = (
            bool(run)
            and following is not None
            and len(slot.models) > 1
            and set(models) | set(following.models) == set(slot.models)
        )
        is_next = bool(run) and slot.point.since <= run[-1].point.until
        if is_next and (slot.models == models or gives_way):
            run.append(slot)
            continue
        if run and models:
            yield _block(models, run)
        run, models = [slot], slot.models
    if run and models:
        yield _block(models, run)


def _block(models: tuple[str, ...], run: list[_Slot]) -> Block:
    points = [slot.point for slot in run]
    return Block(models, points[0].since, points[-1].until, _means(points))


def _means(points: Sequence[Point]) -> Figures:
    """By how long each holds."""

    def mean(name: str) -> float | None:
        told = [
            (value, (point.until - point.since).total_seconds())
            for point in points
            if (value := getattr(point.figures, name)) is not None
        ]
        seconds = sum(each for _, each in told)
        return sum(value * each for value, each in told) / seconds if seconds else None

    return Figures(**{name: mean(name) for name in NAMES})
