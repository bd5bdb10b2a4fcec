"""The task `bulk`, run by a real worker."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Engine, select, text
from sqlalchemy.orm import Session

from app.core import bulk_items, job_actions, job_bulk, job_search, jobs, search_conditions, users
from app.core.job_lists import Wanted
from app.core.models import Job
from app.core.search_conditions import Filters
from app.core.settings import Settings
from app.core.tasks import BulkFilter
from tests.conftest import wait_until
from tests.worker.stack import Stack


@pytest.fixture
def stack(settings: Settings, session: Session, tmp_path: Path) -> Iterator[Stack]:
    stack = Stack(settings, session, tmp_path)
    stack.write_models(fake={})
    yield stack
    stack.stop()
    print(stack.logs())


def read(stack: Stack, job_id: int) -> Job:
    stack.session.rollback()
    query = select(Job).where(Job.id == job_id)
    return stack.session.scalars(query.execution_options(populate_existing=True)).one()


def defer(stack: Stack, owner_name: str, count: int) -> list[int]:
    """Jobs that no worker takes."""
    ids = []
    for _ in range(count):
        ids.append(jobs.defer(stack.session, "mail", {}, queue="shop", owner_name=owner_name))
        stack.session.commit()
    return ids


def start(stack: Stack, action: str, user: str) -> int:
    admin = users.actor_of(users.ensure_admin(stack.session))
    bulk_id = job_bulk.start(stack.session, action, BulkFilter(user=user), admin)
    stack.session.commit()
    return bulk_id


@contextmanager
def held(engine: Engine, job_id: int) -> Iterator[None]:
    """Whoever wants to change the job's row in the queue waits meanwhile."""
    with engine.begin() as connection:
        query = text("SELECT id FROM procrastinate_jobs WHERE id = :id FOR UPDATE")
        connection.execute(query, {"id": job_id})
        yield


def jobs_of(stack: Stack, bulk_id: int) -> list[int]:
    search = search_conditions.read(f"bulk:{bulk_id}", Filters(), owner_name=None)
    return [job.id for job in job_search.find(stack.session, search, Wanted()).page.jobs]


def test_it_tells_of_every_job_also_when_it_is_cancelled(stack: Stack, engine: Engine) -> None:
    admin = users.actor_of(users.ensure_admin(stack.session))
    stack.start()
    first, *others, last = defer(stack, "ann", 4)

    with held(engine, first):
        bulk_id = start(stack, "cancel", "ann")
        wait_until(lambda: read(stack, bulk_id).message == f"Cancel: job {first}", "it is at one")
        job_actions.cancel(stack.session, str(last), admin)
        stack.session.commit()
    wait_until(lambda: read(stack, bulk_id).ended_at, "it has ended")
    reason = "A job that is cancelled can't be cancelled."
    assert read(stack, bulk_id).result == {
        "action": "cancel",
        "matching": 4,
        "done": 3,
        "skipped": 1,
        "errors": [{"job_id": str(last), "error": reason}],
    }
    assert bulk_items.tally(stack.session, bulk_id).kinds == [(reason, 1)]
    assert jobs_of(stack, bulk_id) == [*reversed(others), first]

    # A retry's jobs are the new ones.
    again = start(stack, "retry", "ann")
    wait_until(lambda: read(stack, again).ended_at, "the retry has ended")
    new = select(Job.id).where(Job.retried_from.in_((first, *others, last))).order_by(Job.id.desc())
    assert jobs_of(stack, again) == list(stack.session.scalars(new))
    assert bulk_items.tally(stack.session, again).found == 4

    # One that is cancelled has done what it has done.
    first, *others = defer(stack, "bea", 3)
    with held(engine, first):
        stopped = start(stack, "cancel", "bea")
        wait_until(lambda: read(stack, stopped).message == f"Cancel: job {first}", "it is at one")
        job_actions.cancel(stack.session, str(stopped), admin)
        stack.session.commit()
        wait_until(lambda: read(stack, stopped).cancel_acknowledged_at, "its worker knows")
    wait_until(lambda: read(stack, stopped).ended_at, "it has stopped")
    assert read(stack, stopped).status == "cancelled"
    assert jobs_of(stack, stopped) == [first]
    assert {read(stack, job_id).status for job_id in others} == {"pending"}
