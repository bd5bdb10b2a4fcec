"""`flask tasks`: every built-in task from a shell, seen through to its end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy.orm import Session

from app.core import tasks
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
