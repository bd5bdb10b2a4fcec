"""Adopting as a role that owns neither the database nor the queue."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from app.core import schema
from tests.adopt.conftest import Connection, Flask, catalogue


@pytest.fixture
def watcher(queue: Connection) -> Iterator[str]:
    """A role that may only log in."""
    queue.execute("CREATE ROLE watcher LOGIN")
    yield "watcher"
    queue.execute("DROP OWNED BY watcher CASCADE")
    queue.execute("DROP ROLE watcher")


def advice(output: str) -> list[str]:
    return [line.strip() for line in output.splitlines() if line.startswith("  ")]


def test_each_missing_right_is_named_with_what_grants_it(
    queue: Connection, flask: Flask, watcher: str
) -> None:
    before = catalogue(queue)

    refused = flask("adopt", as_role=watcher)

    assert refused.exit_code == 1
    assert advice(refused.output) == [
        "CREATE SCHEMA stoker AUTHORIZATION watcher;",
        "ALTER ROLE watcher SET search_path = stoker, public;",
        "GRANT SELECT, TRIGGER ON public.procrastinate_jobs TO watcher;",
        "GRANT SELECT ON public.procrastinate_events TO watcher;",
        "GRANT SELECT ON public.procrastinate_periodic_defers TO watcher;",
        "GRANT SELECT ON public.procrastinate_workers TO watcher;",
    ]
    assert catalogue(queue) == before


def test_what_the_refusal_advises_is_all_that_is_needed(
    queue: Connection, flask: Flask, watcher: str, url: str
) -> None:
    # The app has an Alembic and a table `job` of its own.
    queue.execute("CREATE TABLE alembic_version (version_num text); CREATE TABLE job (id int)")
    queue.execute("INSERT INTO alembic_version VALUES ('b6d3f2'); INSERT INTO job VALUES (7)")
    queue.execute("INSERT INTO procrastinate_jobs (queue_name, task_name) VALUES ('a', 'mail')")
    for statement in advice(flask("adopt", as_role=watcher).output):
        queue.execute(statement.encode())
    before = catalogue(queue)

    ran = flask("adopt", as_role=watcher)

    assert ran.exit_code == 0, ran.output
    queue.execute("INSERT INTO procrastinate_jobs (queue_name, task_name) VALUES ('a', 'mail')")
    queue.execute("SELECT procrastinate_cancel_job_v1(2, false, false)")
    assert queue.execute("SELECT id, status FROM stoker.job ORDER BY id").fetchall() == [
        (1, "pending"),
        (2, "cancelled"),
    ]
    assert flask("db", "upgrade", as_role=watcher).exit_code == 0
    queue.execute("SET search_path = stoker, public")
    assert schema.is_current(queue)
    queue.execute("RESET search_path")

    removed = flask("adopt", "--remove", "--yes", as_role=watcher)

    assert removed.exit_code == 0, removed.output
    assert catalogue(queue) == before
    assert queue.execute("SELECT * FROM alembic_version, job").fetchall() == [("b6d3f2", 7)]


def test_a_schema_that_may_not_be_looked_into_is_named(
    queue: Connection, flask: Flask, watcher: str
) -> None:
    queue.execute("CREATE SCHEMA shop; CREATE SCHEMA stoker AUTHORIZATION watcher")
    for (name,) in queue.execute(
        "SELECT relname FROM pg_class WHERE relname LIKE 'procrastinate_%' AND relkind = 'r'"
    ).fetchall():
        queue.execute(f"ALTER TABLE {name} SET SCHEMA shop".encode())
        queue.execute(f"GRANT ALL ON shop.{name} TO watcher".encode())

    refused = flask("adopt", as_role=watcher)
    assert refused.exit_code == 1
    assert advice(refused.output) == ["GRANT USAGE ON SCHEMA shop TO watcher;"]
    queue.execute("GRANT USAGE ON SCHEMA shop TO watcher")
    refused = flask("adopt", as_role=watcher)
    assert advice(refused.output) == ["ALTER ROLE watcher SET search_path = stoker, shop;"]
    queue.execute("ALTER ROLE watcher SET search_path = stoker, shop")
    ran = flask("adopt", as_role=watcher)
    assert ran.exit_code == 0, ran.output


@pytest.mark.parametrize("name", ["job", "alembic_version", "adoption", "batch_jobs"])
def test_a_name_that_the_app_uses_is_refused_and_leads_to_a_schema_of_our_own(
    queue: Connection, flask: Flask, name: str
) -> None:
    queue.execute(f"CREATE TABLE {name} (of_the_app int)".encode())
    before = catalogue(queue)

    refused = flask("adopt")

    assert refused.exit_code == 1
    assert f"The schema public has {name} already" in refused.output
    assert "CREATE SCHEMA stoker AUTHORIZATION postgres;" in refused.output
    assert catalogue(queue) == before


def test_a_name_that_only_an_index_of_ours_has_is_refused_too(
    queue: Connection, flask: Flask
) -> None:
    queue.execute("CREATE TABLE job_task_idx (of_the_app int)")
    before = catalogue(queue)

    refused = flask("adopt")

    assert refused.exit_code == 1
    assert "The schema public has job_task_idx already" in refused.output
    assert catalogue(queue) == before


def test_a_job_of_ours_runs_after_one_of_the_apps(
    queue: Connection, flask: Flask, watcher: str
) -> None:
    for statement in advice(flask("adopt", as_role=watcher).output):
        queue.execute(statement.encode())
    assert flask("adopt", as_role=watcher).exit_code == 0
    queue.execute("GRANT INSERT, UPDATE, DELETE ON procrastinate_jobs TO watcher")
    queue.execute("GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO watcher")
    for task in ("mail", "bill"):
        queue.execute(
            "INSERT INTO procrastinate_jobs (queue_name, task_name) VALUES ('shop', %s)", [task]
        )

    def defer(after: int) -> int:
        ran = flask("tasks", "run", "export", "--depends-on", str(after), "--json", as_role=watcher)
        assert ran.exit_code == 0, ran.output
        return int(json.loads(ran.output)["job_id"])

    def end(job_id: int) -> None:
        for status in ("doing", "succeeded"):
            queue.execute(
                "UPDATE procrastinate_jobs SET status = %s WHERE id = %s", [status, job_id]
            )

    def entered(job_id: int) -> bool:
        row = queue.execute("SELECT FROM procrastinate_jobs WHERE id = %s", [job_id])
        return row.fetchone() is not None

    after_mail, after_bill = defer(1), defer(2)
    assert not entered(after_mail)
    # Procrastinate's own trigger writes an event with each job. Where our role may not do that, the
    # app's job has ended nevertheless.
    end(1)
    assert queue.execute("SELECT status FROM stoker.job WHERE id = 1").fetchone() == ("completed",)
    assert not entered(after_mail)

    queue.execute("GRANT INSERT ON procrastinate_events TO watcher")
    end(2)
    assert entered(after_bill)
    assert queue.execute("SELECT id FROM stoker.waiting_job").fetchall() == [(after_mail,)]
