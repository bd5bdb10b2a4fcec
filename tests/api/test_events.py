"""/api/events/export: asked for by a program, written by the worker, downloaded as a file."""

from __future__ import annotations

import json
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from app.core.models import File, Incident, Job
from tests.conftest import wait_until
from tests.worker.stack import Stack


def test_an_export_of_incidents_is_filtered_as_asked_and_can_be_downloaded(
    client: FlaskClient, stack: Stack, session: Session
) -> None:
    session.execute(
        insert(Incident),
        [
            {"source": source, "risk_level": level, "fingerprint": f"{n}", "text": "=cmd()"}
            for n, (source, level) in enumerate(
                [("failure", "high"), ("failure", "low"), ("stall", "high")]
            )
        ],
    )
    session.commit()
    stack.start()
    answer = client.post(
        "/api/events/export",
        json={
            "format": "json",
            "camera_id": "failure",
            "risk_level": "high",
            "start_date": "2020-01-01T00:00:00Z",
            "end_date": "",
            "reviewed": False,
        },
    )
    assert answer.status_code == 202
    assert set(answer.json) == {"job_id", "status", "message"}

    def job() -> Job:
        session.rollback()
        return session.scalars(select(Job).where(Job.id == int(answer.json["job_id"]))).one()

    wait_until(lambda: job().ended_at, "the export has ended")
    assert job().status == "completed"
    file = session.scalars(select(File).where(File.purpose == "export")).one()
    downloaded = client.get(f"/v1/files/{file.id}/content")
    items = json.loads(downloaded.data)["items"]
    downloaded.close()
    assert [(item["source"], item["risk_level"]) for item in items] == [("failure", "high")]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"format": "xml"}, "format"),
        ({"risk_level": "huge"}, "risk_level"),
        ({"start_date": "yesterday"}, "start_date"),
        ({"colour": "red"}, "colour"),
        ({"source": "a", "camera_id": "b"}, "camera_id"),
    ],
)
def test_what_an_export_can_not_read_is_named(
    client: FlaskClient, body: dict[str, Any], param: str
) -> None:
    answer = client.post("/api/events/export", json=body)
    assert (answer.status_code, answer.json["error"]["param"]) == (400, param)


def test_an_export_needs_a_key_that_may_submit(make_client: Any) -> None:
    assert make_client(None).post("/api/events/export", json={}).status_code == 401
