"""Procrastinate's own migrations, which its app runs under our triggers."""

from __future__ import annotations

import pytest
from procrastinate.schema import SchemaManager

from app.core import queue_schema, schema
from app.core.adoption import adopting
from tests.adopt.shops import differences
from tests.migrations import queue_databases
from tests.migrations.conftest import Connection, db, new_database, server, url

__all__ = ["db", "new_database", "server", "url"]

VERSION_3 = [name for name in queue_schema.files() if name >= queue_schema.OLDEST]


@pytest.mark.parametrize("last", VERSION_3[:-1])
def test_jobs_are_recorded_before_and_after_each_of_procrastinates_migrations(
    last: str, url: str, db: Connection
) -> None:
    queue_databases.apply(db, queue_databases.files_until(last))
    run_one_job(db)

    adopting.adopt(url, lambda progress: None)

    for name in [name for name in VERSION_3 if name > last]:
        run_one_job(db)
        queue_databases.apply(db, [name])
        assert schema.is_current(db)
    run_one_job(db)
    row = db.execute("SELECT procrastinate_register_worker_v1()").fetchone()
    assert row is not None
    waiting = run_one_job(db, until="todo")
    db.execute("SELECT procrastinate_fetch_job_v2(NULL, %s)", list(row))
    # Its worker is lost, and another puts the job back.
    db.execute("SELECT procrastinate_unregister_worker_v1(%s)", list(row))
    db.execute("SELECT procrastinate_retry_job_v2(%s, now(), NULL, NULL, NULL)", [waiting])

    assert differences(db) == []
    rows = db.execute(
        "SELECT job.status, number, outcome, count(*) FROM job JOIN attempt ON job_id = job.id"
        " GROUP BY 1, 2, 3 ORDER BY 1"
    ).fetchall()
    later = len([name for name in VERSION_3 if name > last])
    assert rows == [("completed", 1, "completed", later + 2), ("retrying", 1, "lost", 1)]


@pytest.mark.parametrize("last", VERSION_3)
def test_a_removal_leaves_the_tables_of_any_3_x_as_they_were(
    last: str, url: str, db: Connection
) -> None:
    queue_databases.apply(db, queue_databases.files_until(last))
    db.execute("CREATE TABLE procrastinate_migration (name text)")  # as the snapshot expects one
    before = queue_databases.catalogue(db)
    db.execute("DROP TABLE procrastinate_migration")

    adopting.adopt(url, lambda progress: None)
    adopting.remove(url)

    db.execute("CREATE TABLE procrastinate_migration (name text)")
    assert queue_databases.catalogue(db) == before


def test_an_app_older_than_3_is_refused_and_told_what_to_do(url: str, db: Connection) -> None:
    queue_databases.apply(db, [name for name in queue_schema.files() if name < queue_schema.OLDEST])

    with pytest.raises(adopting.Refused, match=r"upgrade that app to Procrastinate 3\.0"):
        adopting.adopt(url, lambda progress: None)


def test_the_newest_schema_is_the_one_that_its_files_make(url: str, db: Connection) -> None:
    """What the other tests take for granted."""
    assert queue_schema.files()[-1] == VERSION_3[-1]
    db.execute(SchemaManager.get_schema())
    adopting.adopt(url, lambda progress: None)
    run_one_job(db)
    assert differences(db) == []


def run_one_job(db: Connection, until: str = "succeeded") -> int:
    """As the queue's functions do in any version."""
    row = db.execute(
        "INSERT INTO procrastinate_jobs (queue_name, task_name, args)"
        " VALUES ('mails', 'mail', '{\"n\": 1}') RETURNING id"
    ).fetchone()
    assert row is not None
    for status in ("doing", "succeeded"):
        if until == "todo":
            break
        db.execute(
            "UPDATE procrastinate_jobs SET status = %s::procrastinate_job_status,"
            " attempts = attempts + (%s)::int WHERE id = %s",
            [status, status == "succeeded", row[0]],
        )
    return int(row[0])
