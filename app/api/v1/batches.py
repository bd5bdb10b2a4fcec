"""/v1/batches: create, follow, cancel; results, failures and logs of each."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, g, request, stream_with_context

from app.api.idempotency import read_key
from app.api.openapi import describe, read_query
from app.api.schemas import BatchBody, read_body
from app.api.v1 import answers
from app.api.v1.models import require_served
from app.api.v1.objects import batch_object, page, unix
from app.api.v1.queries import FailedQuery, PageQuery
from app.auth import needs
from app.core import admission, audit, batches, logs, queue, results, retries
from app.core.models import Batch
from app.extensions import current_settings, db

blueprint = Blueprint("batches", __name__, url_prefix="/batches")


@blueprint.post("")
@needs("submit")
@describe(body=BatchBody, answer=answers.Batch, errors=(409, 413, 422))
def create() -> dict[str, Any]:
    """Make a batch of an uploaded file."""
    body = read_body(BatchBody)
    require_served(body.endpoint)
    session = db.session()
    batch = batches.create(
        session,
        g.actor.user_id,
        body.to_new_batch(),
        idempotency_key=read_key(),
        settings=current_settings(),
        is_retry=request.headers.get("X-Stainless-Retry-Count", "0") not in ("", "0"),
    )
    audit.record(session, g.actor.label, "batch.create", batch.id)
    session.commit()
    return _described(batch)


@blueprint.get("")
@needs("read")
@describe(query=PageQuery, answer=answers.BatchList)
def index() -> dict[str, Any]:
    """A page of batches, newest first."""
    asked = read_query(PageQuery)
    session = db.session()
    found, has_more = batches.list_batches(
        session,
        g.actor.owner_filter,
        after=asked.after,
        limit=asked.limit,
    )
    is_any_open = any(not batches.is_final(batch) for batch in found)
    places = queue.positions(session) if is_any_open else {}
    reasons = admission.batch_reasons(session, current_settings(), found)
    data = [batch_object(batch, places.get(batch.id), reasons.get(batch.id)) for batch in found]
    return page(data, has_more=has_more)


@blueprint.get("/<batch_id>")
@needs("read")
@describe(answer=answers.Batch)
def show(batch_id: str) -> dict[str, Any]:
    """One batch."""
    return _described(_found(batch_id))


@blueprint.post("/<batch_id>/cancel")
@needs("submit")
@describe(answer=answers.Batch, errors=(409,))
def cancel(batch_id: str) -> dict[str, Any]:
    """Ask a batch to stop; what it has answered is kept."""
    session = db.session()
    batch = batches.cancel(session, batch_id, g.actor.owner_filter)
    audit.record(session, g.actor.label, "batch.cancel", batch_id)
    session.commit()
    return _described(batch)


@blueprint.get("/<batch_id>/results")
@needs("read")
@describe(media="application/x-ndjson")
def list_results(batch_id: str) -> Response:
    """The results that exist now, a JSON object a line, in input order, errors among them."""
    batch = _found(batch_id)
    lines = results.lines_of(db.session(), batch.number)
    response = Response(stream_with_context(lines), mimetype="application/x-ndjson")
    response.headers["X-Incomplete"] = "false" if batches.is_final(batch) else "true"
    return response


@blueprint.get("/<batch_id>/failed")
@needs("read")
@describe(query=FailedQuery, answer=answers.FailedRequests)
def list_failed(batch_id: str) -> dict[str, Any]:
    """A page of the requests that failed, and why; `after` is the last one's request_index."""
    asked = read_query(FailedQuery)
    batch = _found(batch_id)
    found, has_more = results.list_failed(
        db.session(),
        batch,
        limit=asked.limit,
        after_index=-1 if asked.after is None else asked.after,
    )
    return {
        "batch_id": batch.id,
        "failed_count": batch.failed,
        "failed_requests": [
            {
                "id": row["id"],
                "batch_id": batch.id,
                "custom_id": row["custom_id"],
                "request_index": row["request_index"],
                "error_message": row["error_message"],
                "error_type": row["error_type"],
                "retry_count": row["retry_count"],
                "last_retry_at": unix(row["last_retry_at"]),
                "created_at": unix(row["created_at"]),
            }
            for row in found
        ],
        "has_more": has_more,
    }


@blueprint.post("/<batch_id>/retry-failed")
@needs("submit")
@describe(answer=answers.Batch, errors=(409, 413, 422))
def retry_failed(batch_id: str) -> dict[str, Any]:
    """Make a new batch of the requests that failed."""
    session = db.session()
    batch = retries.retry_failed(session, current_settings(), batch_id, g.actor.owner_filter)
    audit.record(session, g.actor.label, "batch.retry_failed", batch.id, batch_id)
    session.commit()
    return _described(batch)


@blueprint.get("/<batch_id>/logs")
@needs("read")
@describe(answer=answers.Logs)
def read_logs(batch_id: str) -> dict[str, Any]:
    """What the worker said about the batch."""
    return {"logs": logs.read_text(db.session(), _found(batch_id))}


def _found(batch_id: str) -> Batch:
    return batches.get(db.session(), batch_id, g.actor.owner_filter)


def _described(batch: Batch) -> dict[str, Any]:
    place = None if batches.is_final(batch) else queue.positions(db.session()).get(batch.id)
    reasons = admission.batch_reasons(db.session(), current_settings(), [batch])
    return batch_object(batch, place, reasons.get(batch.id))
