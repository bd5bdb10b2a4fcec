"""A schedule's planned times come: each becomes one job, or a row that says why there is none.

The row and the job are written in one transaction, under a lock on the schedule; the row's key is the
planned time, so that nothing fires twice, whoever asks and however the clock is set.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from procrastinate.exceptions import ConnectorException
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.core import jobs, tasks, users
from app.core.errors import Conflict, Forbidden, StokerError
from app.core.models import Schedule, ScheduleFiring
from app.core.schedule_definitions import (
    DEFAULT_QUEUE,
    check_task,
    definition_of,
    running_trigger,
)
from app.core.schedule_times import Trigger, count_runs, delay, latest_run, latest_runs
from app.core.settings import Settings
from app.core.sql import statement

# A run that is due for longer was missed.
MISSED_AFTER_SECONDS = 60.0
# Missed runs are counted this far.
MOST_COUNTED = 1000
# Of a schedule whose overlap policy is `queue`, so many jobs wait at most.
MOST_WAITING = 10

# Why there is no job, where a schedule's own policy for overlaps, or who paused it, wanted none (patterns
# of LIKE).
BY_POLICY = ("Its job % has not ended.", "% of its jobs wait already.", "paused by %")

_ONE = timedelta(microseconds=1)
# The pause before a planned time is looked for in this much.
_LONGEST_PAUSE = timedelta(days=400)


def due_ids(
    session: Session, now: datetime, *, without: Collection[int] = (), limit: int = 100
) -> list[int]:
    """The schedules of which a run is due, the longest due first."""
    query = select(Schedule.id).where(
        Schedule.paused_at.is_(None), Schedule.next_due_at <= now, Schedule.id.not_in(without)
    )
    return list(session.scalars(query.order_by(Schedule.next_due_at).limit(limit)))


def next_due_at(session: Session, now: datetime) -> datetime | None:
    """When the next run is due after now."""
    return session.scalar(
        select(func.min(Schedule.next_due_at)).where(
            Schedule.paused_at.is_(None), Schedule.next_due_at > now
        )
    )


def set_next(schedule: Schedule, planned_at: datetime | None) -> None:
    """Say when the next run is planned, and due."""
    schedule.next_planned_at = planned_at
    schedule.next_due_at = planned_at and planned_at + delay(
        schedule.id, planned_at, schedule.jitter_seconds
    )


def fire(
    session: Session,
    schedule_id: int,
    now: datetime,
    silent_seconds: float = 0.0,
    *,
    settings: Settings | None = None,
) -> list[ScheduleFiring]:
    """Do what is due of a schedule; the caller commits. What came of it, nothing when it was not due.

    `settings` have the limits of what its owner may have waiting; None for none.

    `silent_seconds` is how long ago it last fired, by a clock that nobody sets (else the least that is
    known): it tells, after the clock was set back, a pause from a repetition.
    """
    schedule = session.scalar(
        select(Schedule)
        .where(
            Schedule.id == schedule_id,
            Schedule.paused_at.is_(None),
            Schedule.next_due_at <= now,
        )
        .with_for_update(of=Schedule, skip_locked=True)
        .execution_options(populate_existing=True)
    )
    if schedule is None or schedule.next_planned_at is None:
        return []
    trigger, first = running_trigger(schedule), schedule.next_planned_at
    latest = _latest_due(schedule, trigger, first, now)
    is_late = now - _due_at(schedule, latest) > timedelta(seconds=MISSED_AFTER_SECONDS)
    runs, skipped = _plan(schedule, trigger, first, latest, is_late=is_late)
    done: list[ScheduleFiring] = []
    if skipped is not None and not _is_taken(session, schedule, skipped.planned_at):
        session.add(skipped)
        done.append(skipped)
    for planned_at in runs:
        firing = _fire_planned(
            session, schedule, trigger, planned_at, now, silent_seconds, settings
        )
        if firing is None:
            continue
        if schedule.missed_policy == "one" and latest > first:
            firing.planned_runs = count_runs(trigger, first, latest, MOST_COUNTED)
            if firing.reason is None:
                firing.reason = f"stands for {_counted(firing.planned_runs)} planned runs"
        done.append(firing)
    set_next(schedule, trigger.next_after(latest))
    session.flush()
    return done


def _due_at(schedule: Schedule, planned_at: datetime) -> datetime:
    return planned_at + delay(schedule.id, planned_at, schedule.jitter_seconds)


def _latest_due(schedule: Schedule, trigger: Trigger, first: datetime, now: datetime) -> datetime:
    """The latest planned time that is due by its jitter, too."""
    latest = latest_run(trigger, first, now) or first
    if latest > first and _due_at(schedule, latest) > now:
        latest = latest_run(trigger, first, latest - _ONE) or first
    return latest


def _plan(
    schedule: Schedule, trigger: Trigger, first: datetime, latest: datetime, *, is_late: bool
) -> tuple[list[datetime], ScheduleFiring | None]:
    """Which planned times fire by the policy for missed runs, and what is told of the others."""
    match schedule.missed_policy:
        case "one":
            return [latest], None
        case "all":
            runs = latest_runs(trigger, first, latest, schedule.missed_limit + (not is_late))
            why = f"missed, more than the latest {schedule.missed_limit}"
        case _:
            runs = [] if is_late else [latest]
            why = "missed"
    until = latest_run(trigger, first, runs[0] - _ONE if runs else latest)
    if until is None:
        return runs, None
    return runs, skipped(schedule, trigger, first, until, why)


def skipped(
    schedule: Schedule, trigger: Trigger, first: datetime, until: datetime, why: str
) -> ScheduleFiring:
    """One row for all the planned times from `first` to `until`, which do not fire."""
    runs = count_runs(trigger, first, until, MOST_COUNTED)
    said = why if runs <= 1 else f"{why}: {_counted(runs)} runs from {_told(first)} on"
    return ScheduleFiring(
        schedule_id=schedule.id, planned_at=until, planned_runs=max(runs, 1), reason=said
    )


def _counted(runs: int) -> str:
    return f"{MOST_COUNTED} or more" if runs >= MOST_COUNTED else str(runs)


def _told(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _fire_planned(
    session: Session,
    schedule: Schedule,
    trigger: Trigger,
    planned_at: datetime,
    now: datetime,
    silent_seconds: float,
    settings: Settings | None,
) -> ScheduleFiring | None:
    """Fire one planned time. None: that was done before, and nothing is to take its place.

    The clock may have been set back over times that have fired. They do not fire again; but a
    schedule that has been silent for longer than half its pause goes on, under the time it is now.
    """
    why = None
    if _is_taken(session, schedule, planned_at):
        before = latest_run(trigger, planned_at - _LONGEST_PAUSE, planned_at - _ONE)
        if before is None or silent_seconds < (planned_at - before).total_seconds() / 2:
            return None
        why = f"the clock was set back: {_told(planned_at)} had its run already"
        planned_at = max(now, planned_at + _ONE)
    try:
        return _defer(session, schedule, planned_at, settings, reason=why)
    except (StokerError, ConnectorException) as fault:
        words = fault.message if isinstance(fault, StokerError) else str(fault)
        return _record(session, schedule, planned_at, reason=words[:1000] or "refused")


def fire_now(
    session: Session,
    schedule: Schedule,
    now: datetime,
    asked_by: str,
    settings: Settings | None,
) -> ScheduleFiring:
    """Run a schedule because somebody asks; `schedule` is locked and the caller commits.

    Raises Conflict when its overlap policy forbids that, and what its task refuses.
    """
    return _defer(session, schedule, now, settings, asked_by=asked_by)


def _is_taken(session: Session, schedule: Schedule, planned_at: datetime) -> bool:
    return session.get(ScheduleFiring, (schedule.id, planned_at)) is not None


def _record(
    session: Session, schedule: Schedule, planned_at: datetime, **said: Any
) -> ScheduleFiring:
    firing = ScheduleFiring(schedule_id=schedule.id, planned_at=planned_at, **said)
    session.add(firing)
    session.flush()
    return firing


def _defer(
    session: Session,
    schedule: Schedule,
    planned_at: datetime,
    settings: Settings | None,
    *,
    reason: str | None = None,
    asked_by: str | None = None,
) -> ScheduleFiring:
    """The job with the owner's rights, and its row. Raises what refuses it, with nothing done."""
    lock = None
    if schedule.overlap_policy != "allow":
        _refuse_overlap(session, schedule)
    if schedule.overlap_policy == "queue":
        lock = f"schedule {schedule.id}"
    with session.begin_nested():
        job_id = _defer_for_owner(session, schedule, lock, settings)
        return _record(
            session, schedule, planned_at, job_id=job_id, reason=reason, asked_by=asked_by
        )


def _refuse_overlap(session: Session, schedule: Schedule) -> None:
    active = session.execute(
        statement("schedules", "active_jobs"), {"schedule_id": schedule.id}
    ).one()
    if schedule.overlap_policy == "queue":
        if active.waiting >= MOST_WAITING:
            raise Conflict(f"{active.waiting} of its jobs wait already.")
    elif active.newest is not None:
        raise Conflict(f"Its job {active.newest} has not ended.")


def _defer_for_owner(
    session: Session, schedule: Schedule, lock: str | None, settings: Settings | None
) -> int:
    owner = schedule.owner
    if owner.disabled_at is not None:
        raise Forbidden(f"Its owner {owner.name} is shut out.")
    actor = users.actor_of(owner)
    actor = replace(actor, scopes=actor.scopes & set(schedule.scopes))
    if schedule.task in tasks.TASKS:
        return tasks.defer_task(
            session,
            schedule.task,
            schedule.arguments,
            actor,
            settings=settings,
            priority=schedule.priority,
            lock=lock,
        )
    check_task(session, definition_of(schedule), actor)
    return jobs.defer(
        session,
        schedule.task,
        schedule.arguments,
        queue=schedule.queue or DEFAULT_QUEUE,
        priority=schedule.priority,
        lock=lock,
        owner_name=owner.name,
    )


def plan_anew(session: Session, now: datetime) -> int:
    """Bring plans forward that the clock was set back from; the caller commits. How many.

    A schedule waits for the next planned time there is, not for one that was next by another clock.
    """
    moved = 0
    query = select(Schedule).where(Schedule.paused_at.is_(None), Schedule.next_planned_at > now)
    for schedule in session.scalars(query.with_for_update(of=Schedule)):
        planned_at = running_trigger(schedule).next_after(now)
        if planned_at is not None and planned_at < (schedule.next_planned_at or now):
            set_next(schedule, planned_at)
            moved += 1
    session.flush()
    return moved
