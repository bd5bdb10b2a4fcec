"""Alerts from the real housekeeper to a real mail server, across its death."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from app.core import alert_rules, users, webhook_endpoints
from app.core.models import Alert, WebhookDelivery
from app.core.settings import Settings
from tests.conftest import wait_until
from tests.worker.receiver import Receiver, receive
from tests.worker.smtp_sink import Sink, sink
from tests.worker.stack import Stack


@pytest.fixture
def mails() -> Iterator[Sink]:
    with sink() as server:
        yield server


@pytest.fixture
def stack(settings: Settings, session: Session, tmp_path: Path, mails: Sink) -> Iterator[Stack]:
    environment = {
        "STOKER_SMTP_HOST": "127.0.0.1",
        "STOKER_SMTP_PORT": str(mails.port),
        "STOKER_SMTP_SECURITY": "none",
        "STOKER_SMTP_USER": "stoker",
        "STOKER_SMTP_PASSWORD": "hidden-word",
        "STOKER_ALERT_SECONDS": "0.2",
        "STOKER_WEBHOOK_HOSTS": '["127.0.0.1"]',
    }
    stack = Stack(settings, session, tmp_path, environment=environment)
    yield stack
    stack.stop()


def last_seen(session: Session) -> Alert:
    session.rollback()
    return session.scalars(select(Alert).execution_options(populate_existing=True)).one()


def delivered(session: Session) -> int:
    session.rollback()
    query = select(func.count()).where(WebhookDelivery.status == "delivered")
    return session.scalars(query).one()


def test_a_housekeeper_that_is_killed_and_its_successor_tell_each_alert_once(
    stack: Stack, session: Session, mails: Sink
) -> None:
    with receive() as receiver:
        tell(stack, session, mails, receiver)
    assert "hidden-word" not in stack.logs()


def tell(stack: Stack, session: Session, mails: Sink, receiver: Receiver) -> None:
    webhook_endpoints.create(
        session,
        users.ensure_admin(session),
        "test",
        name="jobs",
        url=receiver.url,
        event_types=["job.failed"],
        hears_all=True,
    )
    wanted = {"name": "failed", "kind": "job_failure", "targets": ["ops@example.org"]}
    alert_rules.create(session, "test", {**wanted, "task": "mail", "window_seconds": 86400})
    session.commit()
    session.execute(
        text(
            "INSERT INTO job (id, created_at, task, queue, status, ended_at)"
            " VALUES (7, clock_timestamp(), 'mail', 'q', 'failed', clock_timestamp())"
        )
    )
    session.commit()
    housekeeper = stack.start("worker.housekeeper")
    wait_until(lambda: delivered(session) == 2, "the alert and the job's end are told")
    housekeeper.kill()
    housekeeper.wait()
    before = last_seen(session).last_seen_at
    stack.start("worker.housekeeper")
    wait_until(lambda: last_seen(session).last_seen_at > before, "the successor looks")
    session.execute(text("DELETE FROM job WHERE id = 7"))
    session.commit()
    wait_until(lambda: len(mails.mails) >= 2, "the end is told")
    summaries = [mail["Subject"] for mail in mails.mails]
    assert summaries == [
        "[Stoker] failed: jobs of the task mail that failed within 1 d: 1 job (the limit is 1 job)",
        "[Stoker] Resolved: failed",
    ]
    assert mails.logins == [("stoker", "hidden-word")] * 2
    assert [heard.event["data"]["id"] for heard in receiver.heard] == ["7"]
