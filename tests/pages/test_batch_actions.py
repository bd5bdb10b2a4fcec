"""A batch is stopped, or what failed of it asked again, from its page; each is asked before it is done."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from flask.testing import FlaskClient
from playwright.sync_api import Page, expect
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from app.core import batches, storage
from app.core.models import AuditEntry, Batch
from app.core.settings import Settings
from tests.pages import record_seed, seed
from tests.pages.conftest import violations
from tests.pages.request_seed import Exchange, add_requests
from tests.pages.test_alerts import SAME, token

Open = Callable[..., Page]
SignIn = Callable[..., FlaskClient]


@pytest.fixture(autouse=True)
def _no_jobs(clear_jobs: None, session: Session) -> Iterator[None]:
    """Nor what this test enqueued."""
    yield
    session.rollback()
    session.execute(text("DELETE FROM procrastinate_jobs"))
    session.commit()


def ended_batch(session: Session, settings: Settings, **fields: object) -> Batch:
    """Two of its three requests are answered, one failed."""
    batch = seed.add_batch(session, id="batch_a", custom_metadata={"team": "search"}, **fields)
    exchanges = [
        Exchange("sky", answer="Air scatters blue light."),
        Exchange("book", error="The prompt is too long."),
        Exchange("sum", answer="42"),
    ]
    add_requests(session, settings, batch, exchanges)
    return batch


def send(client: FlaskClient, path: str) -> tuple[int, str, str]:
    """The form at a path: the answer's status, where it leads, and the page."""
    data = {"csrf_token": token(client.get("/queue/tasks/pause").text)}
    answer = client.post(path, data=data, headers=SAME)
    return answer.status_code, answer.headers.get("Location", ""), answer.text


def test_a_running_batch_is_cancelled_after_it_was_asked(session: Session, sign_in: SignIn) -> None:
    batch = seed.add_batch(session, "in_progress", id="batch_a", total=99)
    client = sign_in()
    assert 'href="/history/batch_a/cancel"' in client.get("/history/batch_a").text
    page = client.get("/history/batch_a/cancel").text
    assert "The 33 results that are written stay" in page
    assert send(client, "/history/batch_a/cancel")[:2] == (303, "/history/batch_a")
    session.expire_all()
    assert batch.status == "cancelling"
    actions = session.scalars(select(AuditEntry.action).where(AuditEntry.object_id == "batch_a"))
    assert "batch.cancel" in list(actions)
    assert "/cancel" not in client.get("/history/batch_a").text
    assert "being cancelled already" in client.get("/history/batch_a/cancel").text


def test_a_batch_that_waits_says_that_nothing_is_asked(session: Session, sign_in: SignIn) -> None:
    seed.add_batch(session, "queued", id="batch_a")
    page = sign_in().get("/history/batch_a/cancel").text
    assert "It leaves the queue, and none of its requests is asked." in page


def test_only_what_failed_is_asked_again_in_a_new_batch(
    session: Session, settings: Settings, sign_in: SignIn
) -> None:
    ended_batch(session, settings)
    client = sign_in()
    page = client.get("/history/batch_a").text
    assert "Retry the failed request …" in page
    page = client.get("/history/batch_a/retry-failed").text
    assert "A new batch asks the request that failed or was never answered" in page
    assert "The prompt is too long." in page
    status, leads_to, _ = send(client, "/history/batch_a/retry-failed")
    assert status == 303
    made = session.scalar(select(Batch).where(Batch.retried_from == "batch_a"))
    assert made is not None
    assert leads_to == f"/history/{made.id}"
    assert made.custom_metadata == {"team": "search", "retried_from": "batch_a"}
    lines = storage.path(settings, made.input_file_id).read_text().splitlines()
    assert ['"book"' in line for line in lines] == [True]
    assert 'href="/history/batch_a"' in client.get(leads_to).text


def test_the_log_is_one_link_away_while_the_job_is_in_the_record(
    session: Session, sign_in: SignIn
) -> None:
    job_id = record_seed.add_job(session, "running", task="run_batch")
    seed.add_batch(session, "in_progress", id="batch_a", job_id=job_id)
    seed.add_batch(session, "in_progress", id="batch_b", job_id=999_999_999)
    client = sign_in()
    assert f'href="/jobs/{job_id}"' in client.get("/history/batch_a").text
    assert "Its job, with the log" not in client.get("/history/batch_b").text


def test_what_cannot_be_done_is_refused_with_a_sentence(
    session: Session, settings: Settings, sign_in: SignIn
) -> None:
    batch = ended_batch(session, settings)
    clean = seed.add_batch(session, id="batch_clean")
    add_requests(session, settings, clean, [Exchange("sky", answer="Air scatters blue light.")])
    seed.add_batch(session, "in_progress", id="batch_open")
    client = sign_in()
    for path, http_status, words in (
        ("batch_a/cancel", 409, "can&#39;t be cancelled"),
        ("batch_clean/retry-failed", 409, "No request of it failed."),
        ("batch_open/retry-failed", 409, "when it has ended"),
        ("batch_none/cancel", 404, "There is no batch"),
    ):
        status, _, page = send(client, f"/history/{path}")
        assert (status, words in page) == (http_status, True), path
        assert client.get(f"/history/{path}").status_code == (404 if "none" in path else 200)
    storage.path(settings, batch.input_file_id).unlink()
    status, _, page = send(client, "/history/batch_a/retry-failed")
    assert status == 404
    assert "input file is gone" in page


def test_a_batch_that_is_removed_meanwhile_is_not_there(
    session: Session, sign_in: SignIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    seed.add_batch(session, "in_progress", id="batch_a")

    def cancel(theirs: Session, batch_id: str, owner_id: int | None) -> Batch:
        theirs.execute(text("DELETE FROM batch WHERE id = :id"), {"id": batch_id})
        theirs.commit()
        return batches.get(theirs, batch_id, owner_id)

    monkeypatch.setattr(batches, "cancel", cancel)
    status, _, page = send(sign_in(), "/history/batch_a/cancel")
    assert status == 404
    assert "There is no batch" in page


def test_somebody_elses_batch_is_not_there(session: Session, sign_in: SignIn) -> None:
    seed.add_batch(session, "in_progress", id="batch_a")
    ann = sign_in("ann", role="user")
    data = {"csrf_token": token(ann.get("/tasks").text)}
    for action in ("cancel", "retry-failed"):
        assert ann.get(f"/history/batch_a/{action}").status_code == 404
        answer = ann.post(f"/history/batch_a/{action}", data=data, headers=SAME)
        assert answer.status_code == 404


@pytest.mark.browser
@pytest.mark.parametrize(("width", "scheme"), [(1440, "light"), (390, "dark")])
def test_the_failed_are_retried_by_two_clicks(
    open_page: Open, session: Session, settings: Settings, width: int, scheme: str
) -> None:
    ended_batch(session, settings)
    page = open_page("/history", width=width, color_scheme=scheme)
    page.locator("#job-batch_a .id a").click()
    dialog = page.locator("#batch-dialog")
    dialog.get_by_role("button", name="Retry the failed request").click()
    expect(page.locator("#ask-title")).to_contain_text("batch_a")
    assert violations(page) == []
    page.get_by_role("button", name="Retry it").click()
    expect(page.locator("#batch-job ~ dl")).to_contain_text("Failed requests of")
    expect(page.get_by_role("button", name="Cancel …")).to_be_visible()
    assert violations(page) == []
