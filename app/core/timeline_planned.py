"""What is to start later, in the timeline's lanes: jobs that wait for their time, and schedules' next runs.

It says no more than is known: nothing of it starts before its time; whether a worker is free then, nobody
knows. As long as it is drawn, half of its type's completed runs took at most.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core import rollups, schedules, tallies
from app.core.models import Job, Schedule
from app.core.schedule_definitions import DEFAULT_QUEUE, trigger_of
from app.core.schedule_times import runs_after
from app.core.stats import StatsCache
from app.core.timeline_runs import LaneBy

# So many jobs, so many schedules and so many runs of each: those that come first.
MOST_JOBS = 200
MOST_SCHEDULES = 100
MOST_RUNS = 50
_USUAL_OF = timedelta(days=7)


@dataclass(frozen=True)
class Planned:
    """It starts no earlier than `due_at`, as a job that is there or as the run of a schedule.

    `seconds` is how long half of its type's runs took at most, where that is known. A schedule may
    leave a run out while its last job has not ended.
    """

    lane: str | None
    type: str
    due_at: datetime
    job_id: int | None = None
    schedule_id: int | None = None
    schedule: str | None = None
    seconds: float | None = None
    is_skipped_if_busy: bool = False


_usual = StatsCache[dict[str, float]]()


def read(
    session: Session,
    *,
    now: datetime,
    until: datetime,
    lane_by: LaneBy = "type",
    task: str | None = None,
    owner_id: int | None = None,
    owner_name: str | None = None,
) -> list[Planned]:
    """What is due between `now` and `until`, in order: of one type, of one user, where named."""
    if until <= now:
        return []
    usual = _usual.get(
        (session.get_bind(), owner_name), lambda: _usual_seconds(session, now, owner_name)
    )
    found = [
        *_jobs(session, now, until, lane_by, task, owner_name, usual),
        *_runs(session, now, until, lane_by, task, owner_id, usual),
    ]
    return sorted(found, key=lambda each: each.due_at)


def next_runs(
    session: Session,
    now: datetime,
    *,
    task: str | None = None,
    owner_id: int | None = None,
    limit: int,
) -> list[Planned]:
    """The next run of each schedule, the first `limit` of them: of one type, of one user, where named."""
    found = [
        Planned(
            schedule.task,
            schedule.task,
            schedule.next_planned_at,
            schedule_id=schedule.id,
            schedule=schedule.name,
        )
        for schedule in _due(schedules.list_schedules(session, owner_id), None, task)
        if schedule.next_planned_at is not None and schedule.next_planned_at > now
    ]
    return sorted(found, key=lambda each: each.due_at)[:limit]


def _jobs(
    session: Session,
    now: datetime,
    until: datetime,
    lane_by: LaneBy,
    task: str | None,
    owner_name: str | None,
    usual: dict[str, float],
) -> list[Planned]:
    query = select(Job.id, Job.task, Job.queue, Job.model, Job.owner_name, Job.scheduled_at).where(
        Job.status.in_(("pending", "retrying")), Job.scheduled_at > now, Job.scheduled_at < until
    )
    if task is not None:
        query = query.where(Job.task == task)
    if owner_name is not None:
        query = query.where(Job.owner_name == owner_name)
    rows = session.execute(query.order_by(Job.scheduled_at, Job.id).limit(MOST_JOBS)).all()
    lanes = {"type": "task", "queue": "queue", "model": "model", "user": "owner_name"}
    return [
        Planned(
            getattr(row, lanes[lane_by]) if lane_by in lanes else None,
            row.task,
            row.scheduled_at,
            job_id=row.id,
            seconds=usual.get(row.task),
        )
        for row in rows
    ]


def _runs(
    session: Session,
    now: datetime,
    until: datetime,
    lane_by: LaneBy,
    task: str | None,
    owner_id: int | None,
    usual: dict[str, float],
) -> list[Planned]:
    found = []
    for schedule in _due(schedules.list_schedules(session, owner_id), until, task):
        lane = {
            "type": schedule.task,
            "queue": schedule.queue or DEFAULT_QUEUE,
            "user": schedule.owner.name,
        }.get(lane_by)
        for at in runs_after(trigger_of(schedule), now, MOST_RUNS):
            if at >= until:
                break
            found.append(
                Planned(
                    lane,
                    schedule.task,
                    at,
                    schedule_id=schedule.id,
                    schedule=schedule.name,
                    seconds=usual.get(schedule.task),
                    is_skipped_if_busy=schedule.overlap_policy == "skip",
                )
            )
    return found


def _due(known: Sequence[Schedule], until: datetime | None, task: str | None) -> list[Schedule]:
    """The first of those that run before then, if that is named."""
    return [
        schedule
        for schedule in known
        if schedule.paused_at is None
        and schedule.next_planned_at is not None
        and (until is None or schedule.next_planned_at < until)
        and task in (None, schedule.task)
    ][:MOST_SCHEDULES]


def _usual_seconds(session: Session, now: datetime, owner_name: str | None) -> dict[str, float]:
    """What half of each type's completed runs took at most, in the last days."""
    found = tallies.count(
        session,
        "task",
        since=now - _USUAL_OF,
        owner_name=owner_name,
        histograms_of=("completed",),
    )
    usual = {}
    for task, by_status in found.items():
        if (done := by_status.get("completed")) is None:
            continue
        half = rollups.percentile(done.histogram, 0.5, done.min_run_ms, done.max_run_ms)
        if half is not None:
            usual[task] = half
    return usual
