"""Built-in tasks by name: what they take, and the jobs that deferring them makes."""

from __future__ import annotations

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core import tasks, users
from app.core.errors import Invalid, NotFound
from app.core.models import Job, JobSearch


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
        session,
        "re_evaluation",
        {"batch_id": "batch_7", "model": "large"},
        users.actor_of(admin),
    )
    session.commit()
    job = session.scalars(select(Job).where(Job.id == job_id)).one()
    assert (job.task, job.queue, job.status) == ("re_evaluation", tasks.QUEUE, "pending")
    assert (job.owner_name, job.model) == ("admin", "large")
    assert job.arguments == {"batch_id": "batch_7", "model": "large"}
    words = session.scalar(select(JobSearch.words).where(JobSearch.job_id == job_id))
    assert words is not None
    assert "admin" in words
