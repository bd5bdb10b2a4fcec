"""Schedules: made, changed, paused; and what becomes of their planned times."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from sqlalchemy import func, select, text, update
from sqlalchemy.orm import Session

from app.core import jobs, schedule_firings, schedules, users
from app.core.errors import Conflict, Forbidden, Invalid, LimitReached, NotFound, Refused
from app.core.models import AuditEntry, Job, Schedule, ScheduleFiring, User
from app.core.schedule_definitions import Changes, Definition
from app.core.settings import Settings
from app.core.users import Actor

NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@pytest.fixture
def admin(session: Session) -> Actor:
    return users.actor_of(users.ensure_admin(session))


@pytest.fixture
def ann(session: Session) -> Actor:
    session.add(User(name="ann", role="user"))
    session.flush()
    return users.actor_of(users.get(session, "ann"))


def define(**said: Any) -> Definition:
    return Definition.model_validate(
        {
            "name": "nightly",
            "task": "cleanup",
            "trigger": {"kind": "cron", "cron": "* * * * *"},
            "overlap_policy": "allow",
            **said,
        }
    )


def make(
    session: Session, actor: Actor, now: datetime = NOON, most: int = 9, **said: Any
) -> Schedule:
    schedule = schedules.create(session, define(**said), actor, most=most, now=now)
    session.commit()
    return schedule


def fire(
    session: Session, schedule: Schedule, now: datetime, silent_seconds: float = 0.0
) -> list[ScheduleFiring]:
    done = schedule_firings.fire(session, schedule.id, now, silent_seconds)
    session.commit()
    return done


def end_jobs(session: Session) -> None:
    """As if a worker had done them all."""
    session.execute(
        text("UPDATE procrastinate_jobs SET status = 'doing' WHERE status = 'todo'"),
    )
    session.execute(
        text("UPDATE procrastinate_jobs SET status = 'succeeded' WHERE status = 'doing'"),
    )
    session.commit()


def count_jobs(session: Session) -> int:
    return session.scalar(select(func.count()).select_from(Job)) or 0


# Planned times come.


def test_a_planned_time_becomes_one_job_of_the_owner(session: Session, ann: Actor) -> None:
    schedule = make(session, ann, task="export", args={"format": "zip"}, priority=5)
    assert schedule.next_planned_at == NOON + MINUTE
    assert fire(session, schedule, NOON + timedelta(seconds=59)) == []

    (firing,) = fire(session, schedule, NOON + MINUTE)

    job = session.scalars(select(Job).where(Job.id == firing.job_id)).one()
    assert (job.task, job.owner_name, job.priority) == ("export", "ann", 5)
    assert job.arguments == {"what": "jobs", "format": "zip", "owner": "ann"}
    assert (firing.planned_at, firing.planned_runs, firing.reason) == (NOON + MINUTE, 1, None)
    assert schedule.next_planned_at == NOON + 2 * MINUTE
    assert fire(session, schedule, NOON + MINUTE) == []
    assert count_jobs(session) == 1


def test_a_planned_time_never_fires_twice(session: Session, admin: Actor) -> None:
    schedule = make(session, admin)
    planned = schedule.next_planned_at
    assert planned is not None
    fire(session, schedule, planned)
    # As if another had not seen that it was done.
    schedule_firings.set_next(schedule, planned)
    session.commit()
    assert fire(session, schedule, planned) == []
    assert count_jobs(session) == 1


def test_what_another_is_firing_is_left_to_it(session: Session, admin: Actor) -> None:
    schedule = make(session, admin)
    with Session(session.get_bind()) as other:
        schedule_firings.fire(other, schedule.id, NOON + MINUTE)
        assert fire(session, schedule, NOON + MINUTE) == []
        other.commit()
    assert fire(session, schedule, NOON + MINUTE) == []
    assert count_jobs(session) == 1


def test_a_firing_that_is_broken_off_leaves_nothing(session: Session, admin: Actor) -> None:
    schedule = make(session, admin)
    assert schedule_firings.fire(session, schedule.id, NOON + MINUTE)
    session.rollback()
    assert count_jobs(session) == 0
    assert len(fire(session, schedule, NOON + MINUTE)) == 1


def test_once_fires_once_and_ends(session: Session, admin: Actor) -> None:
    schedule = make(session, admin, trigger={"kind": "once", "at": NOON + MINUTE})
    fire(session, schedule, NOON + MINUTE)
    assert schedules.status_of(schedule) == "ended"
    assert schedules.next_runs(schedule, NOON + MINUTE) == []
    assert schedule_firings.due_ids(session, NOON + timedelta(days=900)) == []


def test_an_interval_counts_from_its_creation(session: Session, admin: Actor) -> None:
    schedule = make(session, admin, trigger={"kind": "interval", "seconds": 90})
    assert schedules.next_runs(schedule, NOON)[:2] == [
        NOON + timedelta(seconds=90),
        NOON + timedelta(seconds=180),
    ]


def test_jitter_delays_a_run_and_not_its_plan(session: Session, admin: Actor) -> None:
    schedule = make(session, admin, jitter_seconds=50)
    due = schedule.next_due_at
    assert due is not None
    assert NOON + MINUTE < due < NOON + MINUTE + timedelta(seconds=50)
    assert fire(session, schedule, due - timedelta(milliseconds=1)) == []
    assert [each.planned_at for each in fire(session, schedule, due)] == [NOON + MINUTE]


# Missed runs.

MONTH = NOON + timedelta(days=30)


def test_of_a_month_of_missed_minutes_none_fires(session: Session, admin: Actor) -> None:
    schedule = make(session, admin, missed_policy="skip")
    # The minute that has just come is not missed.
    skipped, fired = fire(session, schedule, MONTH)
    assert fired.planned_at == MONTH
    assert (skipped.job_id, skipped.planned_at) == (None, MONTH - MINUTE)
    assert skipped.planned_runs == schedule_firings.MOST_COUNTED
    assert skipped.reason == "missed: 1000 or more runs from 2026-11-25 12:01:00 UTC on"
    assert count_jobs(session) == 1
    assert schedule.next_planned_at == MONTH + MINUTE


def test_a_run_that_is_long_due_is_missed(session: Session, admin: Actor) -> None:
    schedule = make(
        session, admin, missed_policy="skip", trigger={"kind": "cron", "cron": "@daily"}
    )
    (skipped,) = fire(session, schedule, NOON + timedelta(hours=13))
    assert (skipped.job_id, skipped.reason) == (None, "missed")
    assert schedule.next_planned_at == datetime(2026, 11, 27, tzinfo=UTC)


def test_one_run_stands_for_a_month_of_missed_ones(session: Session, admin: Actor) -> None:
    schedule = make(session, admin, missed_policy="one", trigger={"kind": "cron", "cron": "@daily"})
    (fired,) = fire(session, schedule, MONTH)
    assert fired.planned_at == datetime(2026, 12, 25, tzinfo=UTC)
    assert (fired.planned_runs, fired.reason) == (30, "stands for 30 planned runs")
    assert count_jobs(session) == 1


def test_all_missed_runs_are_the_latest_of_a_stated_number(session: Session, admin: Actor) -> None:
    schedule = make(session, admin, missed_policy="all", missed_limit=3)
    skipped, *fired = fire(session, schedule, MONTH)
    assert [each.planned_at for each in fired] == [MONTH - n * MINUTE for n in (3, 2, 1, 0)]
    assert skipped.planned_at == MONTH - 4 * MINUTE
    assert "more than the latest 3" in (skipped.reason or "")
    assert count_jobs(session) == 4
    few = make(session, admin, name="few", missed_policy="all", missed_limit=3)
    assert [each.job_id is not None for each in fire(session, few, NOON + 3 * MINUTE)] == [True] * 3


# The clock is set.


def follow(
    session: Session, schedule: Schedule, start: datetime, seconds: int, step: int = 10
) -> list[tuple[int, datetime]]:
    """Let the clock run; (seconds since the start, planned time) of what fired."""
    found: list[tuple[int, datetime]] = []
    last = 0
    for passed in range(0, seconds + 1, step):
        now = start + timedelta(seconds=passed)
        for firing in fire(session, schedule, now, passed - last):
            if firing.job_id is not None:
                found.append((passed, firing.planned_at))
                last = passed
    return found


@pytest.mark.parametrize("back_seconds", [240, 440, 3600])
def test_a_clock_set_back_makes_no_silence_and_no_second_firing(
    session: Session, admin: Actor, back_seconds: int
) -> None:
    schedule = make(session, admin)
    before = follow(session, schedule, NOON, 300)
    now = NOON + timedelta(seconds=300 - back_seconds)
    schedule_firings.plan_anew(session, now)
    after = follow(session, schedule, now, 400)
    times = [passed for passed, _ in after]
    assert len(after) >= 5
    assert times[0] <= 90
    assert all(later - sooner <= 90 for sooner, later in pairwise(times))
    planned = [moment for _, moment in before + after]
    assert len(set(planned)) == len(planned)


def test_a_clock_set_back_does_not_repeat_what_runs_rarely(session: Session, admin: Actor) -> None:
    schedule = make(session, admin, trigger={"kind": "cron", "cron": "30 12 * * *"})
    fire(session, schedule, NOON + 30 * MINUTE)
    schedule_firings.plan_anew(session, NOON)
    assert schedule.next_planned_at == NOON + 30 * MINUTE
    assert fire(session, schedule, NOON + 30 * MINUTE, silent_seconds=3600) == []
    assert schedule.next_planned_at == NOON + timedelta(days=1, minutes=30)
    assert count_jobs(session) == 1


def test_a_clock_set_forward_and_back_again(session: Session, admin: Actor) -> None:
    schedule = make(session, admin, missed_policy="skip")
    fire(session, schedule, NOON + timedelta(hours=1))
    schedule_firings.plan_anew(session, NOON + MINUTE)
    assert schedule.next_planned_at == NOON + 2 * MINUTE
    (firing,) = fire(session, schedule, NOON + 2 * MINUTE, silent_seconds=60)
    assert firing.job_id is not None


# Overlaps.


def test_a_run_is_skipped_while_the_last_job_has_not_ended(session: Session, admin: Actor) -> None:
    schedule = make(session, admin, overlap_policy="skip")
    (first,) = fire(session, schedule, NOON + MINUTE)
    (second,) = fire(session, schedule, NOON + 2 * MINUTE)
    assert (second.job_id, second.reason) == (None, f"Its job {first.job_id} has not ended.")
    end_jobs(session)
    (third,) = fire(session, schedule, NOON + 3 * MINUTE)
    assert third.job_id is not None


def test_runs_wait_for_each_other_in_the_queue_up_to_a_bound(
    session: Session, admin: Actor
) -> None:
    schedule = make(session, admin, overlap_policy="queue")
    done = [
        firing
        for n in range(1, schedule_firings.MOST_WAITING + 2)
        for firing in fire(session, schedule, NOON + n * MINUTE)
    ]
    locks = set(session.scalars(select(Job.lock)))
    assert locks == {f"schedule {schedule.id}"}
    assert count_jobs(session) == schedule_firings.MOST_WAITING
    assert done[-1].reason == "10 of its jobs wait already."


# Rights.


def test_a_user_sees_and_changes_its_own_and_operators_all(
    session: Session, admin: Actor, ann: Actor
) -> None:
    own = make(session, ann, task="export")
    other = make(session, admin)
    assert [each.id for each in schedules.list_schedules(session, ann.owner_filter)] == [own.id]
    assert len(schedules.list_schedules(session, admin.owner_filter)) == 2
    for verb in (
        lambda: schedules.get(session, str(other.id), ann.owner_filter),
        lambda: schedules.delete(session, str(other.id), ann),
        lambda: schedules.run(session, str(other.id), ann, now=NOON),
        lambda: schedules.pause(session, str(other.id), ann, "no", now=NOON),
        lambda: schedules.resume(session, str(other.id), ann, now=NOON),
        lambda: schedules.change(session, str(other.id), Changes(name="x"), ann, now=NOON),
    ):
        with pytest.raises(NotFound):
            verb()
    schedules.change(session, str(own.id), Changes(name="x"), admin, now=NOON)
    assert own.owner_id == ann.user_id


def test_nobody_reaches_more_through_a_schedule_than_by_itself(
    session: Session, admin: Actor, ann: Actor
) -> None:
    with pytest.raises(Forbidden):
        make(session, ann, task="backup")
    session.add(User(name="olga", role="operator"))
    session.flush()
    olga = users.actor_of(users.get(session, "olga"))
    backup = make(session, admin, task="backup")
    for verb in (
        lambda: schedules.change(session, str(backup.id), Changes(priority=1), olga, now=NOON),
        lambda: schedules.run(session, str(backup.id), olga, now=NOON),
    ):
        with pytest.raises(Forbidden):
            verb()
    schedules.pause(session, str(backup.id), olga, "not tonight", now=NOON)


def test_a_schedule_has_no_rights_that_its_makers_key_lacks(session: Session, admin: Actor) -> None:
    narrow = replace(admin, scopes=frozenset({"read", "submit"}))
    schedule = make(session, narrow, task="export")
    (firing,) = fire(session, schedule, NOON + MINUTE)
    arguments = session.scalars(select(Job.arguments).where(Job.id == firing.job_id)).one()
    assert arguments["owner"] == "admin"  # not everybody's jobs
    schedules.change(session, str(schedule.id), Changes(priority=1), admin, now=NOON + MINUTE)
    (firing,) = fire(session, schedule, NOON + 2 * MINUTE)
    arguments = session.scalars(select(Job.arguments).where(Job.id == firing.job_id)).one()
    assert "owner" not in arguments


def test_the_rights_of_the_moment_count(session: Session, admin: Actor, ann: Actor) -> None:
    schedule = make(session, ann, task="export")
    users.disable(session, "ann", "test")
    session.commit()
    (skipped,) = fire(session, schedule, NOON + MINUTE)
    assert (skipped.job_id, skipped.reason) == (None, "Its owner ann is shut out.")
    users.enable(session, "ann", "test")
    session.execute(update(User).where(User.name == "ann").values(role="nobody"))
    session.commit()
    session.refresh(schedule, ["owner"])
    (skipped,) = fire(session, schedule, NOON + 2 * MINUTE)
    assert "scope 'submit'" in (skipped.reason or "")
    assert count_jobs(session) == 0


def test_only_built_in_tasks_unless_a_queue_was_adopted(session: Session, admin: Actor) -> None:
    with pytest.raises(NotFound):
        make(session, admin, task="shop.bill")
    with pytest.raises(Invalid):
        make(session, admin, queue="elsewhere")


def test_any_task_of_an_adopted_app_for_operators(
    session: Session, admin: Actor, ann: Actor
) -> None:
    session.execute(text("INSERT INTO adoption DEFAULT VALUES"))
    with pytest.raises(Forbidden):
        make(session, ann, task="shop.bill")
    schedule = make(session, admin, task="shop.bill", args={"self": 1, "to": []}, queue="bills")
    (firing,) = fire(session, schedule, NOON + MINUTE)
    job = session.scalars(select(Job).where(Job.id == firing.job_id)).one()
    assert (job.task, job.queue, job.owner_name) == ("shop.bill", "bills", "admin")
    assert job.arguments == {"self": 1, "to": []}


# Making and changing.


def test_a_name_is_given_once_by_each_user(session: Session, admin: Actor, ann: Actor) -> None:
    make(session, admin)
    make(session, ann, task="export")
    other = make(session, admin, name="other")
    with pytest.raises(Conflict):
        make(session, admin)
    with pytest.raises(Conflict):
        schedules.change(session, str(other.id), Changes(name="nightly"), admin, now=NOON)


def test_what_would_never_run_or_mix_up_is_refused(session: Session, admin: Actor) -> None:
    with pytest.raises(Refused, match="passed"):
        make(session, admin, trigger={"kind": "once", "at": NOON})
    with pytest.raises(Refused, match="shorter than the 60 s"):
        make(session, admin, jitter_seconds=60)
    with pytest.raises(Invalid, match="colour"):
        make(session, admin, args={"colour": "red"})


def test_a_user_has_so_many_schedules(session: Session, admin: Actor) -> None:
    make(session, admin, most=1)
    with pytest.raises(Refused, match="1 schedules already"):
        make(session, admin, name="second", most=1)


def test_a_change_plans_anew_only_when_the_times_change(session: Session, admin: Actor) -> None:
    schedule = make(session, admin)
    later = NOON + timedelta(seconds=150)
    schedules.change(session, str(schedule.id), Changes(priority=3), admin, now=later)
    assert (schedule.priority, schedule.next_planned_at) == (3, NOON + MINUTE)
    changes = Changes.model_validate({"trigger": {"kind": "interval", "seconds": 60}})
    schedules.change(session, str(schedule.id), changes, admin, now=later)
    assert schedule.next_planned_at == later + MINUTE
    assert (schedule.name, schedule.task, schedule.changed_at) == ("nightly", "cleanup", later)


def test_every_act_is_in_the_audit_trail(session: Session, admin: Actor) -> None:
    schedule = make(session, admin)
    name = str(schedule.id)
    schedules.change(session, name, Changes(priority=3), admin, now=NOON)
    schedules.pause(session, name, admin, "quiet", now=NOON)
    schedules.resume(session, name, admin, now=NOON)
    schedules.run(session, name, admin, now=NOON)
    schedules.delete(session, name, admin)
    session.commit()
    entries = session.scalars(select(AuditEntry).order_by(AuditEntry.id)).all()
    assert [entry.action.removeprefix("schedule.") for entry in entries] == [
        "create",
        "change",
        "pause",
        "resume",
        "run",
        "delete",
    ]
    assert [entry.details for entry in entries][1:3] == ["priority", "quiet"]
    assert count_jobs(session) == 1  # its jobs stay


# Pause, and run now.


def test_a_paused_schedule_keeps_still_and_says_what_did_not_run(
    session: Session, admin: Actor
) -> None:
    schedule = make(session, admin)
    schedules.pause(session, str(schedule.id), admin, "the disk is full", now=NOON)
    session.commit()
    assert schedules.next_runs(schedule, NOON) == []
    assert schedule_firings.due_ids(session, NOON + 9 * MINUTE) == []
    assert fire(session, schedule, NOON + 9 * MINUTE) == []
    with pytest.raises(Conflict):
        schedules.pause(session, str(schedule.id), admin, "again", now=NOON)

    schedules.resume(session, str(schedule.id), admin, now=NOON + 9 * MINUTE)
    session.commit()

    (row,) = schedules.list_firings(session, schedule, before=None, limit=9)
    assert (row.job_id, row.planned_runs, row.planned_at) == (None, 9, NOON + 9 * MINUTE)
    assert row.reason.startswith("paused by admin (the disk is full): 9 runs")
    assert schedule.next_planned_at == NOON + 10 * MINUTE
    with pytest.raises(Conflict):
        schedules.resume(session, str(schedule.id), admin, now=NOON)


def test_it_can_be_run_now_besides_its_plan(session: Session, admin: Actor) -> None:
    schedule = make(session, admin, overlap_policy="skip")
    firing = schedules.run(session, str(schedule.id), admin, now=NOON)
    session.commit()
    assert (firing.asked_by, firing.planned_at) == ("admin", NOON)
    assert schedule.next_planned_at == NOON + MINUTE
    with pytest.raises(Conflict, match="has not ended"):
        schedules.run(session, str(schedule.id), admin, now=NOON + MINUTE)


def test_its_jobs_count_as_its_owners_and_what_is_too_many_is_told(
    session: Session, ann: Actor, settings: Settings
) -> None:
    own = settings.model_copy(update={"user_queued_jobs": 1})
    schedule = make(session, ann, task="export")
    for n in (1, 2):
        [firing] = schedule_firings.fire(session, schedule.id, NOON + n * MINUTE, settings=own)
        session.commit()

    assert firing.job_id is None
    assert firing.reason is not None
    assert firing.reason.startswith("You have 1 jobs waiting, and 1 is the limit")
    with pytest.raises(LimitReached):
        schedules.run(session, str(schedule.id), ann, now=NOON + 3 * MINUTE, settings=own)


def test_the_history_comes_in_pages_with_what_the_jobs_do(session: Session, admin: Actor) -> None:
    schedule = make(session, admin)
    for n in range(1, 6):
        fire(session, schedule, NOON + n * MINUTE)
    end_jobs(session)
    page = schedules.list_firings(session, schedule, before=None, limit=2)
    assert [row.planned_at for row in page] == [NOON + 5 * MINUTE, NOON + 4 * MINUTE]
    assert {row.job_status for row in page} == {"completed"}
    rest = schedules.list_firings(session, schedule, before=page[-1].planned_at, limit=9)
    assert len(rest) == 3
    latest = schedules.latest_firings(session, [schedule])
    assert latest[schedule.id].planned_at == NOON + 5 * MINUTE


def test_periodic_tasks_of_procrastinate_are_listed(session: Session) -> None:
    job_id = jobs.defer(session, "tick", {"timestamp": 1}, queue="shop")
    session.execute(
        text(
            "INSERT INTO procrastinate_periodic_defers (task_name, periodic_id, defer_timestamp, job_id)"
            " VALUES ('tick', 'east', 1764072000, NULL), ('tick', 'east', 1764072060, :job),"
            " ('tick', '', 1764072060, NULL)"
        ),
        {"job": job_id},
    )
    rows = schedules.list_periodic(session)
    assert [(row.task, row.periodic_id, row.job_id, row.job_status) for row in rows] == [
        ("tick", "", None, None),
        ("tick", "east", job_id, "pending"),
    ]
    assert rows[1].planned_at == datetime(2025, 11, 25, 12, 1, tzinfo=UTC)
