"""`flask tasks`: every built-in task from a shell, seen through to its end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core import tasks
from app.core.models import Job, JobDependency
from app.core.settings import Settings
from tests.cli.test_backup import flask
from tests.worker.stack import Stack


@pytest.fixture
def stack(settings: Settings, session: Session, tmp_path: Path) -> Iterator[Stack]:
    stack = Stack(settings, session, tmp_path)
    stack.write_models(fake={})
    yield stack
    stack.stop()


def test_the_list_names_every_task_and_its_arguments(settings: Settings) -> None:
    listed = json.loads(flask(settings, "tasks", "list", "--json").stdout)
    names = {row["name"] for row in listed}
    assert names == {spec.name for spec in tasks.TASKS.values() if spec.is_deferrable}
    assert next(row for row in listed if row["name"] == "re_evaluation")["arguments"] == [
        "batch_id",
        "model",
    ]


def test_what_a_task_can_not_take_ends_with_one_sentence(settings: Settings) -> None:
    for words, said in (
        (("export", "format=xml"), "format: "),
        (("export", "colour"), "is no KEY=VALUE"),
        (("paint",), "There is no task 'paint'"),
        (("backup", "keep=0"), "keep: "),
    ):
        refused = flask(settings, "tasks", "run", *words)
        assert refused.returncode != 0
        assert said in refused.stderr
        assert "Traceback" not in refused.stderr


def test_a_task_is_run_at_a_time_after_others_and_once(app: Flask, session: Session) -> None:
    run = app.test_cli_runner().invoke
    first = json.loads(run(args=["tasks", "run", "export", "--json"]).stdout)["job_id"]
    words = [
        *("tasks", "run", "cleanup", "--at", "2040-02-03T04:05", "--priority", "7"),
        *("--lock", "nightly", "--timeout", "2.5", "--idempotency-key", "once"),
        *("--depends-on", str(first)),
    ]
    made, again = run(args=words), run(args=words)

    job = session.scalars(select(Job).where(Job.task == "cleanup")).one()
    assert made.output == f"Job {job.id} is deferred.\n"
    assert again.output == f"Job {job.id} was deferred before, under this key.\n"
    assert job.scheduled_at == datetime(2040, 2, 3, 4, 5, tzinfo=UTC)
    assert (job.priority, job.lock, job.timeout_seconds) == (7, "nightly", 2.5)
    assert session.scalars(select(JobDependency.needs_id)).all() == [first]


def test_a_task_is_run_after_a_while(app: Flask, session: Session) -> None:
    before = datetime.now(UTC)
    result = app.test_cli_runner().invoke(args=["tasks", "run", "export", "--in", "2h"])
    assert result.exit_code == 0, result.output
    at = session.scalars(select(Job.scheduled_at)).one()
    assert at is not None
    assert timedelta(hours=2) <= at - before < timedelta(hours=3)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--at", "soon"), "'soon' is no time"),
        (("--in", "10"), "'10' is no time"),
        (("--at", "2040-01-01", "--in", "1d"), "not both"),
        (("--at", "2300-01-01"), "schedule_at: "),
        (("--priority", "1001"), "priority: "),
        (("--timeout", "0"), "timeout_seconds: "),
        (("--depends-on", "x"), "depends_on: "),
        (("--depends-on", "77"), "There is no job '77'."),
        (("--in", "1d", "--idempotency-key", "k"), "with a key say --at"),
    ],
)
def test_terms_that_can_not_be_read_are_refused(
    app: Flask, session: Session, options: tuple[str, ...], said: str
) -> None:
    result = app.test_cli_runner().invoke(args=["tasks", "run", "export", *options])
    assert result.exit_code != 0
    assert said in result.stderr
    assert session.scalar(select(Job)) is None


def test_an_export_a_backup_and_an_import_are_watched_to_their_ends(
    stack: Stack, settings: Settings
) -> None:
    stack.start()
    exported = flask(settings, "tasks", "run", "export", "format=json", "--watch", "--json")
    assert exported.returncode == 0, exported.stderr + stack.logs()
    job = json.loads(exported.stdout)
    assert (job["status"], job["result"]["rows"]) == ("completed", 1)

    watched = flask(settings, "tasks", "run", "backup", "keep=3", "--watch")
    assert watched.returncode == 0, watched.stderr + stack.logs()
    assert "completed 100%" in watched.stdout
    assert len(json.loads(flask(settings, "backup", "list", "--json").stdout)) == 1

    path = settings.files_path / job["result"]["file_id"]
    imported = flask(settings, "tasks", "run", "import", "--file", str(path), "--watch", "--json")
    assert imported.returncode == 0, imported.stderr + stack.logs()
    assert json.loads(imported.stdout)["result"]["already_there"] == 1

    damaged = settings.var_path / "damaged.json"
    damaged.write_bytes(path.read_bytes().replace(b'"queue"', b'"line"'))
    failed = flask(settings, "tasks", "run", "import", "--file", str(damaged), "--watch", "--json")
    assert failed.returncode == 1
    assert "line 2: " in json.loads(failed.stdout)["error"]
