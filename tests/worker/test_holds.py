"""What waits for a pause or a limit, seen through by a real worker."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from app.core import admission, batches, queue, queue_pauses, tasks, users
from app.core.models import Batch, Job
from app.core.settings import Settings
from tests.conftest import wait_until
from tests.worker.stack import Stack, chat


@pytest.fixture
def stack(settings: Settings, session: Session, tmp_path: Path) -> Iterator[Stack]:
    stack = Stack(settings, session, tmp_path)
    stack.write_models(a={"WINDOW": "64"}, b={})
    yield stack
    stack.stop()
    print(stack.logs())


def begun(stack: Stack, *open_batches: Batch) -> list[bool]:
    return [stack.refresh(batch).in_progress_at is not None for batch in open_batches]


def test_five_batches_in_a_row_are_accepted_and_never_more_than_the_limit_run(stack: Stack) -> None:
    stack.start(STOKER_USER_CONCURRENT_JOBS="2")
    first = [stack.submit([chat("x", "SLOW 600", model="a")]) for _ in range(2)]
    wait_until(lambda: begun(stack, *first) == [True, True], "two batches run")
    more = [stack.submit([chat("x", model="a")]) for _ in range(3)]
    wait_until(
        lambda: all(stack.refresh(batch).validated_at for batch in more), "all are validated"
    )
    own = stack.settings.model_copy(update={"user_concurrent_jobs": 2})

    def reasons() -> dict[str, str]:
        stack.session.rollback()
        return admission.batch_reasons(stack.session, own, more)

    why = "waits: 2 of admin's jobs run, which is the limit"
    wait_until(lambda: reasons() == dict.fromkeys((each.id for each in more), why), "all say why")
    # One that is held is cancelled at once, and places stay what they are.
    places = queue.positions(stack.session)
    assert [places[batch.id].position for batch in more] == [1, 2, 3]
    batches.cancel(stack.session, more[2].id, None)
    stack.session.commit()
    stack.wait(more[2], "cancelled")
    assert begun(stack, *more) == [False, False, False]
    for batch in first:
        batches.cancel(stack.session, batch.id, None)
    stack.session.commit()
    for batch in more[:2]:
        assert stack.wait(batch).status == "completed"
    most = stack.session.execute(
        text(
            "SELECT max(running) FROM (SELECT sum(step) OVER (ORDER BY at) AS running FROM ("
            " SELECT started_at AS at, 1 AS step FROM attempt WHERE queue = 'model:a' UNION ALL"
            " SELECT ended_at, -1 FROM attempt WHERE queue = 'model:a') AS steps) AS sums"
        )
    ).scalar_one()
    assert most == 2


def test_a_paused_queue_is_left_by_a_worker_that_starts_and_resumed_at_once(stack: Stack) -> None:
    for name in ("tasks", "model:a"):
        queue_pauses.pause(stack.session, name, "why", "kim", models=["a", "b"])
    admin = users.actor_of(users.ensure_admin(stack.session))
    job_id = tasks.defer_task(stack.session, "export", {}, admin, settings=None)
    stack.session.commit()
    held = stack.submit([chat("x", model="a")])
    other = stack.submit([chat("x", model="b")])
    stack.start()

    assert stack.wait(other).status == "completed"
    wait_until(lambda: stack.refresh(held).validated_at, "the held batch is validated")
    assert begun(stack, held) == [False]
    assert status_of(stack, job_id) == "pending"
    for name in ("tasks", "model:a"):
        queue_pauses.resume(stack.session, name, "kim", models=[])
    stack.session.commit()
    assert stack.wait(held).status == "completed"
    wait_until(lambda: status_of(stack, job_id) == "completed", "the export has run")


def status_of(stack: Stack, job_id: int) -> str:
    stack.session.rollback()
    return stack.session.scalars(select(Job.status).where(Job.id == job_id)).one()
