"""/v1/webhook_endpoints as the official client asks, dead letters, the delivery log."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import openai
import pytest
from flask.testing import FlaskClient
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session, sessionmaker

from app.core import deliveries, webhooks, workers
from app.core.deliveries import Outcome
from app.core.models import WebhookDelivery
from app.core.settings import Settings
from app.core.workers import Pulse
from tests.api.conftest import error_of
from tests.pages import seed
from tests.worker.receiver import Receiver, receive
from worker.webhooks import Courier

URL = "https://hooks.example.org/in"
BODY = {"name": "hook", "url": URL, "event_types": ["batch.completed"]}


@pytest.fixture
def courier(
    session: Session, settings: Settings, engine: Engine
) -> Iterator[Callable[..., Courier]]:
    """What the leading housekeeper has running."""
    workers.beat(session, Pulse(uuid4(), "housekeeper", "h", status="running"))
    chosen = settings.model_copy(update={"webhook_hosts": ("127.0.0.1",)})
    courier = Courier(chosen, sessionmaker(engine, expire_on_commit=False))
    courier.start()
    yield courier
    courier.stop()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receive() as receiver:
        yield receiver


def make(client: FlaskClient, **changes: Any) -> Any:
    answer = client.post("/v1/webhook_endpoints", json={**BODY, **changes})
    assert answer.status_code == 200, answer.text
    return answer.json


def test_the_official_client_does_all_of_it(
    sdk: openai.OpenAI, receiver: Receiver, courier: Courier
) -> None:
    types = sdk.webhooks.event_types.list().data
    assert {"batch.completed", "batch.failed", "batch.expired", "batch.cancelled"} < set(types)
    made = sdk.webhooks.create(name="hook", url=receiver.url, event_types=["batch.completed"])
    assert made.signing_secret.startswith("whsec_")
    assert made.signing_secret_hint.endswith(made.signing_secret[-4:])
    assert sdk.webhooks.retrieve(made.id).name == "hook"
    other = sdk.webhooks.create(name="other", url=URL, event_types=["batch.failed"])
    assert [each.id for each in sdk.webhooks.list(limit=1)] == [other.id, made.id]
    changed = sdk.webhooks.update(made.id, name="renamed")
    assert (changed.name, changed.url, changed.event_types) == (
        "renamed",
        receiver.url,
        ["batch.completed"],
    )
    rotated = sdk.webhooks.rotate_secret(made.id, keep_old_secret_active_for_24_hours=True)
    assert rotated.signing_secret != made.signing_secret
    result = sdk.webhooks.test(made.id, event_type="batch.completed")
    assert (result.success, result.status_code) == (True, 200)
    assert result.webhook_endpoint_id == made.id
    for secret in (made.signing_secret, rotated.signing_secret):
        event = receiver.heard[0].unwrap(secret)
        assert isinstance(event, openai.types.webhooks.BatchCompletedWebhookEvent)
    gone = sdk.webhooks.delete(made.id)
    assert (gone.deleted, gone.object) == (True, "webhook_endpoint.deleted")
    with pytest.raises(openai.NotFoundError):
        sdk.webhooks.retrieve(made.id)


def test_the_secret_is_shown_when_it_is_made_and_never_again(client: FlaskClient) -> None:
    made = make(client)
    for answer in (
        client.get(f"/v1/webhook_endpoints/{made['id']}"),
        client.get("/v1/webhook_endpoints"),
        client.post(f"/v1/webhook_endpoints/{made['id']}", json={"name": "b"}),
    ):
        assert answer.status_code == 200
        assert made["signing_secret"] not in answer.text


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"event_types": ["batch.exploded"]}, "event_types.0"),
        ({"event_types": []}, "event_types"),
        ({"url": "ftp://x"}, "url"),
        ({"url": "https://me@example.org"}, "url"),
        ({"name": "a\nb"}, "name"),
        ({"hears_all": "yes"}, "hears_all"),
        ({"secret": "whsec_mine"}, "secret"),
    ],
)
def test_what_is_unfit_is_named(client: FlaskClient, changes: dict[str, Any], param: str) -> None:
    answer = client.post("/v1/webhook_endpoints", json={**BODY, **changes})
    assert error_of(answer, 400)["param"] == param


def test_a_test_says_why_nothing_was_answered(client: FlaskClient, courier: Courier) -> None:
    made = make(client, url="http://10.0.0.1/")
    answer = client.post(
        f"/v1/webhook_endpoints/{made['id']}/test", json={"event_type": "job.failed"}
    )
    assert "10.0.0.1 does not have a public address" in error_of(answer, 422)["message"]


def test_a_test_without_a_housekeeper_is_a_503(client: FlaskClient) -> None:
    made = make(client)
    answer = client.post(
        f"/v1/webhook_endpoints/{made['id']}/test", json={"event_type": "job.failed"}
    )
    assert "housekeeper" in error_of(answer, 503)["message"]
    assert answer.headers["Retry-After"]


def test_somebody_elses_endpoint_is_not_there(
    client: FlaskClient, make_client: Callable[[str], FlaskClient], other_key: str
) -> None:
    made, kim = make(client), make_client(other_key)
    path = f"/v1/webhook_endpoints/{made['id']}"
    for answer in (
        kim.get(path),
        kim.get(f"{path}/deliveries"),
        kim.post(path, json={}),
        kim.post(f"{path}/rotate_secret", json={}),
        kim.post(f"{path}/test", json={"event_type": "job.failed"}),
        kim.delete(path),
    ):
        error_of(answer, 404)
    assert kim.get("/v1/webhook_endpoints").json["data"] == []
    error_of(kim.post("/v1/webhook_endpoints", json={**BODY, "hears_all": True}), 403)
    theirs = make(kim)
    assert theirs["hears_all"] is False
    listed = client.get("/v1/webhook_endpoints").json["data"]
    assert [each["id"] for each in listed] == [theirs["id"], made["id"]]


def give_up(session: Session, status_code: int = 500) -> WebhookDelivery:
    """A delivery of a batch's own webhook that is dead."""
    batch = seed.add_batch(session, job_id=1, webhook={"url": URL, "max_retries": 1})
    webhooks.enqueue(session, batch, "completed")
    session.commit()
    outcome = Outcome(status_code, f"HTTP {status_code}", is_hopeless=True)
    for due in deliveries.claim(session, 10):
        assert deliveries.record(session, due, outcome, Settings(), seconds=0.5)
    return session.scalars(
        select(WebhookDelivery)
        .where(WebhookDelivery.batch_id == batch.id, WebhookDelivery.endpoint_id.is_(None))
        .execution_options(populate_existing=True)
    ).one()


def test_a_dead_letter_has_the_fields_of_the_contract(
    client: FlaskClient, session: Session
) -> None:
    letter = give_up(session)
    answer = client.get("/v1/webhooks/dead-letter").json
    assert {**answer, "data": []} == {"object": "list", "data": [], "has_more": False, "total": 1}
    (found,) = answer["data"]
    assert {
        "id": letter.id,
        "batch_id": letter.batch_id,
        "webhook_url": URL,
        "error_message": "HTTP 500",
        "attempts": 1,
        "retried_at": None,
        "retry_success": None,
    }.items() <= found.items()
    assert abs(found["last_attempt_at"] - datetime.now(UTC).timestamp()) < 600
    assert found["created_at"] <= found["last_attempt_at"]


def test_dead_letters_come_in_pages_the_latest_first(client: FlaskClient, session: Session) -> None:
    ids = [give_up(session).id for _ in range(3)]
    first = client.get("/v1/webhooks/dead-letter?limit=2").json
    rest = client.get("/v1/webhooks/dead-letter?limit=2&offset=2").json
    assert [each["id"] for each in first["data"] + rest["data"]] == ids[::-1]
    assert (first["has_more"], rest["has_more"], first["total"]) == (True, False, 3)
    assert error_of(client.get("/v1/webhooks/dead-letter?offset=-1"), 400)["param"] == "offset"


def test_a_dead_letter_is_retried_and_deleted(client: FlaskClient, session: Session) -> None:
    letter = give_up(session)
    path = f"/v1/webhooks/dead-letter/{letter.id}"
    assert client.post(f"{path}/retry").json["retried_at"] is not None
    error_of(client.post(f"{path}/retry?force=true"), 409)
    error_of(client.delete(path), 409)
    (due,) = deliveries.claim(session, 10)
    assert deliveries.record(session, due, Outcome(200), Settings())
    assert client.get("/v1/webhooks/dead-letter").json["data"][0]["retry_success"] is True
    error_of(client.post(f"{path}/retry"), 409)
    assert error_of(client.post(f"{path}/retry?force=perhaps"), 400)["param"] == "force"
    assert client.delete(path).json == {
        "id": letter.id,
        "object": "webhook_dead_letter",
        "deleted": True,
    }
    error_of(client.delete(path), 404)


def test_the_log_of_a_batch_has_its_own_webhooks_tries_and_the_callers_endpoints(
    client: FlaskClient,
    make_client: Callable[[str], FlaskClient],
    other_key: str,
    session: Session,
) -> None:
    endpoint = make(client)
    letter = give_up(session)
    found = client.get(f"/v1/batches/{letter.batch_id}/deliveries").json
    assert {each["webhook_endpoint_id"] for each in found["data"]} == {None, endpoint["id"]}
    assert len({each["id"] for each in found["data"]}) == 2
    own = next(each for each in found["data"] if each["id"] == letter.id)
    (only,) = own["tries"]
    assert (only["number"], only["status_code"], only["error"]) == (1, 500, "HTTP 500")
    assert only["milliseconds"] == 500
    assert (own["status"], own["next_attempt_at"]) == ("dead", None)
    of_endpoint = client.get(f"/v1/webhook_endpoints/{endpoint['id']}/deliveries?limit=1").json
    assert [each["batch_id"] for each in of_endpoint["data"]] == [letter.batch_id]
    after = of_endpoint["last_id"]
    path = f"/v1/webhook_endpoints/{endpoint['id']}/deliveries"
    assert client.get(f"{path}?after={after}").json["data"] == []
    error_of(client.get(f"{path}?after=evt_unknown"), 404)
    kim = make_client(other_key)
    error_of(kim.get(f"/v1/batches/{letter.batch_id}/deliveries"), 404)
