"""A day on the timeline to look at: runs around noon of yesterday."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sqlalchemy.orm import Session

from app.core.models import Job
from tests.api.records import Record

NOON = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(days=1)


def window(since: datetime, until: datetime, **more: str) -> str:
    """The address of that stretch of time."""
    said = {
        "range": "dates",
        "from": f"{since:%Y-%m-%dT%H:%M:%S}",
        "to": f"{until:%Y-%m-%dT%H:%M:%S}",
    }
    return "/timeline?" + "&".join(f"{name}={value}" for name, value in {**said, **more}.items())


DAY = window(NOON - timedelta(hours=1), NOON + timedelta(hours=3))


class Day:
    """Runs around noon of yesterday, by minutes."""

    def __init__(self, session: Session) -> None:
        self.record = Record(session)

    def run(
        self,
        task: str,
        begin: float,
        end: float | None,
        outcome: str | None = "completed",
        **more: str | None,
    ) -> Job:
        at = [
            NOON + timedelta(minutes=minutes)
            for minutes in (begin, end if end is not None else begin)
        ]
        is_open = end is None
        job = self.record.job(
            task=task,
            status="running" if is_open else "failed" if outcome == "lost" else outcome,
            created_at=at[0] - timedelta(minutes=2),
            started_at=at[0],
            ended_at=None if is_open else at[1],
            wait_ms=120_000,
            owner_name=more.get("owner_name"),
            model=more.get("model"),
        )
        self.record.attempt(
            job,
            1,
            started_at=at[0],
            ended_at=None if is_open else at[1],
            outcome=None if is_open else outcome,
            worker_name=more.get("worker_name", "gpu-1"),
            error_type="RuntimeError" if outcome == "failed" else None,
            error_message="CUDA out of memory" if outcome == "failed" else None,
        )
        return job


def run_lately(day: Day) -> Job:
    """One of the last hour: at whatever time of the day the tests run, the last 24 hours have it."""
    began = (datetime.now(UTC) - timedelta(minutes=30) - NOON).total_seconds() / 60
    return day.run("export", began, began + 5)


def busy(day: Day) -> dict[str, Job]:
    """Some of everything; the export and the batch share 30 minutes."""
    return {
        "batch": day.run("run_batch", 0, 60, model="gemma-3-4b", owner_name="ada"),
        "export": day.run("export", 30, 75),
        "failed": day.run("backup", 80, 95, "failed"),
        "cancelled": day.run("cleanup", -20, -12, "cancelled"),
        "second": day.run("run_batch", 50, 110, model="qwen3-8b", owner_name="ben"),
        "short": day.run("cleanup", 100, 100.02),
    }
