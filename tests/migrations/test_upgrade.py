"""`flask db upgrade` from nothing, and again."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from psycopg import sql
from sqlalchemy import NullPool, create_engine

from app.core import db as database
from app.core import record, schema
from app.core.models import Base
from app.core.settings import load_settings
from app.factory import create_app

Connection = psycopg.Connection[Any]

# Procrastinate's tables, and the partitions of ours.
NOT_OURS = r"procrastinate_|(job|job_transition|attempt|job_search|log_line)_(default|\d)"

TABLES = "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace"


def alembic_config(url: str) -> Config:
    config = Config(schema.MIGRATIONS / "alembic.ini")
    config.attributes["database_url"] = url
    return config


def test_an_empty_database_becomes_current(url: str, db: Connection) -> None:
    assert not schema.is_current(db)

    schema.upgrade(url)

    assert schema.is_current(db)
    tables = {name for (name,) in db.execute(TABLES)}
    assert {table.name for table in Base.metadata.sorted_tables} <= tables
    assert {"procrastinate_jobs", "procrastinate_workers"} <= tables


def test_a_job_can_be_deferred_and_fetched_after_the_upgrade(url: str, db: Connection) -> None:
    schema.upgrade(url)

    db.execute("INSERT INTO procrastinate_jobs (queue_name, task_name) VALUES ('batches', 'run')")
    fetched = db.execute(
        "SELECT (procrastinate_fetch_job_v2('{batches}', worker_id)).status"
        " FROM procrastinate_register_worker_v1()"
    ).fetchone()

    assert fetched == ("doing",)


def test_deliveries_from_before_there_were_endpoints_have_their_owner_and_their_death(
    url: str, db: Connection
) -> None:
    command.upgrade(alembic_config(url), "0002")
    db.execute("INSERT INTO user_account (id, name, role) VALUES (5, 'kim', 'user')")
    db.execute(
        "INSERT INTO batch (id, owner_id, input_file_id, endpoint, completion_window, fingerprint,"
        " expires_at) VALUES ('batch_1', 5, 'file-1', '/v1/responses', '24h', '', now())"
    )
    for delivery, status in (("evt_1", "dead"), ("evt_2", "pending")):
        db.execute(
            "INSERT INTO webhook_delivery (id, batch_id, type, url, host, payload, status,"
            " last_tried_at) VALUES (%s, 'batch_1', 'batch.failed', 'https://x', 'x', '{}', %s,"
            " '2026-03-04')",
            [delivery, status],
        )

    schema.upgrade(url)

    rows = db.execute(
        "SELECT owner_id, died_at = last_tried_at FROM webhook_delivery ORDER BY id"
    ).fetchall()
    assert rows == [(5, True), (5, None)]


def test_upgrading_again_changes_nothing(url: str, db: Connection) -> None:
    # Any change of the catalogue or of a row leaves a newer transaction's number.
    traces = (
        "SELECT max(xmin::text::bigint) FROM pg_class"
        " UNION ALL SELECT max(xmin::text::bigint) FROM pg_proc"
        " UNION ALL SELECT max(xmin::text::bigint) FROM pg_extension"
        " UNION ALL SELECT max(xmin::text::bigint) FROM procrastinate_migration"
        " UNION ALL SELECT max(xmin::text::bigint) FROM alembic_version"
    )
    schema.upgrade(url)
    before = db.execute(traces).fetchall()

    schema.upgrade(url)

    assert db.execute(traces).fetchall() == before


def test_the_models_describe_what_the_migrations_make(url: str) -> None:
    schema.upgrade(url)

    engine = create_engine(
        database.sqlalchemy_url(url),
        poolclass=NullPool,
        connect_args=database.connect_args("comparison"),
    )
    with engine.connect() as connection:
        options = {
            "compare_type": True,
            "compare_server_default": True,
            "include_name": lambda name, kind, parents: (
                (kind != "table" or not re.match(NOT_OURS, name))
                and (kind != "index" or name not in record.WORD_INDEXES)
            ),
        }
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, Base.metadata) == []


def test_the_flask_command_makes_the_same(url: str, db: Connection, tmp_path: Path) -> None:
    app = create_app(load_settings(database_url=url, var=tmp_path))

    for _ in range(2):
        ran = app.test_cli_runner().invoke(args=["db", "upgrade"])
        assert ran.exit_code == 0, ran.output
    with app.app_context():
        app.extensions["sqlalchemy"].engine.dispose()

    assert schema.is_current(db)


def test_several_upgrades_at_once_make_one_schema(url: str, db: Connection) -> None:
    program = "import sys; from app.core import schema; schema.upgrade(sys.argv[1])"
    upgrades = [
        subprocess.Popen([sys.executable, "-c", program, url], cwd=schema.MIGRATIONS.parent)
        for _ in range(3)
    ]

    assert [upgrade.wait() for upgrade in upgrades] == [0, 0, 0]
    assert schema.is_current(db)


def test_an_older_revision_is_not_current(url: str, db: Connection) -> None:
    schema.upgrade(url)
    db.execute("UPDATE alembic_version SET version_num = '0000'")

    assert not schema.is_current(db)


def test_the_newest_numbered_version_is_the_only_head() -> None:
    scripts = ScriptDirectory(str(schema.MIGRATIONS))

    assert scripts.get_heads() == [schema.head()]


def test_a_command_that_only_looks_changes_nothing(url: str, db: Connection) -> None:
    command.current(alembic_config(url))

    assert db.execute(TABLES).fetchall() == []


def test_going_back_is_refused_and_names_the_remedy(url: str, db: Connection) -> None:
    schema.upgrade(url)

    with pytest.raises(RuntimeError, match="restore a backup"):
        command.downgrade(alembic_config(url), "base")

    assert schema.is_current(db)


def test_an_upgrade_as_a_script_is_refused(url: str) -> None:
    with pytest.raises(RuntimeError, match="without --sql"):
        command.upgrade(alembic_config(url), "head", sql=True)


def test_a_database_that_is_away_is_one_sentence(url: str) -> None:
    with pytest.raises(schema.SchemaError, match=r"can't be reached: .*no_such"):
        schema.upgrade(url.replace("/migrated_", "/no_such_"))


def test_a_server_that_is_too_old_is_refused(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "OLDEST_POSTGRES", 99)

    with pytest.raises(schema.SchemaError, match="needs Postgres 99 or newer, this server is 1"):
        schema.upgrade(url)


def test_an_owner_without_further_rights_can_upgrade(
    new_database: Callable[[], str], server: str
) -> None:
    url = new_database()
    with psycopg.connect(url, autocommit=True) as connection:
        name = sql.Identifier(connection.info.dbname)
        connection.execute("DROP ROLE IF EXISTS plain_owner")
        connection.execute("CREATE ROLE plain_owner LOGIN")
        connection.execute(sql.SQL("ALTER DATABASE {} OWNER TO plain_owner").format(name))
        connection.execute("ALTER SCHEMA public OWNER TO plain_owner")
    url = url.replace("postgres@", "plain_owner@")

    schema.upgrade(url)

    with psycopg.connect(url) as connection:
        assert schema.is_current(connection)


def test_the_search_path_chooses_the_schema(url: str, db: Connection) -> None:
    db.execute("CREATE SCHEMA stoker")
    name = sql.Identifier(db.info.dbname)
    db.execute(sql.SQL("ALTER DATABASE {} SET search_path = stoker").format(name))

    schema.upgrade(url)

    assert db.execute(TABLES).fetchall() == []
    with psycopg.connect(url) as connection:
        assert schema.is_current(connection)
