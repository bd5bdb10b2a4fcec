"""Built-in tasks by name: what they take, and the jobs that deferring them makes."""

from __future__ import annotations

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core import tasks, users
from app.core.errors import Forbidden, Invalid, NotFound
from app.core.models import Job, JobSearch
from worker.tasks import registered


@pytest.mark.parametrize(
    ("name", "arguments", "param"),
    [
        ("re_evaluation", {"batch_id": "batch_1"}, "model"),
        ("export", {"format": "xml"}, "format"),
        ("export", {"colour": "red"}, "colour"),
        ("export", {"what": "results"}, "args"),
        ("backup", {"keep": 0}, "keep"),
        ("batch_audit", {"model": "m", "incident_ids": [0]}, "incident_ids.0"),
    ],
)
def test_an_argument_that_a_task_can_not_take_is_named(
    name: str, arguments: dict[str, object], param: str
) -> None:
    with pytest.raises(Invalid) as fault:
        tasks.validate(name, arguments)
    assert fault.value.param == param


def test_only_registered_tasks_can_be_deferred() -> None:
    for name in ("os.system", "run_batch"):
        with pytest.raises(NotFound):
            tasks.validate(name, {"batch_id": "batch_1"})


def test_a_deferred_task_is_recorded_with_its_user_and_model(session: Session) -> None:
    admin = users.ensure_admin(session)
    job_id = tasks.defer_task(
        session, "batch_audit", {"model": "large", "limit": 7}, users.actor_of(admin), settings=None
    )
    session.commit()
    job = session.scalars(select(Job).where(Job.id == job_id)).one()
    assert (job.task, job.queue, job.status) == ("batch_audit", tasks.QUEUE, "pending")
    assert (job.owner_name, job.model) == ("admin", "large")
    assert job.arguments == {"model": "large", "limit": 7}
    words = session.scalar(select(JobSearch.words).where(JobSearch.job_id == job_id))
    assert words is not None
    assert "admin" in words


def test_the_worker_has_every_built_in_task() -> None:
    assert set(tasks.TASKS) <= set(registered.app.tasks)


def test_nobody_reaches_more_through_a_task_than_by_itself(session: Session) -> None:
    users.ensure_admin(session)
    session.add(users.User(name="ann", role="user"))
    session.flush()
    ann = users.actor_of(users.get(session, "ann"))
    for name, arguments in (
        ("backup", {}),
        ("import", {"file_id": "file-1"}),
        ("batch_audit", {"model": "m"}),
    ):
        with pytest.raises(Forbidden):
            tasks.defer_task(session, name, arguments, ann, settings=None)
    for name in ("re_evaluation", "batch_audit"):
        with pytest.raises(NotFound):
            tasks.defer_task(
                session, name, {"model": "m", "batch_id": "batch_of_others"}, ann, settings=None
            )
    job_id = tasks.defer_task(session, "export", {"owner": "admin"}, ann, settings=None)
    arguments = session.scalars(select(Job.arguments).where(Job.id == job_id)).one()
    assert arguments["owner"] == "ann"
