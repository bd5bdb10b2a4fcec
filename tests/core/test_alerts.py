"""Alerts: opened past a limit, told once, resolved once, silent when asked to be."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from app.core import alert_rules, alerts, delivery_tests, users, webhook_endpoints
from app.core.alert_figures import KINDS
from app.core.alert_words import amount
from app.core.errors import Conflict, Invalid, NotFound, Refused, Unavailable
from app.core.models import (
    ALERT_KINDS,
    Alert,
    AlertRule,
    ScheduleFiring,
    WebhookDelivery,
    WebhookEndpoint,
)
from app.core.settings import Settings

NOW = datetime(2031, 5, 6, 12, tzinfo=UTC)
OPS = "ops@example.org"


def after(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def add_rule(session: Session, kind: str = "queue_age", **wanted: Any) -> AlertRule:
    wanted = {"name": kind, "targets": [OPS], **wanted}
    rule = alert_rules.create(session, "ann", {"kind": kind, **wanted})
    session.commit()
    return rule


def add_job(session: Session, number: int, **values: Any) -> None:
    row = {
        "id": number,
        "task": "mail",
        "queue": "q",
        "status": "pending",
        "created_at": after(-100),
        "attempt_started_at": None,
        "ended_at": None,
        "scheduled_at": None,
        **values,
    }
    session.execute(
        text(
            "INSERT INTO job (id, created_at, task, queue, status, started_at, attempt_started_at,"
            " ended_at, scheduled_at) VALUES (:id, :created_at, :task, :queue, :status,"
            " :attempt_started_at, :attempt_started_at, :ended_at, :scheduled_at)"
        ),
        row,
    )
    session.commit()


Look = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def look(session: Session, settings: Settings) -> Look:
    """Evaluates the rules at a moment, and gives the events that this made."""
    settings.var_path.mkdir(parents=True, exist_ok=True)

    def look(seconds: float = 0.0) -> list[dict[str, Any]]:
        known = set(session.scalars(select(WebhookDelivery.id)))
        alerts.evaluate(session, settings, after(seconds))
        new = select(WebhookDelivery).where(WebhookDelivery.id.not_in(known))
        found = session.scalars(new.order_by(WebhookDelivery.created_at)).all()
        return [json.loads(each.payload) for each in found]

    return look


def types(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"] for event in events]


# What is watched


def test_every_kind_that_a_rule_may_have_is_measured() -> None:
    assert tuple(KINDS) == ALERT_KINDS


def test_the_oldest_waiting_job_of_a_queue_alerts_at_the_limit(
    session: Session, look: Look
) -> None:
    add_rule(session, threshold=60, queue="q")
    add_job(session, 1, created_at=after(-30))
    add_job(session, 2, created_at=after(-900), queue="another")
    add_job(session, 3, created_at=after(-900), scheduled_at=after(500))
    add_job(session, 4, created_at=after(-900), status="completed", ended_at=after(-800))
    assert look(29) == []
    (event,) = look(30)
    assert event["data"]["figure"] == 60
    assert event["data"]["since"] == after(-30).timestamp()
    assert event["data"]["job_id"] == "1"
    assert event["data"]["text"].splitlines() == [
        "queue_age: age of the oldest job in the queue q that waits: 1 min (the limit is 1 min).",
        "",
        "Since: 2031-05-06 11:59:30 UTC",
        "Noticed: 2031-05-06 12:00:30 UTC",
    ]


def test_a_job_for_later_counts_from_when_it_is_due(session: Session, look: Look) -> None:
    add_rule(session, threshold=60)
    add_job(session, 1, created_at=after(-900), scheduled_at=after(-20))
    assert look(39) == []
    assert types(look(40)) == ["alert.opened"]


def test_failed_jobs_alert_until_the_window_is_past_them(session: Session, look: Look) -> None:
    add_rule(session, "job_failure", threshold=2, window_seconds=300, task="mail")
    add_job(session, 1, status="failed", ended_at=after(-200))
    add_job(session, 2, status="failed", ended_at=after(-10), task="another")
    assert look() == []
    add_job(session, 3, status="failed", ended_at=after(-10))
    (event,) = look()
    assert (event["data"]["figure"], event["data"]["job_id"]) == (2, "3")
    assert types(look(101)) == ["alert.resolved"]


def test_a_failure_rate_is_known_from_some_jobs_on(session: Session, look: Look) -> None:
    add_rule(session, "failure_rate", threshold=0.5, fewest_jobs=4, window_seconds=600)
    add_job(session, 1, status="failed", ended_at=after(-50))
    add_job(session, 2, status="failed", ended_at=after(-50))
    add_job(session, 3, status="completed", ended_at=after(-50))
    add_job(session, 4, status="cancelled", ended_at=after(-50))
    assert look() == []
    add_job(session, 5, status="completed", ended_at=after(-40))
    (event,) = look()
    assert event["data"]["figure"] == 0.5
    assert "50 % (the limit is 50 %)" in event["data"]["text"]


def test_a_silence_of_all_workers_alerts_and_ends_when_one_is_heard(
    session: Session, look: Look
) -> None:
    rule = add_rule(session, "no_worker", threshold=60)
    rule.created_at = after(-59)  # there never was one
    session.commit()
    assert look() == []
    assert types(look(1)) == ["alert.opened"]
    session.execute(
        text(
            "INSERT INTO worker (id, kind, name, host, pid, status, last_heartbeat_at)"
            " VALUES (gen_random_uuid(), 'worker', 'w', 'h', 1, 'running', :at)"
        ),
        {"at": after(10)},
    )
    session.commit()
    assert types(look(15)) == ["alert.resolved"]
    (event,) = look(1000)
    assert event["data"]["since"] == after(10).timestamp()


def test_a_run_that_takes_too_long_alerts_with_the_job(session: Session, look: Look) -> None:
    add_rule(session, "slow_job", threshold=50)
    add_job(session, 1, status="running", attempt_started_at=after(-40))
    add_job(session, 2, status="completed", attempt_started_at=after(-90), ended_at=after(-1))
    assert look() == []
    (event,) = look(10)
    assert event["data"]["job_id"] == "1"


def test_a_full_disk_alerts(session: Session, look: Look) -> None:
    rule = add_rule(session, "disk_low", threshold=1e18)
    (event,) = look()
    assert event["data"]["figure"] < 1e18
    alert_rules.change(session, rule, "ann", {"threshold": 1.0})
    session.commit()
    assert types(look(1)) == ["alert.resolved"]


def test_a_transaction_that_stays_open_alerts_until_it_ends(
    session: Session, settings: Settings, look: Look
) -> None:
    add_rule(session, "long_transaction")
    assert look() == []
    with psycopg.connect(settings.database_url) as forgotten:
        # By the tests' clock it began years ago.
        began_at = forgotten.execute("SELECT now()").fetchone()
        (event,) = look(1)
        assert event["type"] == "alert.opened"
        assert began_at is not None
        assert event["data"]["since"] == int(began_at[0].timestamp())
    assert types(look(2)) == ["alert.resolved"]


# What is told, and when


@pytest.fixture
def late(session: Session) -> AlertRule:
    """A rule that is past its limit from second 0 on, until its job is gone."""
    add_job(session, 1, created_at=after(-60))
    return add_rule(session, threshold=60, cooldown_seconds=100)


def end_lateness(session: Session) -> None:
    session.execute(text("DELETE FROM job"))
    session.commit()


def test_an_alert_is_told_once_and_once_when_it_is_over_whoever_looks(
    session: Session, look: Look, late: AlertRule
) -> None:
    assert look(-1) == []
    (opened,) = look()
    assert (opened["type"], opened["data"]["rule"]) == ("alert.opened", "queue_age")
    # Nothing is kept in the process: each look is as after a restart.
    assert look(15) == look(30) == look(500) == []
    end_lateness(session)
    (resolved,) = look(515)
    assert resolved["type"] == "alert.resolved"
    assert resolved["data"]["summary"] == "Resolved: queue_age"
    assert resolved["data"]["resolved_at"] == after(515).timestamp()
    assert look(530) == []
    (alert,) = session.scalars(select(Alert)).all()
    assert (alert.opened_at, alert.told_at, alert.resolved_at) == (NOW, NOW, after(515))
    assert alert.figure == 560


def test_after_one_alert_the_next_waits_for_the_cooldown(
    session: Session, look: Look, late: AlertRule
) -> None:
    assert types(look()) == ["alert.opened"]
    end_lateness(session)
    assert types(look(10)) == ["alert.resolved"]
    add_job(session, 2, created_at=after(-60))
    assert look(20) == look(99) == []
    assert types(look(100)) == ["alert.opened"]


def test_what_is_over_before_the_cooldown_is_told_to_nobody(
    session: Session, look: Look, late: AlertRule
) -> None:
    look()
    end_lateness(session)
    look(10)
    add_job(session, 2, created_at=after(-60))
    assert look(20) == []
    end_lateness(session)
    assert look(30) == look(500) == []
    found, _ = alerts.list_alerts(session, limit=10, offset=0)
    assert [each.told_at is not None for each in found] == [False, True]


def test_a_silenced_rule_tells_afterwards_what_is_still_so(
    session: Session, look: Look, late: AlertRule
) -> None:
    alert_rules.silence(session, late, "ann", until=after(50), reason="we know")
    session.commit()
    assert look() == look(49) == []
    assert types(look(50)) == ["alert.opened"]
    alert_rules.silence(session, late, "ann", until=after(90), reason="again")
    session.commit()
    end_lateness(session)
    assert look(60) == []
    assert types(look(90)) == ["alert.resolved"]
    assert (late.silenced_by, late.silence_reason) == ("ann", "again")
    alert_rules.end_silence(session, late, "ann")
    assert late.silenced_until is None


def test_a_disabled_or_deleted_rule_ends_its_alert_without_a_word(
    session: Session, look: Look, late: AlertRule
) -> None:
    look()
    alert_rules.change(session, late, "ann", {"is_enabled": False})
    session.commit()
    assert look(15) == []
    assert alerts.open_alerts(session) == {}
    alert_rules.change(session, late, "ann", {"is_enabled": True})
    session.commit()
    assert types(look(200)) == ["alert.opened"]
    alert_rules.remove(session, late, "ann")
    session.commit()
    assert look(215) == []
    session.expire_all()
    found, _ = alerts.list_alerts(session, limit=10, offset=0)
    assert [each.resolved_at is not None for each in found] == [True, True]


def test_a_rule_that_can_not_be_measured_keeps_no_other_from_it(
    session: Session, settings: Settings, late: AlertRule
) -> None:
    add_rule(session, "disk_low", name="a disk")
    assert not settings.var_path.exists()
    assert alerts.evaluate(session, settings, NOW) == 1
    assert session.scalars(select(Alert.rule_id)).all() == [late.id]


def test_each_target_is_told_endpoints_and_mailboxes_alike(session: Session, look: Look) -> None:
    endpoint = add_endpoint(session)
    add_rule(session, threshold=60, targets=[OPS, endpoint.id, OPS])
    add_job(session, 1)
    assert types(look()) == ["alert.opened", "alert.opened"]
    rows = session.scalars(select(WebhookDelivery)).all()
    assert {(each.url, each.endpoint_id) for each in rows} == {
        (f"mailto:{OPS}", None),
        (endpoint.url, endpoint.id),
    }


def test_links_lead_to_the_job_where_the_public_url_is_known(
    session: Session, settings: Settings, late: AlertRule
) -> None:
    known = settings.model_copy(update={"public_url": "https://stoker.example.org"})
    alerts.evaluate(session, known, NOW)
    payload = json.loads(session.scalars(select(WebhookDelivery.payload)).one())
    assert payload["data"]["url"] == "https://stoker.example.org/jobs/1"
    assert payload["data"]["text"].endswith("\n\nhttps://stoker.example.org/jobs/1")


@pytest.mark.parametrize(
    ("value", "unit", "words"),
    [
        (0, "seconds", "0 s"), (59.4, "seconds", "59 s"), (60, "seconds", "1 min"),
        (3725, "seconds", "1 h 2 min"), (90000, "seconds", "1 d 1 h"), (0.123, "share", "12.3 %"),
        (1, "jobs", "1 job"), (3, "jobs", "3 jobs"), (512, "bytes", "512 bytes"),
        (10 * 2**30, "bytes", "10 GB"), (2.0**60, "bytes", "1.05e+06 TB"),
    ],
)  # fmt: skip
def test_a_figure_is_said_with_its_unit(value: float, unit: str, words: str) -> None:
    assert amount(value, unit) == words


# Rules


def add_endpoint(session: Session) -> WebhookEndpoint:
    endpoint = webhook_endpoints.create(
        session,
        users.ensure_admin(session),
        "test",
        name="hook",
        url="https://hooks.example.org/",
        event_types=["job.failed"],
    )
    session.commit()
    return endpoint


@pytest.mark.parametrize(
    ("wanted", "refusal", "param"),
    [
        ({"kind": "sunshine"}, Invalid, "kind"),
        ({"targets": []}, Invalid, "targets"),
        ({"targets": ["we_unknown"]}, Refused, "targets"),
        ({"targets": ["ops@example.org\nBcc: x@example.org"]}, Refused, "targets"),
        ({"name": " "}, Invalid, "name"),
        ({"cooldown_seconds": 10**12}, Invalid, "cooldown_seconds"),
        ({"kind": "failure_rate", "fewest_jobs": -1}, Invalid, "fewest_jobs"),
        ({"threshold": 0}, Invalid, "threshold"),
        ({"threshold": float("nan")}, Invalid, "threshold"),
        ({"kind": "failure_rate", "threshold": 50}, Invalid, "threshold"),
        ({"kind": "job_failure", "window_seconds": 10**9}, Invalid, "window_seconds"),
        ({"queue": "q", "task": "t"}, Refused, "queue"),
        ({"kind": "disk_low", "queue": "q"}, Refused, "queue"),
    ],
)
def test_an_unfit_rule_is_refused_by_its_field(
    session: Session, wanted: dict[str, Any], refusal: type[Invalid], param: str
) -> None:
    with pytest.raises(refusal) as caught:
        alert_rules.create(
            session, "ann", {"name": "n", "kind": "queue_age", "targets": [OPS], **wanted}
        )
    assert caught.value.param == param


def test_two_rules_of_one_name_are_a_conflict(session: Session) -> None:
    rule = add_rule(session)
    with pytest.raises(Conflict, match="called"):
        add_rule(session)
    other = add_rule(session, name="other")
    with pytest.raises(Conflict, match="called"):
        alert_rules.change(session, other, "ann", {"name": rule.name})


def test_an_endpoint_that_a_rule_tells_can_not_be_deleted(session: Session) -> None:
    endpoint = add_endpoint(session)
    rule = add_rule(session, targets=[endpoint.id])
    with pytest.raises(Conflict, match="queue_age"):
        webhook_endpoints.remove(session, endpoint, "test")
    alert_rules.remove(session, rule, "ann")
    webhook_endpoints.remove(session, endpoint, "test")
    with pytest.raises(NotFound):
        alert_rules.find(session, "queue_age")


def test_a_silence_of_the_past_is_refused(session: Session) -> None:
    with pytest.raises(Refused):
        alert_rules.silence(
            session,
            add_rule(session),
            "ann",
            until=datetime.now(UTC) - timedelta(seconds=1),
            reason="late",
        )


def test_a_test_needs_a_housekeeper(session: Session, settings: Settings) -> None:
    messages = alerts.test_messages(session, settings, add_rule(session))
    assert list(messages) == [OPS]
    with pytest.raises(Unavailable, match="housekeeper"):
        delivery_tests.send(session, list(messages.values()), 30.0)
    session.rollback()
    assert session.scalar(select(func.count()).select_from(WebhookDelivery)) == 0


def test_a_test_that_nobody_sends_is_taken_back(
    session: Session, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    session.execute(
        text(
            "INSERT INTO worker (id, kind, name, host, pid, status)"
            " VALUES (gen_random_uuid(), 'housekeeper', 'h', 'h', 1, 'running')"
        )
    )
    session.commit()
    monkeypatch.setattr(delivery_tests, "_WAIT_SECONDS", 0.0)
    messages = alerts.test_messages(session, settings, add_rule(session))
    with pytest.raises(Unavailable, match="not sent"):
        delivery_tests.send(session, list(messages.values()), 30.0)
    assert session.scalar(select(func.count()).select_from(WebhookDelivery)) == 0


def add_schedule(session: Session, name: str = "nightly", due: float = 3600, **more: Any) -> int:
    values = {"task": "mail", "queue": "q", "jitter": 0.0, **more}
    number: int = session.execute(
        text(
            "INSERT INTO schedule (owner_id, name, scopes, task, queue, trigger, missed_policy,"
            " missed_limit, overlap_policy, jitter_seconds, next_planned_at, next_due_at)"
            " VALUES (:owner, :name, '{}', :task, :queue, '{}', 'skip', 1, 'skip', :jitter, :due, :due)"
            " RETURNING id"
        ),
        {"owner": users.ensure_admin(session).id, "name": name, "due": after(due), **values},
    ).scalar_one()
    session.commit()
    return number


def add_firing(session: Session, schedule_id: int, planned: float, **said: Any) -> None:
    values = {"decided_at": after(planned), "planned_runs": 1, **said}
    session.add(ScheduleFiring(schedule_id=schedule_id, planned_at=after(planned), **values))
    session.commit()


def test_a_schedule_about_which_nothing_was_done_is_late(session: Session, look: Look) -> None:
    add_rule(session, "late_run", threshold=300)
    add_schedule(session, due=-200)
    assert look() == []
    (event,) = look(150)
    assert event["data"]["since"] == int(after(-200).timestamp())
    assert ": 5 min 50 s, nightly (the limit is 5 min)" in event["data"]["text"]
    session.execute(
        text("UPDATE schedule SET next_planned_at = :at, next_due_at = :at"), {"at": after(999)}
    )
    session.commit()
    assert types(look(160)) == ["alert.resolved"]


def test_a_schedule_whose_job_still_waits_is_late_until_it_starts(
    session: Session, look: Look
) -> None:
    add_rule(session, "late_run", threshold=300)
    add_firing(session, add_schedule(session), -400, job_id=7)
    add_job(session, 7, created_at=after(-400))
    (event,) = look()
    assert event["data"]["job_id"] == "7"
    session.execute(text("UPDATE job SET status = 'running', started_at = :at"), {"at": after(5)})
    session.commit()
    assert types(look(10)) == ["alert.resolved"]


@pytest.mark.parametrize(
    ("wanted", "number"),
    [
        ({}, 1),
        ({"queue": "q"}, 1),
        ({"queue": "other"}, 0),
        ({"task": "mail"}, 1),
        ({"task": "x"}, 0),
    ],
)
def test_late_runs_are_watched_of_one_queue_or_task(
    session: Session, look: Look, wanted: dict[str, str], number: int
) -> None:
    add_rule(session, "late_run", threshold=300, **wanted)
    add_schedule(session, due=-500)
    assert len(look()) == number


def test_a_built_in_tasks_schedule_is_in_its_tasks_queue(session: Session, look: Look) -> None:
    add_rule(session, "late_run", threshold=300, queue="tasks")
    add_schedule(session, due=-500, task="cleanup", queue=None)
    assert len(look()) == 1


def test_jitter_and_a_pause_make_no_run_late(session: Session, look: Look) -> None:
    add_rule(session, "late_run", threshold=1)
    jittery = add_schedule(session, "jittery", due=0, jitter=600.0)
    session.execute(
        text("UPDATE schedule SET next_due_at = :at WHERE id = :id"),
        {"at": after(590), "id": jittery},
    )
    paused = add_schedule(session, "paused", due=-5000)
    session.execute(
        text("UPDATE schedule SET paused_at = now(), pause_reason = 'x' WHERE id = :id"),
        {"id": paused},
    )
    session.commit()
    assert look(10) == []


def test_missed_runs_are_those_that_made_no_job_or_one_too_late(
    session: Session, look: Look
) -> None:
    add_rule(session, "missed_runs", threshold=9, window_seconds=3600)
    schedule_id = add_schedule(session)
    add_firing(session, schedule_id, -100, job_id=1)  # in time
    add_firing(session, schedule_id, -200, reason="Its job 8 has not ended.")  # its policy
    add_firing(session, schedule_id, -300, reason="12 of its jobs wait already.")  # its policy
    add_firing(session, schedule_id, -310, reason="paused by ann (a new disk)", planned_runs=600)
    add_firing(session, schedule_id, -400, job_id=2, decided_at=after(-380))  # nearly
    add_firing(session, schedule_id, -90, job_id=3, asked_by="ann", decided_at=after(-1))  # by hand
    add_firing(session, schedule_id, -9000, reason="missed")  # long ago
    add_firing(session, schedule_id, -500, reason="missed: 5 runs", planned_runs=5)
    add_firing(session, schedule_id, -600, reason="A user may have 10 jobs waiting at most.")
    assert look() == []
    add_firing(session, schedule_id, -800, job_id=4, planned_runs=3, decided_at=after(-300))
    (event,) = look()
    assert event["data"]["figure"] == 9.0
    assert ": 9 runs, nightly (the limit is 9 runs)" in event["data"]["text"]
    assert types(look(4000)) == ["alert.resolved"]
