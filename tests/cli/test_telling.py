"""`flask webhooks` and `flask alerts`, as an operator types them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest
from click.testing import Result
from flask import Flask
from sqlalchemy import Engine, func, select, update
from sqlalchemy.orm import Session, sessionmaker

from app.core import workers
from app.core.models import WebhookDelivery
from app.core.settings import Settings
from app.core.webhooks import make_delivery
from app.core.workers import Pulse
from tests.worker.receiver import Receiver, receive
from tests.worker.smtp_sink import Sink, sink
from worker.webhooks import Courier

Run = Callable[..., Result]


@pytest.fixture
def run(app: Flask) -> Run:
    return lambda *words: app.test_cli_runner().invoke(args=list(words))


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receive() as receiver:
        yield receiver


@pytest.fixture
def mails(session: Session, settings: Settings, engine: Engine) -> Iterator[Sink]:
    """A mail server, and what the leading housekeeper has running."""
    workers.beat(session, Pulse(uuid4(), "housekeeper", "h", status="running"))
    with sink() as server:
        chosen = {"smtp_host": "127.0.0.1", "smtp_port": server.port, "smtp_security": "none"}
        chosen["webhook_hosts"] = ("127.0.0.1",)
        courier = Courier(
            settings.model_copy(update=chosen), sessionmaker(engine, expire_on_commit=False)
        )
        courier.start()
        yield server
        courier.stop()


def read(result: Result) -> Any:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_an_endpoint_from_its_making_to_its_end(run: Run, receiver: Receiver, mails: Sink) -> None:
    words = ("hook", receiver.url, "--event", "job.failed", "--all", "--json")
    made = read(run("webhooks", "create", *words))
    (row,) = read(run("webhooks", "list", "--json"))
    assert (row["id"], row["hears_all"], row["owner"]) == (made["id"], True, "admin")
    assert made["signing_secret"] not in json.dumps(row)
    shown, rotated = run("webhooks", "rotate", made["id"], "--keep-old").stdout.split()
    assert (shown, rotated.startswith("whsec_")) == (made["id"], True)
    assert run("webhooks", "test", made["id"]).stdout == "Taken: HTTP 200.\n"
    for secret in (made["signing_secret"], rotated):
        assert receiver.heard[0].unwrap(secret).type == "batch.completed"
    receiver.answer = lambda _: (500, {}, b"")
    failed = run("webhooks", "test", made["id"], "--event", "job.failed", "--json")
    assert failed.exit_code == 1
    assert json.loads(failed.stdout)["error"] == "HTTP 500"
    assert run("webhooks", "delete", made["id"]).exit_code == 0
    missing = run("webhooks", "delete", made["id"])
    assert (missing.exit_code, missing.stderr.count("\n")) == (1, 1)


def test_dead_letters_are_listed_and_sent_once_more(run: Run, session: Session) -> None:
    letter = make_delivery("batch.completed", {"id": "b"}, "https://example.org/")
    session.add(letter)
    session.commit()
    session.execute(update(WebhookDelivery).values(status="dead", died_at=func.now(), tries=3))
    session.commit()
    (row,) = read(run("webhooks", "dead-letters", "--json"))
    assert (row["id"], row["attempts"], row["retry_success"]) == (letter.id, 3, None)
    assert run("webhooks", "retry", letter.id).exit_code == 0
    assert run("webhooks", "retry", letter.id).exit_code == 1
    session.rollback()
    assert session.scalars(select(WebhookDelivery.status)).all() == ["pending"]


def test_a_rule_from_its_making_to_its_end(run: Run, mails: Sink) -> None:
    words = ("disk", "disk_low", "--to", "ops@example.org", "--limit", "5e9")
    assert run("alerts", "create", *words).stdout == "disk is watched.\n"
    (row,) = read(run("alerts", "list", "--json"))
    assert (row["name"], row["limit"], row["targets"]) == ("disk", 5e9, ["ops@example.org"])
    assert read(run("alerts", "change", "disk", "--name", "space", "--disable", "--json"))
    assert read(run("alerts", "list", "--json"))[0]["is_enabled"] is False
    (result,) = read(run("alerts", "test", "space", "--json"))
    assert (result["is_delivered"], result["status_code"]) == (True, 250)
    assert mails.mails[0]["Subject"] == "[Stoker] Test: space"
    mails.replies["RCPT"] = "550 nobody"
    refused = run("alerts", "test", "space", "--json")
    assert refused.exit_code == 1
    assert "refused the address" in json.loads(refused.stdout)[0]["error"]
    assert run("alerts", "silence", "space").exit_code == 2
    assert (
        "silent until"
        in run("alerts", "silence", "space", "--minutes", "5", "--reason", "moving").stdout
    )
    assert read(run("alerts", "list", "--json"))[0]["silenced_until"] is not None
    assert run("alerts", "silence", "space", "--end").stdout == "space is told again.\n"
    assert read(run("alerts", "history", "--json")) == []
    assert run("alerts", "delete", "space").exit_code == 0
    missing = run("alerts", "history", "--rule", "space")
    assert (missing.exit_code, missing.stderr.count("\n")) == (1, 1)


def test_an_unfit_rule_is_refused_in_one_sentence(run: Run) -> None:
    refused = run("alerts", "create", "n", "queue_age", "--to", "nobody")
    assert (refused.exit_code, refused.stderr.count("\n")) == (1, 1)
    assert "nobody" in refused.stderr
