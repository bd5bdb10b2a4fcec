"""Webhook endpoints: who hears of what, with which signature, and for how long it is tried."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import openai
import pytest
from sqlalchemy import func, select, text, update
from sqlalchemy.orm import Session

from app.core import (
    dead_letters,
    deliveries,
    delivery_log,
    incidents,
    job_events,
    users,
    webhook_endpoints,
    webhooks,
)
from app.core.deliveries import Due, Outcome
from app.core.errors import Conflict, Forbidden, Invalid, NotFound, Refused
from app.core.models import AuditEntry, User, WebhookDelivery, WebhookEndpoint
from app.core.settings import Settings
from tests.pages import seed

URL = "https://hooks.example.org/in?token=hidden"
SETTINGS = Settings()


def add_user(session: Session, name: str, role: str = "user") -> User:
    user = User(name=name, role=role)
    session.add(user)
    session.commit()
    return user


def add_endpoint(session: Session, owner: User, *types: str, **fields: Any) -> WebhookEndpoint:
    endpoint = webhook_endpoints.create(
        session, owner, "test", name="hook", url=URL, event_types=types, **fields
    )
    session.commit()
    return endpoint


def told(session: Session, endpoint: WebhookEndpoint) -> list[dict[str, Any]]:
    query = select(WebhookDelivery.payload).where(WebhookDelivery.endpoint_id == endpoint.id)
    return [json.loads(row) for row in session.scalars(query.order_by(WebhookDelivery.created_at))]


def add_ended_job(session: Session, number: int, status: str, owner: str | None) -> None:
    session.execute(
        text(
            "INSERT INTO job (id, created_at, task, queue, status, ended_at, owner_name,"
            " error_type, error_message) VALUES (:id, now() - interval '1 minute', 'mail', 'q',"
            " :status, now() - interval '10 seconds', :owner, 'OSError', 'no disk')"
        ),
        {"id": number, "status": status, "owner": owner},
    )
    session.commit()


def make_due(session: Session, endpoint: WebhookEndpoint) -> Due:
    batch = seed.add_batch(session)
    webhooks.enqueue(session, batch, "completed")
    session.commit()
    (due,) = deliveries.claim(session, 10)
    assert due.endpoint_id == endpoint.id
    return due


def fail(session: Session, due: Due, now: datetime, **outcome: Any) -> WebhookDelivery:
    outcome = {"status_code": 500, "error": "HTTP 500", **outcome}
    assert deliveries.record(session, due, Outcome(**outcome), SETTINGS, seconds=0.25, now=now)
    session.expire_all()
    return session.get_one(WebhookDelivery, due.id)


def die(session: Session) -> WebhookDelivery:
    """A dead letter of the administrator's."""
    endpoint = add_endpoint(session, users.ensure_admin(session), "batch.completed")
    return fail(session, make_due(session, endpoint), datetime.now(UTC), is_hopeless=True)


# Who hears


def test_an_endpoint_hears_of_its_owners_batches_in_the_types_it_chose(session: Session) -> None:
    admin, kim = users.ensure_admin(session), add_user(session, "kim")
    mine = add_endpoint(session, admin, "batch.completed", "batch.progress")
    failed = add_endpoint(session, admin, "batch.failed")
    others = add_endpoint(session, kim, "batch.completed")
    batch = seed.add_batch(session, total=10)
    webhooks.enqueue_progress(session, batch, 1, {"total": 10, "completed": 1, "failed": 0})
    webhooks.enqueue(session, batch, "completed")
    assert [event["type"] for event in told(session, mine)] == ["batch.progress", "batch.completed"]
    assert told(session, mine)[1]["data"] == {"id": batch.id}
    assert told(session, failed) == told(session, others) == []


def test_an_operators_endpoint_may_hear_of_everybodys_and_a_users_may_not(session: Session) -> None:
    kim, olga = add_user(session, "kim"), add_user(session, "olga", "operator")
    every = add_endpoint(session, olga, "batch.failed", hears_all=True)
    with pytest.raises(Forbidden):
        add_endpoint(session, kim, "batch.failed", hears_all=True)
    webhooks.enqueue(session, seed.add_batch(session), "failed")
    assert len(told(session, every)) == 1
    olga.role = "user"  # who is no operator any more hears of nobody else's
    webhooks.enqueue(session, seed.add_batch(session), "failed")
    assert len(told(session, every)) == 1


def test_a_disabled_users_endpoint_hears_nothing(session: Session) -> None:
    kim = add_user(session, "kim")
    endpoint = add_endpoint(session, kim, "batch.completed")
    users.disable(session, "kim", "test")
    webhooks.enqueue(session, seed.add_batch(session, owner_id=kim.id), "completed")
    assert told(session, endpoint) == []


def test_each_ended_job_is_told_once_to_its_owner_and_to_who_hears_all(session: Session) -> None:
    admin, kim = users.ensure_admin(session), add_user(session, "kim")
    every = add_endpoint(session, admin, "job.failed", hears_all=True)
    kims = add_endpoint(session, kim, "job.failed", "job.completed")
    session.execute(update(WebhookEndpoint).values(created_at=func.now() - timedelta(hours=1)))
    add_ended_job(session, 1, "failed", "kim")
    add_ended_job(session, 2, "completed", "kim")
    add_ended_job(session, 3, "failed", None)
    assert job_events.scan(session) == 4
    assert job_events.scan(session) == 0
    assert {event["data"]["id"] for event in told(session, every)} == {"1", "3"}
    assert {event["type"] for event in told(session, kims)} == {"job.failed", "job.completed"}
    failed = next(event["data"] for event in told(session, kims) if event["data"]["id"] == "1")
    assert failed == {
        "id": "1",
        "job_type": "mail",
        "queue": "q",
        "status": "failed",
        "error_type": "OSError",
        "error_message": "no disk",
    }


def test_a_new_endpoint_hears_of_no_job_that_ended_before_it_was_there(session: Session) -> None:
    add_ended_job(session, 1, "failed", None)
    endpoint = add_endpoint(session, users.ensure_admin(session), "job.failed", hears_all=True)
    job_events.scan(session)
    assert told(session, endpoint) == []


def test_an_incident_is_told_when_it_opens_and_not_when_it_counts_up(session: Session) -> None:
    endpoint = add_endpoint(session, users.ensure_admin(session), "incident.opened", hears_all=True)
    for _ in range(2):
        incident_id = incidents.report(
            session, source="failure", risk_level="low", fingerprint="f", text="mail failed"
        )
    (event,) = told(session, endpoint)
    assert event["data"]["id"] == str(incident_id)
    assert event["data"]["text"] == "mail failed"


# The endpoint itself


def test_unfit_endpoints_are_refused(session: Session) -> None:
    admin = users.ensure_admin(session)
    with pytest.raises(Invalid, match="event type"):
        add_endpoint(session, admin, "batch.exploded")
    with pytest.raises(Invalid, match="one event type"):
        add_endpoint(session, admin)
    with pytest.raises(Invalid, match="http or https"):
        webhook_endpoints.create(
            session, admin, "t", name="n", url="ftp://x", event_types=["job.failed"]
        )


def test_a_user_has_a_hundred_endpoints_at_most(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook_endpoints, "_MOST_PER_OWNER", 1)
    kim = add_user(session, "kim")
    add_endpoint(session, kim, "batch.failed")
    with pytest.raises(Refused, match="at most"):
        add_endpoint(session, kim, "batch.failed")


def test_a_rotated_secret_and_the_old_one_both_fit_for_a_day(session: Session) -> None:
    admin = users.ensure_admin(session)
    endpoint = add_endpoint(session, admin, "batch.completed")
    old = endpoint.secret
    webhook_endpoints.rotate_secret(session, endpoint, "test", keep_old=True)
    session.commit()
    due = make_due(session, endpoint)
    assert len(due.headers()["webhook-signature"].split(" ")) == 2
    for secret in (old, endpoint.secret):
        assert verify(due, secret)
    endpoint.old_secret_until = datetime.now(UTC) - timedelta(seconds=1)
    session.execute(update(WebhookDelivery).values(claimed_until=None))
    session.commit()
    (due,) = deliveries.claim(session, 10)
    assert not verify(due, old)
    assert verify(due, endpoint.secret)


def test_without_being_told_to_keep_it_the_old_secret_ends_at_once(session: Session) -> None:
    endpoint = add_endpoint(session, users.ensure_admin(session), "batch.completed")
    old = endpoint.secret
    webhook_endpoints.rotate_secret(session, endpoint, "test", keep_old=False)
    session.commit()
    due = make_due(session, endpoint)
    assert verify(due, endpoint.secret)
    assert not verify(due, old)


def verify(due: Due, secret: str) -> bool:
    """As the official client does."""
    with openai.OpenAI(api_key="none", webhook_secret=secret) as client:
        try:
            client.webhooks.unwrap(due.payload, due.headers())
        except openai.InvalidWebhookSignatureError:
            return False
    return True


def test_no_secret_is_in_the_audit_trail(session: Session) -> None:
    endpoint = add_endpoint(session, users.ensure_admin(session), "batch.completed")
    webhook_endpoints.rotate_secret(session, endpoint, "test", keep_old=True)
    webhook_endpoints.change(session, endpoint, "test", url="https://other.example.org/")
    session.commit()
    rows = session.execute(select(AuditEntry.action, AuditEntry.details)).all()
    assert len(rows) == 3
    assert not any("whsec_" in row.details or "hidden" in row.details for row in rows)


def test_a_change_that_changes_nothing_is_none(session: Session) -> None:
    endpoint = add_endpoint(session, users.ensure_admin(session), "batch.completed")
    before = endpoint.updated_at
    webhook_endpoints.change(
        session, endpoint, "test", name="hook", event_types=["batch.completed"]
    )
    assert endpoint.updated_at == before
    webhook_endpoints.change(session, endpoint, "test", name="another")
    assert endpoint.updated_at > before


def test_what_was_not_heard_yet_goes_to_the_new_url(session: Session) -> None:
    letter = die(session)
    (endpoint,) = session.scalars(select(WebhookEndpoint)).all()
    webhook_endpoints.change(session, endpoint, "test", url="https://NEW.example.org/")
    dead_letters.retry(session, letter.id, None, "test")
    session.commit()
    (due,) = deliveries.claim(session, 10)
    assert (due.id, due.url, due.host) == (letter.id, endpoint.url, "new.example.org")


def test_an_endpoint_that_answers_410_is_disabled_until_it_is_changed(session: Session) -> None:
    endpoint = add_endpoint(session, users.ensure_admin(session), "batch.completed")
    due = make_due(session, endpoint)
    assert deliveries.record(session, due, deliveries.judge(410), SETTINGS)
    session.expire_all()
    assert session.get_one(WebhookDelivery, due.id).status == "dead"
    webhooks.enqueue(session, seed.add_batch(session), "completed")
    assert len(told(session, endpoint)) == 1
    webhook_endpoints.change(session, endpoint, "test")
    webhooks.enqueue(session, seed.add_batch(session), "completed")
    assert len(told(session, endpoint)) == 2


def test_a_deleted_endpoint_takes_its_deliveries_along(session: Session) -> None:
    endpoint = add_endpoint(session, users.ensure_admin(session), "batch.completed")
    fail(session, make_due(session, endpoint), datetime.now(UTC))
    webhook_endpoints.remove(session, endpoint, "test")
    session.commit()
    assert session.scalar(select(func.count()).select_from(WebhookDelivery)) == 0
    with pytest.raises(NotFound):
        webhook_endpoints.get(session, endpoint.id, None)


# Tries


def test_an_event_is_tried_for_72_hours_and_then_a_dead_letter(session: Session) -> None:
    endpoint = add_endpoint(session, users.ensure_admin(session), "batch.completed")
    due = make_due(session, endpoint)
    now, pauses = due.created_at, []
    while (letter := fail(session, due, now)).status == "pending":
        pauses.append((letter.next_try_at - now).total_seconds())
        now = letter.next_try_at
        session.execute(update(WebhookDelivery).values(next_try_at=func.now()))
        session.commit()
        (due,) = deliveries.claim(session, 10)
    assert 4 <= pauses[0] <= 6
    assert 24 <= pauses[1] <= 36
    assert max(pauses) <= 3600 * 1.2
    assert len(set(pauses)) == len(pauses)  # no two alike: receivers are not all asked at once
    hours = (now - due.created_at).total_seconds() / 3600
    assert 70.8 <= hours <= 72
    assert letter.died_at == now
    found, total = dead_letters.list_letters(session, None, limit=10, offset=0)
    assert (total, [each.id for each in found]) == (1, [due.id])


def test_each_try_is_in_the_log_with_its_time_and_outcome(session: Session) -> None:
    endpoint = add_endpoint(session, users.ensure_admin(session), "batch.completed")
    due = make_due(session, endpoint)
    now = datetime.now(UTC)
    fail(session, due, now, status_code=None, error="TLS failed")
    session.execute(update(WebhookDelivery).values(next_try_at=func.now()))
    session.commit()
    (due,) = deliveries.claim(session, 10)
    assert deliveries.record(session, due, Outcome(204), SETTINGS, seconds=1.5)
    assert not deliveries.record(session, due, Outcome(204), SETTINGS)  # by another, meanwhile
    found, has_more = delivery_log.list_deliveries(
        session, None, endpoint_id=endpoint.id, after=None, limit=10
    )
    assert ([each.id for each in found], has_more) == ([due.id], False)
    first, second = delivery_log.tries_of(session, [due.id])[due.id]
    assert (first.number, first.status_code, first.error) == (1, None, "TLS failed")
    assert (first.at, first.milliseconds) == (now - timedelta(seconds=0.25), 250)
    assert (second.number, second.status_code, second.error) == (2, 204, None)
    assert second.milliseconds == 1500


# Dead letters


def test_a_dead_letter_is_sent_once_more_and_says_whether_that_was_heard(session: Session) -> None:
    letter = die(session)
    assert dead_letters.is_heard(letter) is None
    retried = dead_letters.retry(session, letter.id, None, "test")
    session.commit()
    assert (retried.status, dead_letters.is_heard(retried)) == ("pending", None)
    with pytest.raises(Conflict, match="just now"):
        dead_letters.retry(session, letter.id, None, "test", force=True)
    with pytest.raises(Conflict, match="just now"):
        dead_letters.remove(session, letter.id, None, "test")
    (due,) = deliveries.claim(session, 10)
    died_at = letter.died_at
    letter = fail(session, due, datetime.now(UTC))  # one try, not another 72 hours
    assert (letter.status, letter.died_at, letter.tries) == ("dead", died_at, 2)
    assert dead_letters.is_heard(letter) is False
    dead_letters.retry(session, letter.id, None, "test")
    session.commit()
    (due,) = deliveries.claim(session, 10)
    assert deliveries.record(session, due, Outcome(200), SETTINGS)
    session.expire_all()
    assert dead_letters.is_heard(letter) is True
    with pytest.raises(Conflict, match="force"):
        dead_letters.retry(session, letter.id, None, "test")
    assert dead_letters.retry(session, letter.id, None, "test", force=True).status == "pending"


def test_somebody_elses_dead_letter_is_none(session: Session) -> None:
    letter, kim = die(session), add_user(session, "kim")
    assert dead_letters.list_letters(session, kim.id, limit=10, offset=0) == ([], 0)
    for call in (dead_letters.retry, dead_letters.remove):
        with pytest.raises(NotFound):
            call(session, letter.id, kim.id, "kim")
    dead_letters.remove(session, letter.id, letter.owner_id, "test")
    assert dead_letters.list_letters(session, None, limit=10, offset=0) == ([], 0)
    with pytest.raises(NotFound):
        dead_letters.remove(session, letter.id, None, "test")


def test_what_was_not_given_up_is_no_dead_letter(session: Session) -> None:
    endpoint = add_endpoint(session, users.ensure_admin(session), "batch.completed")
    due = make_due(session, endpoint)
    with pytest.raises(NotFound):
        dead_letters.retry(session, due.id, None, "test")
    with pytest.raises(NotFound):
        dead_letters.remove(session, due.id, None, "test")


def test_a_test_is_tried_once_and_leaves_no_dead_letter(session: Session) -> None:
    endpoint = add_endpoint(session, users.ensure_admin(session), "batch.completed")
    session.add(webhook_endpoints.sample(session, endpoint, "batch.failed"))
    session.commit()
    (due,) = deliveries.claim(session, 10)
    assert due.timeout_seconds == 10
    assert fail(session, due, datetime.now(UTC)).status == "dead"
    assert dead_letters.list_letters(session, None, limit=10, offset=0) == ([], 0)
