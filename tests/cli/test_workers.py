"""`flask workers`: who works, and who has fallen silent."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from click.testing import Result
from sqlalchemy.orm import Session

from app.core.models import Worker

METRICS = {"host_cpu_percent": 41.2, "host_memory_percent": 63.0, "memory_bytes": 1_000_000}
GPU = {"gpu_memory_percent": 90.4, "gpu_utilization": 97.0, "gpu_temperature": 71}


@pytest.fixture(autouse=True)
def workers(session: Session) -> None:
    """A worker that lives, and a housekeeper that has fallen silent."""
    session.add(
        Worker(
            id=uuid4(),
            kind="worker",
            name="worker-gpu1-7",
            host="gpu1",
            pid=7,
            status="running",
            current_model="fake",
            engine_status="ready",
            running_job_ids=[12, 13],
            metrics={**METRICS, **GPU},
        )
    )
    session.add(
        Worker(
            id=uuid4(),
            kind="housekeeper",
            name="housekeeper-gpu1-8",
            host="gpu1",
            pid=8,
            status="standby",
            last_heartbeat_at=datetime.now(UTC) - timedelta(minutes=2),
        )
    )
    session.commit()


def test_workers_are_listed_with_what_they_do_and_how_they_are(
    run: Callable[..., Result],
) -> None:
    rows = json.loads(run("workers", "--json").stdout)
    living, silent = sorted(rows, key=lambda row: row["pid"])
    assert (living["status"], living["is_stale"], living["current_model"]) == (
        "running",
        False,
        "fake",
    )
    assert living["running_job_ids"] == [12, 13]
    assert living["heartbeat_age_seconds"] < 30
    assert {**METRICS, **GPU}.items() <= living.items()
    assert (silent["is_stale"], silent["host_cpu_percent"], silent["gpu_temperature"]) == (
        True,
        None,
        None,
    )
    assert silent["heartbeat_age_seconds"] >= 120


def test_a_stale_worker_is_flagged(run: Callable[..., Result]) -> None:
    for words in ((), ("list",)):
        listed = run("workers", *words, env={"COLUMNS": "200"})
        assert listed.exit_code == 0, listed.stderr
        assert "STALE (standby)" in listed.stdout
        assert "97 % busy, 90 % memory, 71 °C" in listed.stdout
    assert run("workers", "feed").exit_code == 2
