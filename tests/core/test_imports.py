"""Imports: what was exported is there again, once, and only as history."""

from __future__ import annotations

import json
import zipfile
from datetime import UTC
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import delete, select, text
from sqlalchemy.orm import Session

from app.core import exports, imports, incidents, partitions, tasks, users
from app.core.errors import Invalid
from app.core.models import DirtyHour, Incident, Job, JobSearch
from app.core.tasks import Export


def fill(session: Session) -> None:
    """Jobs with everything that is hard to carry over."""
    actor = users.actor_of(users.ensure_admin(session))
    for _ in range(3):
        tasks.defer_task(session, "export", {"status": "failed"}, actor, settings=None)
    hard = {
        "message": "=1+1",
        "error_message": 'a "quoted"\r\nline, \t\u2028 and \N{SNOWMAN}',
        "error_type": "-x",
        "result": json.dumps(["=", 1.5, None, {"a": True}, 123456789012345678901234567890]),
        "worker_name": "'=w",
    }
    session.execute(
        text(
            "UPDATE job SET status = 'failed', ended_at = now(), started_at = now(), message = :message,"
            " error_message = :error_message, error_type = :error_type, worker_name = :worker_name,"
            " result = CAST(:result AS jsonb), run_ms = 5 WHERE id = (SELECT min(id) FROM job)"
        ),
        hard,
    )
    session.execute(
        text(
            "UPDATE job SET status = 'completed', ended_at = now(), result = '\"just text\"'"
            " WHERE id = (SELECT max(id) FROM job)"
        )
    )
    incidents.report(
        session,
        source="failure",
        risk_level="high",
        fingerprint="failure:mail:E",
        text="@mail failed",
        details={"task": "mail"},
    )
    session.commit()


def write_export(session: Session, folder: Path, what: Any, form: Any) -> Path:
    path = folder / f"{what}.{form}"
    with open(path, "wb") as out:
        asked = Export(what=what, format=form)
        exports.write(session, exports.find(session, asked, None, None), form, out)
    session.rollback()
    return path


def jobs(session: Session) -> list[dict[str, Any]]:
    session.rollback()
    rows = session.execute(select(*Job.__table__.columns).order_by(Job.id)).mappings()
    return [dict(row) for row in rows]


@pytest.mark.parametrize("form", ["json", "csv", "zip"])
def test_exported_jobs_come_back_exactly_and_only_once(
    session: Session, tmp_path: Path, form: str
) -> None:
    fill(session)
    path = write_export(session, tmp_path, "jobs", form)
    before = jobs(session)
    queued = session.scalar(text("SELECT count(*) FROM procrastinate_jobs"))
    session.execute(delete(Job))
    session.execute(delete(JobSearch))
    session.execute(delete(DirtyHour))
    session.commit()

    assert imports.check(path).rows == 3
    assert imports.write(session, path, "jobs") == (3, 0)
    after = jobs(session)
    # What had not ended is history as well: nothing will run it.
    assert after[1].pop("error_message") == "It was pending when it was exported."
    assert (after[1].pop("status"), before[1].pop("status")) == ("cancelled", "pending")
    assert after[1].pop("ended_at") is not None
    for name in ("ended_at", "error_message"):
        before[1].pop(name)
    assert after == before
    assert session.scalar(text("SELECT count(*) FROM procrastinate_jobs")) == queued
    words = session.scalars(select(JobSearch.words)).all()
    assert any("quoted" in each for each in words)
    ends = {job["ended_at"].astimezone(UTC) for job in jobs(session)}
    hours = {end.replace(minute=0, second=0, microsecond=0) for end in ends}
    assert set(session.scalars(select(DirtyHour.hour))) == hours

    assert imports.write(session, path, "jobs") == (0, 3)


def test_an_imported_job_never_takes_the_id_of_one_here(session: Session, tmp_path: Path) -> None:
    fill(session)
    path = write_export(session, tmp_path, "jobs", "json")
    # As if it came from elsewhere: the same ids are other jobs here.
    session.execute(text("UPDATE job SET created_at = created_at + interval '1 second'"))
    session.commit()
    here = {job["id"] for job in jobs(session)}
    assert imports.write(session, path, "jobs") == (3, 0)
    new = {job["id"] for job in jobs(session)} - here
    assert len(new) == 3
    assert min(new) >= 2**52
    assert max(new) < 2**53
    assert imports.write(session, path, "jobs") == (0, 3)


@pytest.mark.parametrize("form", ["json", "csv", "zip"])
def test_exported_incidents_come_back_once(session: Session, tmp_path: Path, form: str) -> None:
    fill(session)
    path = write_export(session, tmp_path, "events", form)
    assert imports.write(session, path, "events") == (0, 1)
    session.execute(delete(Incident))
    session.commit()
    assert imports.check(path).what == "events"
    assert imports.write(session, path, "events") == (1, 0)
    incident = session.scalars(select(Incident)).one()
    assert (incident.text, incident.reviewed_at) == ("@mail failed", None)
    assert imports.write(session, path, "events") == (0, 1)


def test_an_imported_incident_beside_an_open_one_of_its_kind_counts_as_reviewed(
    session: Session, tmp_path: Path
) -> None:
    fill(session)
    path = write_export(session, tmp_path, "events", "json")
    session.execute(text("UPDATE incident SET opened_at = opened_at + interval '1 hour'"))
    session.commit()
    assert imports.write(session, path, "events") == (1, 0)
    by = session.scalars(select(Incident.reviewed_by).order_by(Incident.opened_at)).all()
    assert by == ["import", None]


def test_every_fault_is_named_with_its_line_and_nothing_is_written(
    session: Session, tmp_path: Path
) -> None:
    fill(session)
    path = write_export(session, tmp_path, "jobs", "json")
    lines = path.read_text().split("\n")
    lines[1] = lines[1].replace('"status":"failed"', '"status":"odd"')
    lines[2] = "{nothing},"
    path.write_text("\n".join(lines))
    with pytest.raises(Invalid, match=r"line 2: status: .*; line 3: not valid JSON"):
        imports.check(path)
    path.write_text("\n".join(lines[:1] + lines[3:4]))
    with pytest.raises(Invalid, match="line 3: the file ends in the middle"):
        imports.check(path)

    path = write_export(session, tmp_path, "jobs", "csv")
    path.write_text(path.read_text() + "a,b\n")
    with pytest.raises(Invalid, match=r"line \d+: it has 2 cells"):
        imports.check(path)


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff\xfe\x00", b"a,b\n1,2\n", b'{"a": 1}', b"[1]", b"PK\x03\x04rubbish"],
)
def test_what_is_no_export_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(Invalid):
        imports.check(path)


def test_a_zip_without_an_export_and_results_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "x")
    with pytest.raises(Invalid, match="no export"):
        imports.check(path)
    path.write_text("custom_id,body\na,b\n")
    with pytest.raises(Invalid, match="Only jobs and events"):
        imports.check(path)


def test_old_months_get_partitions_of_their_own(session: Session, database_url: str) -> None:

    with psycopg.connect(database_url, autocommit=True) as connection:
        oldest = imports.old_enough(partitions.existing(connection, "job")[0].begin)
        assert oldest is not None
        before = len(partitions.existing(connection, "log_line"))
        made = partitions.ensure(
            connection, since=oldest.replace(year=oldest.year - 1), tables=partitions.BY_MONTH
        )
        assert len([name for name in made if name.startswith("job_20")]) == 12
        assert len(partitions.existing(connection, "log_line")) == before
