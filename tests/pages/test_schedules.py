"""The schedules' pages: what runs next, what became of it, and forms that say what is wrong where."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient
from playwright.sync_api import Page, expect
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from app.core import schedules, users
from app.core.models import Job, Schedule, ScheduleFiring
from tests.pages import record_seed
from tests.pages.conftest import Complaints, violations
from tests.pages.schedule_seed import add_firing, make

pytestmark = pytest.mark.usefixtures("clear_jobs", "clear_schedules")

Open = Callable[..., Page]
SignIn = Callable[..., FlaskClient]
OWN = {"Sec-Fetch-Site": "same-origin"}


@pytest.fixture
def clear_schedules(session: Session) -> Iterator[None]:
    """None is there before the test, and none is left for the next."""
    yield
    session.rollback()
    session.execute(text("DELETE FROM schedule"))
    session.commit()


def token(client: FlaskClient) -> str:
    found = re.search(r'name="csrf_token" value="([^"]+)"', client.get("/schedules/new").text)
    assert found
    return found[1]


def post(client: FlaskClient, path: str, **fields: str) -> Any:
    return client.post(path, data={"csrf_token": token(client), **fields}, headers=OWN)


def words(page: str) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", page).split())


def test_the_list_says_when_each_runs_and_what_came_of_the_last(
    session: Session, sign_in: SignIn
) -> None:
    nightly = make(session)
    job_id = record_seed.add_job(session, "failed", error_message="disk is full")
    add_firing(session, nightly, 30, job_id=job_id)
    add_firing(session, nightly, 90, reason="missed: 3 runs", planned_runs=3)
    make(session, "hourly", trigger={"kind": "interval", "seconds": 3600})
    page = words(sign_in().get("/schedules").text)
    assert "every weekday at 07:30 Europe/Berlin" in page
    assert "every hour" in page
    assert "The next 5" in page
    assert f"Failed job {job_id} 30 min ago 3" in page
    assert "not yet" in page
    assert "2 schedules" in page


def test_a_schedules_page_tells_each_planned_time(session: Session, sign_in: SignIn) -> None:
    nightly = make(session)
    job_id = record_seed.add_job(session, "completed", run_seconds=75)
    add_firing(session, nightly, 30, job_id=job_id, asked_by="ann")
    add_firing(session, nightly, 90, reason="Its job 7 has not ended.")
    page = words(sign_in().get(f"/schedules/{nightly.id}").text)
    assert f"Completed job {job_id} ann ran it by hand" in page
    assert "1 min 15 s" in page
    assert "Skipped Its job 7 has not ended." in page
    assert "one run for all that were missed" in page


def test_a_long_history_comes_in_pages(session: Session, sign_in: SignIn) -> None:
    nightly = make(session)
    for minutes in range(1, 54):
        add_firing(session, nightly, minutes, reason=f"reason {minutes}.")
    client = sign_in()
    page = client.get(f"/schedules/{nightly.id}").text
    assert "reason 50." in page
    assert "reason 51." not in page
    (older,) = re.findall(r'rel="next" href="([^"]+)"', page)
    page = client.get(older.replace("&amp;", "&")).text
    assert "reason 51." in page
    assert "reason 53." in page
    assert "reason 50." not in page


@pytest.mark.parametrize(
    ("changed", "place", "said"),
    [
        ({"cron": "0 99 * * *"}, "cron", "Hour: &#39;99&#39; is no number from 0 to 23."),
        ({"cron": "0 7 * *"}, "cron", "Must have five fields"),
        ({"cron": "0 7 31 2 *"}, "cron", "Fits no date"),
        ({"timezone": "Mars/Base"}, "timezone", "is no time zone such as"),
        ({"kind": "interval", "every": "1", "unit": "1"}, "every", "greater than or equal to 5"),
        ({"kind": "interval", "every": "x"}, "every", "valid integer"),
        ({"kind": "once", "at": "2020-01-01T10:00"}, "at", "That moment has passed."),
        ({"kind": "once", "at": "soon"}, "at", "valid datetime"),
        ({"kind": "never"}, "kind", "does not match any of the expected tags"),
        ({"args": '{"format":\n "csv",}'}, "args", "no JSON at line 2, column "),
        ({"args": "[1]"}, "args", "must be a JSON object"),
        ({"args": '{"format": "pdf"}'}, "args", "format: "),
        ({"args": '{"colour": "red"}'}, "args", "takes no argument &#39;colour&#39;"),
        ({"args": '{"format": NaN}'}, "args", "NaN"),
        ({"args": '{"\\ud800": 1}'}, "args", "half a character"),
        ({"args": '{"job_type": "\\u0000"}'}, "args", "NUL"),
        ({"args": "[" * 100_000}, "args", "nested too deep"),
        ({"name": "\0"}, "name", "at least 1 character"),
        ({"name": ""}, "name", "at least 1 character"),
        ({"name": "taken"}, "name", "There is a schedule &#39;taken&#39; already."),
        ({"task": "nothing"}, "task", "There is no task &#39;nothing&#39;"),
        ({"priority": "9999"}, "priority", "less than or equal to 1000"),
        ({"missed_limit": "0"}, "missed_limit", "greater than or equal to 1"),
        ({"jitter_seconds": "nan"}, "jitter_seconds", "finite number"),
        ({"kind": "interval", "every": "1", "unit": "60", "jitter_seconds": "300"},
         "jitter_seconds", "The jitter must be shorter"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_at_its_field_and_nothing_is_lost(
    session: Session, sign_in: SignIn, changed: dict[str, str], place: str, said: str
) -> None:
    make(session, "taken")
    fields = {"name": "mine", "task": "export", "cron": "5 4 * * *", "args": "{}"}
    answer = post(sign_in(), "/schedules", **(fields | changed))
    assert 400 <= answer.status_code < 500
    begin = answer.text.index(f'id="fault-{place}"')
    assert said in answer.text[begin : answer.text.index("</span>", begin)]
    assert f'aria-describedby="fault-{place}"' in answer.text or place == "kind"
    for name, value in (fields | changed).items():
        if name in ("name", "cron", "every", "at") and value.strip("\0"):
            assert f'name="{name}" value="{value}"' in answer.text
    session.rollback()
    assert session.scalars(select(Schedule.name)).all() == ["taken"]


def test_a_schedule_is_made_changed_and_removed(session: Session, sign_in: SignIn) -> None:
    client = sign_in()
    answer = post(
        client, "/schedules", name="mine", task="export", kind="interval", every="2", unit="3600"
    )
    assert answer.status_code == 303
    session.rollback()
    made = session.scalars(select(Schedule)).one()
    assert made.trigger["seconds"] == 7200
    planned_at = made.next_planned_at
    form = client.get(f"/schedules/{made.id}/edit").text
    fields = dict(re.findall(r'name="(\w+)" value="([^"]*)"', form))
    fields |= {"kind": "interval", "unit": "3600", "task": "export", "name": "yours"}
    fields |= {"missed_policy": "skip", "overlap_policy": "allow", "args": '{"format": "json"}'}
    assert post(client, f"/schedules/{made.id}", **fields).status_code == 303
    session.refresh(made)
    assert (made.name, made.missed_policy, made.arguments) == ("yours", "skip", {"format": "json"})
    assert made.next_planned_at == planned_at  # its times did not change
    assert "can&#39;t be brought back" in client.get(f"/schedules/{made.id}/delete").text.replace(
        "can't", "can&#39;t"
    )
    assert post(client, f"/schedules/{made.id}/delete").status_code == 303
    session.rollback()
    assert session.scalars(select(Schedule)).all() == []


def test_a_user_sees_and_changes_own_schedules_only(session: Session, sign_in: SignIn) -> None:
    theirs = make(session)
    client = sign_in("ann", "user")
    assert "nightly" not in client.get("/schedules").text
    assert client.get(f"/schedules/{theirs.id}").status_code == 404
    assert client.get(f"/schedules/{theirs.id}/edit").status_code == 404
    for action in ("pause", "resume", "run", "delete"):
        assert client.get(f"/schedules/{theirs.id}/{action}").status_code == 404
        assert post(client, f"/schedules/{theirs.id}/{action}", reason="x").status_code == 404
    answer = post(client, "/schedules", name="b", task="backup", kind="cron", cron="@daily")
    assert answer.status_code == 403
    assert "needs the scope" in answer.text
    session.rollback()
    assert session.scalars(select(Schedule.owner_id)).all() == [theirs.owner_id]


def test_a_form_without_its_token_is_refused(session: Session, sign_in: SignIn) -> None:
    kept = make(session)
    client = sign_in()
    assert client.post("/schedules", data={"name": "x"}, headers=OWN).status_code == 403
    assert client.post(f"/schedules/{kept.id}/delete", headers=OWN).status_code == 403


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/schedules/nothing", 404),
        ("/schedules/9223372036854775808", 404),
        ("/schedules/%00", 404),
        ("/schedules/1/explode", 404),
        ("/schedules/preview?kind=cron&cron=%00", 200),
        ("/schedules/preview?kind=interval&every=99999999999999999999", 200),
        ("/schedules/preview?kind=interval&every=--5", 200),
        ("/schedules/preview?args=%5B", 200),
        ("/schedules/new?task=%00", 200),
    ],
)
def test_what_a_client_sends_is_never_our_fault(sign_in: SignIn, path: str, status: int) -> None:
    assert sign_in().get(path).status_code == status


def test_names_and_reasons_are_shown_and_never_obeyed(session: Session, sign_in: SignIn) -> None:
    made = make(session, "<b>night</b>\u202ely")
    add_firing(session, made, 5, reason="<script>x\x1b")
    client = sign_in()
    for path in ("", f"/{made.id}", f"/{made.id}/edit", f"/{made.id}/delete"):
        page = client.get(f"/schedules{path}").text
        assert "<b>night" not in page
        assert "<script>x" not in page
        assert "⟨202E⟩" in page


def test_a_run_that_should_have_started_is_flagged(session: Session, sign_in: SignIn) -> None:
    waits, idle = make(session, "waits"), make(session, "idle")
    make(session, "in time")
    assert "Late" not in sign_in().get("/schedules").text
    ago = datetime.now(UTC) - timedelta(minutes=7)
    session.execute(
        text("INSERT INTO job (id, created_at, task, queue) VALUES (4711, :at, 'export', 'tasks')"),
        {"at": ago},
    )
    add_firing(session, waits, 7, job_id=4711)
    idle.next_planned_at = idle.next_due_at = ago
    session.commit()
    page = sign_in().get("/schedules").text
    assert page.count("Late</span>") == 2
    assert "job 4711</a> still waits" in page
    assert "nothing was done about it" in sign_in().get(f"/schedules/{idle.id}").text
    session.execute(text("UPDATE job SET status = 'running', started_at = now()"))
    session.execute(text("UPDATE schedule SET paused_at = now(), pause_reason = 'x'"))
    session.commit()
    assert "Late" not in sign_in().get("/schedules").text


@pytest.mark.browser
def test_the_form_says_what_a_cron_means_while_it_is_typed(open_page: Open) -> None:
    page = open_page("/schedules/new")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    preview = page.locator("#schedule-preview")
    expect(preview).to_contain_text("Every weekday at 07:00 UTC")
    expect(preview.locator("li")).to_have_count(5)
    page.locator("[name=cron]").fill("15 */6 * * *")
    expect(preview).to_contain_text("Every day at 00:15, 06:15, 12:15 and 18:15 UTC")
    page.locator("[name=cron]").fill("15 25 * * *")
    expect(preview).to_contain_text("Hour: '25' is no number from 0 to 23.")
    page.get_by_label("At an interval").check()
    expect(page.locator("[name=cron]")).to_be_hidden()
    expect(preview).to_contain_text("Every hour")
    previews = [url for url in asked if "/preview" in url]
    assert previews
    assert not any("csrf_token" in url or "args" in url for url in previews)
    assert violations(page) == []


@pytest.mark.browser
def test_a_schedule_is_made_paused_resumed_and_run(open_page: Open, session: Session) -> None:
    page = open_page("/schedules")
    expect(page.locator(".empty")).to_contain_text("Nothing runs by the clock yet.")
    page.locator(".empty").get_by_role("button").click()
    page.get_by_label("Name").fill("nightly export")
    page.get_by_role("button", name="Make it").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("nightly export")

    page.get_by_role("button", name="Pause").click()
    expect(page.locator(".ask")).to_contain_text("until somebody resumes it")
    page.get_by_label("Why").fill("disk is full")
    page.get_by_role("button", name="Pause it").click()
    expect(page.locator("#schedule")).to_contain_text("Paused by admin")
    expect(page.locator("#schedule")).to_contain_text("disk is full")

    page.get_by_role("button", name="Resume").click()
    page.get_by_role("button", name="Resume it").click()
    expect(page.locator("#schedule .badge").first).to_have_text("Active")

    page.get_by_role("button", name="Run now").click()
    page.get_by_role("button", name="Run it").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Export")
    session.rollback()
    assert session.scalars(select(Job.task)).all() == ["export"]
    firing = session.scalars(select(ScheduleFiring)).one()
    assert firing.asked_by == "admin"


@pytest.mark.browser
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 390])
def test_the_pages_are_for_everybody(
    open_page: Open, session: Session, complaints: Complaints, theme: str, width: int
) -> None:
    nightly = make(session)
    paused = make(session, "hourly " + "long " * 20, trigger={"kind": "interval", "seconds": 3600})
    actor = users.actor_of(users.ensure_admin(session))
    schedules.pause(session, str(paused.id), actor, "disk is full", now=datetime.now(UTC))
    job_id = record_seed.add_job(session)
    add_firing(session, nightly, 30, job_id=job_id)
    add_firing(session, nightly, 90, reason="missed", planned_runs=3)
    page = open_page("/schedules", width=width, color_scheme=theme)
    for path in ("", f"/{nightly.id}", f"/{paused.id}", f"/{nightly.id}/edit", f"/{paused.id}/run"):
        page.goto(f"/schedules{path}")
        assert violations(page) == [], path
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
    complaints.are_expected = True  # the browser says that the answer was a 400
    page.goto("/schedules/new")
    page.get_by_label("Name").fill("broken")
    page.locator("[name=cron]").fill("0 99 * * *")
    page.get_by_role("button", name="Make it").click()
    expect(page.locator("#fault-cron")).to_contain_text("Hour: '99'")
    expect(page.locator("main [name=name]")).to_have_value("broken")
    assert violations(page) == []
