"""What may be done to a batch: asked first in words that say what will happen, then done."""

from __future__ import annotations

from flask import Blueprint, g, redirect, render_template, url_for
from flask.typing import ResponseReturnValue

from app.core import audit, batches, retries
from app.core.errors import Conflict, LimitReached, NotFound, StokerError, TooLarge, Unavailable
from app.core.models import Batch
from app.core.users import authorize
from app.extensions import current_settings, db
from app.pages.details import Details

blueprint = Blueprint("batch_actions", __name__, url_prefix="/history/<batch_id>")

_REFUSALS = (Conflict, LimitReached, NotFound, TooLarge, Unavailable)


@blueprint.get("/cancel")
def ask_to_cancel(batch_id: str) -> str:
    """Say what a cancellation would do, before it is done."""
    return _ask(_found(batch_id), "cancel")


@blueprint.post("/cancel")
def cancel(batch_id: str) -> ResponseReturnValue:
    """Ask a batch to stop, and show it."""
    authorize(g.actor, "submit")
    session = db.session()
    try:
        batches.cancel(session, batch_id, g.actor.owner_filter)
    except _REFUSALS as refusal:
        session.rollback()
        return _ask(_found(batch_id), "cancel", refusal), refusal.http_status
    audit.record(session, g.actor.label, "batch.cancel", batch_id)
    session.commit()
    return redirect(url_for("history.show", batch_id=batch_id), 303)


@blueprint.get("/retry-failed")
def ask_to_retry(batch_id: str) -> str:
    """Say what a new batch of the failed requests would ask."""
    return _ask(_found(batch_id), "retry")


@blueprint.post("/retry-failed")
def retry_failed(batch_id: str) -> ResponseReturnValue:
    """Make a new batch of the requests that failed or were never answered, and show it."""
    authorize(g.actor, "submit")
    session = db.session()
    try:
        made = retries.retry_failed(session, current_settings(), batch_id, g.actor.owner_filter)
    except _REFUSALS as refusal:
        session.rollback()
        return _ask(_found(batch_id), "retry", refusal), refusal.http_status
    audit.record(session, g.actor.label, "batch.retry_failed", made.id, batch_id)
    session.commit()
    return redirect(url_for("history.show", batch_id=made.id), 303)


def _found(batch_id: str) -> Batch:
    return batches.get(db.session(), batch_id, g.actor.owner_filter)


def _ask(batch: Batch, action: str, refusal: StokerError | None = None) -> str:
    return render_template(
        "history/ask.html",
        batch=batch,
        details=Details(db.session(), batch),
        action=action,
        refusal=refusal,
    )
