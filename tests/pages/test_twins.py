"""What the Overview and the timeline say, for programs: the same as the pages, to the same readers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

import pytest
from flask.testing import FlaskClient
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.core import schedules, users
from app.core.models import Schedule, ScheduleFiring
from app.core.schedule_definitions import Definition
from tests.pages import record_seed, telling_seed
from tests.pages.asking import ask, refused
from tests.pages.timeline_day import NOON, Day

SignIn = Callable[..., FlaskClient]


@pytest.fixture(autouse=True)
def _clear(session: Session, clear_jobs: None) -> Iterator[None]:
    telling_seed.clear(session)
    yield
    telling_seed.clear(session)
    session.execute(text("TRUNCATE schedule CASCADE"))
    session.commit()


def test_attention_is_what_the_overview_says_in_its_order(
    session: Session, sign_in: SignIn
) -> None:
    session.execute(
        text("INSERT INTO queue_pause (queue, paused_by, reason) VALUES ('tasks', 'ada', 'moving')")
    )
    session.execute(
        text(
            "INSERT INTO incident (source, risk_level, fingerprint, text, occurrences, job_id)"
            " SELECT 'failure', 'high', 'f' || n, 'export ' || n || ' failed', 14, 7"
            " FROM generate_series(1, 6) n"
        )
    )
    telling_seed.add_alert(session, telling_seed.add_rule(session, "many failures"))
    record_seed.add_job(session, "pending")
    record_seed.add_job(session, "failed")
    client = sign_in()

    found = ask(client, "/api/attention")

    kinds = [each["kind"] for each in found["concerns"]]
    assert kinds == ["worker", "alert", "pause", *["incident"] * 5, "incidents", "failures"]
    assert found["count"] == len(kinds)
    worker, alert, pause, incident = found["concerns"][:4]
    assert (worker["is_bad"], worker["words"]) == (True, "1 job waits until one does")
    assert (alert["title"], alert["is_bad"]) == ("many failures", True)
    assert (pause["title"], pause["words"]) == ("tasks", "is paused by ada: moving")
    assert (incident["job_id"], incident["times"], incident["is_bad"]) == ("7", 14, True)
    page = client.get("/").text
    told = page.partition('class="attention"')[2].partition("</ul>")[0]
    assert told.count("<li") == len(kinds)
    for each in found["concerns"]:
        assert f'data-concern="{each["kind"]}"' in told
        assert each["title"] in told
    assert "1 job waits until one does." in told
    assert "9+ need attention" in " ".join(page.split())


def test_a_user_hears_of_own_failures_and_of_no_alert(session: Session, sign_in: SignIn) -> None:
    telling_seed.add_alert(session, telling_seed.add_rule(session, "many failures"))
    record_seed.add_job(session, "failed", owner_name="ann")
    record_seed.add_job(session, "failed", owner_name="bob", task="import")
    ann = sign_in("ann", "user")
    found = ask(ann, "/api/attention")["concerns"]
    assert [each["kind"] for each in found] == ["worker", "failures"]
    assert found[-1]["title"] == "1 job failed"
    everybody = ask(sign_in(), "/api/attention", job_type="import")["concerns"]
    assert everybody[-1]["title"] == "1 job failed"
    old = {"until": datetime.now(UTC) - timedelta(days=2)}
    assert "failures" not in [
        each["kind"] for each in ask(ann, "/api/attention", **old)["concerns"]
    ]


def schedule(session: Session, name: str, seconds: int = 3600) -> Schedule:
    """One of the administrator's, whose next run is `seconds` from now; commits."""
    now = datetime.now(UTC)
    starts_at = now + timedelta(seconds=seconds)
    trigger = {"kind": "interval", "seconds": seconds, "starts_at": starts_at}
    made = schedules.create(
        session,
        Definition.model_validate({"name": name, "task": "cleanup", "trigger": trigger}),
        users.actor_of(users.ensure_admin(session)),
        most=100,
        now=now,
    )
    session.commit()
    return made


def test_the_advice_is_that_of_the_timeline(session: Session, sign_in: SignIn, day: Day) -> None:
    day.run("export", 0, 60)
    day.run("import", 0, 60)
    moved = day.run("backup", 50, 58)
    made = schedule(session, "nightly")
    at = NOON + timedelta(minutes=49)
    session.add(ScheduleFiring(schedule_id=made.id, planned_at=at, decided_at=at, job_id=moved.id))
    session.commit()
    window = {"since": NOON - timedelta(hours=1), "until": NOON + timedelta(hours=3)}
    client = sign_in()

    found = ask(client, "/api/timeline/advice", **window)

    assert found["advice"] == [
        {"schedule": "nightly", "minutes": 10, "peak_before": 3, "peak_after": 2}
    ]
    assert (found["runs"], found["is_judged"], found["looked_back_to"]) == (3, True, None)
    times = {"from": window["since"].isoformat(), "to": window["until"].isoformat()}
    page = client.get("/timeline?" + urlencode({"range": "dates", **times})).text
    said = "Start <b>nightly</b> 10 min later: at most 2 instead of 3 would have run at once."
    assert said in page
    hers = ask(sign_in("ann", "user"), "/api/timeline/advice", **window)
    assert (hers["runs"], hers["is_judged"], hers["advice"]) == (0, False, [])


def test_what_is_planned_is_what_the_timeline_has_ahead(session: Session, sign_in: SignIn) -> None:
    now = datetime.now(UTC)
    job = record_seed.add_job(
        session, "pending", scheduled_at=now + timedelta(minutes=30), owner_name="ann"
    )
    record_seed.add_job(session, "pending", scheduled_at=now + timedelta(hours=9))
    made = schedule(session, "hourly")
    client, until = sign_in(), now + timedelta(hours=2, minutes=30)

    found = ask(client, "/api/timeline/planned", until=until)

    planned = found["planned"]
    assert [each["job_id"] for each in planned] == [str(job), None, None]
    assert planned[1]["schedule_id"] == str(made.id)
    assert (planned[1]["schedule"], planned[1]["job_type"]) == ("hourly", "cleanup")
    assert (found["count"], found["has_more"]) == (3, False)
    times = {"from": now - timedelta(hours=1), "to": until}
    words = {name: f"{at:%Y-%m-%dT%H:%M:%S}" for name, at in times.items()}
    page = client.get("/timeline?" + urlencode({"range": "dates", **words})).text
    assert f"/jobs/{job}" in page
    assert f"/schedules/{made.id}" in page
    first = ask(client, "/api/timeline/planned", until=until, limit=1)
    assert ([each["job_id"] for each in first["planned"]], first["has_more"]) == ([str(job)], True)
    assert ask(client, "/api/timeline/planned", job_type="cleanup")["planned"][0]["schedule"]
    hers = ask(sign_in("ann", "user"), "/api/timeline/planned")["planned"]
    assert [each["job_id"] for each in hers] == [str(job)]


def test_what_is_next_is_what_the_overview_says(session: Session, sign_in: SignIn) -> None:
    session.execute(
        text("INSERT INTO queue_pause (queue, paused_by, reason) VALUES ('held', 'ada', 'moving')")
    )
    waits = record_seed.add_job(session, "pending", minutes=9, model="small", owner_name="ann")
    held = record_seed.add_job(session, "pending", minutes=8, queue="held")
    at = datetime.now(UTC) + timedelta(hours=2)
    later = record_seed.add_job(session, "pending", scheduled_at=at)
    made = schedule(session, "hourly")
    client = sign_in()

    found = ask(client, "/api/overview/next")

    said = [each["job_id"] or each["schedule"] for each in found["next"]]
    assert said == [str(waits), str(held), "hourly", str(later)]
    first, second, third, last = found["next"]
    assert (first["model"], first["reason"], first["due_at"]) == ("small", None, None)
    assert first["waiting_since"] is not None
    assert "moving" in second["reason"]
    assert (third["schedule_id"], third["job_type"]) == (str(made.id), "cleanup")
    assert (datetime.fromisoformat(last["due_at"]), last["waiting_since"]) == (at, None)
    page = client.get("/").text
    shown = page.partition('<ol class="coming">')[2].partition("</ol>")[0]
    ids = (f"next-{waits}", f"next-{held}", f"run-of-{made.id}", f"next-{later}")
    places = [shown.index(f'id="{each}"') for each in ids]
    assert places == sorted(places)
    assert [
        each["job_id"] for each in ask(sign_in("ann", "user"), "/api/overview/next")["next"]
    ] == [str(waits)]
    of_type = ask(client, "/api/overview/next", job_type="cleanup")["next"]
    assert [each["schedule"] for each in of_type] == ["hourly"]
    assert refused(client, "/api/overview/next", job_type="x" * 300) == (400, "job_type")


@pytest.mark.parametrize(
    ("path", "query", "param"),
    [
        ("/api/attention", {"since": "soon"}, "since"),
        ("/api/attention", {"job_type": "x" * 300}, "job_type"),
        ("/api/timeline/advice", {"since": "2020-01-01", "until": "2026-01-01"}, "since"),
        ("/api/timeline/planned", {"until": "2020-01-01"}, "until"),
        ("/api/timeline/planned", {"until": "8000-01-01"}, "until"),
        ("/api/timeline/planned", {"limit": "0"}, "limit"),
        ("/api/timeline/planned", {"job_type": "\x00"}, "job_type"),
    ],
)
def test_what_cannot_be_read_is_named(
    sign_in: SignIn, path: str, query: dict[str, str], param: str
) -> None:
    assert refused(sign_in(), path, **query) == (400, param)
