"""Dead letters: what nobody heard, sent once more or deleted, one by one or many at once."""

from __future__ import annotations

from flask import Blueprint, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from app.core import dead_letters, redeliveries
from app.core.errors import Invalid
from app.core.users import authorize
from app.extensions import db
from app.pages import paging
from app.pages.fragments import here, wants_fragment

blueprint = Blueprint("dead_letters_page", __name__, url_prefix="/webhooks/dead-letters")

_PAGE = 50
_FARTHEST = 1_000_000


@blueprint.get("")
def index() -> str:
    """The page, or only what changes on it."""
    return _page(None)


@blueprint.post("")
def act() -> ResponseReturnValue:
    """Send once more or delete what is picked, or all of them; says which could not be."""
    authorize(g.actor, "submit")
    session = db.session()
    action = request.form.get("action", "")
    if action not in redeliveries.ACTIONS:
        raise Invalid(f"action must be one of {', '.join(redeliveries.ACTIONS)}.", param="action")
    owner_id = g.actor.owner_filter
    picked = request.form.getlist("letter")
    if "all" in request.form:
        picked = redeliveries.dead_ids(session, owner_id)
    swept = redeliveries.sweep(session, action, picked, owner_id, g.actor.label)
    session.commit()
    if swept.done and not swept.skipped:
        return redirect(url_for(".index", done=swept.done, action=action), 303)
    return _page(swept, action), 200 if swept.done else 409


@blueprint.get("/all/<action>")
def ask(action: str) -> str:
    """Say how many are acted on at once, and ask."""
    authorize(g.actor, "submit")
    if action not in redeliveries.ACTIONS:
        raise Invalid(f"action must be one of {', '.join(redeliveries.ACTIONS)}.", param="action")
    found = redeliveries.dead_ids(db.session(), g.actor.owner_filter)
    _, total = dead_letters.list_letters(db.session(), g.actor.owner_filter, limit=0, offset=0)
    return render_template(
        "webhooks/all_letters.html", action=action, count=len(found), total=total
    )


def _page(swept: redeliveries.Sweep | None, action: str = "") -> str:
    offset = paging.offset(request.args, _FARTHEST)
    found, total = dead_letters.list_letters(
        db.session(), g.actor.owner_filter, limit=_PAGE, offset=offset
    )
    return render_template(
        "webhooks/_letters.html" if wants_fragment() else "webhooks/letters.html",
        here=here(),
        letters=found,
        is_heard={each.id: dead_letters.is_heard(each) for each in found},
        total=total,
        offset=offset,
        page=_PAGE,
        swept=swept,
        action=action or request.args.get("action", ""),
        done=_done(),
        may_act="submit" in g.actor.scopes,
    )


def _done() -> int:
    value = request.args.get("done", "")
    return int(value) if value.isascii() and value.isdecimal() and len(value) < 7 else 0
