"""The queues and who works on them, and the pause of a queue."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from flask.testing import FlaskClient
from playwright.sync_api import Page, expect
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from app.core.models import AuditEntry, QueuePause
from tests.conftest import wait_until
from tests.pages import record_seed

pytestmark = pytest.mark.usefixtures("clear_jobs")

Open = Callable[..., Page]
SignIn = Callable[..., FlaskClient]


def add_worker(session: Session, name: str, *, running: list[int], seconds: float = 0) -> None:
    """A worker that was heard of so many seconds ago; commits."""
    session.execute(
        text(
            "INSERT INTO worker (id, kind, name, host, pid, status, current_model, running_job_ids,"
            " metrics, last_heartbeat_at) VALUES (gen_random_uuid(), 'worker', :name, 'gpu1', 4711,"
            " 'running', 'gemma', :running, CAST(:metrics AS jsonb), :at)"
        ),
        {
            "name": name,
            "running": running,
            "metrics": json.dumps(
                {"host_cpu_percent": 41, "memory_bytes": 4_100_000_000, "gpu_utilization": 94}
            ),
            "at": datetime.now(UTC) - timedelta(seconds=seconds),
        },
    )
    session.commit()


def pauses(session: Session) -> list[tuple[str, str, str]]:
    session.rollback()
    return [
        (each.queue, each.paused_by, each.reason) for each in session.scalars(select(QueuePause))
    ]


def row(page: str, queue: str) -> str:
    """What the page says in a queue's row."""
    begin = page.index(f'data-queue="{queue}"')
    return page[begin : page.index("</tr>", begin)]


def test_each_queue_says_how_much_waits_and_for_how_long(session: Session, sign_in: SignIn) -> None:
    record_seed.add_job(session, "pending", minutes=7, queue="tasks")
    record_seed.add_job(session, "pending", minutes=3, queue="model:gemma")
    later = datetime.now(UTC) + timedelta(hours=1)
    record_seed.add_job(session, "pending", minutes=50, queue="model:gemma", scheduled_at=later)
    record_seed.add_job(session, "failed", queue="tasks")
    page = sign_in().get("/queue").text
    assert 'id="card-pending">2<' in page
    assert 'id="card-scheduled">1<' in page
    assert 'id="card-total">4<' in page
    assert "7 min 0" in row(page, "tasks")
    assert 'href="/jobs?q=queue:%22model:gemma%22"' in row(page, "model:gemma")
    assert "model:gemma" in sign_in().get("/jobs?q=queue:%22model:gemma%22").text
    assert "3 min 0" in row(page, "model:gemma")
    assert "No clean-up has run yet." in page
    assert "No worker" in page


@pytest.mark.parametrize("name", ["model:gemma", 'a "b" \\ c', "back\\"])
def test_a_queue_leads_to_its_jobs_whatever_it_is_called(
    session: Session, sign_in: SignIn, name: str
) -> None:
    mine = record_seed.add_job(session, "pending", queue=name)
    other = record_seed.add_job(session, "pending", queue="tasks")
    client = sign_in()
    found = re.search(r'href="(/jobs\?q=queue:(?!%22tasks)[^"]*)"', client.get("/queue").text)
    assert found
    page = client.get(found[1]).text
    assert f'id="row-{mine}"' in page
    assert f'id="row-{other}"' not in page


def test_workers_say_where_they_are_and_what_they_do(session: Session, sign_in: SignIn) -> None:
    mine = record_seed.add_job(session, "running", owner_name="ann")
    other = record_seed.add_job(session, "running", owner_name="bob")
    add_worker(session, "worker-a", running=[mine, other])
    add_worker(session, "worker-b", running=[], seconds=4000)
    page = sign_in("ann", "user").get("/queue").text
    assert f'href="/jobs/{mine}"' in page
    assert f'href="/jobs/{other}"' not in page
    assert "another&#39;s job" in page or "another's job" in page
    for said in ("gpu1", "4711", "41 %", "4.1 GB", "94 %", "Lost", 'id="card-workers">1<'):
        assert said in page, said


def test_only_operators_pause_and_resume(session: Session, sign_in: SignIn) -> None:
    record_seed.add_job(session, queue="tasks")
    client = sign_in("ann", "user")
    assert "/queue/tasks/pause" not in client.get("/queue").text
    assert client.get("/queue/tasks/pause").status_code == 403
    for verb in ("pause", "resume"):
        answer = client.post(f"/queue/tasks/{verb}", headers={"Sec-Fetch-Site": "same-origin"})
        assert answer.status_code == 403
    assert pauses(session) == []


def test_a_pause_without_the_forms_token_is_refused(session: Session, sign_in: SignIn) -> None:
    record_seed.add_job(session, queue="tasks")
    answer = sign_in().post(
        "/queue/tasks/pause", data={"reason": "x"}, headers={"Sec-Fetch-Site": "same-origin"}
    )
    assert answer.status_code == 403
    assert pauses(session) == []


@pytest.mark.parametrize("name", ["nowhere", "%00", "%E2%80%AE", "a/b/c"])
def test_a_queue_that_is_not_there_is_a_404(sign_in: SignIn, name: str) -> None:
    client = sign_in()
    assert client.get(f"/queue/{name}/pause").status_code == 404
    assert client.get(f"/queue/{name}/resume").status_code == 404


@pytest.mark.browser
def test_an_operator_pauses_a_queue_with_a_reason_and_resumes_it(
    open_page: Open, session: Session
) -> None:
    record_seed.add_job(session, "pending", queue="tasks")
    page = open_page("/queue")
    tasks = page.locator("[data-queue=tasks]")
    # The figures are kept for a moment: they may be those of another test.
    wait_until(lambda: page.reload() and tasks.is_visible(), "the queue's row")
    tasks.get_by_role("button", name="Pause").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Pause tasks?")
    page.get_by_label("Why").fill("<b>disk</b> is full")
    page.get_by_role("button", name="Pause it").click()
    expect(tasks).to_contain_text("by admin")
    expect(tasks).to_contain_text("<b>disk</b> is full")
    expect(page.locator("#health")).to_be_visible()
    assert pauses(session) == [("tasks", "admin", "<b>disk</b> is full")]

    tasks.get_by_role("button", name="Resume").click()
    expect(page.locator(".ask")).to_contain_text("<b>disk</b> is full")
    page.get_by_role("button", name="Resume it").click()
    expect(tasks.get_by_role("button", name="Pause")).to_be_visible()
    assert pauses(session) == []
    actions = session.scalars(select(AuditEntry.action).order_by(AuditEntry.id.desc()).limit(2))
    assert list(actions) == ["queue.resume", "queue.pause"]
