"""The past of an adopted queue: its jobs and events become the record's, in chunks, beside live workers.

The triggers are there first, so that every job made from then on is recorded by them, and so is every
change of a job that the record has. What is left are older jobs: each chunk reads their rows and events
and records them. A job that changes between the chunk's look and its commit is seen by neither, as
the app's rows are not ours to lock; so once the last chunk is in and whoever wrote meanwhile has
ended, the rows written since the beginning are compared and corrected.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import islice

from sqlalchemy import Connection, select, update

from app.core import schema
from app.core.adoption.checks import Driver
from app.core.models import Adoption
from app.core.sql import statement

CHUNK_JOBS = 5_000
_CORRECTED_AT_ONCE = 200
_PAUSE_SECONDS = 0.1


@dataclass(frozen=True)
class Progress:
    """How far the past is taken over; `waits_for` are the processes of transactions not yet over."""

    jobs: int
    attempts: int
    seconds: float
    corrected: int = 0
    is_finished: bool = False
    waits_for: tuple[int, ...] = ()


def take_over(
    connection: Connection, driver: Driver, *, chunk_jobs: int = CHUNK_JOBS
) -> Iterator[Progress]:
    """Do what is left of it, one chunk at a time; both are the same connection, in autocommit.

    May be broken off anywhere: the next call goes on. Ends with a Progress that is finished.
    """
    with driver.transaction():
        row = connection.execute(
            select(
                Adoption.jobs,
                Adoption.attempts,
                Adoption.seconds,
                Adoption.next_job_id,
                Adoption.finished_at,
            )
        ).one()
    progress = Progress(
        row.jobs, row.attempts, row.seconds, is_finished=row.finished_at is not None
    )
    upto: int | None = row.next_job_id
    while upto is not None and not progress.is_finished:
        upto, progress = _chunk(connection, driver, upto, chunk_jobs, progress)
        yield progress
    if not progress.is_finished:
        for waits_for in _wait_for_writers(connection):
            yield replace(progress, waits_for=waits_for)
        progress = _correct(connection, driver, progress)
    yield progress


def begin(connection: Connection, driver: Driver) -> None:
    """Say which jobs are older than the triggers; call once these are there."""
    with driver.transaction():
        connection.execute(statement("adoption", "begin"))


def _chunk(
    connection: Connection, driver: Driver, upto: int, size: int, before: Progress
) -> tuple[int | None, Progress]:
    began = time.monotonic()
    with driver.transaction():
        chunk = connection.execute(
            statement("adoption", "next_jobs"), {"upto": upto, "size": size}
        ).one()
        next_id: int | None = None if chunk.first_id is None else chunk.first_id - 1
        progress = before
        if chunk.ids:
            done = connection.execute(
                statement("adoption", "take_over"), {"ids": chunk.ids, "in_place": False}
            ).one()
            progress = Progress(
                jobs=before.jobs + done.jobs,
                attempts=before.attempts + done.attempts,
                seconds=before.seconds + time.monotonic() - began,
            )
        _keep(connection, progress, next_job_id=next_id)
    return next_id, progress


def _keep(connection: Connection, progress: Progress, **columns: int | datetime | None) -> None:
    connection.execute(
        update(Adoption).values(
            jobs=progress.jobs, attempts=progress.attempts, seconds=progress.seconds, **columns
        )
    )


def _wait_for_writers(connection: Connection) -> Iterator[tuple[int, ...]]:
    """Until the transactions are over that may have changed a job before the last chunk was in."""
    waiting = _writers(connection)
    while waiting:
        yield tuple(sorted({pid for _, pid in waiting if pid is not None}))
        time.sleep(_PAUSE_SECONDS)
        waiting &= _writers(connection)


def _writers(connection: Connection) -> set[tuple[str, int | None]]:
    rows = connection.execute(statement("adoption", "writers")).all()
    return {(row.virtualtransaction, row.pid) for row in rows}


def _correct(connection: Connection, driver: Driver, progress: Progress) -> Progress:
    began = time.monotonic()
    marks = connection.execute(select(Adoption.last_job_id, Adoption.horizon)).one()
    if marks.last_job_id is not None:
        known = {"last_job_id": marks.last_job_id, "horizon": marks.horizon}
        ids = iter(connection.scalars(statement("adoption", "changed_unseen"), known).all())
        while some := list(islice(ids, _CORRECTED_AT_ONCE)):
            corrected = _correct_these(connection, driver, some)
            progress = replace(progress, corrected=progress.corrected + corrected)
        with driver.transaction():
            gone = connection.execute(
                statement("adoption", "close_deleted"), {"last_job_id": marks.last_job_id}
            ).all()
        progress = replace(progress, corrected=progress.corrected + len(gone))
    progress = replace(
        progress, seconds=progress.seconds + time.monotonic() - began, is_finished=True
    )
    with driver.transaction():
        _keep(connection, progress, finished_at=datetime.now(UTC))
    return progress


def _correct_these(connection: Connection, driver: Driver, ids: list[int]) -> int:
    corrected = 0

    def once() -> None:
        nonlocal corrected
        with driver.transaction():
            # From here on the triggers wait, so that what the next statement reads stays true.
            connection.execute(statement("adoption", "lock_jobs"), {"ids": ids})
            corrected = (
                connection.execute(
                    statement("adoption", "take_over"), {"ids": ids, "in_place": True}
                )
                .one()
                .corrected
            )

    schema.with_lock_retries(once)
    return corrected
