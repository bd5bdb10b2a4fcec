"""Incidents: opened for what goes wrong, once each, until somebody has reviewed them."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from app.core import incidents
from app.core.errors import Conflict, NotFound
from app.core.models import AuditEntry, Incident


def add_job(session: Session, number: int, **values: Any) -> None:
    row = {
        "id": 5_000_000 + number,
        "task": "mail",
        "status": "completed",
        "run_ms": 10,
        "error_type": None,
        "error_message": None,
        **values,
    }
    session.execute(
        text(
            "INSERT INTO job (id, created_at, task, queue, status, run_ms, started_at, ended_at,"
            " error_type, error_message) VALUES (:id, now() - interval '2 minutes', :task, 'q',"
            " :status, :run_ms, now() - interval '70 seconds', now() - interval '1 minute',"
            " :error_type, :error_message)"
        ),
        row,
    )


def found(session: Session) -> dict[str, Incident]:
    return {each.fingerprint: each for each in session.scalars(select(Incident))}


def test_failures_of_one_kind_are_one_incident_until_it_is_reviewed(session: Session) -> None:
    for n in range(3):
        add_job(session, n, status="failed", error_type="OSError", error_message=f"disk {n}\nx")
    add_job(session, 3, status="failed", error_type="KeyError", error_message="'a'")
    session.commit()
    assert incidents.scan(session) == 2
    assert incidents.scan(session) == 0
    opened = found(session)["failure:mail:OSError"]
    assert (opened.source, opened.risk_level, opened.occurrences) == ("failure", "medium", 3)
    assert opened.text.startswith("mail failed with OSError: disk")
    assert opened.job_id in (5_000_000, 5_000_001, 5_000_002)

    incidents.review(session, opened.id, "ann")
    session.commit()
    with pytest.raises(Conflict, match="ann"):
        incidents.review(session, opened.id, "ben")
    with pytest.raises(NotFound):
        incidents.review(session, 12345, "ben")
    assert session.scalars(select(AuditEntry.action)).all() == ["incident.review"]
    again = incidents.report(
        session, source="failure", risk_level="low", fingerprint=opened.fingerprint, text="again"
    )
    assert again != opened.id


def test_what_happens_again_counts_up_and_its_level_only_rises(session: Session) -> None:
    for level, count in (("low", 1), ("medium", 2), ("low", 3)):
        incidents.report(
            session,
            source="stall",
            risk_level=level,
            fingerprint="x",
            text=level,
            occurrences=count,
        )
    session.expire_all()
    assert (found(session)["x"].occurrences, found(session)["x"].risk_level) == (6, "medium")
    incidents.report(
        session, source="stall", risk_level="low", fingerprint="x", text="more", occurrences=10
    )
    session.expire_all()
    assert found(session)["x"].risk_level == "high"


def test_a_run_far_beyond_the_usual_and_a_slow_type_are_reported(session: Session) -> None:
    for n in range(40):
        add_job(session, n, run_ms=500 + n)
    add_job(session, 40, run_ms=9_000)
    add_job(session, 41, task="train", run_ms=100_000)
    session.commit()
    incidents.scan(session)
    assert set(found(session)) == {"slow-run:mail", "slow-type:train"}
    slow = found(session)["slow-run:mail"]
    assert (slow.job_id, slow.occurrences) == (5_000_040, 1)
    assert "took 9.0 s" in slow.text


def test_an_attempt_that_lost_its_worker_is_a_stall(session: Session) -> None:
    add_job(session, 1)
    session.execute(
        text(
            "INSERT INTO attempt (job_id, job_created_at, number, task, queue, worker_name,"
            " started_at, ended_at, outcome) SELECT id, created_at, 1, task, queue, 'worker-a-1',"
            " started_at, ended_at, 'lost' FROM job"
        )
    )
    session.commit()
    incidents.scan(session)
    stall = found(session)["stall:mail"]
    assert (stall.source, stall.risk_level, stall.job_id) == ("stall", "high", 5_000_001)
    assert "worker-a-1" in stall.text


def test_a_look_reads_only_what_has_ended_since_the_last(session: Session) -> None:
    add_job(session, 1, status="failed", error_type="A", error_message="a")
    session.commit()
    incidents.scan(session)
    session.execute(text("UPDATE incident_scan SET seen_until = now() - interval '30 seconds'"))
    add_job(session, 2, status="failed", error_type="B", error_message="b")
    session.commit()
    assert incidents.scan(session) == 0
    assert set(found(session)) == {"failure:mail:A"}


def test_two_types_that_often_run_at_once_are_reported_once_a_day(session: Session) -> None:
    session.execute(
        text(
            "INSERT INTO attempt (job_id, job_created_at, number, task, queue, started_at, ended_at,"
            " outcome) SELECT n, now(), 1, (ARRAY['mail', 'train', 'rare'])[1 + n % 3], 'q',"
            " now() - interval '1 hour', now() - interval '30 minutes', 'completed'"
            " FROM generate_series(1, 12) AS n WHERE n % 3 < 2 OR n = 2"
        )
    )
    session.commit()
    assert incidents.scan_overlaps(session, most_per_day=10) == 1
    assert incidents.scan_overlaps(session, most_per_day=10) == 0
    opened = found(session)["overlap:mail:train"]
    assert (opened.source, opened.risk_level, opened.details["pairs"]) == ("overlap", "low", 16)
