"""The incidents' page: found, reviewed, judged by a model, exported."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from hashlib import md5
from typing import Any
from urllib.parse import quote, unquote

import pytest
from flask.testing import FlaskClient
from playwright.sync_api import Page, expect
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from app.core import incident_lists, incident_matching
from app.core.incident_matching import Wanted
from app.core.models import AuditEntry, Incident, Job
from tests.pages import record_seed
from tests.pages.conftest import violations
from tests.pages.incident_seed import add

pytestmark = pytest.mark.usefixtures("clear_jobs")

Open = Callable[..., Page]
SignIn = Callable[..., FlaskClient]
OWN = {"Sec-Fetch-Site": "same-origin"}


def listed(page: str) -> list[int]:
    return [int(number) for number in re.findall(r'id="incident-(\d+)"', page)]


def post(client: FlaskClient, path: str, **fields: Any) -> Any:
    page = client.get("/schedules/new").text
    found = re.search(r'name="csrf_token" value="([^"]+)"', page)
    assert found
    return client.post(path, data={"csrf_token": found[1], **fields}, headers=OWN)


def test_each_filter_leaves_what_it_names(session: Session, sign_in: SignIn) -> None:
    job_id = record_seed.add_job(session, "failed")
    plain = add(session, minutes=1, job_id=job_id)
    stall = add(session, "lost its worker", source="stall", risk_level="high", minutes=2)
    judged = add(session, "row 4", verdict="fix", summary="Mend the 100% row", minutes=3)
    closed = add(
        session, "old", reviewed_at=datetime.now(UTC), reviewed_by="ann", minutes=60 * 24 * 3
    )
    ancient = add(session, "ancient", minutes=60 * 24 * 40, details={"task": "backup"})
    client = sign_in()
    for query, found in {
        "": [plain, stall, judged, closed],
        "range=24h": [plain, stall, judged],
        "range=all": [plain, stall, judged, closed, ancient],
        "severity=high": [stall],
        "source=stall": [stall],
        "reviewed=yes": [closed],
        "reviewed=no": [plain, stall, judged],
        "verdict=fix": [judged],
        "verdict=none&reviewed=no": [plain, stall],
        "range=all&type=backup": [ancient],
        "q=worker+lost": [stall],
        "q=100%25": [judged],
        f"q={job_id}": [plain],
        "q=nothing": [],
    }.items():
        assert listed(client.get(f"/events?{query}").text) == found, query


def test_a_long_list_comes_in_pages(session: Session, sign_in: SignIn) -> None:
    made = [add(session, f"number {minutes}", minutes=minutes) for minutes in range(1, 54)]
    client = sign_in()
    page = client.get("/events").text
    assert listed(page) == made[:50]
    assert "53 incidents" in page
    (following,) = re.findall(r'rel="next" href="([^"]+)"', page)
    assert listed(client.get(following.replace("&amp;", "&")).text) == made[50:]


def test_an_incident_says_all_that_is_known(session: Session, sign_in: SignIn) -> None:
    job_id = record_seed.add_job(session, "failed")
    number = add(
        session,
        "<b>export</b>\u202e failed",
        job_id=job_id,
        occurrences=12,
        verdict="retry",
        summary="<i>again</i>",
        details={"task": "export", "error_type": "<script>"},
    )
    client = sign_in()
    for path in ("", f"/{number}"):
        page = client.get(f"/events{path}").text
        assert "<b>export" not in page
        assert "<i>again" not in page
        assert "⟨202E⟩" in page
        assert f'href="/jobs/{job_id}"' in page
        assert "Retry" in page
        assert "12" in page


def test_what_is_picked_is_reviewed_and_nothing_else(session: Session, sign_in: SignIn) -> None:
    first, second, third = (add(session, f"number {each}", minutes=each) for each in (1, 2, 3))
    client = sign_in()
    asked = client.get(f"/events/review?ids={first}&ids={third}&severity=medium").text
    assert "Mark 2 incidents as reviewed?" in asked
    answer = post(client, "/events/review", ids=[str(first), str(third)], severity="medium")
    assert answer.status_code == 303
    assert answer.location == "/events?severity=medium"
    session.rollback()
    reviewed = select(Incident.id).where(Incident.reviewed_by == "admin").order_by(Incident.id)
    assert session.scalars(reviewed).all() == [first, third]
    audit = select(AuditEntry.object_id).where(AuditEntry.action == "incident.review")
    said = session.scalars(audit.order_by(AuditEntry.id.desc()).limit(2)).all()
    assert sorted(said) == [str(first), str(third)]
    assert second not in session.scalars(reviewed).all()


def test_all_that_match_are_reviewed_but_not_what_came_later(
    session: Session, sign_in: SignIn
) -> None:
    high = [add(session, f"high {each}", risk_level="high", minutes=each) for each in (5, 6)]
    low = add(session, "low", risk_level="low")
    client = sign_in()
    page = client.get("/events?severity=high").text
    (url,) = [each for each in re.findall(r'href="([^"]+)"', page) if "/events/review?all" in each]
    late = add(session, "late", risk_level="high", minutes=-1)
    asked = client.get(url.replace("&amp;", "&")).text
    assert "Mark 2 incidents as reviewed?" in asked
    fields = dict(re.findall(r'name="(\w+)" value="([^"]*)"', asked))
    fields.pop("csrf_token")
    assert post(client, "/events/review", **fields).status_code == 303
    session.rollback()
    still_open = select(Incident.id).where(Incident.reviewed_at.is_(None))
    assert sorted(session.scalars(still_open)) == sorted([low, late])
    assert sorted(
        session.scalars(select(Incident.id).where(Incident.reviewed_at.is_not(None)))
    ) == (sorted(high))


def test_a_model_is_asked_about_what_is_picked(session: Session, sign_in: SignIn) -> None:
    first, second = add(session, "one", minutes=1), add(session, "two", minutes=2)
    client = sign_in()
    asked = client.get(f"/events/audit?ids={first}&ids={second}").text
    assert "Let a model judge 2 incidents?" in asked
    assert '<option value="smollm2-135m-instruct"' in asked
    answer = post(
        client, "/events/audit", ids=[str(second), str(first)], model="smollm2-135m-instruct"
    )
    assert answer.status_code == 303
    session.rollback()
    job = session.scalars(select(Job).where(Job.task == "batch_audit")).one()
    assert job.arguments["model"] == "smollm2-135m-instruct"
    assert job.arguments["incident_ids"] == [first, second]
    refused = post(client, "/events/audit", ids=[str(first)], model="org/absent")
    assert refused.status_code == 400
    assert "Not done." in refused.text


def test_an_export_has_the_lists_filters(session: Session, sign_in: SignIn) -> None:
    add(session)
    answer = post(
        sign_in("ann", "user"),
        "/events/export",
        format="json",
        severity="high",
        reviewed="no",
        range="7d",
    )
    assert answer.status_code == 303
    session.rollback()
    job = session.scalars(select(Job).where(Job.task == "export")).one()
    asked = {name: job.arguments[name] for name in ("what", "format", "risk_level", "reviewed")}
    assert asked == {"what": "events", "format": "json", "risk_level": "high", "reviewed": False}
    assert job.arguments["owner"] == "ann"


def test_a_user_sees_those_of_own_jobs_and_changes_none(session: Session, sign_in: SignIn) -> None:
    mine = record_seed.add_job(session, "failed", owner_name="ann")
    theirs = record_seed.add_job(session, "failed", owner_name="bob")
    own = add(session, "mine", job_id=mine)
    other = add(session, "theirs", job_id=theirs, minutes=6)
    add(session, "nobody's", minutes=7)
    client = sign_in("ann", "user")
    page = client.get("/events").text
    assert listed(page) == [own]
    assert "/events/review" not in page
    assert client.get(f"/events/{other}").status_code == 404
    assert client.get(f"/events/review?ids={own}").status_code == 403
    for action in ("review", "audit"):
        assert post(client, f"/events/{action}", ids=[str(own)], model="m").status_code == 403
    session.rollback()
    assert session.scalars(select(Incident.reviewed_at)).all() == [None, None, None]


def test_counting_stops_at_a_limit(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    for minutes in (1, 2, 3):
        add(session, f"number {minutes}", minutes=minutes)
    monkeypatch.setattr(incident_lists, "COUNT_LIMIT", 2)
    page = incident_lists.page(session, Wanted(), owner_name=None, limit=50)
    assert (page.total, page.total_is_exact, len(page.incidents)) == (2, False, 3)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/events?severity=worst", 400),
        ("/events?reviewed=maybe", 400),
        ("/events?verdict=x", 400),
        ("/events?range=1y", 400),
        ("/events?cursor=x", 400),
        ("/events?cursor=2026-01-01T00:00:00Z_x", 400),
        ("/events?q=%00%25_%5C", 200),
        ("/events?q=" + "x" * 600, 400),
        ("/events?source=%F0%9F%A6%86", 200),
        ("/events/99999999999999999999", 404),
        ("/events/0", 404),
        ("/events/review", 400),
        ("/events/review?ids=x", 400),
        ("/events/review?ids=0", 200),
        ("/events/review?all=1&until=no", 400),
    ],
)
def test_what_a_client_sends_is_never_our_fault(sign_in: SignIn, path: str, status: int) -> None:
    assert sign_in().get(path).status_code == status, unquote(path)


@pytest.mark.browser
def test_incidents_are_picked_and_reviewed(open_page: Open, session: Session) -> None:
    for each in (1, 2, 3):
        add(session, f"number {each}", minutes=each)
    page = open_page("/events?reviewed=no")
    button = page.get_by_role("button", name="Mark reviewed")
    expect(button).to_be_disabled()
    page.get_by_label("Pick all incidents of this page").check()
    expect(page.locator("[data-picked]")).to_have_text("3 picked")
    page.locator("[data-select]").nth(1).uncheck()
    expect(page.locator("[data-picked]")).to_have_text("2 picked")
    button.click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Mark 2 incidents as reviewed?")
    page.get_by_role("button", name="Mark reviewed").click()
    expect(page.locator(".events tbody tr")).to_have_count(1)
    expect(page.locator(".events tbody")).to_contain_text("number 2")


@pytest.mark.browser
def test_the_search_filters_while_it_is_typed(open_page: Open, session: Session) -> None:
    add(session, "the disk is full", minutes=1)
    add(session, "the engine is away", minutes=2)
    page = open_page("/events")
    page.get_by_label("Search the incidents").fill("disk")
    expect(page.locator(".events tbody tr")).to_have_count(1)
    expect(page).to_have_url(re.compile("q=disk"))
    page.get_by_role("link", name="Clear all").click()
    expect(page.locator(".events tbody tr")).to_have_count(2)


@pytest.mark.browser
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 390])
def test_the_pages_are_for_everybody(
    open_page: Open, session: Session, theme: str, width: int
) -> None:
    page = open_page("/events", width=width, color_scheme=theme)
    expect(page.locator(".empty")).to_contain_text("Nothing happened that needs a look")
    assert violations(page) == []
    job_id = record_seed.add_job(session, "failed")
    for place, level in enumerate(("low", "medium", "high", "critical")):
        number = add(session, "x" * 300, risk_level=level, minutes=place, job_id=job_id,
                     verdict=("harmless", "retry", "fix", "unclear")[place], summary="word " * 60)  # fmt: skip
    add(session, "done", reviewed_at=datetime.now(UTC), reviewed_by="ann")
    for path in ("", f"/{number}", f"/review?ids={number}", f"/audit?ids={number}"):
        page.goto(f"/events{path}")
        assert violations(page) == [], path
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path


def many(session: Session, count: int) -> None:
    """So many reviewed incidents, one a second, the first of them a second ago."""
    session.execute(
        text(
            "INSERT INTO incident (source, risk_level, fingerprint, text, summary, details, verdict, job_id,"
            " opened_at, reviewed_at) SELECT 'failure', CASE WHEN n % 2 = 0 THEN 'low' ELSE 'high' END, n,"
            " 'export failed with code ' || md5(n::text), CASE WHEN n % 7 = 0 THEN 'Kind of ' || md5('x' || n) END,"
            " jsonb_build_object('task', 'export'), CASE WHEN n % 500 = 0 THEN 'fix' END, 70000 + n,"
            " now() - n * interval '1 second', CASE WHEN n % 100 <> 0 THEN now() END"
            " FROM generate_series(1, :count) AS n"
        ),
        {"count": count},
    )
    session.commit()


@pytest.mark.parametrize("has_index", [True, False])
def test_a_search_finds_the_same_with_an_index_and_without(
    session: Session, has_index: bool
) -> None:
    many(session, 30)
    session.execute(text("INSERT INTO incident (source, risk_level, fingerprint, text, job_id)"
                         " VALUES ('stall', 'low', 'x', 'Übung_1 lost 100% of \\ it', 4711)"))  # fmt: skip
    session.commit()
    if not has_index:
        session.execute(text("DROP INDEX incident_words_idx"))

    def found(said: str, **wanted: Any) -> int:
        page = incident_lists.page(session, Wanted(text=said, **wanted), owner_name=None, limit=50)
        assert page.looked_at is None
        return page.total

    assert [found(said) for said in ("EXPORT failed", "übung_1", "übungx1", "100%", "\\", "9\\")] == [
        30, 1, 0, 1, 1, 0
    ]  # fmt: skip
    assert [found(said) for said in ("4711", "70007", "70007 export", "70007 stall", "ex zz")] == [
        1, 1, 1, 0, 0
    ]  # fmt: skip
    assert found(md5(b"x14").hexdigest()) == 1
    assert found("export", risk_level="low") == 15
    assert found("export", is_reviewed=False) == 0
    session.rollback()


def test_what_no_index_serves_is_looked_for_among_the_newest_and_the_page_says_so(
    session: Session, sign_in: SignIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    many(session, 40)
    oldest = add(session, "zz is short", minutes=30)
    monkeypatch.setattr(incident_matching, "LOOSE_LIMIT", 20)
    monkeypatch.setattr(incident_matching, "MOST_FOUND", 10)
    client = sign_in()

    for path, said in {
        "q=ex": "20 incidents among the newest 20",
        "q=zz": "No incident matches among the newest 20",
        "q=failed": "20 incidents among the newest 20",
        "type=export": "20 incidents among the newest 20",
        "severity=low&source=failure": "10 incidents among the newest 20",
        "severity=low": "20 incidents, last",
        "q=short": "1 incident, last",
        f"q={md5(b'39').hexdigest()}": "1 incident, last",
        f"q={oldest}": "1 incident",
        "reviewed=no": "1 incident, last",
    }.items():
        page = " ".join(client.get(f"/events?{path}").text.split())
        assert said in page, path
    moment = quote(datetime.now(UTC).isoformat())
    asked = client.get(f"/events/review?all=1&range=all&type=export&until={moment}").text
    assert "Only the newest 20 incidents were searched" in asked
