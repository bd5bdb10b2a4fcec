"""The pages of webhook endpoints, their deliveries and the dead letters."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient
from playwright.sync_api import Page, expect
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core.models import AuditEntry, User, WebhookDelivery, WebhookEndpoint
from tests.pages import telling_seed
from tests.pages.conftest import Complaints, violations, wait_until_live
from tests.pages.seed import HOSTILE
from tests.pages.test_alerts import SAME, token

pytestmark = pytest.mark.usefixtures("clear_telling")

Open = Callable[..., Page]
SignIn = Callable[..., FlaskClient]


@pytest.fixture
def client(sign_in: SignIn) -> FlaskClient:
    """The administrator's browser."""
    return sign_in()


def post(client: FlaskClient, path: str, form_at: str = "/webhooks/new", **fields: object) -> Any:
    data = {"csrf_token": token(client.get(form_at).text), **fields}
    return client.post(path, data=data, headers=SAME)


def statuses(session: Session) -> dict[str, str]:
    session.rollback()
    session.expire_all()
    return {each.id: each.status for each in session.scalars(select(WebhookDelivery))}


def test_each_endpoint_says_how_its_newest_deliveries_went(
    session: Session, client: FlaskClient
) -> None:
    endpoint = telling_seed.add_endpoint(session, "ledger")
    telling_seed.add_endpoint(session, "silent")
    for minutes, status in ((9, "delivered"), (8, "dead"), (7, "delivered"), (6, "delivered")):
        telling_seed.add_delivery(session, endpoint, status, minutes=minutes)
    telling_seed.add_delivery(session, endpoint, "dead", minutes=2, is_test=True, died_at=None)
    telling_seed.add_delivery(session, endpoint, "pending", minutes=1)
    page = client.get("/webhooks").text
    row = page.partition(f'id="endpoint-{endpoint.id}"')[2].partition("</tr>")[0]
    assert "25.0 %" in row
    assert "of 4" in row
    assert "Under way" in row
    assert "https://hooks.example.org/stoker" in row
    assert "batch.completed, batch.failed" in row
    assert "1 dead letter</a>" in page
    assert endpoint.secret not in page


def test_a_user_sees_only_what_is_its_own(session: Session, sign_in: SignIn) -> None:
    theirs = telling_seed.add_endpoint(session, "of the admin")
    letter = telling_seed.add_delivery(session, theirs, "dead")
    client = sign_in("ann", "user")
    ann = session.scalars(select(User).where(User.name == "ann")).one()
    telling_seed.add_endpoint(session, "of ann", owner=ann)
    page = client.get("/webhooks").text
    assert "of ann" in page
    assert "of the admin" not in page
    assert "dead letter</a>" not in page
    assert letter.id not in client.get("/webhooks/dead-letters").text
    for path in ("", "/edit", "/rotate", "/delete"):
        assert client.get(f"/webhooks/{theirs.id}{path}").status_code == 404
    for path in ("edit", "rotate", "delete", "disable", "enable", "test"):
        fields = {"name": "x", "url": "https://a.example", "event_types": "job.failed"}
        assert post(client, f"/webhooks/{theirs.id}/{path}", **fields).status_code in (400, 404)
    again = post(client, f"/webhooks/{theirs.id}/deliveries/{letter.id}/redeliver")
    assert again.status_code == 404
    swept = post(client, "/webhooks/dead-letters", action="delete", letter=letter.id)
    assert swept.status_code == 409
    assert statuses(session) == {letter.id: "dead"}


def test_only_an_operators_endpoint_hears_of_everybody(session: Session, sign_in: SignIn) -> None:
    client = sign_in("ann", "user")
    assert "hears_all" not in client.get("/webhooks/new").text
    fields = {"name": "x", "url": "https://a.example", "event_types": "job.failed"}
    assert post(client, "/webhooks/new", **fields, hears_all="1").status_code == 403
    assert session.scalars(select(WebhookEndpoint)).all() == []


def test_the_secret_is_shown_when_it_is_made_and_never_again(
    session: Session, client: FlaskClient
) -> None:
    made = post(
        client,
        "/webhooks/new",
        name="ledger",
        url="https://hooks.example.org/x",
        event_types=["job.failed", "batch.failed"],
    )
    endpoint = session.scalars(select(WebhookEndpoint)).one()
    assert endpoint.secret in made.text
    assert made.headers["Cache-Control"] == "no-store"
    assert endpoint.event_types == ["job.failed", "batch.failed"]
    for path in ("/webhooks", f"/webhooks/{endpoint.id}", f"/webhooks/{endpoint.id}/edit"):
        assert endpoint.secret not in client.get(path).text
    at = f"/webhooks/{endpoint.id}/rotate"
    rotated = post(client, at, at, keep_old="1")
    before = endpoint.secret
    session.rollback()
    session.refresh(endpoint)
    assert endpoint.secret in rotated.text
    assert endpoint.secret != before == endpoint.old_secret
    assert "The one before signs too until" in rotated.text


def test_every_fault_stands_at_its_field(session: Session, client: FlaskClient) -> None:
    answer = post(client, "/webhooks/new", name="", url="ftp://x", event_types="nonsense")
    assert answer.status_code == 422
    for name, said in (
        ("name", "has a name"),
        ("url", "must be an http or https one"),
        ("event_types", "There is no such event"),
    ):
        assert said in answer.text.partition(f'id="fault-{name}"')[2].partition("</p>")[0]
    assert 'value="ftp://x"' in answer.text
    assert session.scalars(select(WebhookEndpoint)).all() == []


def test_a_disabled_endpoint_hears_again_when_it_is_enabled(
    session: Session, client: FlaskClient
) -> None:
    endpoint = telling_seed.add_endpoint(session)
    assert post(client, f"/webhooks/{endpoint.id}/disable").status_code == 303
    assert "Disabled" in client.get("/webhooks").text
    assert post(client, f"/webhooks/{endpoint.id}/enable").status_code == 303
    assert "Disabled" not in client.get("/webhooks").text
    done = session.scalars(select(AuditEntry.action).order_by(AuditEntry.id)).all()
    assert [each for each in done if each.startswith("webhook")] == [
        "webhook_endpoint.disable",
        "webhook_endpoint.update",
    ]


def test_an_endpoint_that_a_rule_tells_is_not_deleted(
    session: Session, client: FlaskClient
) -> None:
    endpoint = telling_seed.add_endpoint(session)
    rule = telling_seed.add_rule(session, targets=[endpoint.id])
    at = f"/webhooks/{endpoint.id}/delete"
    refused = post(client, at, at)
    assert refused.status_code == 409
    assert "The alert rule &#39;failures&#39; tells this endpoint" in refused.text
    session.delete(rule)
    session.commit()
    assert post(client, at, at).status_code == 303
    assert client.get(f"/webhooks/{endpoint.id}").status_code == 404


def test_a_test_without_a_housekeeper_says_that_none_was_sent(
    session: Session, client: FlaskClient
) -> None:
    endpoint = telling_seed.add_endpoint(session)
    answer = post(client, f"/webhooks/{endpoint.id}/test", event_type="job.failed")
    assert answer.status_code == 503
    assert "No housekeeper is running" in answer.text
    assert post(client, f"/webhooks/{endpoint.id}/test", event_type="x").status_code == 400


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/webhooks?after=x", 404),
        ("/webhooks/we_nowhere", 404),
        ("/webhooks/dead-letters?offset=x", 400),
        ("/webhooks/dead-letters?offset=99999999999999999", 200),
        ("/webhooks/dead-letters?done=9&action=delete", 200),
        ("/webhooks/dead-letters?done=<b>&action=<b>", 200),
        ("/webhooks/dead-letters/all/burn", 400),
        ("/webhooks/%00", 400),
    ],
)
def test_what_a_client_may_send_is_no_fault_of_ours(
    client: FlaskClient, path: str, status: int
) -> None:
    assert client.get(path).status_code == status


@pytest.mark.browser
def test_an_endpoint_is_made_and_dead_letters_are_picked_by_hand(
    open_page: Open, session: Session, complaints: Complaints
) -> None:
    complaints.are_expected = True  # the browser tells of the 422
    page = open_page("/webhooks")
    page.get_by_role("button", name="Make the first endpoint").click()
    page.get_by_label("Name").fill("ledger")
    page.get_by_label("Address").fill("https://hooks.example.org/x")
    page.get_by_role("button", name="Make the endpoint").click()
    expect(page.locator("#fault-event_types")).to_have_text("Choose one event at least.")
    page.get_by_label("batch.failed").check()
    page.get_by_role("button", name="Make the endpoint").click()
    expect(page.locator("#secret")).to_have_text(re.compile(r"^whsec_"))
    page.get_by_role("button", name="I have copied it").click()
    expect(page.locator("#webhook-log")).to_contain_text("It was told nothing yet")
    endpoint = session.scalars(select(WebhookEndpoint)).one()
    for _ in range(3):
        telling_seed.add_delivery(session, endpoint, "dead")
    page.goto("/webhooks/dead-letters")
    page.get_by_label("Pick all on this page").check()
    boxes = page.locator("[name=letter]")
    expect(boxes.nth(2)).to_be_checked()
    boxes.nth(0).uncheck()
    expect(page.locator("[data-pick-all]")).not_to_be_checked()
    page.get_by_role("button", name="Delete", exact=True).click()
    expect(page.locator(".notice.good")).to_have_text("2 dead letters are deleted.")
    expect(page.locator("[name=letter]")).to_have_count(1)


def fill(session: Session) -> WebhookEndpoint:
    """Endpoints in every state, with names that mean harm."""
    endpoint = telling_seed.add_endpoint(session, "ledger of the accountants")
    telling_seed.add_endpoint(
        session, HOSTILE[:80], url="https://example.org/" + "a" * 90, hears_all=True
    )
    gone = telling_seed.add_endpoint(session, "gone")
    gone.disabled_at = gone.created_at
    session.commit()
    telling_seed.add_delivery(session, endpoint, "delivered", minutes=50, tries=2)
    telling_seed.add_delivery(session, endpoint, "dead", minutes=30, tries=4, error=HOSTILE[:120])
    telling_seed.add_delivery(session, endpoint, "pending", minutes=5)
    telling_seed.add_delivery(session, endpoint, "delivered", minutes=2, is_test=True)
    telling_seed.add_delivery(session, gone, "dead", minutes=300, error="HTTP 410")
    return endpoint


@pytest.mark.browser
@pytest.mark.parametrize(("scheme", "width"), [("light", 390), ("dark", 1440)])
def test_the_pages_are_accessible_and_as_wide_as_the_screen(
    open_page: Open, session: Session, scheme: str, width: int
) -> None:
    endpoint = fill(session)
    page = open_page("/webhooks", width=width, color_scheme=scheme)
    paths = ("", "/new", f"/{endpoint.id}", f"/{endpoint.id}/rotate", "/dead-letters")
    for path in (f"/webhooks{each}" for each in paths):
        page.goto(path)
        for details in page.locator(".deliveries summary").all()[1:2]:
            details.click()
        assert violations(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.browser
def test_what_the_reader_opened_and_chose_stays_when_the_page_refreshes(
    open_page: Open, session: Session
) -> None:
    endpoint = telling_seed.add_endpoint(session)
    first = telling_seed.add_delivery(session, endpoint, "dead", tries=3)
    page = open_page(f"/webhooks/{endpoint.id}")
    wait_until_live(page)
    page.locator(f"#tries-{first.id} summary").click()
    page.get_by_label("Send a made-up").select_option("incident.opened")
    page.get_by_role("heading", level=1).click()
    telling_seed.add_delivery(session, endpoint, "delivered", minutes=0)
    page.evaluate("document.activeElement.blur(); htmx.trigger('#webhook-log', 'refresh')")
    expect(page.locator(".deliveries > li")).to_have_count(2)
    expect(page.locator(f"#tries-{first.id} table")).to_be_visible()
    expect(page.get_by_label("Send a made-up")).to_have_value("incident.opened")
