"""The page of a batch's job: how fast it goes, where it stands and what failed, as /v1/queue says."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from uuid import uuid4

import pytest
from flask.testing import FlaskClient
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.core import workers
from tests.pages.job_seed import add_job, no_jobs
from tests.pages.seed import add_batch

pytestmark = pytest.mark.usefixtures("no_jobs")

__all__ = ["no_jobs"]

SignIn = Callable[..., FlaskClient]


def facts(page: str) -> dict[str, str]:
    """The page's section of the batch: names and words."""
    section = page.split('id="job-batch"')[1].split("</section>")[0]
    found = re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", section, re.DOTALL)
    return {
        name: " ".join(html.unescape(re.sub("<.*?>", " ", said)).split()) for name, said in found
    }


def test_a_running_batch_tells_its_speed_and_its_failures(
    session: Session, sign_in: SignIn
) -> None:
    job_id = add_job(session, 1, "running", task="run_batch")
    batch = add_batch(
        session, "in_progress", total=100, completed=38, failed=2, job_id=job_id,
        attempt_token=uuid4(),
    )  # fmt: skip
    session.execute(
        text("UPDATE job SET arguments = jsonb_build_object('batch_id', CAST(:id AS text))"),
        {"id": batch.id},
    )
    session.execute(text("UPDATE attempt SET token = :token"), {"token": batch.attempt_token})
    workers.beat(
        session,
        workers.Pulse(uuid4(), "worker", "gpu-1", "running", metrics={"tokens_per_second": 812.5}),
    )
    client = sign_in()

    page = client.get(f"/jobs/{job_id}").get_data(as_text=True)
    current = client.get("/v1/queue").get_json()["current_job"]

    told = facts(page)
    assert current["batch_id"] == batch.id
    assert told["Model"] == batch.model
    assert told["Answered"] == "40 of 100 requests"
    assert told["Failed"] == "2 requests"
    assert f'href="/history/{batch.id}/requests?status=failed"' in page
    assert f'href="/history/{batch.id}"' in page
    assert told["Tokens per second now"].startswith("812.5 ")
    average = current["throughput"]["average_tokens_per_sec"]
    assert told["Tokens per second so far"] == f"{average:,.1f}"
    assert "s" in told["ETA"]


def test_a_waiting_batch_tells_its_place_and_an_ended_one_its_speed(
    session: Session, sign_in: SignIn
) -> None:
    add_batch(session, "queued", total=10)
    waits, ended = add_batch(session, "queued", total=10), add_batch(session, "completed", total=10)
    for number, (status, batch) in enumerate((("pending", waits), ("completed", ended)), 1):
        add_job(session, number, status, task="run_batch", arguments={"batch_id": batch.id})
    client = sign_in()

    told = facts(client.get("/jobs/1").get_data(as_text=True))
    assert told["Queue position"].startswith("2nd, starts in ")
    assert "Tokens per second now" not in told
    told = facts(client.get("/jobs/2").get_data(as_text=True))
    assert told["Tokens per second"] == f"{10 * (412 + 143) / 20:,.1f}"
    assert "Queue position" not in told


def test_a_batch_of_somebody_else_is_not_told(session: Session, sign_in: SignIn) -> None:
    batch = add_batch(session, "completed")
    client = sign_in("ada", role="user")
    for number, batch_id in enumerate((batch.id, "batch_gone", 7, None), 1):
        add_job(
            session, number, task="run_batch", owner_name="ada", arguments={"batch_id": batch_id}
        )
        answer = client.get(f"/jobs/{number}")
        assert answer.status_code == 200
        assert 'id="job-batch"' not in answer.get_data(as_text=True)
