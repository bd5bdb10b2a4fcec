"""The index of each queue: which queues have one, and what a fetch gains."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from app.core import queue_indexes
from app.core.settings import Settings

ODD = 'it\'s; a "queue" %s'


@pytest.fixture
def db(settings: Settings) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(settings.database_url, autocommit=True) as connection:
        yield connection


def defer(db: psycopg.Connection[Any], *queues: str) -> None:
    for queue in queues:
        db.execute(
            "INSERT INTO procrastinate_jobs (queue_name, task_name) VALUES (%s, 't')", [queue]
        )


def indexes(db: psycopg.Connection[Any]) -> dict[str, bool]:
    rows = db.execute(
        "SELECT relname, indisvalid FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid"
        " WHERE relname LIKE 'stoker\\_todo\\_%'"
    )
    return dict(rows.fetchall())


def of(*queues: str) -> set[str]:
    return {queue_indexes.name_of(queue) for queue in queues}


def test_each_queue_seen_lately_has_an_index_whatever_its_name(
    db: psycopg.Connection[Any],
) -> None:
    defer(db, "gpu", ODD, "ü" * 20)
    assert set(queue_indexes.ensure(db, 16)) == {"gpu", ODD, "ü" * 20}
    assert set(indexes(db)) == of("gpu", ODD, "ü" * 20)
    assert queue_indexes.ensure(db, 16) == []


def test_a_fetch_uses_its_queues_index(db: psycopg.Connection[Any]) -> None:
    defer(db, "gpu")
    db.execute(
        "INSERT INTO procrastinate_jobs (queue_name, task_name)"
        " SELECT 'other', 't' FROM generate_series(1, 2000)"
    )
    queue_indexes.ensure(db, 16)
    db.execute("ANALYZE procrastinate_jobs")
    worker = db.execute("SELECT procrastinate_register_worker_v1()").fetchone()
    assert worker is not None
    db.execute("SELECT pg_stat_force_next_flush()")
    db.execute("SELECT (procrastinate_fetch_job_v2(ARRAY['gpu'], %s)).id", [worker[0]])
    db.execute("SELECT pg_stat_force_next_flush()")
    scans = db.execute(
        "SELECT idx_scan FROM pg_stat_user_indexes WHERE indexrelname = %s",
        [queue_indexes.name_of("gpu")],
    ).fetchone()
    assert scans is not None
    assert scans[0] >= 1


def test_no_more_queues_have_one_than_allowed_and_those_that_do_keep_it(
    db: psycopg.Connection[Any],
) -> None:
    defer(db, "a", "b", "c")
    assert queue_indexes.ensure(db, 2) == ["c", "b"]
    defer(db, "a")
    assert queue_indexes.ensure(db, 2) == []
    assert set(indexes(db)) == of("b", "c")
    assert queue_indexes.ensure(db, 0) == []
    assert indexes(db) == {}


def test_a_queue_that_is_not_used_any_more_loses_its_index(db: psycopg.Connection[Any]) -> None:
    defer(db, "old", "new")
    queue_indexes.ensure(db, 16)
    db.execute("UPDATE job SET created_at = created_at - interval '8 days' WHERE queue = 'old'")
    queue_indexes.ensure(db, 16)
    assert set(indexes(db)) == of("new")


def test_an_index_whose_build_broke_off_is_built_again(
    db: psycopg.Connection[Any], settings: Settings
) -> None:
    defer(db, "gpu")
    with psycopg.connect(settings.database_url) as reader:
        reader.execute("SELECT count(*) FROM procrastinate_jobs")
        reader.execute("INSERT INTO procrastinate_jobs (queue_name, task_name) VALUES ('q', 't')")
        db.execute("SET statement_timeout = '2s'")
        with pytest.raises(psycopg.errors.QueryCanceled):
            queue_indexes.ensure(db, 16)
    db.execute("SET statement_timeout = 0")
    assert False in indexes(db).values()
    queue_indexes.ensure(db, 16)
    assert set(indexes(db).values()) == {True}
    assert of("gpu") <= set(indexes(db))


def test_another_apps_table_gets_none(db: psycopg.Connection[Any]) -> None:
    defer(db, "gpu")
    db.execute("INSERT INTO adoption (id) VALUES (1)")
    assert queue_indexes.ensure(db, 16) == []
    assert indexes(db) == {}
