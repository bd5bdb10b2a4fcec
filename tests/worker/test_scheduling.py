"""The housekeeper's clock: due schedules fire, once, whoever leads and however the clock is set."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import Session, sessionmaker

from app.core import schedules, users
from app.core.models import Job, Schedule, ScheduleFiring, Worker
from app.core.schedule_definitions import Definition
from app.core.settings import Settings
from tests.conftest import wait_until
from tests.worker.stack import Stack
from worker.scheduling import Scheduling

NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)


class Clocks:
    """One that people set, and one that nobody does."""

    def __init__(self) -> None:
        self.moment = NOON
        self.seconds = 1000.0

    def run(self, seconds: float) -> None:
        self.moment += timedelta(seconds=seconds)
        self.seconds += seconds


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


@pytest.fixture
def scheduling(session: Session, clocks: Clocks) -> Scheduling:
    factory = sessionmaker(session.get_bind(), expire_on_commit=False)
    return Scheduling(factory, lambda: clocks.moment, lambda: clocks.seconds)


def make(
    session: Session, name: str = "each minute", now: datetime = NOON, **trigger: object
) -> Schedule:
    said = {
        "name": name,
        "task": "cleanup",
        "trigger": trigger or {"kind": "cron", "cron": "* * * * *"},
        "overlap_policy": "allow",
    }
    actor = users.actor_of(users.ensure_admin(session))
    definition = Definition.model_validate(said)
    schedule = schedules.create(session, definition, actor, most=99, now=now)
    session.commit()
    return schedule


def firings(session: Session) -> list[ScheduleFiring]:
    session.rollback()
    return list(session.scalars(select(ScheduleFiring).order_by(ScheduleFiring.decided_at)))


def test_it_sleeps_until_the_next_run_but_hears_of_new_ones(
    session: Session, scheduling: Scheduling, clocks: Clocks
) -> None:
    assert scheduling.step() == 1.0
    make(session)
    assert scheduling.step() == 1.0
    clocks.run(59.75)
    assert scheduling.step() == 0.25
    clocks.run(0.25)
    assert scheduling.step() < 0.1
    assert scheduling.step() == 1.0
    assert [firing.planned_at for firing in firings(session)] == [NOON + timedelta(minutes=1)]


@pytest.mark.parametrize("kind", ["cron", "interval"])
def test_a_clock_that_is_set_back_stops_nothing(
    session: Session, scheduling: Scheduling, clocks: Clocks, kind: str
) -> None:
    schedule = make(session)
    if kind == "interval":  # of which the clock goes back behind the beginning, too
        schedule.trigger = {"kind": "interval", "seconds": 60, "starts_at": NOON.isoformat()}
        session.commit()
    for _ in range(30):
        clocks.run(60)
        scheduling.step()
    assert len(firings(session)) == 30
    clocks.moment -= timedelta(minutes=40)
    scheduling.step()
    for _ in range(15):
        clocks.run(60)
        scheduling.step()
    done = firings(session)
    assert len(done) == 45
    # Ten before the beginning, and then those that come a second time.
    assert {firing.reason for firing in done[:40]} == {None}
    assert all("set back" in (firing.reason or "") for firing in done[40:])
    assert len({firing.planned_at for firing in done}) == 45


def test_a_clock_that_jumps_a_month_ahead_makes_no_storm(
    session: Session, scheduling: Scheduling, clocks: Clocks
) -> None:
    make(session)
    scheduling.step()
    clocks.moment += timedelta(days=30)
    for _ in range(3):
        scheduling.step()
    (firing,) = firings(session)
    assert firing.planned_runs == 1000
    assert firing.planned_at == NOON + timedelta(days=30)


def test_a_schedule_that_can_not_be_read_holds_nobody_up(
    session: Session, scheduling: Scheduling, clocks: Clocks
) -> None:
    faulty, sound = make(session, "a"), make(session, "b")
    scheduling.step()
    session.execute(
        text('UPDATE schedule SET trigger = \'{"kind": "none"}\' WHERE id = :id'),
        {"id": faulty.id},
    )
    session.commit()
    clocks.run(60)
    scheduling.step()
    assert [firing.schedule_id for firing in firings(session)] == [sound.id]
    scheduling.step()
    assert scheduling.step() == 1.0


@pytest.fixture
def stack(settings: Settings, session: Session, tmp_path: Path) -> Iterator[Stack]:
    stack = Stack(settings, session, tmp_path)
    yield stack
    stack.stop()


def test_a_killed_housekeeper_is_replaced_and_nothing_fires_twice(
    stack: Stack, session: Session
) -> None:
    """Promised within 15 s; the other asks for the lead every 3 s."""
    processes = {
        process.pid: process
        for process in (stack.start("worker.housekeeper"), stack.start("worker.housekeeper"))
    }

    def statuses() -> dict[str, int]:
        session.rollback()
        rows = session.scalars(select(Worker).where(Worker.pid.in_(processes)))
        return {row.status: row.pid for row in rows}

    def make_once(names: range) -> None:
        begin = datetime.now(UTC)
        for n in names:
            at = begin + timedelta(seconds=0.1 * (n - names[0] + 1))
            make(session, f"once {n}", begin, kind="once", at=at)

    try:
        wait_until(lambda: {"running", "standby"} <= set(statuses()), "one leads, one stands by")
        make_once(range(2))
        wait_until(lambda: len(firings(session)) == 2, "the leader fires")
        leader = statuses()["running"]
        make_once(range(2, 5))
        processes[leader].kill()
        killed_at = datetime.now(UTC)
        make_once(range(5, 8))
        wait_until(lambda: len(firings(session)) == 8, "the other fires the rest")
    except AssertionError as fault:
        raise AssertionError(f"{fault}\n{stack.logs()}") from None
    done = firings(session)
    replaced = min(firing.decided_at for firing in done if firing.planned_at > killed_at)
    assert replaced - killed_at < timedelta(seconds=15)
    job_ids = session.scalars(select(Job.id).where(Job.task == "cleanup")).all()
    assert sorted(job_ids) == sorted(firing.job_id or 0 for firing in done)
