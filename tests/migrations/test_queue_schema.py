"""Databases that another Procrastinate program made, and Procrastinate's later migrations."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from procrastinate.schema import SchemaManager

from app.core import queue_schema, schema
from tests.migrations import queue_databases

Connection = psycopg.Connection[Any]

VERSION_3 = [name for name in queue_schema.files() if name >= queue_schema.OLDEST]
FETCH_JOB = "03.03.00_01_pre_priority_lock_fetch_job.sql"


@pytest.fixture
def newer_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a package's migrations that a test may add to."""
    folder = tmp_path / "migrations"
    shutil.copytree(SchemaManager.get_migrations_path(), folder)
    monkeypatch.setattr(SchemaManager, "get_migrations_path", lambda: str(folder))
    return folder


@pytest.mark.parametrize("last", VERSION_3)
def test_a_database_of_any_3_x_becomes_like_a_new_one(
    last: str, new_database: Callable[[], str]
) -> None:
    fresh, old = new_database(), new_database()
    with psycopg.connect(fresh) as new, psycopg.connect(old, autocommit=True) as db:
        queue_databases.apply(db, queue_databases.files_until(last))

        schema.upgrade(fresh)
        schema.upgrade(old)

        assert queue_databases.catalogue(db) == queue_databases.catalogue(new)
        assert schema.is_current(db)


def test_a_database_that_never_had_the_post_migrations_becomes_like_a_new_one(
    new_database: Callable[[], str],
) -> None:
    fresh, old = new_database(), new_database()
    with psycopg.connect(fresh) as new, psycopg.connect(old, autocommit=True) as db:
        before = [name for name in queue_schema.files() if "_post_" not in name]
        # The last of them changes nothing that the omitted ones made.
        queue_databases.apply(db, before)

        schema.upgrade(fresh)
        schema.upgrade(old)

        assert queue_databases.catalogue(db) == queue_databases.catalogue(new)


def test_a_database_made_from_the_schema_file_needs_no_migration(url: str, db: Connection) -> None:
    db.execute(SchemaManager.get_schema())
    before = queue_databases.functions(db)

    schema.upgrade(url)

    assert queue_databases.functions(db) == before
    assert schema.is_current(db)


def test_jobs_of_an_older_database_survive(url: str, db: Connection) -> None:
    queue_databases.apply(db, queue_databases.files_until("03.00.00_99"))
    db.execute(
        "INSERT INTO procrastinate_jobs (queue_name, task_name, args, status)"
        """ VALUES ('mail', 'send', '{"to": 1}', 'todo'), ('mail', 'send', '{"to": 2}', 'doing'),"""
        """ ('mail', 'send', '{"to": 3}', 'failed')"""
    )
    select = "SELECT id, queue_name, task_name, args, status FROM procrastinate_jobs ORDER BY id"
    before = db.execute(select).fetchall()

    schema.upgrade(url)

    assert db.execute(select).fetchall() == before
    db.execute("SELECT procrastinate_retry_job_v2(3, now(), 5, 'mail', NULL)")
    events = db.execute("SELECT type FROM procrastinate_events WHERE job_id = 3")
    assert "retried" in {kind for (kind,) in events}  # an event that 3.0 did not know


@pytest.mark.parametrize("last", ["01.01.01_01_job_id_bigint.sql", "02.99"])
def test_a_procrastinate_before_3_0_is_refused_and_left_alone(
    last: str, url: str, db: Connection
) -> None:
    queue_databases.apply(db, queue_databases.files_until(last))
    tables = "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace ORDER BY 1"
    before = db.execute(tables).fetchall()

    with pytest.raises(schema.SchemaError, match=r"upgrade that program to Procrastinate 3\.0"):
        schema.upgrade(url)

    assert db.execute(tables).fetchall() == before


def test_a_newer_package_s_migration_is_applied_without_a_revision_of_ours(
    url: str, db: Connection, newer_package: Path
) -> None:
    schema.upgrade(url)
    assert schema.is_current(db)
    (newer_package / "03.99.00_01_pre_new.sql").write_text(
        "CREATE TABLE procrastinate_new (id bigint); -- 100 % new"
    )
    assert not schema.is_current(db)

    schema.upgrade(url)

    assert schema.is_current(db)
    assert db.execute("SELECT to_regclass('procrastinate_new') IS NOT NULL").fetchone() == (True,)


def test_a_new_fetch_function_gets_its_plan_setting_again(
    url: str, db: Connection, newer_package: Path
) -> None:
    schema.upgrade(url)
    shutil.copy(newer_package / FETCH_JOB, newer_package / "03.99.00_01_pre_fetch_job.sql")

    schema.upgrade(url)

    setting = "SELECT proconfig FROM pg_proc WHERE proname = 'procrastinate_fetch_job_v2'"
    assert db.execute(setting).fetchone() == (["plan_cache_mode=force_custom_plan"],)


def test_a_migration_that_fails_leaves_nothing_and_says_which(
    url: str, db: Connection, newer_package: Path
) -> None:
    schema.upgrade(url)
    new = newer_package / "03.99.00_01_pre_new.sql"
    new.write_text(
        "CREATE TABLE procrastinate_new (); ALTER TABLE procrastinate_jobs ADD COLUMN args jsonb;"
    )

    with pytest.raises(schema.SchemaError, match=r"03\.99\.00_01_pre_new\.sql can't be applied"):
        schema.upgrade(url)

    assert db.execute("SELECT to_regclass('procrastinate_new') IS NULL").fetchone() == (True,)
    assert queue_schema.missing(db) == [new.name]


def test_a_database_that_is_ahead_of_the_package_is_refused(url: str, db: Connection) -> None:
    schema.upgrade(url)
    db.execute("INSERT INTO procrastinate_migration (name) VALUES ('04.00.00_01_pre_later.sql')")

    with pytest.raises(schema.SchemaError, match=r"04\.00\.00_01_pre_later\.sql"):
        schema.upgrade(url)


def test_a_broken_off_index_is_built_again(url: str, db: Connection) -> None:
    schema.upgrade(url)
    index = "indexrelid = 'procrastinate_jobs_worker_id_idx'::regclass"
    db.execute(f"UPDATE pg_index SET indisvalid = false WHERE {index}")

    schema.upgrade(url)

    assert db.execute(f"SELECT indisvalid FROM pg_index WHERE {index}").fetchone() == (True,)


def test_what_an_operator_tuned_stays(url: str, db: Connection) -> None:
    schema.upgrade(url)
    db.execute("ALTER TABLE procrastinate_jobs SET (autovacuum_vacuum_scale_factor = 0.07)")

    schema.upgrade(url)

    options = "SELECT reloptions FROM pg_class WHERE relname = 'procrastinate_jobs'"
    row = db.execute(options).fetchone()
    assert row is not None
    assert "autovacuum_vacuum_scale_factor=0.07" in row[0]


def test_live_workers_go_on_while_an_upgrade_waits_for_a_long_transaction(
    url: str, db: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "LOCK_TIMEOUT_SECONDS", 0.1)
    queue_databases.apply(db, queue_databases.files_until("03.00.00_99"))
    waits = "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = %s"
    upgrade = threading.Thread(target=schema.upgrade, args=[url])
    with psycopg.connect(url) as reader:
        reader.execute("SELECT count(*) FROM procrastinate_jobs")
        upgrade.start()
        while db.execute(waits, [db.info.dbname]).fetchone() is None:
            assert upgrade.is_alive()

        # Behind the upgrade's waiting lock this would wait for the reader, which is us.
        db.execute("INSERT INTO procrastinate_jobs (queue_name, task_name) VALUES ('q', 't')")

    upgrade.join()
    assert schema.is_current(db)


def test_an_upgrade_that_never_gets_its_lock_says_so(
    url: str, db: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "LOCK_TIMEOUT_SECONDS", 0.02)
    monkeypatch.setattr(schema, "LOCK_TRIES", 2)
    queue_databases.apply(db, queue_databases.files_until("03.00.00_99"))
    with psycopg.connect(url) as reader:
        reader.execute("SELECT count(*) FROM procrastinate_jobs")

        with pytest.raises(schema.SchemaError, match="end its transaction"):
            schema.upgrade(url)

    schema.upgrade(url)
    assert schema.is_current(db)
