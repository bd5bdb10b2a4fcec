"""What was sent to a webhook endpoint, on its page; and dead letters, acted on together."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from flask.testing import FlaskClient
from sqlalchemy.orm import Session

from app.core.models import WebhookDelivery, WebhookEndpoint
from tests.pages import telling_seed
from tests.pages.seed import HOSTILE
from tests.pages.test_webhooks import client, post, statuses

__all__ = ["client"]


@pytest.fixture(autouse=True)
def _clear(session: Session) -> Iterator[None]:
    telling_seed.clear(session)
    yield
    telling_seed.clear(session)


def test_the_log_has_every_try_and_what_was_sent_made_harmless(
    session: Session, client: FlaskClient
) -> None:
    endpoint = telling_seed.add_endpoint(session)
    telling_seed.add_delivery(session, endpoint, "dead", tries=3, error=HOSTILE, payload=HOSTILE)
    page = client.get(f"/webhooks/{endpoint.id}").text
    assert "3 tries, and what is sent" in page
    assert "<script>alert" not in page
    assert "⟨202E⟩" in page
    assert "⟨001B⟩" in page


def test_a_delivery_is_sent_once_more_unless_it_is_under_way_or_a_test(
    session: Session, client: FlaskClient
) -> None:
    endpoint, other = telling_seed.add_endpoint(session), telling_seed.add_endpoint(session, "two")
    heard = telling_seed.add_delivery(session, endpoint)
    dead = telling_seed.add_delivery(session, endpoint, "dead")
    open_ = telling_seed.add_delivery(session, endpoint, "pending")
    tested = telling_seed.add_delivery(session, endpoint, is_test=True)

    def again(delivery: WebhookDelivery, at: WebhookEndpoint = endpoint) -> int:
        path = f"/webhooks/{at.id}/deliveries/{delivery.id}/redeliver"
        return int(post(client, path).status_code)

    assert again(heard, other) == 404
    assert [again(each) for each in (heard, dead, open_, tested)] == [303, 303, 409, 409]
    assert statuses(session) == {
        heard.id: "pending",
        dead.id: "pending",
        open_.id: "pending",
        tested.id: "delivered",
    }


def test_dead_letters_are_acted_on_together_and_what_refuses_is_named(
    session: Session, client: FlaskClient
) -> None:
    endpoint = telling_seed.add_endpoint(session)
    first, second, third = (telling_seed.add_delivery(session, endpoint, "dead") for _ in range(3))
    at = "/webhooks/dead-letters"
    retried = post(client, at, at, action="retry", letter=[first.id, second.id])
    assert retried.status_code == 303
    assert "2 dead letters are being sent once more." in client.get(retried.location).text
    mixed = post(client, at, at, action="delete", letter=[first.id, third.id, "evt_nonsense"])
    assert mixed.status_code == 200
    assert "1 deleted; 2 not:" in mixed.text
    assert "is being sent just now" in mixed.text
    assert statuses(session) == {first.id: "pending", second.id: "pending"}
    assert post(client, at, at, action="delete").status_code == 409
    assert post(client, at, at, action="burn", letter=first.id).status_code == 400


def test_all_dead_letters_are_acted_on_after_a_question(
    session: Session, client: FlaskClient
) -> None:
    endpoint = telling_seed.add_endpoint(session)
    for _ in range(3):
        telling_seed.add_delivery(session, endpoint, "dead")
    at = "/webhooks/dead-letters/all/delete"
    assert "Delete 3 dead letters?" in client.get(at).text
    assert post(client, "/webhooks/dead-letters", at, action="delete", all="1").status_code == 303
    assert statuses(session) == {}
    assert "Nothing to delete" in client.get(at).text


def test_an_api_key_disables_and_redelivers_as_the_pages_do(
    session: Session, make_client: Callable[[str | None], FlaskClient], api_key: str
) -> None:
    program = make_client(api_key)
    endpoint = telling_seed.add_endpoint(session)
    dead = telling_seed.add_delivery(session, endpoint, "dead")
    at = f"/v1/webhook_endpoints/{endpoint.id}"
    assert program.post(f"{at}/disable").json["disabled_at"]  # type: ignore[index]
    sent = program.post(f"{at}/deliveries/{dead.id}/redeliver")
    assert (sent.json or {})["status"] == "pending"
    assert program.post(f"{at}/deliveries/{dead.id}/redeliver").status_code == 409
    assert program.post(f"{at}/deliveries/evt_none/redeliver").status_code == 404
