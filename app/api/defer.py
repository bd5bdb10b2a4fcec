"""/api/tasks and /api/jobs/defer: the built-in tasks with what they take, and starting one."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from flask import Blueprint, g
from pydantic import Field

from app.api.idempotency import read_key
from app.api.jobs.answers import Status
from app.api.openapi import Answer, describe
from app.api.schemas import read_body
from app.auth import needs
from app.core import job_record, job_types, tasks
from app.core.defer import Terms, defer, startable
from app.core.errors import Invalid
from app.core.status import API
from app.extensions import current_settings, db

blueprint = Blueprint("defer", __name__, url_prefix="/api")

_Text = Annotated[str, Field(min_length=1, max_length=128)]


class DeferBody(Terms):
    """POST /api/jobs/defer. `args` are the task's own, as /api/tasks has them."""

    task: _Text
    args: dict[str, Any] = {}
    queue: _Text | None = None

    def terms(self) -> Terms:
        """How it is to run; the key may be the header's."""
        said = self.model_dump(include=set(Terms.model_fields))
        return Terms.model_construct(**{**said, "idempotency_key": read_key(self.idempotency_key)})


class Deferred(Answer):
    """The job: the first request's, when this one repeats it under the same key."""

    job_id: str
    status: Status


class Task(Answer):
    """A built-in task; `arguments` is the JSON Schema of its `args`, `scope` what starting it needs."""

    name: str
    label: str
    description: str
    queue: str
    scope: Literal["submit", "operate", "admin"]
    arguments: dict[str, Any]


class Tasks(Answer):
    """Those that the caller may start; `terms` is the JSON Schema of what says how a job is to run."""

    tasks: list[Task]
    count: int
    terms: dict[str, Any]


@blueprint.get("/tasks")
@needs("read")
@describe(answer=Tasks)
def list_tasks() -> Tasks:
    """The built-in tasks that the caller may start, with the arguments that each takes."""
    found = [
        Task(
            name=spec.name,
            label=job_types.label(spec.name),
            description=spec.description,
            queue=spec.queue,
            scope=spec.scope,  # type: ignore[arg-type]
            arguments=spec.arguments.model_json_schema(),
        )
        for spec in startable(g.actor)
    ]
    return Tasks(tasks=found, count=len(found), terms=Terms.model_json_schema())


@blueprint.post("/jobs/defer")
@needs("submit")
@describe(body=DeferBody, answer=Deferred, status=202, errors=(409, 422))
def post() -> Deferred:
    """Start a built-in task, now, at a time, or after other jobs."""
    body = read_body(DeferBody)
    spec = tasks.get(body.task)
    if body.queue not in (None, spec.queue):
        raise Invalid(
            f"{spec.name} runs in the queue {spec.queue!r}: no worker would take it from another.",
            param="queue",
        )
    session = db.session()
    deferred = defer(
        session,
        body.task,
        body.args,
        g.actor,
        body.terms(),
        settings=current_settings(),
    )
    session.commit()
    job = job_record.get(session, str(deferred.job_id), g.actor.owner_name)
    status: Any = API.say(job.status)
    return Deferred(job_id=str(job.id), status=status)
