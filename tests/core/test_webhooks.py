"""Webhooks: what is told about a batch, when again, signed so that the official client reads it."""

from __future__ import annotations

import base64
import json
import time
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import openai
import pytest
from sqlalchemy import Engine, event, func, select, update
from sqlalchemy.orm import Session

from app.core import addresses, logs, outputs, results, signatures, webhooks
from app.core import deliveries as telling
from app.core.deliveries import Due, Outcome
from app.core.models import Batch, WebhookDelivery
from app.core.results import LeaseLost, NewResult
from app.core.settings import Settings
from tests.pages import seed

URL = "https://hooks.example.org:8443/in/path?token=hidden"
SECRET = "whsec_" + base64.b64encode(b"thirty-two bytes of a key, say.").decode()
ALL = ["completed", "failed", "progress"]
SETTINGS = Settings()


def make_batch(session: Session, total: int = 100, **webhook: object) -> tuple[Batch, UUID]:
    """A running batch with nothing answered, and the token that holds it."""
    token = uuid4()
    batch = seed.add_batch(
        session,
        "in_progress",
        total=total,
        completed=0,
        job_id=1,
        attempt_token=token,
        webhook={"url": URL, **webhook} if webhook else None,
    )
    return batch, token


def deliveries(session: Session) -> list[WebhookDelivery]:
    query = select(WebhookDelivery).order_by(WebhookDelivery.created_at)
    return list(session.scalars(query))


def types(session: Session) -> list[str]:
    return [delivery.type for delivery in deliveries(session)]


def answers(first: int, count: int) -> list[NewResult]:
    now = datetime.now(UTC)
    return [
        NewResult(line, f"r{line}", now, status_code=200 if line % 2 else 400, body="{}")
        for line in range(first, first + count)
    ]


def make_due(session: Session, **webhook: object) -> Due:
    """A claimed event of a batch."""
    batch, _ = make_batch(session, **{"events": ALL, **webhook})
    webhooks.enqueue(session, batch, "completed")
    session.commit()
    (due,) = telling.claim(session, 10)
    return due


def fail(session: Session, due: Due, outcome: Outcome) -> WebhookDelivery:
    assert telling.record(session, due, outcome, SETTINGS)
    session.expire_all()
    return session.get_one(WebhookDelivery, due.id)


# Which events


@pytest.mark.parametrize(
    ("status", "events", "told"),
    [
        ("completed", ["completed"], True),
        ("completed", ["failed", "progress"], False),
        ("failed", ["failed"], True),
        ("expired", ["failed"], True),
        ("cancelled", ["failed"], True),
        ("cancelled", ["completed"], False),
        ("expired", None, True),
        ("completed", None, True),
    ],
)
def test_the_end_of_a_batch_is_told_to_who_asked_for_it(
    session: Session, status: str, events: list[str] | None, told: bool
) -> None:
    batch, _ = make_batch(session, events=events)
    webhooks.enqueue(session, batch, status)
    assert types(session) == ([f"batch.{status}"] if told else [])


def test_the_end_and_its_event_are_written_together_or_not_at_all(
    session: Session, settings: Settings
) -> None:
    batch, token = make_batch(session, total=0, events=ALL)
    settings.files_path.mkdir(parents=True)
    with pytest.raises(LeaseLost):
        outputs.finalize(session, settings, batch, uuid4(), "completed")
    assert types(session) == []
    outputs.finalize(session, settings, batch, token, "completed")
    session.expire_all()
    assert batch.status == "completed"
    (delivery,) = deliveries(session)
    event = json.loads(delivery.payload)
    assert event == {
        "id": delivery.id,
        "object": "event",
        "created_at": event["created_at"],
        "type": "batch.completed",
        "data": {"id": batch.id},
    }
    assert delivery.id.startswith("evt_")
    assert abs(event["created_at"] - time.time()) < 600


def test_progress_is_told_once_at_each_tenth_passed(session: Session) -> None:
    batch, token = make_batch(session, total=30, events=["progress"])
    line = 1
    for count in (1, 1, 1, 2, 1, 9, 15):
        results.write(session, batch, token, answers(line, count))
        results.write(session, batch, token, answers(line, count))  # a repetition counts nothing
        line += count
    told = [json.loads(delivery.payload)["data"] for delivery in deliveries(session)]
    assert [data["request_counts"]["completed"] for data in told] == [2, 3, 8, 15]
    done = [data["request_counts"]["completed"] + data["request_counts"]["failed"] for data in told]
    assert done == [3, 6, 15, 30]
    assert {data["request_counts"]["total"] for data in told} == {30}
    assert {data["id"] for data in told} == {batch.id}


def test_progress_costs_nothing_between_two_tenths_and_a_look_for_listeners_at_one(
    session: Session, engine: Engine
) -> None:
    said: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *context: said.append(context[2]))
    counts = []
    for total, webhook in (
        (100, {"events": ["progress"]}),
        (1, {}),
        (1, {"events": ["completed"]}),
        (1, {"events": ["progress"]}),
    ):
        batch, token = make_batch(session, total=total, **webhook)  # type: ignore[arg-type]
        said.clear()
        results.write(session, batch, token, answers(1, 1))
        counts.append(len(said) - (counts[0] if counts else 0))
    assert counts[1:] == [1, 1, 2]


# Tries


def test_a_claimed_event_is_not_claimed_again_before_its_time(session: Session) -> None:
    due = make_due(session)
    assert telling.claim(session, 10) == []
    session.execute(update(WebhookDelivery).values(claimed_until=func.now() - timedelta(seconds=1)))
    session.commit()
    assert [again.id for again in telling.claim(session, 10)] == [due.id]
    telling.release(session)
    assert [again.id for again in telling.claim(session, 10)] == [due.id]
    telling.give_back(session, [due])
    assert [again.tries for again in telling.claim(session, 10)] == [0]


def test_a_host_that_is_busy_gets_nothing_more(session: Session) -> None:
    due = make_due(session)
    telling.release(session)
    assert due.host == "hooks.example.org"
    assert telling.claim(session, 10, ["hooks.example.org"]) == []
    assert len(telling.claim(session, 10, ["other.example.org"])) == 1


def test_a_failed_try_is_repeated_ever_later_and_then_given_up(session: Session) -> None:
    due = make_due(session, max_retries=2)
    for tries, shortest, longest in ((1, 4, 6), (2, 24, 36)):
        delivery = fail(session, due, telling.judge(500))
        assert (delivery.status, delivery.tries) == ("pending", tries)
        assert delivery.last_tried_at is not None
        seconds = (delivery.next_try_at - delivery.last_tried_at).total_seconds()
        assert shortest <= seconds <= longest
        assert telling.claim(session, 10) == []
        session.execute(update(WebhookDelivery).values(next_try_at=func.now()))
        session.commit()
        (due,) = telling.claim(session, 10)
    delivery = fail(session, due, Outcome(error="no answer within 5 s"))
    assert (delivery.status, delivery.tries) == ("dead", 3)
    assert (delivery.last_status_code, delivery.last_error) == (None, "no answer within 5 s")


def test_an_answer_of_410_is_the_end_at_once(session: Session) -> None:
    delivery = fail(session, make_due(session, max_retries=10), telling.judge(410))
    assert (delivery.status, delivery.tries, delivery.last_error) == ("dead", 1, "HTTP 410")


def test_only_2xx_is_delivered() -> None:
    assert [telling.judge(status).error is None for status in (200, 204, 299)] == [True] * 3
    assert all(telling.judge(status).error for status in (300, 302, 307, 400, 429, 500))


def test_a_receiver_may_ask_for_a_longer_pause_up_to_an_hour() -> None:
    assert telling.pause(1, 5.0, 100.0) == 100.0
    assert telling.pause(3, 5.0, 1.0) >= 5.0 * 36 * 0.8
    assert telling.pause(1, 5.0, 1e9) == 3600.0
    assert telling.pause(1, 5.0, -5.0) >= 4.0
    assert telling.pause(10, 5.0) <= 3600 * 1.2


def test_a_try_that_another_has_made_meanwhile_is_not_counted(session: Session) -> None:
    due = make_due(session)
    assert telling.record(session, due, Outcome(204), SETTINGS)
    assert not telling.record(session, due, telling.judge(500), SETTINGS)
    (delivery,) = deliveries(session)
    assert (delivery.status, delivery.tries, delivery.last_error) == ("delivered", 1, None)
    assert delivery.delivered_at is not None


def test_the_log_of_the_batch_tells_each_try_without_secrets(session: Session) -> None:
    due = make_due(session, secret=SECRET)
    fail(session, due, telling.judge(503))
    session.execute(update(WebhookDelivery).values(next_try_at=func.now()))
    session.commit()
    (due,) = telling.claim(session, 1)
    assert telling.record(session, due, Outcome(200), SETTINGS)
    text = logs.read_text(session, session.scalars(select(Batch)).one())
    failed, delivered = text.splitlines()
    assert "WARNING webhook failed" in failed
    assert "try=1" in failed
    assert "error=HTTP 503" in failed
    assert "INFO    webhook delivered" in delivered
    for words in ("event=batch.completed", "host=hooks.example.org", "try=2", "answer=200"):
        assert words in delivered
    assert not any(word in text for word in (SECRET, "hidden", "path", "8443"))


# Signatures


@pytest.mark.parametrize("secret", [SECRET, "any text is a secret – this too"])
def test_the_official_client_verifies_the_signature(session: Session, secret: str) -> None:
    due = make_due(session, secret=secret)
    with openai.OpenAI(api_key="none", webhook_secret=secret) as client:
        event = client.webhooks.unwrap(due.payload, due.headers())
        assert (event.type, event.id) == ("batch.completed", due.id)
        assert isinstance(event, openai.types.webhooks.BatchCompletedWebhookEvent)
        assert event.data.id == due.batch_id
        with pytest.raises(openai.InvalidWebhookSignatureError):
            client.webhooks.verify_signature(due.payload + " ", due.headers())
        with pytest.raises(openai.InvalidWebhookSignatureError):
            client.webhooks.verify_signature(due.payload, due.headers(now=time.time() - 400))
        again = due.headers(now=time.time() + 60)
        client.webhooks.verify_signature(due.payload, again)
    assert again["webhook-id"] == due.id
    assert again["webhook-signature"] != due.headers()["webhook-signature"]


def test_without_a_secret_nothing_is_signed(session: Session) -> None:
    assert "webhook-signature" not in make_due(session).headers()


@pytest.mark.parametrize("secret", ["whsec_", "whsec_abc", "whsec_ä"])
def test_a_secret_that_is_no_base64_is_refused(secret: str) -> None:
    with pytest.raises(ValueError):
        signatures.key(secret)


# Addresses


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "127.0.0.1", "127.255.0.3", "169.254.169.254",
        "172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.2.1", "192.88.99.1", "192.168.1.1",
        "198.18.0.1", "198.51.100.1", "203.0.113.9", "224.0.0.1", "239.255.255.250", "240.0.0.1",
        "255.255.255.255",
        "::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::ffff:8.8.8.8",
        "::ffff:0:8.8.8.8", "64:ff9b::169.254.169.254", "64:ff9b::8.8.8.8", "64:ff9b:1::a00:1",
        "100::1", "2001::1", "2001:2::1", "2001:10::1", "2001:20::1", "2001:db8::1",
        "2002:7f00:1::1", "3fff::1", "4000::1", "5f00::1", "fc00::1", "fd00:ec2::254", "fe80::1",
        "fe80::1%1", "fec0::1", "ff02::1",
    ],
)  # fmt: skip
def test_an_address_that_is_not_on_the_open_internet_is_held_back(address: str) -> None:
    assert not addresses.is_public(address)


@pytest.mark.parametrize(
    "address", ["1.1.1.1", "8.8.8.8", "93.184.216.34", "2606:4700::1111", "2a00:1450:4001::1"]
)
def test_a_public_address_is_let_through(address: str) -> None:
    assert addresses.is_public(address)
