"""A batch is refused while nothing could run it: the worker is gone, its GPU too hot or too full."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.core import preflight, storage
from app.core.errors import Unavailable
from app.core.models import Worker
from app.core.settings import Settings

FILE = "file-a"


def worker(session: Session, *, silent_seconds: float = 1, **values: Any) -> Worker:
    found = Worker(
        id=uuid4(),
        kind=values.pop("kind", "worker"),
        name="w",
        host="h",
        pid=1,
        status="idle",
        last_heartbeat_at=datetime.now(UTC) - timedelta(seconds=silent_seconds),
        **values,
    )
    session.add(found)
    session.commit()
    return found


def refusal(session: Session, settings: Settings) -> Unavailable:
    with pytest.raises(Unavailable) as refused:
        preflight.check(session, settings, FILE)
    assert refused.value.retry_after_seconds == 60
    return refused.value


@pytest.fixture
def patient(session: Session, settings: Settings) -> Settings:
    """Settings by which a worker is gone once it is silent for as long as the server has been up."""
    up = session.execute(
        text("SELECT date_part('epoch', clock_timestamp() - pg_postmaster_start_time())")
    ).scalar_one()
    return settings.model_copy(update={"worker_gone_seconds": up * 0.9, "worker_stale_seconds": up})


def test_where_there_never_was_a_worker_everything_is_accepted(
    session: Session, settings: Settings
) -> None:
    worker(session, kind="housekeeper", silent_seconds=1e6)
    preflight.check(session, settings.model_copy(update={"worker_gone_seconds": 1e-6}), FILE)


def test_a_worker_that_has_been_gone_for_too_long_is_said(
    session: Session, patient: Settings
) -> None:
    worker(session, silent_seconds=1e6, stopped_at=datetime.now(UTC))

    fault = refusal(session, patient)
    assert fault.code == "no_worker"
    assert "The worker has been gone for" in fault.message
    preflight.check(session, patient.model_copy(update={"worker_gone_seconds": 0}), FILE)
    worker(session)
    preflight.check(session, patient, FILE)


def test_a_worker_that_is_gone_for_less_is_awaited(session: Session, settings: Settings) -> None:
    worker(session, silent_seconds=40, stopped_at=datetime.now(UTC))
    preflight.check(session, settings, FILE)


def test_the_servers_own_absence_is_not_the_workers(session: Session, settings: Settings) -> None:
    """Nobody can be heard while the server is down: it has only just started."""
    up = session.execute(
        text("SELECT date_part('epoch', clock_timestamp() - pg_postmaster_start_time())")
    ).scalar_one()
    worker(session, silent_seconds=1e6)
    own = settings.model_copy(update={"worker_gone_seconds": up + 600})
    preflight.check(session, own, FILE)


def test_a_gpu_that_is_too_hot_takes_no_more(session: Session, settings: Settings) -> None:
    worker(session, metrics={"gpu_temperature": 93.0})

    fault = refusal(session, settings)
    assert (fault.code, "93 °C" in fault.message) == ("gpu_too_hot", True)
    preflight.check(session, settings.model_copy(update={"gpu_max_celsius": 0}), FILE)
    preflight.check(session, settings.model_copy(update={"gpu_max_celsius": 94}), FILE)
    worker(session, metrics={"gpu_temperature": 50.0})
    preflight.check(session, settings, FILE)


def test_the_figures_of_a_worker_that_is_silent_are_nothing_to_go_by(
    session: Session, settings: Settings
) -> None:
    worker(session, silent_seconds=40, metrics={"gpu_temperature": 93.0})
    preflight.check(session, settings, FILE)


def test_a_model_for_which_there_is_too_little_memory_is_refused_and_others_are_not(
    session: Session, settings: Settings
) -> None:
    message = "The model big needs 80.0 GB of memory, 10.0 GB are free."
    worker(session, metrics={"short_of_memory": {"model": "big", "message": message}})
    path = storage.path(settings, FILE)
    path.parent.mkdir(parents=True)

    path.write_text(json.dumps({"custom_id": "a", "body": {"model": "big"}}) + "\nrest")
    fault = refusal(session, settings)
    assert (fault.code, fault.message) == ("no_memory", message)
    for content in (json.dumps({"body": {"model": "small"}}), "[]", "{}", "no json", ""):
        path.write_text(content)
        preflight.check(session, settings, FILE)
    path.unlink()
    preflight.check(session, settings, FILE)
