"""Alerts: opened past a limit, told once, resolved once, silent when asked to be."""

from __future__ import annotations

import json
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
    WebhookDelivery,
    WebhookEndpoint,
)
from app.core.settings import Settings
from tests.core.alert_seed import NOW, OPS, Look, add_job, add_rule, after, types

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
