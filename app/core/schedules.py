"""Schedules: what runs by the clock. Its owner sees and changes it, operators all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from sqlalchemy import Row, func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.core import audit, jobs, reasons, schedule_firings
from app.core.errors import Conflict, NotFound, Refused
from app.core.models import Schedule, ScheduleFiring
from app.core.schedule_definitions import (
    Changes,
    Definition,
    check_task,
    check_times,
    definition_of,
    trigger_of,
    write,
)
from app.core.schedule_firings import set_next
from app.core.schedule_times import RUNS_SHOWN, Interval, latest_run, runs_after
from app.core.settings import Settings
from app.core.sql import statement
from app.core.users import Actor

_MOST_ID = 2**63 - 1
_MOST_LISTED = 1000
# What was skipped is counted among so many of a schedule's latest firings.
TALLIED = 50


def list_schedules(session: Session, owner_id: int | None) -> Sequence[Schedule]:
    """A user's (or, with None, everybody's) schedules, those that run next first."""
    query = select(Schedule).order_by(
        Schedule.paused_at.is_not(None), Schedule.next_due_at.nulls_last(), Schedule.id
    )
    if owner_id is not None:
        query = query.where(Schedule.owner_id == owner_id)
    return session.scalars(query.limit(_MOST_LISTED)).all()


def get(session: Session, schedule_id: str, owner_id: int | None) -> Schedule:
    """A user's (or, with None, anybody's) schedule. Raises NotFound."""
    return _get(session, schedule_id, owner_id, is_locking=False)


def _get(
    session: Session, schedule_id: str, owner_id: int | None, *, is_locking: bool = True
) -> Schedule:
    is_number = schedule_id.isascii() and schedule_id.isdecimal() and len(schedule_id) <= 19
    found = None
    if is_number and int(schedule_id) <= _MOST_ID:
        query = select(Schedule).where(Schedule.id == int(schedule_id))
        if owner_id is not None:
            query = query.where(Schedule.owner_id == owner_id)
        if is_locking:
            query = query.with_for_update(of=Schedule).execution_options(populate_existing=True)
        found = session.scalar(query)
    if found is None:
        raise NotFound(f"There is no schedule {schedule_id[:100]!r}.", param="schedule_id")
    return found


def create(
    session: Session, definition: Definition, actor: Actor, *, most: int, now: datetime
) -> Schedule:
    """A schedule of the actor's, who has `most` at most; the caller commits.

    Raises what the task refuses, Refused when it would never run, and Conflict for a name that the
    actor has given already.
    """
    check_task(session, definition, actor)
    check_times(definition, now)
    query = select(func.count()).select_from(Schedule).where(Schedule.owner_id == actor.user_id)
    if (session.scalar(query) or 0) >= most:
        raise Refused(f"You have {most} schedules already: delete one first.")
    schedule = Schedule(owner_id=actor.user_id)
    write(schedule, _begun(definition, now), actor)
    with _naming(session, definition.name):
        session.add(schedule)
    _plan_next(schedule, now)  # its jitter goes by its id
    _told(session, schedule, actor, "schedule.create", definition.name)
    return schedule


def change(
    session: Session, schedule_id: str, changes: Changes, actor: Actor, *, now: datetime
) -> Schedule:
    """Change a schedule; the caller commits. Its next run is planned anew if its times change.

    It runs with the rights that its owner and the actor both have. Raises as `create`, and NotFound.
    """
    schedule = _get(session, schedule_id, actor.owner_filter)
    given = changes.given()
    definition = definition_of(schedule).model_copy(update=given)
    check_task(session, definition, actor)
    is_planned_anew = bool(given.keys() & {"trigger", "jitter_seconds"})
    if is_planned_anew:
        check_times(definition, now)
    with _naming(session, definition.name):
        write(schedule, _begun(definition, now), actor)
        if is_planned_anew:
            _plan_next(schedule, now)
        schedule.changed_at = now
    _told(session, schedule, actor, "schedule.change", ", ".join(given))
    return schedule


def _begun(definition: Definition, now: datetime) -> Definition:
    """The same; an interval that says no beginning begins now."""
    if not isinstance(definition.trigger, Interval):
        return definition
    return definition.model_copy(update={"trigger": definition.trigger.beginning(now)})


def _plan_next(schedule: Schedule, now: datetime) -> None:
    set_next(schedule, trigger_of(schedule).next_after(now))


@contextmanager
def _naming(session: Session, name: str) -> Iterator[None]:
    """Write what the block does. Raises Conflict when the owner has that name already."""
    try:
        with session.begin_nested():
            yield
            session.flush()
    except IntegrityError as fault:
        raise Conflict(
            f"There is a schedule {name!r} already.", param="name", code="name_taken"
        ) from fault


def _told(session: Session, schedule: Schedule, actor: Actor, action: str, details: str) -> None:
    session.flush()
    audit.record(session, actor.label, action, str(schedule.id), details)
    jobs.announce(session, "schedule", str(schedule.id))


def delete(session: Session, schedule_id: str, actor: Actor) -> None:
    """Remove a schedule and its history; its jobs stay. The caller commits. Raises NotFound."""
    schedule = _get(session, schedule_id, actor.owner_filter)
    session.delete(schedule)
    _told(session, schedule, actor, "schedule.delete", schedule.name)


def pause(
    session: Session, schedule_id: str, actor: Actor, reason: str, *, now: datetime
) -> Schedule:
    """Let no run come until it is resumed; the caller commits.

    Raises Invalid (the reason), NotFound, and Conflict when it is paused already.
    """
    reason = reasons.read(reason)
    schedule = get(session, schedule_id, actor.owner_filter)
    paused = session.scalar(
        update(Schedule)
        .where(Schedule.id == schedule.id, Schedule.paused_at.is_(None))
        .values(paused_at=now, paused_by=actor.label, pause_reason=reason)
        .returning(Schedule.id)
    )
    if paused is None:
        raise Conflict("This schedule is paused already.", code="already_paused")
    _told(session, schedule, actor, "schedule.pause", reason)
    return schedule


def resume(session: Session, schedule_id: str, actor: Actor, *, now: datetime) -> Schedule:
    """Let it run again from the next planned time on; the caller commits.

    What would have run meanwhile does not; one row of its history says so. Raises NotFound, and
    Conflict when it is not paused.
    """
    schedule = _get(session, schedule_id, actor.owner_filter)
    if schedule.paused_at is None:
        raise Conflict("This schedule is not paused.", code="not_paused")
    trigger, first = trigger_of(schedule), schedule.next_planned_at
    until = first and latest_run(trigger, first, now)
    if first is not None and until is not None:
        why = f"paused by {schedule.paused_by} ({schedule.pause_reason})"
        if session.get(ScheduleFiring, (schedule.id, until)) is None:
            session.add(schedule_firings.skipped(schedule, trigger, first, until, why))
        _plan_next(schedule, now)
    schedule.paused_at = schedule.paused_by = schedule.pause_reason = None
    _told(session, schedule, actor, "schedule.resume", "")
    return schedule


def run(
    session: Session,
    schedule_id: str,
    actor: Actor,
    *,
    now: datetime,
    settings: Settings | None = None,
) -> ScheduleFiring:
    """Run it now, besides its planned times, with its owner's rights; the caller commits.

    `settings` have the limits of what its owner may have waiting; None for none.

    Raises NotFound, Conflict when its last job has not ended and it does not overlap, and what the
    task refuses the actor or the owner.
    """
    schedule = _get(session, schedule_id, actor.owner_filter)
    check_task(session, definition_of(schedule), actor)
    firing = schedule_firings.fire_now(session, schedule, now, actor.label, settings)
    _told(session, schedule, actor, "schedule.run", f"job {firing.job_id}")
    return firing


def next_runs(schedule: Schedule, now: datetime) -> list[datetime]:
    """Its next planned times, five at most; none while it is paused."""
    if schedule.paused_at is not None or schedule.next_planned_at is None:
        return []
    return [
        schedule.next_planned_at,
        *runs_after(trigger_of(schedule), max(schedule.next_planned_at, now), RUNS_SHOWN - 1),
    ]


def status_of(schedule: Schedule) -> str:
    """active, paused, or ended: no run is to come."""
    if schedule.next_planned_at is None:
        return "ended"
    return "active" if schedule.paused_at is None else "paused"


def latest_firings(session: Session, schedules: Sequence[Schedule]) -> dict[int, Row[Any]]:
    """The latest firing of each schedule that has one."""
    rows = session.execute(
        statement("schedules", "latest_firings"), {"ids": [schedule.id for schedule in schedules]}
    )
    return {row.schedule_id: row for row in rows}


def tallies(session: Session, schedules: Sequence[Schedule]) -> dict[int, Row[Any]]:
    """How many of each schedule's latest TALLIED firings made a job, and how many were skipped."""
    asked = {"ids": [schedule.id for schedule in schedules], "most": TALLIED}
    return {
        row.schedule_id: row for row in session.execute(statement("schedules", "tallies"), asked)
    }


def list_firings(
    session: Session, schedule: Schedule, *, before: datetime | None, limit: int
) -> Sequence[Row[Any]]:
    """A page of a schedule's firings, latest first, before a planned time if one is given."""
    return session.execute(
        statement("schedules", "firings"),
        {"schedule_id": schedule.id, "before": before, "limit": limit},
    ).all()


def list_periodic(session: Session) -> Sequence[Row[Any]]:
    """The periodic tasks of Procrastinate itself, each with its latest launch."""
    return session.execute(statement("schedules", "periodic")).all()
