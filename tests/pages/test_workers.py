"""A worker's page: who ran what, and how long each worker of its machine lived."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import pytest
from flask.testing import FlaskClient
from playwright.sync_api import Page, expect
from sqlalchemy import text
from sqlalchemy.orm import Session

from tests.pages.conftest import violations
from tests.pages.job_seed import add_job, no_jobs

pytestmark = pytest.mark.usefixtures("no_jobs")

__all__ = ["no_jobs"]

Open = Callable[..., Page]
SignIn = Callable[..., FlaskClient]

METRICS = (
    '{"gpu_utilization": 94, "gpu_memory_percent": 81, "gpu_temperature": 71,'
    ' "host_cpu_percent": 41, "memory_bytes": 4100000000, "tokens_per_second": 812.5}'
)


def add_worker(session: Session, name: str, status: str = "running", **minutes: float) -> UUID:
    """A worker that `started` and `stopped` so many minutes ago; commits. One that lives goes on to."""
    worker_id = uuid4()
    stopped = minutes.get("stopped")
    session.execute(
        text(
            "INSERT INTO worker (id, kind, name, host, pid, status, metrics, started_at,"
            " last_heartbeat_at, stopped_at) VALUES (:id, 'worker', :name, 'gpu1', 4711, :status,"
            " CAST(:metrics AS jsonb), now() - make_interval(mins => :started),"
            " now() - make_interval(mins => coalesce(:stopped, -60)),"
            " now() - make_interval(mins => :stopped))"
        ),
        {
            "id": worker_id,
            "name": name,
            "status": status,
            "metrics": METRICS,
            "started": round(minutes["started"]),
            "stopped": None if stopped is None else round(stopped),
        },
    )
    session.commit()
    return worker_id


def test_the_page_of_a_worker_that_lives_refreshes_as_often_as_one_chooses(
    sign_in: SignIn, session: Session
) -> None:
    alive = add_worker(session, "new", started=60)
    gone = add_worker(session, "old", "stopped", started=600, stopped=300)
    client = sign_in()

    page = client.get(f"/queue/workers/{alive}?refresh=300").text
    assert 'hx-trigger="every 300s"' in page
    assert '<option value="300" selected>' in page
    assert f'hx-get="/queue/workers/{alive}?refresh=300"' in page
    assert client.get(f"/queue/workers/{alive}?refresh=often").status_code == 400
    assert "Refresh now" not in client.get(f"/queue/workers/{gone}").text


@pytest.mark.browser
@pytest.mark.parametrize("width", [390, 1440])
def test_from_the_queue_one_comes_to_what_a_worker_ran(
    open_page: Open, session: Session, complaints: Any, width: int
) -> None:
    complaints.are_expected = True  # axe itself offends the policy
    add_worker(session, "old", "lost", started=600, stopped=300)
    add_worker(session, "new", started=60)
    add_job(session, 1, minutes=400, worker_name="old")
    add_job(session, 2, "failed", minutes=30, worker_name="new")
    add_job(session, 3, "running", minutes=1, worker_name="new")
    page = open_page("/queue", width=width)
    expect(page.locator(".workers")).to_contain_text("71 °C")

    page.get_by_role("link", name="new", exact=True).click()

    expect(page).to_have_title("new · Stoker")
    expect(page.locator(".worker-jobs th[scope=row]")).to_have_text(["mail #3", "mail #2"])
    lives = page.locator(".worker-lives tbody tr")
    expect(lives).to_contain_text(["new this one", "old"])
    expect(lives.locator("td:last-child")).to_have_text(["2", "1"])
    expect(page.locator("#worker-now")).to_contain_text("71 °C")
    assert violations(page) == []
    page.get_by_role("link", name="old", exact=True).click()
    expect(page.locator("#worker-now .badge").first).to_have_text("Lost")
    expect(page.locator(".worker-jobs th[scope=row]")).to_have_text(["mail #1"])


def test_another_life_of_the_same_name_is_another(session: Session, sign_in: SignIn) -> None:
    before = add_worker(session, "w", "stopped", started=600, stopped=300)
    add_worker(session, "w", started=60)
    add_job(session, 1, minutes=400, worker_name="w")
    add_job(session, 2, minutes=30, worker_name="w")
    page = sign_in().get(f"/queue/workers/{before}").get_data(as_text=True)
    assert 'href="/jobs/1"' in page
    assert 'href="/jobs/2"' not in page


def test_a_user_sees_only_their_own_jobs_of_it(session: Session, sign_in: SignIn) -> None:
    worker = add_worker(session, "<b>w</b>", started=60)
    add_job(session, 1, minutes=30, worker_name="<b>w</b>")
    add_job(session, 2, minutes=30, worker_name="<b>w</b>", owner_name="ada")
    page = sign_in("ada", role="user").get(f"/queue/workers/{worker}").get_data(as_text=True)
    assert 'href="/jobs/2"' in page
    assert 'href="/jobs/1"' not in page
    assert "<b>w</b>" not in page


@pytest.mark.parametrize(
    "worker", ["0b0e1f52-7c52-4f7e-9a3a-3c1d5a2f9e10", "x", "..%2f", "0" * 400]
)
def test_a_worker_that_is_not_there_is_a_404(sign_in: SignIn, worker: str) -> None:
    assert sign_in().get(f"/queue/workers/{worker}").status_code == 404
