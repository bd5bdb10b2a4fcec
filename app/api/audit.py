"""/api/audit: who did what, when, to what, from where."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from flask import Blueprint
from pydantic import Field

from app.api.jobs.queries import Moment
from app.api.openapi import Answer, Limit, Query, describe, read_query
from app.auth import needs
from app.core import audit
from app.core.models import AuditEntry
from app.extensions import db

blueprint = Blueprint("audit", __name__, url_prefix="/api/audit")

_Word = Annotated[str, Field(max_length=200)]


class Entry(Answer):
    """One action. `address` is null for what was done on the server itself."""

    id: str
    at: datetime
    actor: str
    action: str
    object_id: str
    details: str
    address: str | None


class Entries(Answer):
    """A page of the audit trail, newest first."""

    entries: list[Entry]
    limit: int
    next_cursor: str | None
    has_more: bool


class AuditQuery(Query):
    """GET /api/audit."""

    actor: _Word | None = Field(
        None, description="A user with all its keys, or one `NAME (key ID)`."
    )
    action: _Word | None = Field(None, description="Like `job.retry`.")
    object_id: _Word | None = None
    since: Moment | None = None
    until: Moment | None = None
    cursor: str | None = Field(None, description="`next_cursor` of the page before.")
    limit: Limit(50, 1000)  # type: ignore[valid-type]


@blueprint.get("")
@needs("admin")
@describe(query=AuditQuery, answer=Entries)
def index() -> Entries:
    """A page of the audit trail, newest first."""
    asked = read_query(AuditQuery)
    wanted = audit.Filter(asked.actor, asked.action, asked.object_id, asked.since, asked.until)
    found, next_cursor = audit.list_entries(
        db.session(), wanted, cursor=asked.cursor, limit=asked.limit
    )
    return Entries(
        entries=[entry(each) for each in found],
        limit=asked.limit,
        next_cursor=next_cursor,
        has_more=next_cursor is not None,
    )


def entry(found: AuditEntry) -> Entry:
    """An entry as programs get it."""
    own = {name: getattr(found, name) for name in audit.COLUMNS if name != "id"}
    return Entry(id=str(found.id), **own)
