"""What one user may have waiting: said with the limit, the use and when to come back; never raced past."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, func, select, text
from sqlalchemy.orm import Session

from app.core import batches, limits, tasks, users
from app.core.batches import NewBatch
from app.core.errors import LimitReached, TooLarge
from app.core.models import Batch, File, User
from app.core.settings import Settings

CHAT = "/v1/chat/completions"
Bound = Callable[..., Settings]


@pytest.fixture
def bound(settings: Settings) -> Bound:
    """The settings with some limits."""
    return lambda **limits: settings.model_copy(update=limits)


@pytest.fixture
def kim(session: Session) -> User:
    return user(session, "kim")


def user(session: Session, name: str) -> User:
    found = User(name=name, role="user")
    session.add(found)
    session.commit()
    return found


def submit(session: Session, owner: User, settings: Settings | None, size: int = 10) -> Batch:
    number = session.scalar(select(func.count()).select_from(File))
    file = File(
        id=f"file-{owner.name}-{number}",
        owner_id=owner.id,
        purpose="batch",
        filename="f",
        bytes=size,
        sha256="",
    )
    session.add(file)
    session.flush()
    batch = batches.create(session, owner.id, NewBatch(file.id, CHAT), settings=settings)
    session.commit()
    return batch


def defer(session: Session, owner: User, settings: Settings, **options: Any) -> int:
    job_id = tasks.defer_task(
        session, "export", {}, users.actor_of(owner), settings=settings, **options
    )
    session.commit()
    return job_id


def refusal(session: Session, call: Callable[[], object]) -> LimitReached:
    with pytest.raises(LimitReached) as refused:
        call()
    session.rollback()
    return refused.value


def test_batches_and_tasks_that_wait_count_together(
    session: Session, kim: User, bound: Bound
) -> None:
    own = bound(user_queued_jobs=3)
    submit(session, kim, own)
    defer(session, kim, own)
    defer(session, kim, own, schedule_at=datetime.now(UTC) + timedelta(days=3))

    fault = refusal(session, lambda: submit(session, kim, own))
    assert fault.message == (
        "You have 3 jobs waiting, and 3 is the limit: try again in 5 seconds, when one of them has "
        "started."
    )
    assert refusal(session, lambda: defer(session, kim, own)).code == "too_many_jobs"
    # Somebody else's place is not taken, and what a job of the user's makes was admitted with it.
    submit(session, user(session, "lee"), own)
    submit(session, kim, None)


def test_what_has_started_or_ended_makes_room(session: Session, kim: User, bound: Bound) -> None:
    own = bound(user_queued_jobs=2)
    first, second = submit(session, kim, own), submit(session, kim, own)
    refusal(session, lambda: submit(session, kim, own))
    first.status, first.in_progress_at = "in_progress", datetime.now(UTC)
    session.commit()
    submit(session, kim, own)
    refusal(session, lambda: submit(session, kim, own))
    batches.cancel(session, second.id, kim.id)
    session.commit()
    submit(session, kim, own)


def test_a_task_that_runs_makes_room(session: Session, kim: User, bound: Bound) -> None:
    own = bound(user_queued_jobs=1)
    defer(session, kim, own)
    assert refusal(session, lambda: defer(session, kim, own)).retry_after_seconds == 60
    session.execute(text("UPDATE procrastinate_jobs SET status = 'doing'"))
    session.commit()
    defer(session, kim, own)


def test_when_to_come_back_is_the_queues_own_estimate(
    session: Session, kim: User, bound: Bound
) -> None:
    own = bound(user_queued_jobs=1)
    ahead = submit(session, user(session, "lee"), own)
    ahead.status, ahead.model, ahead.estimated_tokens = "in_progress", "m", 60_000
    submit(session, kim, own).model = "m"

    fault = refusal(session, lambda: submit(session, kim, own))
    # Of a model that never ran, 100 tokens a second are assumed.
    assert fault.retry_after_seconds == 600
    assert "in 10 minutes" in fault.message


def test_the_input_files_of_open_batches_are_bounded_in_bytes(
    session: Session, kim: User, bound: Bound
) -> None:
    own = bound(user_queued_bytes=5_000_000)
    first = submit(session, kim, own, 3_000_000)
    first.estimated_tokens = 1000
    session.commit()

    fault = refusal(session, lambda: submit(session, kim, own, 2_000_001))
    assert fault.message == (
        "The input files of your open batches have 3.0 MB and this one 2.0 MB; 5.0 MB is the limit: "
        "try again in 10 seconds, when a batch has ended."
    )
    assert (fault.code, fault.retry_after_seconds) == ("too_many_bytes", 10)
    submit(session, kim, own, 2_000_000)
    batches.cancel(session, first.id, kim.id)
    first.status, first.cancelled_at = "cancelled", datetime.now(UTC)
    session.commit()
    submit(session, kim, own, 3_000_000)
    with pytest.raises(TooLarge, match="split it"):
        submit(session, kim, own, 5_000_001)


def test_no_limit_is_a_zero(session: Session, kim: User, bound: Bound) -> None:
    own = bound(user_queued_jobs=0, user_queued_bytes=0)
    for _ in range(3):
        submit(session, kim, own, 2**60)


def test_a_second_try_of_what_was_accepted_is_not_refused(
    session: Session, kim: User, bound: Bound
) -> None:
    own = bound(user_queued_jobs=1)
    first = submit(session, kim, own)
    request = NewBatch(first.input_file_id, CHAT)

    again = batches.create(session, kim.id, request, settings=own, is_retry=True)
    assert again.id == first.id


@pytest.mark.parametrize("limit", [{"user_queued_jobs": 3}, {"user_queued_bytes": 3000}])
def test_two_submissions_at_once_do_not_both_take_the_last_place(
    session: Session, engine: Engine, kim: User, bound: Bound, limit: dict[str, int]
) -> None:
    own = bound(**limit)
    files = [
        File(
            id=f"file-{number}",
            owner_id=kim.id,
            purpose="batch",
            filename="f",
            bytes=1000,
            sha256="",
        )
        for number in range(8)
    ]
    session.add_all(files)
    session.commit()
    outcomes: list[bool] = []
    together = threading.Barrier(4, timeout=30)

    def take(numbers: range) -> None:
        with Session(engine) as apart:
            apart.connection()
            together.wait()
            for number in numbers:
                try:
                    request = NewBatch(f"file-{number}", CHAT)
                    batches.create(apart, kim.id, request, settings=own)
                    apart.commit()
                    outcomes.append(True)
                except LimitReached:
                    apart.rollback()
                    outcomes.append(False)

    threads = [
        threading.Thread(target=take, args=[range(2 * number, 2 * number + 2)])
        for number in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(outcomes) == [False] * 5 + [True] * 3
    assert session.scalar(select(func.count()).select_from(Batch)) == 3


def test_sizes_and_times_are_said_so_that_people_read_them() -> None:
    assert [limits._size(size) for size in (12, 1500, 64 * 2**30)] == [
        "12 bytes",
        "1.5 KB",
        "68.7 GB",
    ]
    assert [limits._words(seconds) for seconds in (5, 119, 120, 3601)] == [
        "5 seconds",
        "119 seconds",
        "2 minutes",
        "61 minutes",
    ]
