"""What the Overview says needs attention."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.core import attention
from app.core.attention import Concern
from app.core.models import User
from app.core.queue_stats import QueueFigures
from app.core.settings import Settings
from app.core.users import SCOPES, Actor
from tests.pages import telling_seed
from tests.pages.seed import HOSTILE

SignIn = Callable[..., FlaskClient]
ADMIN = Actor(1, "admin", frozenset(SCOPES))


@pytest.fixture(autouse=True)
def _clear(session: Session, clear_jobs: None) -> Iterator[None]:
    telling_seed.clear(session)
    yield
    telling_seed.clear(session)


def add_worker(session: Session, models: list[str] | None = None, **metrics: float) -> None:
    """A worker that lives; commits."""
    session.execute(
        text(
            "INSERT INTO worker (id, kind, name, host, pid, status, models, metrics)"
            " VALUES (gen_random_uuid(), 'worker', 'w', 'gpu1', 1, 'running', :models,"
            " CAST(:metrics AS jsonb))"
        ),
        {"models": models or [], "metrics": json.dumps(metrics)},
    )
    session.commit()


def waiting(name: str, pending: int = 3) -> QueueFigures:
    counts = {"pending": pending, "retrying": 0, "running": 0, "scheduled": 0}
    return QueueFigures(name, counts, None, 0, 0, None, None, None)


def look(session: Session, settings: Settings, *queues: QueueFigures, **more: Any) -> list[Concern]:
    quiet = settings.model_copy(update={"min_free_disk_bytes": 0} | more.pop("changed", {}))
    session.rollback()
    actor, paused = more.get("actor", ADMIN), more.get("paused", ())
    return attention.look(session, quiet, actor, queues, paused)


def test_nothing_is_said_of_a_server_that_is_well(session: Session, settings: Settings) -> None:
    add_worker(session, ["gemma"], host_cpu_percent=60, host_memory_percent=70, gpu_temperature=70)
    assert look(session, settings, waiting("model:gemma"), waiting("tasks")) == []


def test_an_alert_that_fires_is_told_to_operators_only(
    session: Session, settings: Settings
) -> None:
    rule = telling_seed.add_rule(session, "many failures")
    for _ in range(1):
        telling_seed.add_alert(session, rule)
    (found,) = look(session, settings)
    assert (found.kind, found.title, found.is_bad) == ("alert", "many failures", True)
    ann = Actor(2, "ann", frozenset({"read", "submit"}))
    assert look(session, settings, actor=ann) == []


def test_more_alerts_than_fit_are_counted(session: Session, settings: Settings) -> None:
    for number in range(7):
        telling_seed.add_alert(session, telling_seed.add_rule(session, f"rule {number}"))
    found = look(session, settings)
    assert len(found) == 6
    assert found[-1].title == "2 more alerts"


def test_dead_letters_are_told_to_whom_they_belong(
    session: Session, settings: Settings, sign_in: SignIn
) -> None:
    sign_in("ann", "user")
    ann = session.query(User).filter_by(name="ann").one()
    mine = telling_seed.add_endpoint(session, "mine", owner=ann)
    other = telling_seed.add_endpoint(session, "other")
    telling_seed.add_delivery(session, mine, "dead")
    telling_seed.add_delivery(session, other, "dead")
    telling_seed.add_delivery(session, other, "delivered")
    (found,) = look(session, settings)
    assert found.title == "2 dead letters"
    reader = Actor(ann.id, "ann", frozenset({"read", "submit"}))
    (found,) = look(session, settings, actor=reader)
    assert found.title == "1 dead letter"


@pytest.mark.parametrize(
    ("free", "said"),
    [(100 * 2**30, None), (9 * 2**30, "The disk is nearly full"), (2**27, "The disk is full")],
)
def test_a_disk_that_fills_up_is_told_before_uploads_are_refused(
    session: Session,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    free: int,
    said: str | None,
) -> None:
    usage = SimpleNamespace(total=1000 * 2**30, free=free)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    found = look(session, settings, changed={"min_free_disk_bytes": 2**28})
    assert [each.title for each in found] == ([said] if said else [])
    assert look(session, settings) == []


def test_a_busy_machine_and_a_hot_gpu_are_told_with_their_figures(
    session: Session, settings: Settings
) -> None:
    add_worker(session, host_cpu_percent=98.6, host_memory_percent=95, gpu_temperature=87)
    add_worker(session, host_cpu_percent=98.6, host_memory_percent=95, gpu_temperature=87)
    limit = {"gpu_max_celsius": 90}
    found = {each.title: each for each in look(session, settings, changed=limit)}
    assert set(found) == {"The processors are busy", "Memory is nearly full", "The GPU is hot"}
    assert found["The processors are busy"].words == "99 % on gpu1"
    assert not found["The GPU is hot"].is_bad
    limit = {"gpu_max_celsius": 86}
    assert next(each for each in look(session, settings, changed=limit)).is_bad


def test_a_queue_with_work_that_nobody_reads_is_told_unless_it_is_paused(
    session: Session, settings: Settings
) -> None:
    add_worker(session, ["gemma"])
    queues = waiting("model:gemma"), waiting("model:qwen", 1), waiting("mails"), waiting("x", 0)
    found = look(session, settings, *queues)
    assert [each.title for each in found] == ["model:qwen", "mails"]
    assert found[0].words == "1 job waits, and no worker that lives has the model qwen"
    assert look(session, settings, *queues, paused=("model:qwen", "mails")) == []


def test_without_any_worker_our_own_queues_are_not_named_one_by_one(
    session: Session, settings: Settings
) -> None:
    assert look(session, settings, waiting("model:gemma"), waiting("tasks")) == []


def test_the_overview_shows_it_made_harmless_and_leads_to_its_page(
    session: Session, sign_in: SignIn
) -> None:
    telling_seed.add_alert(session, telling_seed.add_rule(session, HOSTILE[:80]))
    telling_seed.add_delivery(session, telling_seed.add_endpoint(session), "dead")
    page = sign_in().get("/").text
    told = page.partition('class="attention"')[2].partition("</ul>")[0]
    assert 'href="/alerts"' in told
    assert 'href="/webhooks/dead-letters"' in told
    assert "<script>alert" not in told
    assert "⟨202E⟩" in told
