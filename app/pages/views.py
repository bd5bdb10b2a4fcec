"""Saved views: the page on which they are renamed and deleted, and the list in the menu."""

from __future__ import annotations

from urllib.parse import urlsplit

from flask import (
    Blueprint,
    current_app,
    g,
    make_response,
    redirect,
    render_template,
    request,
    url_for,
)
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException

from app.core import saved_views
from app.core.errors import Conflict, Invalid, LimitReached, NotFound, StokerError
from app.extensions import current_settings, db
from app.pages.fragments import wants_fragment
from app.pages.navigation import ENTRIES

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
        address = _read_address(request.form.get("address", ""))
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


def _read_address(given: str) -> str:
    """A path and query of one of our pages, without the prefix. Raises Invalid."""
    refusal = Invalid(
        "address must be a page of Stoker, such as /jobs?status=failed.", param="address"
    )
    try:
        parts = urlsplit(given)
    except ValueError:
        raise refusal from None
    path = parts.path.removeprefix(current_settings().url_prefix) or "/"
    if parts.scheme or parts.netloc or not given.startswith("/") or path.startswith("//"):
        raise refusal
    if "\\" in given or any(ord(sign) < 32 for sign in given):
        raise refusal
    try:
        endpoint, _ = current_app.url_map.bind("").match(path, method="GET")
    except HTTPException:
        raise refusal from None
    pages = {name for entry in ENTRIES for name in (entry.endpoint.partition(".")[0], *entry.also)}
    if endpoint.partition(".")[0] not in pages:
        raise refusal
    return f"{path}?{parts.query}" if parts.query else path
