"""The retention: removes what is past its time, table by table, without anybody waiting for it.

Whole partitions are dropped, the rest goes in chunks, each with its count in one transaction: a run
that is killed has removed what it says, and the next one goes on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import structlog
from psycopg import errors
from sqlalchemy import delete, func, inspect, select, tuple_, update
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.orm import Session

from app.core import files, old_partitions, old_results, result_files
from app.core.db import make_engine
from app.core.errors import Conflict, Invalid
from app.core.models import Batch, Request, Result, RetentionRun, Suspect
from app.core.models.base import Base
from app.core.partitions import Partition
from app.core.retention_rules import RULES, Rule, batch_is_over, file_is_over
from app.core.retention_runs import ONLY_RUN_KEY, STOPPED
from app.core.settings import Settings

CHUNK = 2000
_DROP_TRIES = 20

_log = structlog.get_logger("retention")


@dataclass
class Outcome:
    """What became of one table, or (in a dry run) would become of it.

    `times` are before which moment what goes: of jobs one for each status, `before` is the latest.
    """

    table: str
    days: float
    times: dict[str, datetime]
    rows_removed: int = 0
    partitions_dropped: int = 0
    error: str | None = None

    @property
    def before(self) -> datetime:
        return max(self.times.values())


def _rest(seconds: float) -> bool:
    time.sleep(seconds)
    return False


def run(
    settings: Settings,
    tables: Iterable[str] = (),
    *,
    is_dry: bool = False,
    is_stopping: Callable[[float], bool] = _rest,
    tell: Callable[[Outcome], None] = lambda outcome: None,
    chunk: int = CHUNK,
) -> list[Outcome]:
    """Apply the rules of `tables`, or all; on a connection of its own.

    `is_stopping` is called with a pause in seconds after each chunk; true ends the run. `tell` hears of
    each step. Raises Invalid (an unknown table), and Conflict while another run goes on.
    """
    names = list(tables) or list(RULES)
    for name in names:
        if name not in RULES:
            raise Invalid(f"There is no retention of {name!r}: {', '.join(RULES)}.", param="table")
    with _own_session(settings) as session, _only_run(session, is_dry):
        keeper = _Keeper(session, settings, is_stopping, tell, chunk, is_dry)
        return [
            keeper.apply(rule)
            for rule in RULES.values()
            if rule.table in names and not keeper.has_stopped
        ]


@contextmanager
def _own_session(settings: Settings) -> Iterator[Session]:
    engine = make_engine(settings, "retention", pool_size=1)
    try:
        with engine.connect() as connection, Session(connection) as session:
            yield session
    finally:
        engine.dispose()


@contextmanager
def _only_run(session: Session, is_dry: bool) -> Iterator[None]:
    """The connection's end lets the lock go."""
    if not is_dry:
        if not session.scalar(select(func.pg_try_advisory_lock(ONLY_RUN_KEY))):
            raise Conflict("Another run of the retention goes on; it does the same.")
        # Whoever began these is dead, or it would hold the lock.
        session.execute(
            update(RetentionRun)
            .where(RetentionRun.ended_at.is_(None), RetentionRun.error.is_(None))
            .values(error="broken off")
        )
        session.commit()
    yield


class _Keeper:
    """One run."""

    def __init__(
        self,
        session: Session,
        settings: Settings,
        is_stopping: Callable[[float], bool],
        tell: Callable[[Outcome], None],
        chunk: int,
        is_dry: bool,
    ) -> None:
        self._session = session
        self._settings = settings
        self._is_stopping = is_stopping
        self._tell = tell
        self._chunk = chunk
        self._is_dry = is_dry
        self.has_stopped = False
        # The row of the table at work, and that of the first one, by which they belong together.
        self._row_id: int | None = None
        self._run_id: int | None = None

    def apply(self, rule: Rule) -> Outcome:
        """Remove (or count) what is past its time in one table."""
        now = datetime.now(UTC)
        outcome = Outcome(rule.table, rule.days(self._settings), rule.times(self._settings, now))
        self._begin(outcome)
        try:
            self._apply(rule, outcome)
        except (errors.Error, DBAPIError) as fault:
            self._session.rollback()
            outcome.error = str(fault).splitlines()[0]
            _log.warning("retention.failed", table=rule.table, error=outcome.error)
        self._end(outcome)
        self._tell(outcome)
        return outcome

    def _apply(self, rule: Rule, outcome: Outcome) -> None:
        match rule.table:
            case "job":
                self._partitions(outcome, old_partitions.JOB_TABLES)
                if not self._is_dry:
                    result_files.remove_leftovers(self._session, self._settings)
            case "job_result":
                self._job_results(outcome)
            case "log_line":
                self._partitions(outcome, old_partitions.LOG_TABLES)
            case "file":
                self._files(outcome)
            case "result":
                self._results(outcome)
            case _:
                for model, condition in rule.parts:
                    self._rows(outcome, model, condition(outcome.before))

    # Of each kind of table.

    def _partitions(self, outcome: Outcome, tables: tuple[str, ...]) -> None:
        table = tables[0]
        for partition in old_partitions.old(self._session, table, outcome.times):
            if self.has_stopped:
                return
            can_go = old_partitions.may_drop(self._session, partition, outcome.times)
            if self._is_dry:
                outcome.rows_removed += self._count(outcome, table, partition.name)
                outcome.partitions_dropped += can_go
            elif not (can_go and self._drop(outcome, partition, tables)):
                self._rest(outcome, partition.table, partition.name)
        if self._is_dry:
            outcome.rows_removed += self._count(outcome, table, f"{table}_default")
        else:
            self._rest(outcome, table, f"{table}_default")

    def _count(self, outcome: Outcome, table: str, name: str) -> int:
        return old_partitions.count(self._session, table, name, outcome.times)

    def _drop(self, outcome: Outcome, partition: Partition, tables: tuple[str, ...]) -> bool:
        """Whether it is gone; that somebody uses a table is waited out for some seconds."""
        rows = self._count(outcome, partition.table, partition.name)
        self._session.commit()
        for number in range(1, _DROP_TRIES + 1):
            try:
                if not old_partitions.drop(self._session, partition, tables, outcome.times):
                    self._session.rollback()
                    return False
                outcome.partitions_dropped += 1
                self._note(outcome, rows)
                return True
            except (errors.LockNotAvailable, errors.QueryCanceled, OperationalError):
                self._session.rollback()
                if number == _DROP_TRIES or self._stops(min(0.1 * number, 1.0)):
                    raise
        return False

    def _rest(self, outcome: Outcome, table: str, name: str) -> None:
        for times in old_partitions.walks(outcome.times):
            place: old_partitions.Place | None = old_partitions.BEGIN
            while place is not None and not self.has_stopped:
                gone, place = old_partitions.remove_rows(
                    self._session, table, name, times, place, self._chunk
                )
                self._note(outcome, gone)

    def _files(self, outcome: Outcome) -> None:
        """Each file has its own time; the setting is what it gets when it is made."""
        if self._is_dry:
            outcome.rows_removed = (
                self._session.scalar(select(func.count()).where(file_is_over(datetime.now(UTC))))
                or 0
            )
            return
        gone = -1
        while gone and not self.has_stopped:
            gone = files.delete_expired(self._session, self._settings, limit=self._chunk)
            self._note(outcome, gone)

    def _job_results(self, outcome: Outcome) -> None:
        """What jobs returned: their rows stay, and say that it has expired."""
        if self._is_dry:
            outcome.rows_removed = old_results.count(self._session, self._settings)
            return
        place: old_results.Place | None = old_results.BEGIN
        while place is not None and not self.has_stopped:
            gone, place = old_results.expire(self._session, self._settings, place, self._chunk)
            self._note(outcome, gone)

    def _results(self, outcome: Outcome) -> None:
        """The requests and results of batches whose files are past their time."""
        models: tuple[type[Request | Result | Suspect], ...] = (Result, Request, Suspect)
        numbers = self._session.scalars(
            select(Batch.number).where(batch_is_over(outcome.before)).order_by(Batch.number)
        ).all()
        self._session.commit()
        for number in numbers:
            for model in models:
                if self.has_stopped:
                    return
                self._rows(outcome, model, model.batch_number == number)

    def _rows(self, outcome: Outcome, model: type[Base], condition: Any) -> None:
        if self._is_dry:
            query = select(func.count()).select_from(model).where(condition)
            outcome.rows_removed += self._session.scalar(query) or 0
            return
        key = inspect(model).primary_key
        gone = self._chunk
        while gone == self._chunk and not self.has_stopped:
            some = (
                select(*key).where(condition).limit(self._chunk).with_for_update(skip_locked=True)
            )
            gone = self._session.execute(  # type: ignore[attr-defined]
                delete(model)
                .where(tuple_(*key).in_(some))
                .execution_options(synchronize_session=False)
            ).rowcount
            self._note(outcome, gone)

    # The run's row.

    def _begin(self, outcome: Outcome) -> None:
        if self._is_dry:
            return
        row = RetentionRun(table_name=outcome.table, before=outcome.before)
        self._session.add(row)
        self._session.flush()
        self._row_id = row.id
        self._run_id = row.run_id = self._run_id or row.id
        self._session.commit()

    def _note(self, outcome: Outcome, gone: int) -> None:
        """Commit a step together with its count."""
        if gone or outcome.partitions_dropped:
            outcome.rows_removed += gone
            self._session.execute(
                update(RetentionRun)
                .where(RetentionRun.id == self._row_id)
                .values(
                    rows_removed=outcome.rows_removed,
                    partitions_dropped=outcome.partitions_dropped,
                )
            )
        self._session.commit()
        if gone:
            self._tell(outcome)
            self._stops(0.01)

    def _end(self, outcome: Outcome) -> None:
        if self._is_dry:
            self._session.rollback()
            return
        if self.has_stopped and outcome.error is None:
            outcome.error = STOPPED
        self._session.execute(
            update(RetentionRun)
            .where(RetentionRun.id == self._row_id)
            .values(ended_at=func.clock_timestamp(), error=outcome.error)
        )
        self._session.commit()

    def _stops(self, seconds: float) -> bool:
        self.has_stopped = self.has_stopped or self._is_stopping(seconds)
        return self.has_stopped
