"""Types of jobs are called by their labels on every page; addresses and files keep the tasks' own names."""

from __future__ import annotations

from collections.abc import Callable
from uuid import uuid4

import pytest
from flask.testing import FlaskClient
from sqlalchemy.orm import Session

from app.core.models import Worker
from tests.pages import record_seed

pytestmark = pytest.mark.usefixtures("clear_jobs")

SignIn = Callable[..., FlaskClient]
NAME = '<span title="batch_audit">Batch Audit</span>'
CHOICE = '<option value="batch_audit"'


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/?type=batch_audit",
        "/timeline",
        "/timeline?type=batch_audit",
        "/failures",
        "/failures?type=batch_audit",
        "/stats?by=type",
        "/stats?type=batch_audit",
        "/platform/jobs/",
        "/platform/jobs/completed/",
        "/platform/jobs/failed/",
        "/platform/jobs/stats/",
    ],
)
def test_a_page_calls_a_type_by_its_label(session: Session, sign_in: SignIn, path: str) -> None:
    for status, error in (("completed", None), ("failed", "no model")):
        record_seed.add_job(session, status, task="batch_audit", error_message=error)
    record_seed.add_job(session, task="mail.send")
    page = sign_in().get(path).text
    assert NAME in page or ">Batch Audit<" in page
    assert ">batch_audit<" not in page
    if CHOICE in page:
        assert "batch_audit</option>" not in page


def test_a_worker_runs_a_job_of_that_type(session: Session, sign_in: SignIn) -> None:
    job = record_seed.add_job(session, "running", task="batch_audit")
    session.add(
        Worker(
            id=uuid4(),
            kind="worker",
            name="gpu 1",
            host="h",
            pid=1,
            status="running",
            running_job_ids=[job],
        )
    )
    session.commit()
    assert f'{NAME} <span class="id">{job}</span>' in sign_in().get("/queue").text


def test_addresses_and_files_keep_the_name(session: Session, sign_in: SignIn) -> None:
    record_seed.add_job(session, task="batch_audit")
    client = sign_in()
    assert "batch_audit" in client.get("/jobs/export.csv").text
    told = client.get("/api/jobs?limit=5").text
    assert '"batch_audit"' in told
    assert "Batch Audit" not in told
