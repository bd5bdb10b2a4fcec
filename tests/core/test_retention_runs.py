"""Runs of the retention: one at a time, by day, broken off, stopped and remembered."""

from __future__ import annotations

import signal
import subprocess
import sys
from datetime import datetime, timedelta
from typing import Any

import psycopg
import pytest
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app.core import retention, retention_runs
from app.core.errors import Conflict, Invalid
from app.core.models import (
    Job,
    RetentionRun,
)
from app.core.settings import Settings
from tests.conftest import ROOT, process_environment, wait_until
from tests.core.retention_seed import NOW, OF_A_JOB, add_jobs, add_leftovers, counts, run

RUN = """
import sys, time
from app.core import retention
from app.core.settings import load_settings
retention.run(load_settings(), chunk=10, is_stopping=lambda seconds: time.sleep(0.1))
"""


def test_the_tables_of_one_run_belong_together(session: Session, settings: Settings) -> None:
    run(settings)
    run(settings, "log_line", "file")
    session.rollback()
    runs = [
        len(set(session.scalars(select(RetentionRun.table_name).filter_by(run_id=each))))
        for each in session.scalars(
            select(RetentionRun.run_id).distinct().order_by(RetentionRun.run_id)
        ).all()
    ]
    assert runs == [len(retention.RULES), 2]


def test_only_one_run_at_a_time(settings: Settings, db: psycopg.Connection[Any]) -> None:
    db.execute("SELECT pg_advisory_lock(4080113721)")
    with pytest.raises(Conflict):
        run(settings)
    assert run(settings, is_dry=True)
    with pytest.raises(Invalid):
        run(settings, "nonsense")


@pytest.mark.faults
@pytest.mark.usefixtures("past")
def test_a_killed_run_is_gone_on_with_by_the_next(
    session: Session, settings: Settings, db: psycopg.Connection[Any]
) -> None:
    add_jobs(db, 300, 400)
    add_jobs(db, 300, 1, "running")
    process = subprocess.Popen(
        [sys.executable, "-c", RUN], cwd=ROOT, env=process_environment(settings)
    )
    try:
        wait_until(lambda: counts(session, Job) < [391], "some jobs are gone")
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    left = counts(session, Job)[0]
    assert left > 1
    broken = session.scalars(select(RetentionRun)).one()
    wait_until(
        lambda: db.execute("SELECT pg_try_advisory_xact_lock(4080113721)").fetchone() == (True,),
        "the killed run's connection is gone",
    )
    left = counts(session, Job)[0]
    session.refresh(broken)
    assert (broken.rows_removed, broken.ended_at) == (401 - left, None)
    assert run(settings, "job")["job"].rows_removed == left - 1
    assert counts(session, *OF_A_JOB) == [1, 1, 1, 1]
    session.refresh(broken)
    assert broken.error == "broken off"


def test_a_run_that_is_told_to_stop_stops_between_chunks(
    session: Session, settings: Settings, db: psycopg.Connection[Any]
) -> None:
    add_jobs(db, 2000, 30)
    done = run(settings, chunk=10, is_stopping=lambda seconds: True)
    assert list(done) == ["job"]
    assert (done["job"].rows_removed, done["job"].error) == (10, "stopped")
    assert counts(session, Job) == [20]


def at(hour: int) -> datetime:
    return NOW.replace(hour=hour, minute=5)


def test_the_daily_run_is_due_at_its_hour_once_and_made_up_for_when_missed(
    session: Session, settings: Settings
) -> None:
    settings = settings.model_copy(update={"retention_hour": 3})
    assert not retention_runs.is_due(session, settings, at(2))
    assert not retention_runs.is_due(session, settings, at(15))
    assert retention_runs.is_due(session, settings, at(3))
    run(settings)
    session.execute(update(RetentionRun).values(started_at=at(3)))
    session.commit()
    assert not retention_runs.is_due(session, settings, at(15))
    assert not retention_runs.is_due(session, settings, at(2) + timedelta(days=1))
    assert retention_runs.is_due(session, settings, at(9) + timedelta(days=1))
    # One that was broken off, or stopped, is gone on with.
    session.execute(update(RetentionRun).where(RetentionRun.id == 1).values(ended_at=None))
    session.commit()
    assert retention_runs.is_due(session, settings, at(15))


def test_the_last_run_of_each_table_is_known(session: Session, settings: Settings) -> None:
    add_leftovers(session)
    before = {row["table"]: row for row in retention_runs.last_runs(session, settings)}
    assert before["job"]["days"] == 180
    assert before["job"]["started_at"] is None
    run(settings)
    run(settings, "job")
    rows = {row["table"]: row for row in retention_runs.last_runs(session, settings)}
    assert rows["audit_entry"]["rows_removed"] == 1
    assert rows["job"]["started_at"] > rows["audit_entry"]["started_at"]
