"""/api/views: a user's own names for pages with their filters."""

from __future__ import annotations

from datetime import datetime

from flask import Blueprint, Response, g
from pydantic import BaseModel, ConfigDict, Field

from app.api.openapi import Answer, describe
from app.api.schemas import read_body
from app.auth import needs
from app.core import saved_views
from app.core.models import SavedView
from app.core.saved_views import LONGEST_ADDRESS, LONGEST_NAME
from app.extensions import db
from app.pages.page_addresses import read_address

blueprint = Blueprint("views_api", __name__, url_prefix="/api/views")


class NameBody(BaseModel):
    """PATCH /api/views/{view_id}."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)

    name: str = Field(min_length=1, max_length=LONGEST_NAME)


class ViewBody(NameBody):
    """POST /api/views. The address is the path and query of a page."""

    address: str = Field(max_length=LONGEST_ADDRESS)


class View(Answer):
    """A page with its filters under a name."""

    id: str
    name: str
    address: str
    created_at: datetime


class Views(Answer):
    """All of the caller's own, by name."""

    views: list[View]
    count: int


@blueprint.get("")
@needs("read")
@describe(answer=Views)
def index() -> Views:
    """The caller's own saved views, by name."""
    found = [_view(each) for each in saved_views.list_views(db.session(), g.actor.user_id)]
    return Views(views=found, count=len(found))


@blueprint.post("")
@needs("submit")
@describe(body=ViewBody, answer=View, status=201, errors=(409,))
def create() -> View:
    """Save the address of a page under a name."""
    body = read_body(ViewBody)
    session = db.session()
    made = saved_views.create(session, g.actor.user_id, body.name, read_address(body.address))
    session.commit()
    return _view(made)


@blueprint.patch("/<int:view_id>")
@needs("submit")
@describe(body=NameBody, answer=View, errors=(409,))
def rename(view_id: int) -> View:
    """Give a saved view another name."""
    body = read_body(NameBody)
    session = db.session()
    renamed = saved_views.rename(session, g.actor.user_id, view_id, body.name)
    session.commit()
    return _view(renamed)


@blueprint.delete("/<int:view_id>")
@needs("submit")
@describe(status=204)
def delete(view_id: int) -> Response:
    """Forget a saved view."""
    session = db.session()
    saved_views.remove(session, g.actor.user_id, view_id)
    session.commit()
    return Response(status=204)


def _view(view: SavedView) -> View:
    return View(id=str(view.id), name=view.name, address=view.address, created_at=view.created_at)
