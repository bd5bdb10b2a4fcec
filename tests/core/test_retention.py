"""What the retention removes, what it keeps, and that a run can be broken off anywhere."""

from __future__ import annotations

import os
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from sqlalchemy import func, select, text, update
from sqlalchemy.orm import Session

from app.core import partitions, users
from app.core.models import (
    AuditEntry,
    Batch,
    BrowserSession,
    File,
    Incident,
    Job,
    LogLine,
    Request,
    Result,
    RetentionRun,
    WebhookDelivery,
    Worker,
)
from app.core.settings import Settings
from tests.conftest import wait_until
from tests.core.retention_seed import NOW, OF_A_JOB, add_jobs, add_leftovers, counts, run


@pytest.mark.usefixtures("past")
def test_months_of_ended_jobs_go_as_partitions_and_the_rest_in_chunks(
    session: Session, settings: Settings, db: psycopg.Connection[Any]
) -> None:
    add_jobs(db, 300, 5)
    add_jobs(db, 181, 25)  # in the month in which others are young enough
    add_jobs(db, 179, 3)
    outcome = run(settings, "job", chunk=10)["job"]
    assert outcome.rows_removed == 30
    assert outcome.partitions_dropped > 0
    assert outcome.error is None
    assert counts(session, *OF_A_JOB) == [3, 3, 3, 3]
    for table in partitions.BY_MONTH:
        assert partitions.existing(db, table)[0].end > NOW - timedelta(days=180)


def test_large_results_go_with_their_jobs(
    session: Session, settings: Settings, db: psycopg.Connection[Any]
) -> None:
    add_jobs(db, 2000)
    add_jobs(db, 1)
    old, young = session.scalars(select(Job.id).order_by(Job.created_at)).all()
    session.rollback()
    settings.results_path.mkdir(parents=True)
    names = {f"{old}-1.json", f"{young}-1.json", f".{old}-2.json.77", "notes.txt"}
    for name in names:
        (settings.results_path / name).write_text("1")
        os.utime(settings.results_path / name, (0, 0))
    (settings.results_path / "77777-1.json").write_text("its job is not seen yet")
    run(settings, "job")
    left = {path.name for path in settings.results_path.iterdir()}
    assert left == {f"{young}-1.json", "notes.txt", "77777-1.json"}


@pytest.mark.usefixtures("past")
def test_jobs_go_after_the_days_of_how_they_ended_and_their_months_when_nothing_stays(
    session: Session, settings: Settings, db: psycopg.Connection[Any]
) -> None:
    for days in (400, 100, 40, 5):
        for status in ("completed", "failed", "cancelled"):
            add_jobs(db, days, 15, status)
    kept = {"job_days": 60.0, "failed_days": 365.0, "cancelled_days": 30.0}
    own = settings.model_copy(update=kept)
    dry = run(own, "job", is_dry=True)["job"]
    outcome = run(own, "job", chunk=10)["job"]
    assert outcome.error is None
    # 400 days: all; 100: completed and cancelled; 40: cancelled.
    assert (outcome.rows_removed, dry.rows_removed) == (90, 90)
    assert outcome.partitions_dropped == dry.partitions_dropped > 0
    found = session.execute(
        select(Job.status, func.count()).group_by(Job.status).order_by(Job.status)
    )
    assert [tuple(row) for row in found] == [("cancelled", 15), ("completed", 30), ("failed", 45)]
    assert counts(session, *OF_A_JOB) == [90] * 4
    assert run(own, "job")["job"].rows_removed == 0


@pytest.mark.usefixtures("past")
def test_open_jobs_and_what_an_open_batch_names_stay_with_their_month(
    session: Session, settings: Settings, db: psycopg.Connection[Any]
) -> None:
    add_jobs(db, 300, 4)
    add_jobs(db, 300, 1, "pending")
    add_jobs(db, 330, 2, "failed")
    named = db.execute("SELECT min(id) FROM job WHERE status = 'failed'").fetchone()
    assert named is not None
    session.add(batch(session, job_id=named[0]))
    session.commit()
    outcome = run(settings, "job")["job"]
    assert outcome.rows_removed == 5
    session.rollback()
    assert sorted(session.scalars(select(Job.status))) == ["failed", "pending"]
    assert counts(session, *OF_A_JOB) == [2, 2, 2, 2]


@pytest.mark.usefixtures("past")
def test_a_job_that_was_created_long_ago_and_ended_lately_stays(
    session: Session, settings: Settings, db: psycopg.Connection[Any]
) -> None:
    add_jobs(db, 300)
    db.execute("UPDATE job SET ended_at = now()")
    assert run(settings, "job")["job"].rows_removed == 0
    assert counts(session, *OF_A_JOB) == [1, 1, 1, 1]


def test_what_lies_in_the_default_partition_goes_too(
    session: Session, settings: Settings, db: psycopg.Connection[Any]
) -> None:
    add_jobs(db, 2000, 7)
    db.execute(
        "INSERT INTO log_line (at, job_id, level, message) VALUES (now() - interval '15 days', 1, 'info', 'm')"
    )
    removed = run(settings, "job", "log_line")
    assert [removed["job"].rows_removed, removed["log_line"].rows_removed] == [7, 1]
    assert counts(session, *OF_A_JOB, LogLine) == [0, 0, 0, 0, 0]


def test_days_of_log_lines_go_after_two_weeks(
    session: Session, settings: Settings, db: psycopg.Connection[Any]
) -> None:
    now = datetime.now(UTC)  # of the same day as the run: NOW may be of the day before
    for days in range(4, 24, 4):
        partitions.ensure(db, now=now - timedelta(days=days))
    db.execute(
        "INSERT INTO log_line (at, job_id, level, message)"
        " SELECT now() - make_interval(hours => h), 1, 'info', 'm'"
        " FROM generate_series(1, 24 * 20) AS h"
    )
    outcome = run(settings, "log_line", chunk=3)["log_line"]
    assert outcome.rows_removed == 6 * 24 + 1
    assert outcome.partitions_dropped == 6
    assert session.scalar(select(func.min(LogLine.at))) > NOW - timedelta(days=14)


@pytest.mark.usefixtures("past")
def test_a_dry_run_says_what_a_run_removes_and_removes_nothing(
    session: Session, settings: Settings, db: psycopg.Connection[Any]
) -> None:
    add_jobs(db, 300, 5)
    add_jobs(db, 300, 1, "running")
    add_jobs(db, 330, 2)
    add_leftovers(session)
    dry = run(settings, is_dry=True)
    assert counts(session, Job, RetentionRun) == [8, 0]
    real = run(settings)
    for table, outcome in real.items():
        if table != "batch":  # nothing goes of it until its results have gone
            assert dry[table].rows_removed == outcome.rows_removed, table
            assert dry[table].partitions_dropped == outcome.partitions_dropped, table


def test_a_reader_does_not_keep_a_month_for_ever_and_is_not_kept_waiting(
    session: Session, settings: Settings, db: psycopg.Connection[Any], past: None
) -> None:
    add_jobs(db, 300, 5)
    seen = []
    with psycopg.connect(settings.database_url) as reader:
        reader.execute("SELECT count(*) FROM job")
        thread = threading.Thread(target=lambda: seen.append(run(settings, "job")["job"]))
        thread.start()
        wait_until(
            lambda: db.execute("SELECT 1 FROM retention_run WHERE table_name = 'job'").fetchone(),
            "the run has begun",
        )
        reader.execute("SET statement_timeout = '1s'")
        for _ in range(20):
            assert reader.execute("SELECT count(*) FROM job").fetchone() == (5,)
        reader.rollback()
        thread.join(60)
    assert seen[0].error is None
    assert counts(session, Job) == [0]


def batch(session: Session, **columns: Any) -> Batch:
    return Batch(
        **{
            "id": "batch_open",
            "owner_id": users.ensure_admin(session).id,
            "input_file_id": "file-1",
            "endpoint": "/v1/completions",
            "completion_window": "24h",
            "fingerprint": "",
            "status": "in_progress",
            "expires_at": NOW + timedelta(days=1),
            **columns,
        }
    )


def add_batch(session: Session, name: str, days_ago: float | None) -> Batch:
    """A batch with two requests, of which one has a result; ended, unless `days_ago` is None."""
    ended = {}
    if days_ago is not None:
        ended = {"status": "cancelled", "cancelled_at": NOW - timedelta(days=days_ago)}
    made = batch(session, id=name, **ended)
    session.add(made)
    session.flush()
    for line in (1, 2):
        session.execute(
            text(
                "INSERT INTO request"
                " (batch_number, line, custom_id, position, length, max_tokens, prefix_key)"
                " VALUES (:number, :line, 'c', 0, 1, 1, gen_random_uuid())"
            ),
            {"number": made.number, "line": line},
        )
    session.add(
        Result(
            batch_number=made.number, line=1, id="r", is_success=True, last_tried_at=NOW, body="{}"
        )
    )
    session.commit()
    return made


def test_requests_and_results_go_with_the_files_time_and_the_batch_with_the_jobs(
    session: Session, settings: Settings
) -> None:
    still_open = add_batch(session, "batch_open", None)
    add_batch(session, "batch_young", 29)
    add_batch(session, "batch_old", 31)
    add_batch(session, "batch_oldest", 181)
    done = run(settings)
    assert done["result"].rows_removed == 6
    assert done["batch"].rows_removed == 1
    assert counts(session, Request, Result) == [4, 2]
    assert set(session.scalars(select(Batch.id))) == {"batch_open", "batch_young", "batch_old"}
    session.execute(update(Batch).values(created_at=NOW - timedelta(days=400)))
    session.commit()
    run(settings)
    session.refresh(still_open)


def test_each_further_table_loses_what_is_past_its_time(
    session: Session, settings: Settings
) -> None:
    add_leftovers(session)
    run(settings)
    models = (AuditEntry, Incident, WebhookDelivery, BrowserSession, Worker, File)
    # A delivery that is still to be tried is never too old.
    assert counts(session, *models) == [1, 1, 2, 1, 1, 1]
    again = run(settings)
    assert sum(outcome.rows_removed for outcome in again.values()) == 0


def test_a_long_kept_setting_keeps(session: Session, settings: Settings) -> None:
    add_leftovers(session)
    run(settings.model_copy(update={"audit_days": 2000.0}), "audit_entry")
    assert counts(session, AuditEntry) == [2]
