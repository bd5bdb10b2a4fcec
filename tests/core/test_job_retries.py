"""Retrying: always a new job, which names the old one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from app.core import job_actions, job_retries, storage
from app.core.errors import Conflict, Forbidden, Invalid, NotFound, Refused
from app.core.models import Batch, Job, JobSearch, JobTransition
from app.core.settings import Settings
from app.core.users import Actor
from tests.core.queue_hand import Hand
from tests.core.test_job_actions import submit


@pytest.fixture
def hand(session: Session) -> Hand:
    return Hand(session)


def retry(hand: Hand, settings: Settings, job_id: str, **options: object) -> str:
    actor = options.pop("actor", hand.admin)
    made = job_retries.retry(hand.session, settings, job_id, actor, **options)  # type: ignore[arg-type]
    hand.session.commit()
    return str(made.job_id)


def make_old(hand: Hand, job_id: str) -> None:
    """Time passes."""
    hand.session.execute(
        text("UPDATE job SET created_at = created_at - interval '1 minute' WHERE id <= :id"),
        {"id": int(job_id)},
    )
    hand.session.commit()


@pytest.mark.parametrize("end", ["failed", "succeeded", "aborted"])
def test_a_job_that_has_ended_is_made_again(hand: Hand, settings: Settings, end: str) -> None:
    ann = hand.user("ann")
    old = hand.defer(ann, priority=4, lock="one")
    hand.fetch()
    hand.finish(old, end)
    new = retry(hand, settings, old)

    job, before = hand.job(new), hand.job(old)
    assert (job.retried_from, job.status, job.attempts) == (int(old), "pending", 0)
    assert (job.owner_name, job.priority, job.lock) == ("ann", 4, "one")
    assert job.arguments == before.arguments
    assert before.ended_at is not None
    told = hand.session.scalars(
        select(JobTransition.details).where(JobTransition.job_id == int(old))
    ).all()
    assert told[-1] == f"retried as job {new}"
    words = hand.session.scalars(select(JobSearch.words).where(JobSearch.job_id == int(new))).one()
    assert "ann" in words
    assert hand.fetch() == new


def test_a_retry_may_have_other_arguments_and_a_time(hand: Hand, settings: Settings) -> None:
    old = hand.failed()
    due = datetime.now(UTC) + timedelta(days=2)
    new = hand.job(retry(hand, settings, old, arguments={"format": "zip"}, schedule_at=due))
    assert new.arguments == {"what": "jobs", "format": "zip"}
    assert new.scheduled_at == due
    with pytest.raises(Invalid) as refused:
        retry(hand, settings, hand.failed(), arguments={"format": "xml"})
    assert refused.value.param == "format"


def test_a_repeated_retry_gives_the_same_job_until_that_has_ended(
    hand: Hand, settings: Settings
) -> None:
    old = hand.failed()
    new = retry(hand, settings, old)
    assert retry(hand, settings, old) == new
    with pytest.raises(Conflict) as refused:
        retry(hand, settings, old, arguments={"format": "zip"})
    assert refused.value.code == "already_retried"
    hand.session.rollback()
    make_old(hand, new)
    assert retry(hand, settings, old) == new  # it waits still
    hand.fetch()
    hand.finish(new, "failed")
    begun = datetime.now(UTC) - timedelta(hours=1)
    assert retry(hand, settings, old, since=begun) == new
    assert retry(hand, settings, old) != new


@pytest.mark.parametrize("status", ["pending", "running"])
def test_what_has_not_ended_can_not_be_retried(hand: Hand, settings: Settings, status: str) -> None:
    job_id = hand.defer()
    if status == "running":
        hand.fetch()
    with pytest.raises(Conflict, match=f"A job that is {status} can't be retried"):
        retry(hand, settings, job_id)


def test_nobody_does_more_by_a_retry_than_by_a_job_of_his_own(
    hand: Hand, settings: Settings
) -> None:
    ann, ben = hand.user("ann"), hand.user("ben")
    old = hand.failed(ann)
    with pytest.raises(NotFound):
        retry(hand, settings, old, actor=ben)
    new = hand.job(retry(hand, settings, old, actor=ann, arguments={"owner": "ben"}))
    assert (new.owner_name, new.arguments["owner"]) == ("ann", "ann")
    operator = Actor(ben.user_id, "ben", frozenset({"read", "submit", "operate"}))
    hand.session.execute(
        text("UPDATE job SET task = 'backup', arguments = '{}' WHERE id = :id"), {"id": int(old)}
    )
    make_old(hand, str(new.id))
    job_actions.cancel(hand.session, str(new.id), hand.admin)
    hand.session.commit()
    with pytest.raises(Forbidden, match="admin"):
        retry(hand, settings, old, actor=operator)


def test_another_programs_job_is_cloned_by_its_tasks_name(hand: Hand, settings: Settings) -> None:
    old = hand.defer_foreign(priority=3, lock="till", queueing_lock="one", owner_name="ann")
    hand.session.execute(text("UPDATE job SET created_by = 'shop'"))
    hand.session.commit()
    hand.fetch("shop")
    hand.finish(old, "failed")
    new = hand.job(retry(hand, settings, old))
    assert (new.task, new.queue, new.priority, new.lock) == ("mail", "shop", 3, "till")
    assert (new.arguments, new.queueing_lock, new.created_by) == ({"to": "mia"}, None, "shop")
    assert (new.owner_name, new.retried_from) == ("ann", int(old))
    ann = hand.user("ann")
    make_old(hand, str(new.id))
    assert hand.fetch("shop") == str(new.id)
    hand.finish(str(new.id), "failed")
    with pytest.raises(Forbidden, match="operate"):
        retry(hand, settings, old, actor=ann, arguments={"to": "ben"})


def test_a_retried_batch_is_a_new_batch_of_the_same_file(hand: Hand, settings: Settings) -> None:
    batch = submit(hand, settings)
    old = str(batch.job_id)
    hand.fetch("batches")
    hand.finish(old, "failed")
    with pytest.raises(Conflict, match="has not ended"):
        retry(hand, settings, old)
    hand.session.rollback()
    batch.status, batch.failed_at = "failed", datetime.now(UTC)
    hand.session.commit()
    for wrong in ({"arguments": {}}, {"schedule_at": datetime.now(UTC) + timedelta(days=1)}):
        with pytest.raises(Refused):
            retry(hand, settings, old, **wrong)
        hand.session.rollback()

    new = hand.job(retry(hand, settings, old))
    again = hand.session.scalars(select(Batch).where(Batch.job_id == new.id)).one()
    assert new.retried_from == int(old)
    assert again.id != batch.id
    assert (again.input_file_id, again.priority) == (batch.input_file_id, -1)
    assert (again.retried_from, again.custom_metadata) == (batch.id, {"retried_from": batch.id})


def test_a_batch_whose_file_is_gone_can_not_be_retried(hand: Hand, settings: Settings) -> None:
    batch = submit(hand, settings)
    hand.fetch("batches")
    hand.finish(str(batch.job_id), "failed")
    batch.status, batch.failed_at = "failed", datetime.now(UTC)
    hand.session.execute(text("DELETE FROM file"))
    hand.session.commit()
    storage.path(settings, batch.input_file_id).unlink()
    with pytest.raises(NotFound, match="no file"):
        retry(hand, settings, str(batch.job_id))
    assert len(hand.session.scalars(select(Job)).all()) == 1
