"""Stoker's own processes on an adopted database: what is the app's stays the app's."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy.orm import Session

from app.core import archive, jobs, queue_indexes, recovery, tasks
from app.core.db import make_engine
from app.core.settings import Settings, load_settings
from app.factory import create_app
from tests.adopt.conftest import Connection, Flask
from tests.conftest import ROOT, process_environment, wait_until
from worker.housekeeper import TASKS

LONG_AGO = datetime.now(UTC) - timedelta(days=400)
ROWS = "SELECT * FROM procrastinate_jobs ORDER BY id"


@pytest.fixture
def settings(url: str, tmp_path: Path) -> Settings:
    return load_settings(
        database_url=url,
        var=tmp_path / "var",
        min_free_disk_bytes=0,
        worker_stale_seconds=1,
        housekeeping_seconds=0.2,
        archive_after_seconds=0,
    )


@pytest.fixture
def session(settings: Settings) -> Iterator[Session]:
    engine = make_engine(settings, "test")
    with Session(engine, expire_on_commit=False) as session:
        yield session
    engine.dispose()


@pytest.fixture
def forsaken(queue: Connection, flask: Flask) -> Connection:
    """An app's queue with jobs of dead workers and jobs that ended long ago; then it is adopted.

    Its tasks and queues are called like ours.
    """
    queue.execute("INSERT INTO procrastinate_workers (last_heartbeat) VALUES ('2020-01-01')")
    names = [*TASKS, "mail"]
    for status in ("todo", "doing", "doing", "succeeded", "failed", "cancelled", "aborted"):
        queue.execute(
            "INSERT INTO procrastinate_jobs (queue_name, task_name) SELECT 'mails', unnest(%s::text[])",
            [names],
        )
        queue.execute(
            "UPDATE procrastinate_jobs SET status = %s, worker_id = %s WHERE status = 'todo'"
            " AND id > (SELECT max(id) FROM procrastinate_jobs) - %s",
            [status, None if status == "todo" else 1, len(names)],
        )
    queue.execute("UPDATE procrastinate_events SET at = %s", [LONG_AGO])
    ran = flask("adopt")
    assert ran.exit_code == 0, ran.output
    return queue


def test_recovery_leaves_the_apps_jobs_and_puts_back_ours(
    forsaken: Connection, session: Session, settings: Settings
) -> None:
    before = forsaken.execute(ROWS).fetchall()
    (name, *_) = TASKS
    ours = jobs.defer(session, name, {}, queue=tasks.QUEUE)
    session.commit()
    forsaken.execute("UPDATE procrastinate_jobs SET status = 'doing' WHERE id = %s", [ours])
    forsaken.execute("UPDATE procrastinate_events SET at = %s", [LONG_AGO])

    put_back = recovery.recover(session, settings, TASKS)

    assert put_back == [ours]
    assert forsaken.execute(ROWS).fetchall()[:-1] == before


def test_the_archive_and_the_indexes_leave_the_apps_tables(
    forsaken: Connection, session: Session, settings: Settings
) -> None:
    before = forsaken.execute(ROWS).fetchall()
    workers = forsaken.execute("SELECT * FROM procrastinate_workers").fetchall()

    assert archive.Archive(settings).run(session) == 0
    assert archive.release_workers(session) == 0
    assert queue_indexes.ensure(forsaken, 10) == []

    assert forsaken.execute(ROWS).fetchall() == before
    assert forsaken.execute("SELECT * FROM procrastinate_workers").fetchall() == workers


def test_the_archive_takes_the_apps_rows_once_its_owner_says_so(
    forsaken: Connection, session: Session, settings: Settings, flask: Flask
) -> None:
    assert flask("adopt", "--archive").exit_code == 0

    archive.Archive(settings).run(session)

    rows = forsaken.execute("SELECT DISTINCT status::text FROM procrastinate_jobs ORDER BY 1")
    assert rows.fetchall() == [("doing",), ("todo",)]


@pytest.fixture
def watched(forsaken: Connection, flask: Flask, url: str) -> Iterator[str]:
    """The same database, adopted by a role with the rights that adoption asks for, and no more."""
    assert flask("adopt", "--remove", "--yes").exit_code == 0
    forsaken.execute("CREATE ROLE keeper LOGIN")
    forsaken.execute("CREATE SCHEMA stoker AUTHORIZATION keeper")
    forsaken.execute("ALTER ROLE keeper SET search_path = stoker, public")
    forsaken.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO keeper")
    forsaken.execute("GRANT TRIGGER ON procrastinate_jobs TO keeper")
    ran = flask("adopt", as_role="keeper")
    assert ran.exit_code == 0, ran.output
    yield url.replace("postgres@", "keeper@")
    forsaken.execute("DROP OWNED BY keeper CASCADE")
    forsaken.execute("DROP ROLE keeper")


def test_the_housekeeper_needs_no_further_rights_and_changes_nothing(
    watched: str, forsaken: Connection, settings: Settings, tmp_path: Path
) -> None:
    before = forsaken.execute(ROWS).fetchall()
    log = tmp_path / "housekeeper.log"
    with open(log, "wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "worker.housekeeper"],
            cwd=ROOT,
            env={**process_environment(settings), "DATABASE_URL": watched},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_until(lambda: b"housekeeper.leads" in log.read_bytes(), "the housekeeper leads")
        beats = "SELECT max(last_heartbeat_at) FROM stoker.worker"
        first = forsaken.execute(beats).fetchone()
        wait_until(lambda: forsaken.execute(beats).fetchone() != first, "it has kept house a while")
    finally:
        process.terminate()
        process.wait()

    assert b"chore.failed" not in log.read_bytes(), log.read_text()
    assert process.returncode == 0
    assert forsaken.execute(ROWS).fetchall() == before


def test_a_worker_that_would_end_the_apps_jobs_refuses_to_run(
    forsaken: Connection, settings: Settings
) -> None:
    forsaken.execute(
        "INSERT INTO procrastinate_jobs (queue_name, task_name) VALUES ('tasks', 'mail')"
    )

    refused = run_worker(settings)

    assert refused.returncode == 2
    assert "the app has jobs in the queue tasks, too" in refused.stderr


def test_a_worker_whose_role_may_only_watch_refuses_to_run(
    watched: str, settings: Settings
) -> None:
    refused = run_worker(settings, DATABASE_URL=watched)

    assert refused.returncode == 2
    assert "this role may watch the app's queue, and not change it" in refused.stderr


def run_worker(settings: Settings, **environment: str) -> subprocess.CompletedProcess[str]:
    models = settings.var_path / "models.toml"
    models.parent.mkdir(parents=True, exist_ok=True)
    models.write_text("[models]\n")
    return subprocess.run(
        [sys.executable, "-m", "worker"],
        cwd=ROOT,
        env={
            **process_environment(settings),
            "STOKER_MODELS_FILE": str(models),
            **environment,
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_web_is_ready_without_a_worker(watched: str, tmp_path: Path) -> None:
    app = create_app(load_settings(database_url=watched, var=tmp_path / "var"))
    try:
        answer = app.test_client().get("/readyz")
    finally:
        with app.app_context():
            app.extensions["sqlalchemy"].engine.dispose()

    assert answer.status_code == 200
    assert answer.get_json()["checks"] == {"database": True, "schema": True}
