"""One action on all jobs of a search: what it would be done to, and by whom."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy.orm import Session

from app.core import job_bulk, tasks, users
from app.core.errors import Invalid
from app.core.tasks import Bulk, BulkFilter
from app.core.users import Actor
from tests.core.queue_hand import Hand


@pytest.fixture
def hand(session: Session) -> Hand:
    return Hand(session)


def matching(hand: Hand, action: str, actor: Actor | None = None, **filters: object) -> set[str]:
    actor = actor or hand.admin
    asked = BulkFilter.model_validate(filters)
    found = job_bulk.preview(hand.session, action, asked, actor)
    bulk = Bulk.model_validate({"action": action, "filter": filters})
    soon = datetime.now(UTC) + timedelta(minutes=1)
    ids = [job_id for job_id, _ in job_bulk.find_jobs(hand.session, bulk, actor, soon)]
    assert {job.id for job in found.sample} == set(ids)
    assert (found.matching, found.is_exact) == (len(ids), True)
    return {str(job_id) for job_id in ids}


def test_only_jobs_whose_status_allows_the_action_match(hand: Hand) -> None:
    failed, running, waiting = hand.failed(), hand.defer(priority=1), hand.defer()
    assert hand.fetch() == running
    assert matching(hand, "cancel") == {running, waiting}
    assert matching(hand, "abort") == {running}
    assert matching(hand, "retry") == {failed}
    assert matching(hand, "delete") == {failed}
    assert matching(hand, "retry", status="running") == set()
    assert matching(hand, "retry", status="running", q="status:failed") == set()


def test_the_filter_is_that_of_the_search(hand: Hand) -> None:
    ann = hand.user("ann")
    hers, mine = hand.failed(ann), hand.failed()
    assert matching(hand, "retry", user="ann") == {hers}
    assert matching(hand, "retry", q=f"id:{mine}") == {mine}
    assert matching(hand, "retry", q="ann") == {hers}
    assert matching(hand, "retry", job_type="cleanup") == set()
    assert matching(hand, "retry", created_after=datetime.now(UTC) + timedelta(hours=1)) == set()
    assert matching(hand, "retry", max_duration=1000) == {hers, mine}
    assert matching(hand, "retry", ann) == {hers}
    with pytest.raises(Invalid):
        job_bulk.preview(hand.session, "retry", BulkFilter(q="colour:red"), ann)


def test_a_bulk_job_may_do_no_more_than_who_asked_for_it(hand: Hand) -> None:
    admin = users.get(hand.session, "admin")
    key = Actor(admin.id, "admin", frozenset({"read", "submit"}))
    job_id = job_bulk.start(hand.session, "cancel", BulkFilter(), key)
    hand.session.commit()
    job = hand.job(str(job_id))
    assert (job.task, job.owner_name, job.queue) == ("bulk", "admin", tasks.QUEUE)
    asked = Bulk.model_validate(job.arguments)
    assert job_bulk.actor_for(admin, asked).scopes == {"read", "submit"}
    # Made again by somebody with less, or with scopes written by hand, it is his.
    wanted = {**job.arguments, "scopes": ["admin", "operate"]}
    again = job_bulk.defer(hand.session, wanted, key)
    hand.session.commit()
    assert hand.job(str(again)).arguments["scopes"] == ["read", "submit"]
