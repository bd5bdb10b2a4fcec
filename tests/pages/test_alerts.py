"""The page of alerts: rules, what fires, silences and tests."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from flask.testing import FlaskClient
from playwright.sync_api import Page, expect
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core.alert_figures import KINDS
from app.core.models import AlertRule, AuditEntry
from app.pages import quantities
from app.pages.alert_form import AlertForm
from tests.pages import record_seed, telling_seed
from tests.pages.conftest import Complaints, violations
from tests.pages.seed import HOSTILE

pytestmark = pytest.mark.usefixtures("clear_telling")

Open = Callable[..., Page]
SignIn = Callable[..., FlaskClient]
SAME = {"Sec-Fetch-Site": "same-origin"}


def token(page: str) -> str:
    """The form's token."""
    found = re.search(r'name="csrf_token" value="([^"]+)"', page)
    assert found
    return found[1]


def post(client: FlaskClient, path: str, form_at: str, **fields: object) -> object:
    data = {"csrf_token": token(client.get(form_at).text), **fields}
    return client.post(path, data=data, headers=SAME)


def test_a_rule_says_in_words_what_it_watches_whom_it_tells_and_how_it_is(
    session: Session, sign_in: SignIn
) -> None:
    endpoint = telling_seed.add_endpoint(session, "pager")
    firing = telling_seed.add_rule(
        session, "many failures", queue="tasks", targets=["ops@example.org", endpoint.id]
    )
    telling_seed.add_alert(session, firing)
    telling_seed.add_rule(session, "disk", kind="disk_low", threshold=10 * 2**30, window_seconds=0)
    telling_seed.add_rule(
        session,
        "resting",
        silenced_until=datetime.now(UTC) + timedelta(hours=1),
        silenced_by="ann",
        silence_reason="new <b>disk</b>",
    )
    telling_seed.add_rule(session, "put away", is_enabled=False)
    page = sign_in().get("/alerts").text
    assert "1 firing" in page
    assert "12 jobs (the limit is 5 jobs)" in page
    assert "Jobs in the queue tasks that failed within 5 min: 5 jobs or more" in page
    assert "Free space of the data folder&#39;s disk: less than 10 GB" in page
    assert ">pager</a>" in page
    assert "by ann: new &lt;b&gt;disk&lt;/b&gt;" in page
    for word in ("Firing", "Quiet", "Silenced", "Off"):
        assert f"</svg>{word}</span>" in page


def test_without_a_rule_the_page_says_what_one_is_for(sign_in: SignIn) -> None:
    page = sign_in().get("/alerts").text
    assert "no rule watches" in page
    assert "Make the first rule" in page


@pytest.mark.parametrize("path", ["", "/new", "/new/disk_low", "/1", "/1/silence", "/1/delete"])
def test_only_operators_see_alerts(session: Session, sign_in: SignIn, path: str) -> None:
    client = sign_in("ann", "user")
    assert client.get(f"/alerts{path}").status_code == 403
    assert 'href="/alerts"' not in client.get("/queue").text
    assert 'href="/alerts"' in sign_in().get("/queue").text


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_each_kinds_form_makes_a_rule_as_it_stands(
    session: Session, sign_in: SignIn, kind: str
) -> None:
    client = sign_in()
    form = AlertForm.empty(kind)
    answer = post(
        client,
        f"/alerts/new/{kind}",
        f"/alerts/new/{kind}",
        name=f"my {kind}",
        threshold=form.threshold,
        window=form.window,
        fewest_jobs=form.fewest_jobs,
        mailboxes="ops@example.org, two@example.org",
        cooldown=form.cooldown,
        is_enabled="1",
    )
    assert answer.status_code == 303, answer.text  # type: ignore[attr-defined]
    rule = session.scalars(select(AlertRule)).one()
    usual = KINDS[kind]
    assert (rule.kind, rule.threshold, rule.window_seconds, rule.fewest_jobs) == (
        kind,
        pytest.approx(usual.threshold),
        usual.window_seconds,
        usual.fewest_jobs,
    )
    assert rule.targets == ["ops@example.org", "two@example.org"]
    assert rule.cooldown_seconds == 900


def test_every_fault_stands_at_its_field_and_nothing_that_was_filled_in_is_lost(
    session: Session, sign_in: SignIn
) -> None:
    telling_seed.add_rule(session, "taken")
    client = sign_in()
    at = "/alerts/new/failure_rate"
    fields = {"name": "a rule", "threshold": "half", "window": "30 d", "fewest_jobs": "-1"}
    answer = post(client, at, at, **fields, mailboxes="nobody", cooldown="1 h", queue="q", task="t")
    assert answer.status_code == 422  # type: ignore[attr-defined]
    page = answer.text  # type: ignore[attr-defined]
    for name, said in (
        ("threshold", "This must be a share like 50 %."),
        ("window", "This must be from 1 s to 7 d."),
        ("fewest_jobs", "This must be a number like 5."),
    ):
        fault = page.partition(f'id="fault-{name}"')[2].partition("</p>")[0]
        assert said in fault
        assert f'aria-describedby="fault-{name} ' in page
    assert 'value="half"' in page
    assert "3 fields need another look" in page

    fields |= {"threshold": "20 %", "window": "30 min", "fewest_jobs": "4"}
    for changed, name, said in (
        ({"mailboxes": "nobody"}, "targets", "neither an e-mail address"),
        ({"mailboxes": "a@example.org", "task": "t", "queue": "q"}, "queue", "not both"),
        ({"mailboxes": "a@example.org", "name": "taken"}, "name", "is called"),
        ({"mailboxes": ""}, "targets", "1 to 20 targets"),
        ({"mailboxes": "a@example.org", "name": ""}, "name", "1 to 200 characters"),
    ):
        answer = post(client, at, at, **fields | {"cooldown": "15 min"} | changed)
        page = answer.text  # type: ignore[attr-defined]
        assert answer.status_code in (400, 409, 422)  # type: ignore[attr-defined]
        assert said in page.partition(f'id="fault-{name}"')[2].partition("</p>")[0]
    session.rollback()
    assert session.scalars(select(AlertRule.name)).all() == ["taken"]


def test_what_was_not_touched_stays_exactly_as_it_was(session: Session, sign_in: SignIn) -> None:
    rule = telling_seed.add_rule(
        session, kind="disk_low", threshold=12_345_678_901.0, window_seconds=0
    )
    before = AlertForm.of(rule)
    client = sign_in()
    answer = post(
        client,
        f"/alerts/{rule.id}",
        f"/alerts/{rule.id}",
        name="disk & co",
        threshold=before.threshold,
        cooldown="0 s",
        mailboxes=before.mailboxes,
        is_enabled="1",
    )
    assert answer.status_code == 303  # type: ignore[attr-defined]
    session.expire_all()
    session.rollback()
    changed = session.scalars(select(AlertRule)).one()
    assert (changed.name, changed.threshold, changed.cooldown_seconds) == (
        "disk & co",
        12_345_678_901.0,
        0,
    )


def test_a_silence_has_an_end_and_a_reason_and_can_be_ended(
    session: Session, sign_in: SignIn
) -> None:
    rule = telling_seed.add_rule(session)
    client = sign_in()
    at = f"/alerts/{rule.id}/silence"
    for fields, said in (
        ({"lasts": "1h", "reason": " "}, "The reason is one line"),
        ({"lasts": "until", "reason": "x"}, "Choose for how long"),
        ({"lasts": "until", "until": "2001-01-01T00:00", "reason": "x"}, "ends in the future"),
        ({"lasts": "until", "until": "soon", "reason": "x"}, "until must be a time"),
    ):
        answer = post(client, at, at, **fields)
        assert answer.status_code in (400, 422)  # type: ignore[attr-defined]
        assert said in answer.text  # type: ignore[attr-defined]
    assert post(client, at, at, lasts="4h", reason="moving").status_code == 303  # type: ignore[attr-defined]
    session.rollback()
    session.expire_all()
    until = session.scalars(select(AlertRule)).one().silenced_until
    assert until is not None
    assert timedelta(hours=3) < until - datetime.now(UTC) <= timedelta(hours=4)
    page = client.get("/alerts").text
    assert "by admin: moving" in page
    answer = client.post(
        f"/alerts/{rule.id}/unsilence", data={"csrf_token": token(page)}, headers=SAME
    )
    assert answer.status_code == 303
    assert "moving" not in client.get("/alerts").text


def test_a_test_without_a_housekeeper_says_that_none_was_sent(
    session: Session, sign_in: SignIn
) -> None:
    rule = telling_seed.add_rule(session)
    client = sign_in()
    answer = post(client, f"/alerts/{rule.id}/test", f"/alerts/{rule.id}")
    assert answer.status_code == 503  # type: ignore[attr-defined]
    assert "No housekeeper is running" in answer.text  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("get", "/alerts/999", 404),
        ("get", "/alerts/99999999999999999999999", 404),
        ("get", "/alerts/new/nonsense", 404),
        ("get", "/alerts?offset=-1", 400),
        ("get", "/alerts?offset=99999999999999999999", 200),
        ("get", "/alerts/x", 404),
    ],
)
def test_what_is_not_there_is_said_and_no_fault_of_ours(
    sign_in: SignIn, method: str, path: str, status: int
) -> None:
    assert getattr(sign_in(), method)(path).status_code == status


def test_without_the_forms_token_nothing_is_done(session: Session, sign_in: SignIn) -> None:
    rule = telling_seed.add_rule(session)
    client = sign_in()
    for verb in ("delete", "silence", "unsilence", "test"):
        assert client.post(f"/alerts/{rule.id}/{verb}", headers=SAME).status_code == 403
    session.rollback()
    assert session.scalars(select(AlertRule)).one().silenced_until is None


@pytest.mark.parametrize(
    ("written", "unit", "value"),
    [
        ("90", "seconds", 90),
        ("1 h 30 min", "seconds", 5400),
        ("2 days", "seconds", 172_800),
        ("10 GB", "bytes", 10 * 2**30),
        ("50 %", "share", 0.5),
        ("5", "share", 0.05),
        ("1,000 jobs", "jobs", 1000),
    ],
)
def test_amounts_are_read_as_people_write_them(written: str, unit: str, value: float) -> None:
    assert quantities.read(written, unit) == pytest.approx(value)


@pytest.mark.parametrize("written", ["", "-1", "1e9", "5 GB", "min", "1 h x", "NaN", "9" * 70])
def test_what_is_no_time_is_refused(written: str) -> None:
    with pytest.raises(ValueError, match="This must be a time"):
        quantities.read(written, "seconds")


@pytest.mark.browser
def test_a_rule_is_made_silenced_changed_and_deleted_by_hand(
    open_page: Open, session: Session, complaints: Complaints
) -> None:
    complaints.are_expected = True  # the browser tells of the 422
    page = open_page("/alerts")
    page.get_by_role("button", name="Make the first rule").click()
    page.get_by_role("link", name="Jobs that failed within some time").click()
    page.get_by_label("Name").fill("failing exports")
    page.get_by_label("Tell from so much on").fill("lots")
    page.get_by_label("E-mail addresses, one a line").fill("ops@example.org")
    page.get_by_role("button", name="Make the rule").click()
    expect(page.locator("#fault-threshold")).to_have_text("This must be a number like 5.")
    page.get_by_label("Tell from so much on").fill("3")
    page.get_by_role("button", name="Make the rule").click()
    rule = page.locator(".alert-rules tbody tr")
    expect(rule).to_contain_text("Jobs that failed within 5 min: 3 jobs or more")

    rule.get_by_role("button", name="Silence").click()
    page.get_by_label("1 day").check()
    page.get_by_label("Why, for those who wonder").fill("release night")
    page.get_by_role("button", name="Silence it").click()
    expect(rule).to_contain_text("by admin: release night")
    rule.get_by_role("button", name="Unsilence").click()
    expect(rule.get_by_role("button", name="Silence")).to_be_visible()

    rule.get_by_role("button", name="Edit").click()
    page.get_by_label("Watch it").uncheck()
    page.get_by_role("button", name="Save", exact=True).click()
    expect(rule).to_contain_text("Off")
    rule.get_by_role("button", name="Edit").click()
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("button", name="Delete it").click()
    expect(page.locator("#alerts-now")).to_contain_text("no rule watches")
    done = session.scalars(select(AuditEntry.action).order_by(AuditEntry.id)).all()
    assert [each for each in done if each.startswith("alert_rule")] == [
        "alert_rule.create",
        "alert_rule.silence",
        "alert_rule.end_silence",
        "alert_rule.update",
        "alert_rule.delete",
    ]


def fill(session: Session) -> None:
    """Rules in every state, with names that mean harm."""
    job_id = record_seed.add_job(session, "failed")
    endpoint = telling_seed.add_endpoint(session, "pager of the night")
    rule = telling_seed.add_rule(session, "many failures", targets=[endpoint.id, "ops@example.org"])
    telling_seed.add_alert(session, rule, job_id=job_id, told_at=datetime.now(UTC))
    telling_seed.add_rule(session, HOSTILE[:90], queue=HOSTILE[:60])
    later = datetime.now(UTC) + timedelta(hours=2)
    telling_seed.add_rule(
        session, "q", silenced_until=later, silenced_by="admin", silence_reason="moving the disks"
    )
    telling_seed.add_rule(session, "off", is_enabled=False)
    ended = telling_seed.add_alert(session, rule, minutes=90, resolved_at=datetime.now(UTC))
    assert ended.id


@pytest.mark.browser
@pytest.mark.usefixtures("clear_jobs")
@pytest.mark.parametrize(("scheme", "width"), [("light", 390), ("dark", 1440)])
def test_the_pages_are_accessible_and_as_wide_as_the_screen(
    open_page: Open, session: Session, scheme: str, width: int
) -> None:
    fill(session)
    page = open_page("/alerts", width=width, color_scheme=scheme)
    first = session.scalars(select(AlertRule.id).limit(1)).one()
    for path in ("/alerts", "/alerts/new", f"/alerts/{first}", f"/alerts/{first}/silence"):
        page.goto(path)
        assert violations(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
