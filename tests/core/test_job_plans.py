"""Lists and searches are served by indexes: no plan reads a partition with history row by row."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import pytest
from sqlalchemy import Engine, event, text
from sqlalchemy.orm import Session

from app.core import (
    failures,
    job_lists,
    job_search,
    job_types,
    search_conditions,
    worker_history,
)
from app.core.job_lists import Wanted
from app.core.job_matching import COUNT_LIMIT, Matching
from app.core.job_orders import Sort
from app.core.models import Job, Worker
from app.core.search_conditions import Filters

JOBS = 20_000

# Enough that an index is worth its while, all in the partition of the present month.
SEED = f"""
INSERT INTO job (id, created_at, task, queue, arguments, owner_name, model, worker_name, status,
                 attempts, progress, started_at, ended_at, run_ms, error_message, lock, queueing_lock)
SELECT n, now() - n * interval '1 ms', 'type_' || n % 20, 'queue_' || n % 5,
       jsonb_build_object('customer', n), 'user_' || n % 50, 'model_' || n % 5,
       'worker ' || n % 10,
       CASE WHEN n % 50 = 0 THEN 'failed' WHEN n % 101 = 0 THEN 'cancelled'
            WHEN n < 30 THEN 'running' WHEN n < 90 THEN 'pending' ELSE 'completed' END,
       1, CASE WHEN n < 90 THEN n % 90 ELSE 100 END,
       CASE WHEN n NOT BETWEEN 30 AND 89 THEN now() - n * interval '1 ms' END,
       CASE WHEN n >= 90 THEN now() - n * interval '1 ms' + interval '1 s' END,
       n % 70000 * 3, CASE WHEN n % 50 = 0 THEN 'error ' || n END,
       CASE WHEN n % 20 = 3 THEN 'lock_' || n % 100 END, CASE WHEN n % 20 = 3 THEN 'one_' || n % 100 END
FROM generate_series(1, {JOBS}) AS n;
INSERT INTO job_search (job_id, job_created_at, words)
SELECT id, created_at, stoker_words(id, task, owner_name, arguments) || ' ' || md5(id::text)
FROM job;
INSERT INTO bulk_item (bulk_id, job_id, task, found_id, found_created_at)
SELECT 1, id, task, id, created_at FROM job WHERE id BETWEEN 15000 AND 15300;
INSERT INTO bulk_item (bulk_id, job_id, task, found_id, found_created_at)
SELECT 2, id, task, id, created_at FROM job WHERE id > {JOBS - COUNT_LIMIT - 500};
"""

KIND = failures.fingerprint("type_0", "", "error #")

FILTERS: dict[str, Matching] = {
    "all": Matching(),
    "pending": Matching().of(frozenset({"scheduled", "pending", "retrying"})),
    "failed": Matching().of(frozenset({"failed"})),
    "completed": Matching().of(frozenset({"completed"})),
    "type": Matching().where(Job.task == "type_3"),
    "absent type": Matching().where(Job.task == "nothing"),
    "type and status": Matching().where(Job.task == "type_3").of(frozenset({"failed"})),
    "queue and status": Matching().where(Job.queue == "queue_3").of(frozenset({"cancelled"})),
    "owner": Matching().where(Job.owner_name == "user_7"),
    "owner and status": Matching().where(Job.owner_name == "user_7").of(frozenset({"failed"})),
}
SEARCHES = [
    "",
    "type:type_3 status:failed",
    "type:type_3 status:pending queue:queue_3",
    "user:user_7",
    "model:model_3 worker:\"worker 3\"",
    "id:777",
    "created:>1h status:failed",
    "completed:>1h type:type_3",
    "duration:>200",
    "duration:<1",
    "c4ca4238",
    "type_3",
    "type_3 c4ca4238 status:failed",
    "77",
    "77 status:failed",
    "error:\"error 150\"",
    "args.customer:777",
    "args.customer:77",
    "-type:type_3 -c4ca",
    "bulk:1",
    "bulk:1 status:failed",
    "bulk:1 c4ca4238",
    "bulk:2",
    "bulk:2 type:type_3",
    "bulk:2 status:failed",
    "lock:lock_43",
    "lock:lock_3,lock_23 status:completed",
    "queueing_lock:one_43 type:type_3",
    f"fingerprint:{KIND}",
    f"fingerprint:{KIND} user:user_0",
]  # fmt: skip


_SCAN = re.compile(
    r"Seq Scan on job\S* [^\n]*\(actual [^)]*rows=([\d.]+) [^\n]*"
    r"(?:\n +(?:Filter|Buffers|Index)[^\n]*)*(?:\n +Rows Removed by Filter: (\d+))?"
)


@pytest.fixture(scope="module")
def history(postgres: str, template_database: str) -> Iterator[Engine]:
    """A database with a month's history; the module's tests only read it."""
    from sqlalchemy import create_engine

    from app.core import db
    from tests.conftest import new_database

    with new_database(postgres, template_database) as url:
        connect_args = db.connect_args("test")
        # As a server with its database in memory or on flash has it.
        connect_args["options"] += " -c random_page_cost=1.1"
        engine = create_engine(db.sqlalchemy_url(url), connect_args=connect_args)
        with engine.begin() as connection:
            connection.execute(text("SET LOCAL session_replication_role = replica"))
            for statement in SEED.split(";\n"):
                if statement.strip():
                    connection.execute(text(statement))
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("VACUUM ANALYZE job"))
            connection.execute(text("VACUUM ANALYZE job_search"))
            connection.execute(text("VACUUM ANALYZE bulk_item"))
        yield engine
        engine.dispose()


@contextmanager
def statements(engine: Engine) -> Iterator[list[tuple[str, Any]]]:
    """What is executed meanwhile."""
    seen: list[tuple[str, Any]] = []

    def note(_c: Any, _k: Any, statement: str, parameters: Any, *_: Any) -> None:
        seen.append((statement, parameters))

    event.listen(engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(engine, "before_cursor_execute", note)


def check_plans(engine: Engine, read: Callable[[Session], object]) -> None:
    """No statement scans a partition that has rows."""
    with statements(engine) as seen, Session(engine) as session:
        read(session)
    assert seen
    with engine.connect() as connection:
        driver: Any = connection.connection.driver_connection
        for statement, parameters in seen:
            rows = driver.execute("EXPLAIN (ANALYZE, COSTS OFF) " + statement, parameters)
            plan = "\n".join(row[0] for row in rows)
            for scan in _SCAN.finditer(plan):
                # A count that its limit stops may read the first rows as they lie.
                assert float(scan[1]) in (0, COUNT_LIMIT + 1), plan
                assert int(scan[2] or 0) < JOBS / 10, plan


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("sort", get_args(Sort))
@pytest.mark.parametrize("name", FILTERS)
def test_every_list_is_served_by_indexes(
    history: Engine, name: str, sort: Sort, order: Any
) -> None:
    def read(session: Session) -> None:
        wanted = Wanted(sort, order, limit=5)
        total = JOBS if name == "all" else None  # the rollups know
        first = job_lists.page(session, FILTERS[name], wanted, total=total)
        if first.next_cursor is not None:
            after = Wanted(sort, order, limit=5, cursor=first.next_cursor)
            job_lists.page(session, FILTERS[name], after, total=total)

    check_plans(history, read)


@pytest.mark.parametrize("q", SEARCHES)
def test_every_search_is_served_by_indexes(history: Engine, q: str) -> None:
    def read(session: Session) -> None:
        search = search_conditions.read(q, Filters(), owner_name=None)
        job_search.find(session, search, Wanted(limit=5))
        job_search.find(session, search, Wanted(sort="progress", limit=5))

    check_plans(history, read)


def test_the_filters_by_time_and_duration_are_served_by_indexes(history: Engine) -> None:
    def read(session: Session) -> None:
        for filters in (Filters(has_error=True), Filters(min_duration=200.0)):
            search = search_conditions.read(None, filters, owner_name="user_7")
            job_search.find(session, search, Wanted(limit=5))

    check_plans(history, read)


def test_the_types_are_found_by_a_walk_over_the_index(history: Engine) -> None:
    check_plans(history, job_types.list_types)


@pytest.mark.parametrize(
    ("query", "index"),
    [
        ("lock:lock_43", "_lock_created_at_id_idx"),
        ("queueing_lock:one_43", "_queueing_lock_created_at_id_idx"),
        (f"fingerprint:{KIND}", "_md5_created_at_id_idx"),
    ],
)
def test_locks_and_kinds_of_failures_are_found_by_their_own_index(
    history: Engine, query: str, index: str
) -> None:
    search = search_conditions.read(query, Filters(), owner_name=None)
    with statements(history) as seen, Session(history) as session:
        found = job_search.find(session, search, Wanted())
    assert found.page.total_is_exact
    assert found.page.total == 200
    assert found.back_to is None
    with history.connect() as connection:
        driver: Any = connection.connection.driver_connection
        plans = [
            "\n".join(row[0] for row in driver.execute("EXPLAIN " + statement, parameters))
            for statement, parameters in seen
            if "FROM job" in statement
        ]
    assert any(index in plan for plan in plans), plans


@pytest.mark.parametrize(
    "query", ["-lock:lock_43", "-queueing_lock:one_43", f"-fingerprint:{KIND}"]
)
def test_all_but_a_lock_is_looked_for_among_the_newest_and_says_so(
    history: Engine, query: str
) -> None:
    """No index leads past the jobs of a lock: nearly all may hold it."""
    search = search_conditions.read(query, Filters(), owner_name=None)
    with Session(history) as session:
        found = job_search.find(session, search, Wanted())
    assert found.back_to is not None
    assert not found.page.total_is_exact


@pytest.mark.parametrize("owner_name", [None, "user_7"])
def test_what_a_worker_ran_is_found_by_its_name(history: Engine, owner_name: str | None) -> None:
    began = datetime.now(UTC) - timedelta(days=1)
    worker = Worker(name="worker 3", host="gpu1", kind="worker", started_at=began, stopped_at=None)

    def read(session: Session) -> None:
        worker_history.list_jobs(session, worker, owner_name)
        worker_history.count_jobs(session, worker, owner_name)

    check_plans(history, read)
