"""What the shell offers at <Tab>."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete
from flask import Flask
from flask.cli import ScriptInfo
from sqlalchemy.orm import Session

from app.core.settings import Settings
from app.factory import create_app
from tests.conftest import ROOT, process_environment
from tests.worker.stack import Stack, chat


def offered(app: Flask, *words: str) -> list[str]:
    """What is offered for the last of the words."""
    complete = ShellComplete(
        app.cli, {"obj": ScriptInfo(create_app=lambda: app)}, "flask", "_FLASK_COMPLETE"
    )
    return [str(item.value) for item in complete.get_completions(list(words[:-1]), words[-1])]


def test_ids_and_names_are_offered(
    app: Flask, settings: Settings, session: Session, tmp_path: Path
) -> None:
    stack = Stack(settings, session, tmp_path)
    stack.write_models(small={}, large={})
    batch = stack.submit([chat("a")])

    assert offered(app, "batches", "show", "") == [batch.id]
    assert offered(app, "batches", "show", "file") == []
    assert offered(app, "batches", "submit", "x", "--model", "s") == ["small"]
    assert offered(app, "batches", "submit", "x", "--user", "a") == ["admin"]
    assert offered(app, "users", "disable", "") == ["admin"]
    assert "export" in offered(app, "tasks", "run", "")
    assert offered(app, "batches", "re") == ["retry-failed"]


def test_without_a_database_nothing_is_offered(settings: Settings) -> None:
    away = settings.model_copy(update={"database_url": "postgresql://127.0.0.1:1/none"})

    assert offered(create_app(away), "batches", "show", "") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_documented_lines_give_the_shell_its_completion(settings: Settings, shell: str) -> None:
    flask = str(Path(sys.executable).with_name("flask"))
    printed = subprocess.run(
        [flask],
        cwd=ROOT,
        env={**process_environment(settings), "_FLASK_COMPLETE": f"{shell}_source"},
        capture_output=True,
        text=True,
    )
    assert "_FLASK_COMPLETE" in printed.stdout
    page = (ROOT / "docs" / "reference" / "commands.md").read_text()
    assert f"_FLASK_COMPLETE={shell}_source flask" in page


def test_a_shell_is_answered(settings: Settings, session: Session, tmp_path: Path) -> None:
    batch = Stack(settings, session, tmp_path).submit([chat("a")])
    printed = subprocess.run(
        [str(Path(sys.executable).with_name("flask"))],
        cwd=ROOT,
        env={
            **process_environment(settings),
            "_FLASK_COMPLETE": "bash_complete",
            "COMP_WORDS": "flask batches cancel batch_",
            "COMP_CWORD": "3",
        },
        capture_output=True,
        text=True,
    )
    assert printed.stdout.split() == [f"plain,{batch.id}"]
