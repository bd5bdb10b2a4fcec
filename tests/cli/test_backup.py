"""`flask backup`: what was dumped is there again after a restore into an empty database."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from psycopg import sql
from sqlalchemy.orm import Session

from app.core import backups, embedded, files, schema, storage, tasks, users
from app.core.errors import Unavailable
from app.core.settings import Settings
from tests.conftest import ROOT, process_environment


def flask(settings: Settings, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "flask", "--app", "wsgi", *words],
        cwd=ROOT,
        env={**process_environment(settings), **environment},
        capture_output=True,
        text=True,
    )


@pytest.fixture
def empty_database(postgres: str) -> Iterator[str]:
    """The URL of a database without any table."""
    name = f"empty_{secrets.token_hex(6)}"
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    yield urlunsplit(urlsplit(postgres)._replace(path=f"/{name}"))
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def rows(url: str) -> dict[str, list[tuple[object, ...]]]:
    """Every table's rows, in no order that the server chooses."""
    found: dict[str, list[tuple[object, ...]]] = {}
    with psycopg.connect(url) as connection:
        names = connection.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
        ).fetchall()
        for (name,) in names:
            query = sql.SQL("SELECT t::text FROM {} AS t ORDER BY 1").format(sql.Identifier(name))
            found[name] = connection.execute(query).fetchall()
    return found


def fill(session: Session, settings: Settings) -> None:
    admin = users.ensure_admin(session)
    with storage.Draft(settings) as draft:
        draft.write(b"some bytes\n")
        files.create(
            session, settings, draft, owner_id=admin.id, purpose="user_data", filename="a.txt"
        )
    tasks.defer_task(session, "export", {}, users.actor_of(admin), settings=None)
    session.commit()


def test_a_backup_restored_into_an_empty_database_has_every_row_and_file(
    session: Session, settings: Settings, empty_database: str, tmp_path: Path
) -> None:
    fill(session, settings)
    before = rows(settings.database_url)
    assert len(before["job"]) + len(before["job_default"]) > 0 or before["procrastinate_jobs"]
    made = flask(settings, "backup", "create", "--with-files", "--json")
    assert made.returncode == 0, made.stderr
    dump = json.loads(made.stdout)
    assert Path(dump["path"]).stat().st_mode & 0o077 == 0
    listed = json.loads(flask(settings, "backup", "list", "--json").stdout)
    assert [(row["name"], row["has_files"]) for row in listed] == [(dump["name"], True)]
    elsewhere = settings.model_copy(
        update={"var": tmp_path / "elsewhere", "database_url": empty_database}
    )
    restored = flask(elsewhere, "backup", "restore", dump["path"])
    assert restored.returncode == 0, restored.stderr
    assert rows(empty_database) == before
    with psycopg.connect(empty_database) as connection:
        assert schema.is_current(connection)
        kept = connection.execute("SELECT id FROM file").fetchone()
    assert kept is not None
    assert (elsewhere.files_path / kept[0]).read_bytes() == b"some bytes\n"


def test_a_restore_does_not_touch_a_database_that_has_tables(
    session: Session, settings: Settings
) -> None:
    fill(session, settings)
    made = json.loads(flask(settings, "backup", "create", "--json").stdout)
    refused = flask(settings, "backup", "restore", made["name"])
    assert refused.returncode == 1
    assert "is not empty" in refused.stderr
    assert flask(settings, "backup", "restore", "nothing.dump").returncode == 1


def test_only_the_newest_backups_stay(session: Session, settings: Settings) -> None:
    names = []
    for _ in range(3):
        made, _ = backups.create(settings, settings.database_url, keep=2)
        names.append(made.name)
    assert [backup.name for backup in backups.list_backups(settings)] == names[:0:-1]


def test_a_backup_that_is_stopped_leaves_nothing(session: Session, settings: Settings) -> None:
    class Stop(Exception):
        pass

    def check() -> None:
        raise Stop

    files_path = settings.files_path
    files_path.mkdir(parents=True)
    (files_path / "file-1").write_bytes(b"x")
    with pytest.raises(Stop):
        backups.create(settings, settings.database_url, with_files=True, check=check)
    assert list(settings.backups_path.iterdir()) == []


def test_what_a_killed_backup_left_goes_with_the_next_one(settings: Settings) -> None:
    folder = settings.backups_path
    folder.mkdir(parents=True)
    made = backups.create(settings, settings.database_url, with_files=True)[0]
    for name in ("stoker-20250101-000000.dump.4194999.part", "stoker-20250101-000000.files.tar"):
        (folder / name).write_bytes(b"half")

    other = backups.create(settings, settings.database_url)[0]

    left = {made.name, made.files_path.name, other.name}
    assert {path.name for path in folder.iterdir()} == left


def test_no_password_is_on_a_command_line() -> None:
    found = backups.connection_environment(
        "postgresql://ann:s3cret@db.example:5433/stoker?sslmode=require"
    )
    assert found["PGPASSWORD"] == "s3cret"
    assert (found["PGHOST"], found["PGPORT"], found["PGUSER"]) == ("db.example", "5433", "ann")
    assert (found["PGDATABASE"], found["PGSSLMODE"]) == ("stoker", "require")


def test_a_dump_program_older_than_the_server_is_named(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = tmp_path / "bin" / "pg_dump"
    old.parent.mkdir()
    old.write_text('#!/bin/sh\necho "pg_dump (PostgreSQL) 11.2"\n')
    old.chmod(0o755)
    monkeypatch.setattr(backups, "_candidates", lambda name: iter([old]))
    with pytest.raises(Unavailable, match=r"pg_dump of an older version .* is 11"):
        backups.program_for("pg_dump", settings.database_url)
    monkeypatch.undo()
    monkeypatch.setenv("PATH", f"{old.parent}{os.pathsep}{os.environ['PATH']}")
    assert backups.program_for("pg_dump", settings.database_url) != old


def test_a_backup_goes_into_a_new_embedded_server(
    session: Session, settings: Settings, tmp_path: Path
) -> None:
    fill(session, settings)
    before = rows(settings.database_url)
    made = json.loads(flask(settings, "backup", "create", "--json").stdout)
    new = Path(tempfile.mkdtemp(prefix="stoker-"))
    new.chmod(0o711)
    try:
        elsewhere = settings.model_copy(update={"var": new, "database_url": ""})
        restored = flask(elsewhere, "backup", "restore", made["path"], DATABASE_URL="")
        assert restored.returncode == 0, restored.stderr
        assert not embedded.is_running(new / "postgres")
        assert rows(embedded.start(new / "postgres")) == before
    finally:
        embedded.stop(new / "postgres", "immediate")
        shutil.rmtree(embedded.home(new / "postgres"), ignore_errors=True)
        shutil.rmtree(new, ignore_errors=True)
