"""Saved views: the page on which they are renamed and deleted, and the list in the menu."""

from __future__ import annotations

from flask import Blueprint, g, make_response, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from app.core import saved_views
from app.core.errors import Conflict, Invalid, LimitReached, NotFound, StokerError
from app.extensions import current_settings, db
from app.pages.fragments import wants_fragment
from app.pages.page_addresses import read_address

blueprint = Blueprint("views", __name__, url_prefix="/views")


@blueprint.get("")
def index() -> ResponseReturnValue:
    """All of a user's views; as a part, the list in the menu."""
    return _show()


@blueprint.post("")
def create() -> ResponseReturnValue:
    """Save an address under a name."""
    session = db.session()
    try:
        address = read_address(request.form.get("address", ""))
        saved_views.create(session, g.actor.user_id, request.form.get("name", ""), address)
    except (Invalid, Conflict, LimitReached) as refusal:
        session.rollback()
        return _show(refusal)
    session.commit()
    return _show() if wants_fragment() else redirect(url_for("views.index"), 303)


@blueprint.post("/<int:view_id>/rename")
def rename(view_id: int) -> ResponseReturnValue:
    """Give a view another name."""
    session = db.session()
    try:
        saved_views.rename(session, g.actor.user_id, view_id, request.form.get("name", ""))
    except (Invalid, Conflict, NotFound) as refusal:
        session.rollback()
        return _show(refusal, view_id)
    session.commit()
    return redirect(url_for("views.index"), 303)


@blueprint.post("/<int:view_id>/delete")
def delete(view_id: int) -> ResponseReturnValue:
    """Forget a view; one that is gone already is as the reader wanted it."""
    session = db.session()
    try:
        saved_views.remove(session, g.actor.user_id, view_id)
    except NotFound:
        session.rollback()
    session.commit()
    return redirect(url_for("views.index"), 303)


def _show(refusal: StokerError | None = None, at_fault: int | None = None) -> ResponseReturnValue:
    response = make_response(
        render_template(
            "views/_list.html" if wants_fragment() else "views/index.html",
            views=saved_views.list_views(db.session(), g.actor.user_id),
            refusal=refusal,
            at_fault=at_fault,
            given=request.form.get("name", ""),
            prefix=current_settings().url_prefix,
            longest=saved_views.LONGEST_NAME,
        ),
        refusal.http_status if refusal else 200,
    )
    if refusal and wants_fragment():
        response.headers["HX-Retarget"] = "#views-list"
        response.headers["HX-Reswap"] = "outerMorph"
    return response
