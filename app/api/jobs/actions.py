"""/api/jobs/{job_id}/…: what may be done to one job, to several by their ids, and to all of a search."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from flask import Blueprint, Response, g
from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from app.api.jobs import answers
from app.api.jobs.listing import job_answers
from app.api.openapi import describe
from app.api.schemas import read_body, read_optional_body
from app.auth import needs
from app.core import job_actions, job_bulk, job_moves, job_retries, result_files
from app.core.acting import Done
from app.core.job_moves import MOST_PRIORITY
from app.core.status import API
from app.core.tasks import BulkFilter
from app.extensions import current_settings, db

blueprint = Blueprint("actions", __name__)


def _digits(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


JobId = Annotated[
    str,
    BeforeValidator(_digits),
    Field(min_length=1, max_length=100),
    WithJsonSchema({"type": "string"}),
]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class RetryBody(_Body):
    """POST /api/jobs/{job_id}/retry; without one the job is made again as it was, at once."""

    args: dict[str, Any] | None = None
    schedule_at: AwareDatetime | None = None


class RescheduleBody(_Body):
    """POST /api/jobs/{job_id}/reschedule."""

    schedule_at: AwareDatetime


class PriorityBody(_Body):
    """POST /api/jobs/{job_id}/priority."""

    priority: int = Field(ge=-MOST_PRIORITY, le=MOST_PRIORITY)


class BulkCancelBody(_Body):
    """POST /api/jobs/bulk-cancel."""

    job_ids: list[JobId] = Field(min_length=1, max_length=100)


class BulkBody(_Body):
    """POST /api/jobs/bulk. The filter is that of GET /api/jobs/search."""

    action: Literal["cancel", "abort", "retry", "delete"]
    filter: BulkFilter
    dry_run: bool = False


@blueprint.post("/<job_id>/cancel")
@needs("submit")
@describe(answer=answers.Acted, errors=(409,))
def cancel(job_id: str) -> answers.Acted:
    """End a waiting job at once, a running one after its current operation."""
    return _acted(job_actions.cancel(db.session(), job_id, g.actor))


@blueprint.post("/<job_id>/abort")
@needs("submit")
@describe(answer=answers.Aborted, errors=(409,))
def abort(job_id: str) -> answers.Aborted:
    """Stop a running job at once, by force if it must be."""
    done = job_actions.abort(db.session(), job_id, g.actor)
    return answers.Aborted(**dict(_acted(done)), warning=done.warning)


@blueprint.post("/<job_id>/retry")
@needs("submit")
@describe(body=RetryBody, answer=answers.Retried, status=202, errors=(409, 422))
def retry(job_id: str) -> answers.Retried:
    """Make a new job like one that has ended, now or at a time, with other arguments where given."""
    body = read_optional_body(RetryBody)
    session = db.session()
    made = job_retries.retry(
        session,
        current_settings(),
        job_id,
        g.actor,
        arguments=body.args,
        schedule_at=body.schedule_at,
    )
    session.commit()
    return answers.Retried(job_id=str(made.job_id), retried_from=str(made.retried_from))


@blueprint.delete("/<job_id>")
@needs("submit")
@describe(answer=answers.Deleted, errors=(409,))
def delete(job_id: str) -> answers.Deleted:
    """Cancel a waiting job, abort a running one, remove the record of one that has ended."""
    done = job_actions.delete(db.session(), job_id, g.actor)
    acted = answers.Deleted(
        job_id=str(done.job_id),
        status=done.status if done.status == "deleted" else API.say(done.status),  # type: ignore[arg-type]
        message=done.message,
        warning=done.warning,
    )
    db.session.commit()
    result_files.remove(current_settings(), done.files)
    return acted


@blueprint.post("/<job_id>/expedite")
@needs("submit")
@describe(answer=answers.Acted, errors=(409,))
def expedite(job_id: str) -> answers.Acted:
    """Make a waiting job due now, and the first of its queue."""
    return _acted(job_moves.expedite(db.session(), job_id, g.actor))


@blueprint.post("/<job_id>/reschedule")
@needs("submit")
@describe(body=RescheduleBody, answer=answers.Acted, errors=(409, 422))
def reschedule(job_id: str) -> answers.Acted:
    """Give a waiting job another time."""
    body = read_body(RescheduleBody)
    return _acted(job_moves.reschedule(db.session(), job_id, g.actor, body.schedule_at))


@blueprint.post("/<job_id>/priority")
@needs("submit")
@describe(body=PriorityBody, answer=answers.Acted, errors=(409, 422))
def set_priority(job_id: str) -> answers.Acted:
    """Give a waiting job another priority."""
    body = read_body(PriorityBody)
    return _acted(job_moves.set_priority(db.session(), job_id, g.actor, body.priority))


@blueprint.post("/bulk-cancel")
@needs("submit")
@describe(body=BulkCancelBody, answer=answers.BulkCancelled)
def bulk_cancel() -> answers.BulkCancelled:
    """Cancel up to 100 jobs by their ids, each for itself."""
    body = read_body(BulkCancelBody)
    done, refused = job_actions.cancel_all(db.session(), body.job_ids, g.actor)
    return answers.BulkCancelled(
        cancelled=len(done),
        failed=len(refused),
        errors=[answers.JobError(job_id=job_id, error=error) for job_id, error in refused],
    )


@blueprint.post("/bulk")
@needs("submit")
@describe(body=BulkBody, answer=answers.BulkStarted, status=202, also={200: answers.BulkPreview})
def bulk() -> answers.BulkStarted | Response:
    """Cancel, abort, retry or delete all jobs that a search finds, in a job; or look at them first."""
    body = read_body(BulkBody)
    session = db.session()
    if body.dry_run:
        found = job_bulk.preview(session, body.action, body.filter, g.actor)
        shown = answers.BulkPreview(
            matching=found.matching,
            matching_is_exact=found.is_exact,
            sample=job_answers(found.sample),
        )
        return Response(shown.model_dump_json(), 200, mimetype="application/json")
    job_id = job_bulk.start(session, body.action, body.filter, g.actor)
    session.commit()
    return answers.BulkStarted(
        job_id=str(job_id), status="pending", progress=0, message="The job that does it is queued."
    )


def _acted(done: Done) -> answers.Acted:
    acted = answers.Acted(
        job_id=str(done.job_id),
        status=API.say(done.status),  # type: ignore[arg-type]
        message=done.message,
    )
    db.session.commit()
    return acted
