"""`flask retention`, as an operator types it."""

from __future__ import annotations

import json
from collections.abc import Callable

import psycopg
import pytest
from click.testing import Result
from flask import Flask
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from app.core.models import AuditEntry
from app.core.settings import Settings

Run = Callable[..., Result]


@pytest.fixture
def run(app: Flask, session: Session) -> Run:
    session.execute(
        text(
            "INSERT INTO audit_entry (at, actor, action, object_id)"
            " SELECT now() - interval '400 days', 'a', 'b', 'c' FROM generate_series(1, 3)"
        )
    )
    session.commit()
    return lambda *words: app.test_cli_runner().invoke(args=["retention", *words])


def entries(session: Session) -> int:
    session.rollback()
    return session.scalar(select(func.count()).select_from(AuditEntry)) or 0


def test_a_dry_run_counts_and_a_run_removes(run: Run, session: Session) -> None:
    dry = {row["table"]: row for row in json.loads(run("run", "--dry-run", "--json").stdout)}
    assert (dry["audit_entry"]["rows_removed"], entries(session)) == (3, 3)
    done = run("run")
    assert done.exit_code == 0
    assert "audit_entry" in done.stdout
    assert entries(session) == 0


def test_one_table_alone(run: Run, session: Session) -> None:
    rows = json.loads(run("run", "--table", "log_line", "--json").stdout)
    assert [row["table"] for row in rows] == ["log_line"]
    assert entries(session) == 3
    assert run("run", "--table", "user_account").exit_code == 2


def test_the_last_run_is_shown(run: Run) -> None:
    before = {row["table"]: row for row in json.loads(run("show", "--json").stdout)}
    assert (before["job"]["days"], before["job"]["started_at"]) == (180.0, None)
    run("run")
    after = {row["table"]: row for row in json.loads(run("show", "--json").stdout)}
    assert after["audit_entry"]["rows_removed"] == 3
    assert after["audit_entry"]["ended_at"] is not None
    assert "audit_entry" in run("show").stdout


def test_a_second_run_beside_the_first_is_refused_with_a_sentence(
    run: Run, settings: Settings
) -> None:
    with psycopg.connect(settings.database_url) as other:
        other.execute("SELECT pg_advisory_lock(4080113721)")
        refused = run("run")
    assert refused.exit_code == 1
    assert "Another run of the retention" in refused.stderr
