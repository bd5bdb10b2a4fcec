"""The test buttons of alerts and webhooks: what is really sent, and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from uuid import uuid4

import pytest
from flask.testing import FlaskClient
from sqlalchemy import Engine
from sqlalchemy.orm import Session, sessionmaker

from app.core import workers
from app.core.settings import Settings
from app.core.workers import Pulse
from tests.conftest import wait_until
from tests.pages import telling_seed
from tests.pages.test_alerts import SAME, token
from tests.worker.receiver import Receiver, receive
from worker.webhooks import Courier

SignIn = Callable[..., FlaskClient]


@pytest.fixture
def client(sign_in: SignIn) -> FlaskClient:
    """The administrator's browser."""
    return sign_in()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Who hears what is sent."""
    with receive() as receiver:
        yield receiver


@pytest.fixture(autouse=True)
def _courier(session: Session, settings: Settings, engine: Engine) -> Iterator[None]:
    """What the leading housekeeper has running."""
    telling_seed.clear(session)
    workers.beat(session, Pulse(uuid4(), "housekeeper", "h", status="running"))
    session.commit()
    chosen = settings.model_copy(update={"webhook_hosts": ("127.0.0.1",)})
    courier = Courier(chosen, sessionmaker(engine, expire_on_commit=False))
    courier.start()
    yield
    courier.stop()
    telling_seed.clear(session)


def post(client: FlaskClient, path: str, **fields: str) -> str:
    data = {"csrf_token": token(client.get("/webhooks/new").text), **fields}
    answer = client.post(path, data=data, headers=SAME)
    assert answer.status_code in (200, 303), answer.text
    return str(answer.text)


def test_a_rules_test_says_of_each_recipient_what_came_of_it(
    session: Session, client: FlaskClient, receiver: Receiver
) -> None:
    hears = telling_seed.add_endpoint(session, "hears", url=receiver.url)
    private = telling_seed.add_endpoint(session, "private", url="http://10.0.0.1/")
    rule = telling_seed.add_rule(session, targets=[hears.id, private.id])
    page = post(client, f"/alerts/{rule.id}/test")
    first, second = page.partition('class="outcomes"')[2].split("<li>")[1:3]
    assert "Delivered" in first
    assert ">hears</a>" in first
    assert "answered 200" in first
    assert "Not delivered" in second
    assert "10.0.0.1 does not have a public address" in second
    assert len(receiver.heard) == 1


def test_an_endpoints_test_says_what_it_answered_and_stands_in_its_log(
    session: Session, client: FlaskClient, receiver: Receiver
) -> None:
    endpoint = telling_seed.add_endpoint(session, url=receiver.url)
    page = post(client, f"/webhooks/{endpoint.id}/test", event_type="job.failed")
    assert "Delivered" in page
    assert "answered 200 after" in page
    log = client.get(f"/webhooks/{endpoint.id}").text
    assert "job.failed</b>" in log
    assert "Test</span>" in log

    receiver.answer = lambda heard: (500, {}, b"<b>no</b>")
    page = post(client, f"/webhooks/{endpoint.id}/test", event_type="job.failed")
    assert "Not delivered" in page
    assert "HTTP 500" in page


def test_what_is_redelivered_is_heard_again(
    session: Session, client: FlaskClient, receiver: Receiver
) -> None:
    endpoint = telling_seed.add_endpoint(session, url=receiver.url)
    dead = telling_seed.add_delivery(session, endpoint, "dead")
    post(client, f"/webhooks/{endpoint.id}/deliveries/{dead.id}/redeliver")

    def is_heard() -> bool:
        session.rollback()
        session.refresh(dead)
        return dead.status == "delivered"

    wait_until(is_heard, "the delivery is heard")
    assert "Heard since" in client.get("/webhooks/dead-letters").text
