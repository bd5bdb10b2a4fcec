"""`flask doctor`: a word and a remedy for each check, and an exit code for programs."""

from __future__ import annotations

import json
from collections.abc import Callable
from uuid import uuid4

from click.testing import Result
from flask import Flask
from sqlalchemy.orm import Session

from app.core.models import Worker
from app.core.settings import Settings
from app.factory import create_app


def test_a_fault_is_told_with_its_remedy_and_ends_with_1(
    run: Callable[..., Result], session: Session
) -> None:
    told = run("doctor", "--json")
    assert told.exit_code == 1
    rows = {row["check"]: row for row in json.loads(told.stdout)}
    assert list(rows["worker"]) == ["check", "status", "finding", "remedy"]
    assert rows["worker"]["status"] == "failed"
    assert "flask up" in rows["worker"]["remedy"]
    assert rows["schema"]["status"] == "ok"
    assert rows["schema"]["remedy"] is None
    assert told.stderr == "Error: Not all is well: worker, housekeeper.\n"

    shown = run("doctor", env={"COLUMNS": "150"})
    assert "→ Start it" in shown.stdout


def test_warnings_alone_end_with_0(run: Callable[..., Result], session: Session) -> None:
    for kind in ("worker", "housekeeper"):
        session.add(Worker(id=uuid4(), kind=kind, name=kind, host="h", pid=1, status="idle"))
    session.commit()
    told = run("doctor", "--json")
    assert told.exit_code == 0, told.stderr
    rows = {row["check"]: row["status"] for row in json.loads(told.stdout)}
    assert rows["models"] == "warning"  # there is no models file
    assert "failed" not in rows.values()


def test_without_a_database_it_still_says_what_it_can(settings: Settings) -> None:
    app: Flask = create_app(settings.model_copy(update={"database_url": ""}))
    told = app.test_cli_runner().invoke(args=["doctor", "--json"])
    assert told.exit_code == 1
    rows = {row["check"]: row for row in json.loads(told.stdout)}
    assert rows["database"]["status"] == "failed"
    assert "DATABASE_URL" in rows["database"]["remedy"]
    assert rows["python"]["status"] == "ok"
