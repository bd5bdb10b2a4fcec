"""/admin: how the worker is and what it printed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from flask.testing import FlaskClient
from sqlalchemy.orm import Session

from app.core import worker_log
from app.core.models import Worker
from app.core.settings import Settings
from tests.api.conftest import error_of
from tests.conftest import wait_until
from tests.worker.stack import Stack

GPU = {"gpu_memory_percent": 91.5, "gpu_utilization": 97, "gpu_temperature": 71}


def add_worker(session: Session, *, started_minutes_ago: int, **values: Any) -> Worker:
    values = {"host": "gpu1", "status": "running", **values}
    started_at = datetime.now(UTC) - timedelta(minutes=started_minutes_ago)
    worker = Worker(id=uuid4(), kind="worker", name="w", pid=1, started_at=started_at, **values)
    session.add(worker)
    session.commit()
    return worker


def test_a_living_worker_is_healthy_and_says_what_its_gpu_does(
    client: FlaskClient, session: Session
) -> None:
    gone = datetime.now(UTC) - timedelta(hours=1)
    for minutes in (300, 200):
        add_worker(session, started_minutes_ago=minutes, stopped_at=gone, last_heartbeat_at=gone)
    add_worker(session, started_minutes_ago=250, host="other", last_heartbeat_at=gone)
    worker = add_worker(session, started_minutes_ago=10, current_model="fake", metrics=GPU)

    told = client.get("/admin/worker/status").json

    assert 600 <= told.pop("uptime_seconds") < 700
    assert 0 <= told.pop("heartbeat_age_seconds") < 30
    assert datetime.fromisoformat(told.pop("last_heartbeat")) == worker.last_heartbeat_at
    assert told == {"healthy": True, "restart_count": 2, "loaded_model": "fake", **GPU}


def test_of_a_silent_worker_only_its_last_heartbeat_is_told(
    client: FlaskClient, session: Session
) -> None:
    silent_since = datetime.now(UTC) - timedelta(minutes=5)
    add_worker(
        session,
        started_minutes_ago=10,
        last_heartbeat_at=silent_since,
        current_model="fake",
        metrics=GPU,
    )

    told = client.get("/admin/worker/status").json

    assert told["healthy"] is False
    assert told["heartbeat_age_seconds"] >= 300
    assert datetime.fromisoformat(told["last_heartbeat"]) == silent_since
    assert [told["uptime_seconds"], told["loaded_model"], told["gpu_temperature"]] == [None] * 3


def test_without_any_worker_nothing_is_healthy(client: FlaskClient) -> None:
    told = client.get("/admin/worker/status").json

    assert (told["healthy"], told["last_heartbeat"], told["restart_count"]) == (False, None, 0)


def test_what_the_worker_prints_can_be_read(client: FlaskClient, stack: Stack) -> None:
    stack.start()

    wait_until(
        lambda: "worker.started" in client.get("/admin/worker-logs/content").json["logs"],
        "the worker's log says that it has started",
    )
    told = client.get("/admin/worker-logs/content?tail=1").json
    assert told["logs"].count("\n") == 1
    assert told["total_lines"] >= 1
    assert "\x1b" not in told["logs"]


def test_the_logs_tail_is_counted(client: FlaskClient, settings: Settings) -> None:
    path = worker_log.path(settings)
    path.parent.mkdir(parents=True)
    path.with_name("worker.log.1").write_text("2026 [error    ] old\n2026 [info     ] older\n")
    path.write_text('2026 [warning  ] slow\n{"event":"dead","level": "error"}\nTraceback\n')

    told = client.get("/admin/worker-logs/content?tail=4").json

    assert told == {
        "logs": "2026 [info     ] older\n" + path.read_text(),
        "total_lines": 5,
        "error_count": 1,
        "warning_count": 1,
    }
    error = error_of(client.get("/admin/worker-logs/content?tail=none"), 400)
    assert error["param"] == "tail"


def test_without_a_log_there_are_no_lines(client: FlaskClient) -> None:
    told = client.get("/admin/worker-logs/content").json

    assert told == {"logs": "", "total_lines": 0, "error_count": 0, "warning_count": 0}


def test_only_operators_may_look(
    make_client: Callable[[str | None], FlaskClient], other_key: str
) -> None:
    for path in ("/admin/worker/status", "/admin/worker-logs/content"):
        error_of(make_client(other_key).get(path), 403)
        error_of(make_client(None).get(path), 401)
