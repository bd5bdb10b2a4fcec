"""The audit trail: who did what, when, to what, from where; as a page, as files, by API and command."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from flask import Flask
from flask.testing import FlaskClient
from playwright.sync_api import Page, expect
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.core import audit, keys, users
from app.core.models import AuditEntry, User
from app.core.settings import Settings
from app.extensions import db
from app.factory import create_app
from tests.pages.conftest import violations
from tests.pages.seed import HOSTILE
from tests.pages.test_alerts import SAME, token

pytestmark = pytest.mark.usefixtures("clear_telling")

Open = Callable[..., Page]
SignIn = Callable[..., FlaskClient]
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def client(sign_in: SignIn) -> FlaskClient:
    """The administrator's browser; what signing in wrote down is forgotten."""
    return sign_in()


@pytest.fixture
def program(make_client: Callable[[str | None], FlaskClient], api_key: str) -> FlaskClient:
    """The administrator's program."""
    return make_client(api_key)


def add(session: Session, actor: str = "ann", minutes: float = 0, **fields: str) -> None:
    values = {"action": "job.cancel", "object_id": "7", "details": ""}
    at = NOON + timedelta(minutes=minutes)
    session.add(AuditEntry(at=at, actor=actor, **values | fields))
    session.commit()


def found(client: FlaskClient, **asked: object) -> list[str]:
    """The details of what the API finds."""
    answer = client.get("/api/audit", query_string=asked)
    assert answer.status_code == 200, answer.text
    return [each["details"] for each in (answer.json or {})["entries"]]


def test_an_entry_says_who_did_what_to_what_when_and_from_where(
    session: Session, client: FlaskClient
) -> None:
    session.execute(text("TRUNCATE audit_entry"))
    add(session, "ann (key 3)", details=HOSTILE, address="192.0.2.7")
    page = client.get("/audit").text
    for said in ("ann (key 3)", "job.cancel", "2026-03-01 12:00:00 UTC", "192.0.2.7", "⟨202E⟩"):
        assert said in page
    assert 'href="/jobs/7"' in page
    assert "<script>alert" not in page


def test_what_is_done_by_hand_has_the_address_that_asked(
    session: Session, client: FlaskClient
) -> None:
    at = "/alerts/new/disk_low"
    client.post(
        at,
        data={
            "csrf_token": token(client.get(at).text),
            "name": "disk",
            "threshold": "1 GB",
            "cooldown": "1 min",
            "mailboxes": "a@example.org",
        },
        headers=SAME,
    )
    session.rollback()
    entry = session.query(AuditEntry).filter_by(action="alert_rule.create").one()
    assert (entry.actor, entry.address) == ("admin", "127.0.0.1")


@pytest.mark.parametrize(("hops", "address"), [(0, "127.0.0.1"), (1, "192.0.2.9")])
def test_behind_a_proxy_that_is_trusted_the_address_is_the_readers(
    settings: Settings, session: Session, api_key: str, hops: int, address: str
) -> None:
    app = create_app(settings.model_copy(update={"proxy_hops": hops}))
    rule = {"name": "disk", "kind": "disk_low", "targets": ["a@example.org"]}
    headers = {"Authorization": f"Bearer {api_key}", "X-Forwarded-For": "10.9.9.9, 192.0.2.9"}
    assert app.test_client().post("/api/alerts", json=rule, headers=headers).status_code == 200
    with app.app_context():
        db.engine.dispose()
    session.rollback()
    entry = session.query(AuditEntry).filter_by(action="alert_rule.create").one()
    assert entry.address == address


def test_only_administrators_read_it(session: Session, sign_in: SignIn) -> None:
    for name, role in (("ann", "user"), ("olga", "operator")):
        reader = sign_in(name, role)
        for path in ("/audit", "/audit/export.csv", "/audit/export.json", "/api/audit"):
            assert reader.get(path).status_code == 403
        assert 'href="/audit"' not in reader.get("/queue").text


def test_a_key_without_the_scope_is_refused(
    session: Session, make_client: Callable[[str | None], FlaskClient]
) -> None:
    admin = users.ensure_admin(session)
    _, plain = keys.create(session, admin, "narrow", ("read", "submit", "operate"))
    session.commit()
    assert make_client(plain).get("/api/audit").status_code == 403


def test_filters_find_by_person_key_action_object_and_time(
    session: Session, program: FlaskClient
) -> None:
    session.execute(text("TRUNCATE audit_entry"))
    add(session, "ann", 0, details="a")
    add(session, "ann (key 3)", 1, details="b", action="batch.cancel")
    add(session, "anna", 2, details="c", object_id="8")
    assert found(program) == ["c", "b", "a"]
    assert found(program, actor="ann") == ["b", "a"]
    assert found(program, actor="ann (key 3)") == ["b"]
    assert found(program, actor="ann (key 4)") == []
    assert found(program, action="job.cancel") == ["c", "a"]
    assert found(program, object_id="8") == ["c"]
    assert found(program, since="2026-03-01T12:01:00Z") == ["c", "b"]
    assert found(program, until="2026-03-01T12:01:00Z") == ["a"]


def test_pages_go_on_where_the_last_one_ended_even_among_the_same_moment(
    session: Session, program: FlaskClient
) -> None:
    session.execute(text("TRUNCATE audit_entry"))
    for number in range(7):
        add(session, details=str(number))
    seen, cursor = [], None
    while True:
        answer = program.get("/api/audit", query_string={"limit": 3, "cursor": cursor or ""}).json
        assert answer is not None
        seen += [each["details"] for each in answer["entries"]]
        cursor = answer["next_cursor"]
        assert answer["has_more"] == (cursor is not None)
        if cursor is None:
            break
    assert seen == ["6", "5", "4", "3", "2", "1", "0"]


def test_files_have_what_the_filter_finds_and_no_formula(
    session: Session, client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "_PART", 2)
    session.execute(text("TRUNCATE audit_entry"))
    for number in range(5):
        add(session, minutes=number, details=f"=cmd({number})")
    add(session, "bob", details="other")
    answer = client.get("/audit/export.csv?actor=ann")
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [row["details"] for row in rows] == [f"'=cmd({number})" for number in range(4, -1, -1)]
    assert "attachment" in answer.headers["Content-Disposition"]
    entries = json.loads(client.get("/audit/export.json?actor=ann").text)
    assert [each["details"] for each in entries] == [
        f"=cmd({number})" for number in range(4, -1, -1)
    ]
    assert json.loads(client.get("/audit/export.json?actor=nobody").text) == []


def test_the_command_prints_them(app: Flask, session: Session) -> None:
    session.execute(text("TRUNCATE audit_entry"))
    add(session, "ann", details="one")
    add(session, "bob", 5, details="two")
    runner = app.test_cli_runner()
    printed = runner.invoke(args=["audit", "list", "--json", "--actor", "bob"])
    assert [each["details"] for each in json.loads(printed.stdout)] == ["two"]
    printed = runner.invoke(args=["audit", "list", "--until", "2026-03-01T12:01"])
    assert "ann" in printed.stdout
    assert "bob" not in printed.stdout
    assert runner.invoke(args=["audit", "list", "--since", "soon"]).exit_code == 2


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("since=soon", 400),
        ("since=2026-03-02&until=2026-03-01T00:00", 400),
        ("cursor=x", 400),
        ("cursor=%00", 400),
        ("actor=%00", 400),
        ("object=" + "x" * 300, 400),
        ("actor=%E2%80%AE%27;--", 200),
        ("since=0001-01-01&until=9999-12-31", 200),
    ],
)
def test_what_a_client_may_send_is_no_fault_of_ours(
    client: FlaskClient, query: str, status: int
) -> None:
    assert client.get(f"/audit?{query}").status_code == status


def test_filters_are_served_by_indexes(session: Session) -> None:
    """The planner may prefer to read a small table whole; it is told not to."""
    session.execute(text("SET LOCAL enable_seqscan = off"))
    session.execute(text("SET LOCAL enable_sort = off"))
    for wanted, index in (
        (audit.Filter(), "audit_entry_at_idx"),
        (audit.Filter(actor="ann"), "audit_entry_actor_idx"),
        (audit.Filter(action="job.cancel"), "audit_entry_action_idx"),
        (audit.Filter(object_id="7"), "audit_entry_object_idx"),
    ):
        query = audit._matching(wanted).order_by(AuditEntry.at.desc(), AuditEntry.id.desc())
        sql = query.limit(50).compile(session.get_bind(), compile_kwargs={"literal_binds": True})
        plan = "\n".join(session.scalars(text(f"EXPLAIN {sql}".replace(":", "\\:"))))
        assert f"Index Scan Backward using {index}" in plan, plan
    session.rollback()


def fill(session: Session) -> None:
    """A day's work of several people."""
    session.add(User(name=f"zoe {datetime.now(UTC):%H%M%S%f}", role="user"))
    for number in range(60):
        add(
            session,
            ("ann", "bob (key 12)", "command line", HOSTILE[:60])[number % 4],
            number,
            action=("job.cancel", "queue.pause", "alert_rule.silence", "batch.create")[number % 4],
            object_id=("7", "tasks", "4", "batch_" + "a" * 32)[number % 4],
            details=("", "the disk is full", HOSTILE, "")[number % 4],
            **({} if number % 4 == 2 else {"address": "2001:db8::12:3456"}),
        )


@pytest.mark.browser
def test_a_filter_is_chosen_by_hand_and_stands_in_the_address(
    open_page: Open, session: Session
) -> None:
    fill(session)
    page = open_page("/audit")
    rows = page.locator(".audit tbody tr")
    expect(rows).to_have_count(50)
    page.get_by_role("button", name="Older").click()
    expect(page.get_by_role("button", name="Newest")).to_be_visible()
    page.goto("/audit")
    page.select_option("main [name=action]", "queue.pause")
    expect(rows).to_have_count(15)
    assert page.url.endswith("/audit?action=queue.pause")
    with page.expect_download() as saved:
        page.get_by_role("button", name="CSV").click()
    assert saved.value.path().read_text().count("queue.pause") == 15
    page.get_by_role("link", name="Clear all").click()
    expect(rows).to_have_count(50)


@pytest.mark.browser
@pytest.mark.parametrize(("scheme", "width"), [("light", 390), ("dark", 1440)])
def test_the_page_is_accessible_and_as_wide_as_the_screen(
    open_page: Open, session: Session, scheme: str, width: int
) -> None:
    fill(session)
    page = open_page("/audit", width=width, color_scheme=scheme)
    for path in ("/audit", "/audit?actor=nobody"):
        page.goto(path)
        assert violations(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
