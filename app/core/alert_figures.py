"""The figures that alert rules watch, each from an index, rollups, the disk or the server."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from app.core import missed_runs, tallies
from app.core.models import AlertRule
from app.core.settings import Settings
from app.core.sql import statement
from app.core.tallies import Tally


@dataclass(frozen=True)
class Kind:
    """What a rule of this kind watches, with what it is unless the rule says otherwise.

    `words` name it, with places for the filter and the window (app.core.alert_words).
    `unit` is that of the figure and of the limit. The figure is past a limit that it reaches, or
    (`is_floor`) falls below.
    """

    words: str
    unit: str
    threshold: float
    window_seconds: int = 0
    fewest_jobs: int = 0
    is_floor: bool = False
    takes_filter: bool = True


KINDS = {
    "job_failure": Kind("jobs{of} that failed within {window}", "jobs", 1, window_seconds=300),
    "failure_rate": Kind(
        "share of failed jobs{of} within {window}",
        "share",
        0.5,
        window_seconds=3600,
        fewest_jobs=10,
    ),
    "queue_age": Kind("age of the oldest job{of} that waits", "seconds", 1800),
    "no_worker": Kind("time since any worker was heard of", "seconds", 60, takes_filter=False),
    "slow_job": Kind("longest run of a job{of} that still runs", "seconds", 3600),
    "disk_low": Kind(
        "free space of the data folder's disk",
        "bytes",
        10 * 2**30,
        is_floor=True,
        takes_filter=False,
    ),
    "long_transaction": Kind(
        "longest time that a transaction of the database is open",
        "seconds",
        1800,
        takes_filter=False,
    ),
    "late_run": Kind("how late a schedule's run{of} is that has not started", "seconds", 300),
    "missed_runs": Kind(
        "planned runs of schedules{of} that were missed within {window}",
        "runs",
        1,
        window_seconds=3600,
    ),
}


@dataclass(frozen=True)
class Figure:
    """What was measured, with since when it is so and which job shows it, as far as that is known.

    `named` is what it is about, where the rule does not say that.
    """

    value: float
    since: datetime | None = None
    job_id: int | None = None
    named: str | None = None


def is_past(rule: AlertRule, figure: Figure) -> bool:
    """Whether the rule's limit is reached, or (a floor) no longer kept."""
    if KINDS[rule.kind].is_floor:
        return figure.value < rule.threshold
    return figure.value >= rule.threshold


def measure(session: Session, settings: Settings, rule: AlertRule, now: datetime) -> Figure:
    """The rule's figure as of `now`."""
    match rule.kind:
        case "job_failure" | "failure_rate":
            return _failures(session, rule, now)
        case "queue_age" | "slow_job":
            return _oldest(session, rule, now)
        case "no_worker":
            heard_at = session.execute(
                statement("alerts", "heard_at"), {"created_at": rule.created_at}
            ).scalar_one()
            return _since(heard_at, now)
        case "late_run":
            late = missed_runs.late(session, now, task=rule.task, queue=rule.queue)
            if not late:
                return Figure(0.0)
            return replace(_since(late[0].since, now, late[0].job_id), named=late[0].name)
        case "missed_runs":
            since = now - timedelta(seconds=rule.window_seconds)
            missed = missed_runs.missed(session, since, now, task=rule.task, queue=rule.queue)
            return Figure(float(missed.runs), missed.since, missed.job_id, missed.name)
        case "long_transaction":
            row = session.execute(statement("transactions", "oldest")).one_or_none()
            return _since(row.began_at, now) if row is not None else Figure(0.0)
        case _:
            return Figure(float(shutil.disk_usage(settings.var_path).free))


def _failures(session: Session, rule: AlertRule, now: datetime) -> Figure:
    since = now - timedelta(seconds=rule.window_seconds)
    failed = done = 0
    for name, by_status in tallies.count(session, _dimension(rule), since=since, until=now).items():
        if (rule.queue or rule.task or name) == name:
            failed += by_status.get("failed", Tally()).jobs
            done += by_status.get("completed", Tally()).jobs
    job_id = None
    if failed:
        job_id = session.scalar(
            statement("alerts", "failure"), {**_filters(rule), "since": since, "now": now}
        )
    if rule.kind == "job_failure":
        return Figure(float(failed), job_id=job_id)
    known = failed + done
    share = failed / known if known and known >= rule.fewest_jobs else 0.0
    return Figure(share, job_id=job_id)


def _dimension(rule: AlertRule) -> str:
    if rule.queue is not None:
        return "queue"
    return "status" if rule.task is None else "task"


def _oldest(session: Session, rule: AlertRule, now: datetime) -> Figure:
    row = session.execute(
        statement("alerts", rule.kind), {**_filters(rule), "now": now}
    ).one_or_none()
    if row is None:
        return Figure(0.0)
    return _since(row.since, now, row.job_id)


def _filters(rule: AlertRule) -> dict[str, str | None]:
    return {"queue": rule.queue, "task": rule.task}


def _since(began_at: datetime, now: datetime, job_id: int | None = None) -> Figure:
    return Figure(max(0.0, (now - began_at).total_seconds()), began_at, job_id)
