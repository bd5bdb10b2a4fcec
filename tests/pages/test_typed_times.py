"""Typed times are in the reader's zone; addresses mean the same moment to everybody."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlencode, urlsplit
from zoneinfo import ZoneInfo

import pytest
from flask import Flask
from flask.testing import FlaskClient
from playwright.sync_api import Page, expect
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core.errors import Invalid
from app.core.models import AlertRule, Job, Schedule
from app.pages import typed_times
from tests.pages import seed, telling_seed
from tests.pages.timeline_day import NOON, Day, busy, run_lately

Open = Callable[..., Page]
SignIn = Callable[..., FlaskClient]
BERLIN, SAO_PAULO = "Europe/Berlin", "America/Sao_Paulo"
OWN = {"Sec-Fetch-Site": "same-origin"}


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def local(app: Flask, zone: str = BERLIN) -> dict[str, str]:
    """The headers of a reader whose clock is there."""
    name = f"stoker_look_{app.extensions['stoker'].port}"
    return {"Cookie": f"{name}={urlencode({'time': 'local', 'zone': zone})}"}


def choose(client: FlaskClient, app: Flask, zone: str = BERLIN) -> None:
    chosen = urlencode({"time": "local", "zone": zone})
    client.set_cookie(f"stoker_look_{app.extensions['stoker'].port}", chosen)


@pytest.mark.parametrize(
    ("typed", "zone", "meant"),
    [
        ("2026-01-05T23:30", BERLIN, "2026-01-05T22:30"),
        ("2026-07-05T23:30:07", BERLIN, "2026-07-05T21:30:07"),
        ("2026-01-05T23:30", "Asia/Kolkata", "2026-01-05T18:00"),
        ("2026-01-05T23:30", "", "2026-01-05T23:30"),
        ("2026-01-05T23:30+02:00", BERLIN, "2026-01-05T21:30"),
        ("2026-01-05T23:30Z", BERLIN, "2026-01-05T23:30"),
        ("2026-01-05", BERLIN, "2026-01-04T23:00"),
    ],
)
def test_a_time_is_read_in_the_zone_that_the_form_says(typed: str, zone: str, meant: str) -> None:
    assert typed_times.moment({"from": typed, "zone": zone}, "from") == at(meant)


def test_a_day_as_an_end_is_the_whole_day_also_when_the_clocks_are_changed() -> None:
    said = {"from": "2026-10-25", "to": "2026-10-25", "zone": BERLIN}
    assert typed_times.moment(said, "from") == at("2026-10-24T22:00")
    assert typed_times.moment(said, "to", is_end=True) == at("2026-10-25T23:00")


def test_a_time_that_the_clocks_leave_out_is_refused_and_says_what_comes_in_its_place() -> None:
    with pytest.raises(Invalid, match=r"until is 2026-03-29 02:30.*does not exist.*03:30 comes"):
        typed_times.moment({"until": "2026-03-29T02:30", "zone": BERLIN}, "until")


def test_a_window_has_all_of_an_hour_that_comes_twice_and_one_moment_is_asked_for_again() -> None:
    said = dict.fromkeys(("from", "to", "schedule_at"), "2026-10-25T02:30") | {"zone": BERLIN}
    assert typed_times.moment(said, "from") == at("2026-10-25T00:30")
    assert typed_times.moment(said, "to", is_end=True) == at("2026-10-25T01:30")
    with pytest.raises(Invalid, match=r"twice.*00:30 UTC \(CEST\) and at 01:30 UTC \(CET\)"):
        typed_times.moment(said, "schedule_at")


def test_what_nobody_changed_stays_the_moment_that_it_was() -> None:
    said = {"from": "2026-10-25T02:30", "from-at": "2026-10-25T01:30:05.250Z", "zone": BERLIN}
    exact = at("2026-10-25T01:30:05.250")
    assert typed_times.moment(said, "from") == exact
    assert typed_times.moment({**said, "from": "2026-10-25T02:30:05"}, "from") == exact
    assert typed_times.moment({**said, "from": "2026-10-25T04:00"}, "from") == at(
        "2026-10-25T03:00"
    )


@pytest.mark.parametrize("zone", ["Mars/Olympus", "../etc/passwd", "x" * 300, "\0"])
def test_a_zone_that_is_none_is_named(zone: str) -> None:
    with pytest.raises(Invalid, match="zone must be a time zone"):
        typed_times.moment({"from": "2026-01-05T23:30", "zone": zone}, "from")


@pytest.mark.parametrize("typed", ["x", "0001-01-01T00:00", "9999-12-31T23:59", "2026-13-01T00:00"])
@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "America/Adak"])
def test_no_time_is_too_strange_to_be_answered(typed: str, zone: str) -> None:
    said = {"from": typed, "from-at": typed, "zone": zone}
    if typed[0] in "x2":
        with pytest.raises(Invalid, match="from must be a time like 2026-11-22T09:30"):
            typed_times.moment(said, "from")
    else:
        with contextlib.suppress(Invalid):
            assert typed_times.moment(said, "from") is not None


@pytest.mark.parametrize(
    "path", ["/", "/timeline", "/failures", "/history", "/history?zone=Europe/Berlin", "/audit"]
)
def test_a_form_without_scripts_leads_to_an_address_in_utc(
    app: Flask, sign_in: SignIn, path: str
) -> None:
    client = sign_in()
    choose(client, app)
    names = ("since", "until") if path == "/audit" else ("from", "to")
    page = client.get(f"{path.partition('?')[0]}?range=dates").text
    assert page.count('name="zone" value="Europe/Berlin"') == 1
    said = {
        "range": "dates",
        names[0]: "2026-10-24T12:00",
        names[1]: "2026-10-26T12:00",
        "zone": BERLIN,
        f"{names[0]}-at": "",
    }
    answer = client.get(path.partition("?")[0], query_string=said)
    assert answer.status_code == 302
    asked = parse_qs(urlsplit(answer.headers["Location"]).query)
    moments = {names[0]: ["2026-10-24T10:00:00Z"], names[1]: ["2026-10-26T11:00:00Z"]}
    assert asked == {"range": ["dates"], **moments}
    shown = client.get(answer.headers["Location"])
    assert shown.status_code == 200
    assert 'value="2026-10-24T12:00' in shown.text
    assert 'value="2026-10-26T12:00' in shown.text


def test_an_address_cannot_lead_to_another_site(app: Flask, sign_in: SignIn) -> None:
    said = {"from": "2026-10-24T12:00", "zone": BERLIN}
    answer = sign_in().get("//evil.example/", query_string=said)
    assert not answer.headers.get("Location", "/").startswith("//")


@pytest.mark.parametrize(
    "path", ["/%09/evil.example", "/%0d/evil.example", "/jobs%0A", "/jobs/1%0A"]
)
def test_a_path_that_is_no_page_is_not_gone_on_to(sign_in: SignIn, path: str) -> None:
    answer = sign_in().get(f"{path}?zone=UTC&from=2026-01-01")
    assert answer.status_code in (302, 404)
    assert "//" not in answer.headers.get("Location", "")
    assert answer.headers.get("Location", "/").startswith("/jobs/1%0A") or answer.status_code == 404


@pytest.mark.parametrize("path", ["/", "/timeline", "/failures", "/history"])
def test_a_time_that_does_not_exist_is_answered_by_every_page(
    app: Flask, sign_in: SignIn, path: str
) -> None:
    said = {"range": "dates", "from": "2026-03-29T02:30", "zone": BERLIN}
    answer = sign_in().get(path, query_string=said)
    assert answer.status_code in (400, 422)
    assert "does not exist in Europe/Berlin" in answer.text


def test_an_old_address_without_a_zone_is_in_utc_and_shown_on_the_readers_clock(
    app: Flask, sign_in: SignIn
) -> None:
    client = sign_in()
    choose(client, app, "Asia/Kolkata")
    page = client.get("/history?range=dates&from=2026-01-20T10:00&to=2026-01-21").text
    assert 'name="from" value="2026-01-20T15:30"' in page
    assert "2026-01-20 15:30 to 2026-01-22 05:30 IST" in page


def ask(client: FlaskClient, path: str) -> dict[str, str]:
    """The hidden fields of the form that stands there."""
    page = client.get(path).text
    assert 'name="zone" value="Europe/Berlin"' in page
    return {
        "csrf_token": page.split('name="csrf_token" value="')[1].split('"')[0],
        "zone": BERLIN,
    }


def due(session: Session, job_id: int) -> datetime | None:
    return session.scalars(select(Job.scheduled_at).where(Job.id == job_id)).one()


@pytest.mark.usefixtures("clear_jobs")
def test_a_job_is_put_to_a_time_of_the_readers_clock(
    app: Flask, sign_in: SignIn, session: Session
) -> None:
    client = sign_in()
    choose(client, app)
    said = ask(client, "/tasks")
    made = client.post(
        "/tasks/cleanup", data={**said, "how.schedule_at": "2040-07-01T10:00"}, headers=OWN
    )
    job_id = int(made.headers["Location"].rpartition("/")[2])
    assert due(session, job_id) == at("2040-07-01T08:00")

    path = f"/jobs/{job_id}/reschedule"
    moved = client.post(
        path, data={**ask(client, path), "schedule_at": "2040-01-01T10:00"}, headers=OWN
    )
    assert moved.status_code < 400
    session.expire_all()
    assert due(session, job_id) == at("2040-01-01T09:00")

    refused = client.post(path, data={**said, "schedule_at": "2040-10-28T02:30"}, headers=OWN)
    assert refused.status_code == 400
    assert "comes twice in Europe/Berlin" in refused.text
    again = client.post(
        "/tasks/cleanup", data={**said, "how.schedule_at": "2040-03-25T02:30"}, headers=OWN
    )
    assert again.status_code == 400
    assert "schedule_at is 2040-03-25 02:30, which does not exist" in again.text


def test_a_schedule_begins_on_the_readers_clock_and_is_of_the_readers_zone(
    app: Flask, sign_in: SignIn, session: Session
) -> None:
    client = sign_in()
    choose(client, app)
    said = ask(client, "/schedules/new")
    assert 'name="timezone" value="Europe/Berlin"' in client.get("/schedules/new").text
    fields = {"name": "hourly", "task": "cleanup", "kind": "interval", "every": "1", "unit": "3600"}
    refused = client.post(
        "/schedules", data={**said, **fields, "starts_at": "2040-10-28T02:30"}, headers=OWN
    )
    assert refused.status_code == 400
    assert "comes twice in Europe/Berlin" in refused.text
    previewed = client.get("/schedules/preview", query_string={**said, **fields, "starts_at": "x"})
    assert "must be a time like" in previewed.text

    # What comes twice was said by a program; the form leaves it as it is.
    exact = {"starts_at-at": "2040-10-28T01:30:00Z", "starts_at": "2040-10-28T02:30"}
    made = client.post("/schedules", data={**said, **fields, **exact}, headers=OWN)
    assert made.status_code == 303
    schedule = session.scalars(select(Schedule)).one()
    try:
        assert 'value="2040-10-28T02:30:00"' in client.get(f"/schedules/{schedule.id}/edit").text
        assert 'value="2040-10-28T01:30:00Z"' in client.get(f"/schedules/{schedule.id}/edit").text
    finally:
        session.delete(schedule)
        session.commit()


def test_an_alert_is_silenced_until_a_time_of_the_readers_clock(
    app: Flask, sign_in: SignIn, session: Session
) -> None:
    telling_seed.clear(session)
    rule = telling_seed.add_rule(session, "failures")
    client = sign_in()
    choose(client, app)
    path = f"/alerts/{rule.id}/silence"
    until = datetime.now(ZoneInfo(BERLIN)).replace(hour=12, minute=0) + timedelta(days=3)
    said = {**ask(client, path), "lasts": "until", "reason": "new disk"}
    answer = client.post(path, data={**said, "until": f"{until:%Y-%m-%dT%H:%M}"}, headers=OWN)
    assert answer.status_code == 303
    session.expire_all()
    silenced = session.get_one(AlertRule, rule.id).silenced_until
    assert silenced == until.replace(second=0, microsecond=0)
    telling_seed.clear(session)


@pytest.mark.browser
def test_the_timeline_speaks_of_the_readers_zone_and_its_address_of_moments(
    day: Day, open_page: Open
) -> None:
    jobs = busy(day)
    run_lately(day)
    page = open_page("/timeline", timezone_id=SAO_PAULO)
    page.click(".account")
    page.check("#time [value=local]", force=True)
    expect(page.locator("#timeline .labels")).to_contain_text(", UTC-03")
    page.check("#timeline-filters [value=dates]", force=True)
    begins = NOON - timedelta(hours=1)
    there = begins.astimezone(ZoneInfo(SAO_PAULO))
    until = there + timedelta(hours=4)
    expect(page.locator("#timeline-filters .zone")).to_have_text("America/Sao Paulo")
    page.fill("[name=from]", f"{there:%Y-%m-%dT%H:%M:%S}")
    page.fill("[name=to]", f"{until:%Y-%m-%dT%H:%M:%S}")
    page.locator("[name=to]").blur()

    tip = page.locator(f"[data-job='{jobs['batch'].id}']")
    started = NOON.astimezone(ZoneInfo(SAO_PAULO))
    expect(tip).to_have_attribute(
        "aria-label", re.compile(f"started {started:%Y-%m-%d %H:%M:%S} UTC-03")
    )
    expect(page.locator(".tick + .clock-label").first).to_have_text(re.compile(r"^\d\d:[03]0$"))
    expect(page).to_have_url(re.compile("from="))
    asked = parse_qs(urlsplit(page.url).query)
    assert asked["from"] == [f"{begins:%Y-%m-%dT%H:%M:%S}Z"]
    assert "zone" not in asked
    page.select_option("[name=lanes]", "queue")
    expect(page).to_have_url(re.compile("lanes=queue"))
    assert parse_qs(urlsplit(page.url).query)["from"] == asked["from"]
    page.go_back()
    expect(page).not_to_have_url(re.compile("lanes=queue"))
    expect(page.locator("[name=from]")).to_have_value(re.compile(f"^{there:%Y-%m-%dT%H:%M}"))

    other = open_page(page.url.partition(urlsplit(page.url).netloc)[2])
    expect(other.locator("[name=from]")).to_have_value(re.compile(f"^{begins:%Y-%m-%dT%H:%M}"))
    expect(other.locator("#timeline .labels")).to_contain_text(", UTC")


@pytest.mark.browser
def test_a_window_of_the_history_is_typed_on_the_readers_clock(
    open_page: Open, session: Session
) -> None:
    seed.add_batch(session, id="batch_in", created_at=at("2026-01-20T00:10"))
    seed.add_batch(session, id="batch_before", created_at=at("2026-01-19T22:50"))
    page = open_page("/history", timezone_id=BERLIN)
    page.click(".account")
    page.check("#time [value=local]", force=True)
    page.check("#history-filters [value=dates]", force=True)
    page.fill("[name=from]", "2026-01-20T00:00")
    page.locator("[name=from]").blur()
    expect(page.locator("#job-batch_in")).to_be_visible()
    expect(page.locator("#job-batch_before")).to_have_count(0)
    expect(page).to_have_url(re.compile("from=2026-01-19T23"))
    page.reload()
    expect(page.locator("[name=from]")).to_have_value("2026-01-20T00:00")
    expect(page.locator("main")).to_contain_text("since 2026-01-20 00:00 CET")
