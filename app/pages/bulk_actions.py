"""The bulk actions: those of late, and what one of them did to each job."""

from __future__ import annotations

from flask import Blueprint, Response, g, render_template, request

from app.core import bulk_actions, bulk_items
from app.core.bulk_items import DONE, SKIPPED, Wanted
from app.core.errors import Invalid
from app.core.models import BulkItem
from app.extensions import db
from app.pages import downloads
from app.pages.fragments import here, wants_fragment
from app.pages.job_words import BULK

blueprint = Blueprint("bulk_actions", __name__, url_prefix="/jobs/bulk-actions")

_PAGE = 50
_LONGEST_KIND = 300
_COLUMNS = ("job_id", "job_type", "outcome", "reason", "found_id", "at")


@blueprint.get("")
def index() -> str:
    """Who did what to how many jobs, and when: the newest first."""
    cursor = request.args.get("cursor") or None
    actions, next_cursor = bulk_actions.list_actions(
        db.session(), g.actor.owner_name, limit=_PAGE, cursor=cursor
    )
    return render_template(
        "jobs/_bulk_actions.html" if wants_fragment() else "jobs/bulk_actions.html",
        here=here(),
        actions=actions,
        next_cursor=next_cursor,
        is_later=cursor is not None,
        words=BULK,
    )


@blueprint.get("/<job_id>")
def show(job_id: str) -> str:
    """The jobs that one skipped, by reason, or those to which it was done."""
    session = db.session()
    action, tally = bulk_actions.get(session, job_id, g.actor.owner_name)
    wanted = _wanted()
    cursor = request.args.get("cursor") or None
    items, next_cursor = bulk_items.page(session, action.job.id, wanted, limit=_PAGE, cursor=cursor)
    return render_template(
        "jobs/_bulk_items.html" if wants_fragment() else "jobs/bulk_items.html",
        here=here(),
        action=action,
        tally=tally,
        wanted=wanted,
        items=items,
        next_cursor=next_cursor,
        is_later=cursor is not None,
        words=BULK,
    )


@blueprint.get("/<job_id>/jobs.csv")
def download(job_id: str) -> Response:
    """The same as one table, without pages."""
    session = db.session()
    action, _ = bulk_actions.get(session, job_id, g.actor.owner_name)
    wanted = _wanted()
    parts = bulk_items.export(session, action.job.id, wanted)
    rows = ([_row(item) for item in part] for part in parts)
    return downloads.table(rows, _COLUMNS, f"bulk-{action.job.id}-{wanted.outcome}.csv")


def _wanted() -> Wanted:
    """From the address. Raises Invalid."""
    outcome = request.args.get("outcome") or SKIPPED
    if outcome not in (DONE, SKIPPED):
        raise Invalid(f"outcome must be {DONE} or {SKIPPED}.", param="outcome")
    kind = request.args.get("kind") or None
    if kind is not None and (len(kind) > _LONGEST_KIND or "\0" in kind):
        raise Invalid(f"kind has {_LONGEST_KIND} characters at most.", param="kind")
    return Wanted(outcome, kind)


def _row(item: BulkItem) -> tuple[object, ...]:
    outcome = DONE if item.kind is None else SKIPPED
    return item.job_id, item.task, outcome, item.reason, item.found_id, item.at
