"""/api/jobs/defer: start a built-in task."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from flask import Blueprint, g
from procrastinate import exceptions
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from app.api.openapi import Answer, describe
from app.api.schemas import read_body
from app.auth import needs
from app.core import audit, tasks
from app.core.errors import Conflict, Invalid
from app.extensions import current_settings, db

blueprint = Blueprint("defer", __name__, url_prefix="/api/jobs")

_Text = Annotated[str, Field(min_length=1, max_length=128)]


class DeferBody(BaseModel):
    """POST /api/jobs/defer. `args` are the task's own, as /api/jobs/types names the tasks."""

    model_config = ConfigDict(extra="forbid")

    task: _Text
    args: dict[str, Any] = {}
    queue: _Text | None = None
    priority: Annotated[int, Field(ge=-1000, le=1000)] = 0
    schedule_at: AwareDatetime | None = None
    lock: _Text | None = None


class Deferred(Answer):
    """The job that was made."""

    job_id: str
    status: Literal["pending"]


@blueprint.post("/defer")
@needs("submit")
@describe(body=DeferBody, answer=Deferred, status=202, errors=(409,))
def defer() -> Deferred:
    """Start a built-in task, now or at a time."""
    body = read_body(DeferBody)
    spec = tasks.get(body.task)
    if body.queue not in (None, spec.queue):
        raise Invalid(
            f"{spec.name} runs in the queue {spec.queue!r}: no worker would take it from another.",
            param="queue",
        )
    if body.schedule_at is not None and body.schedule_at.astimezone(UTC) < datetime.now(UTC):
        body.schedule_at = None
    session = db.session()
    try:
        job_id = tasks.defer_task(
            session,
            body.task,
            body.args,
            g.actor,
            settings=current_settings(),
            priority=body.priority,
            lock=body.lock,
            schedule_at=body.schedule_at,
            horizon_seconds=current_settings().waiting_horizon_seconds,
        )
    except exceptions.AlreadyEnqueued as fault:
        raise Conflict(
            "Such a job waits already.", param="task", code="already_enqueued"
        ) from fault
    audit.record(session, g.actor.label, "job.defer", str(job_id), body.task)
    session.commit()
    return Deferred(job_id=str(job_id), status="pending")
