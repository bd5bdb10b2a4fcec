"""/api/events: the incidents, and exporting them as the camera system's clients ask for it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from flask import Blueprint, g
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from app.api.jobs.queries import Moment
from app.api.openapi import Answer, Limit, Query, describe, read_query
from app.api.schemas import read_body
from app.auth import needs
from app.core import audit, incident_lists, incidents, tasks
from app.core.errors import Invalid
from app.core.incident_matching import Wanted
from app.core.models import Incident
from app.extensions import current_settings, db

blueprint = Blueprint("events", __name__, url_prefix="/api/events")

Source = Annotated[str, Field(min_length=1, max_length=200)]
_MOST_ID = 2**63 - 1
RiskLevel = Literal["low", "medium", "high", "critical"]


def _given(value: Any) -> Any:
    """An empty text is a field that the form's user left alone."""
    return None if value == "" else value


class ExportBody(BaseModel):
    """POST /api/events/export. `camera_id` is an older word for `source`."""

    model_config = ConfigDict(extra="forbid")

    format: Literal["csv", "json", "zip"] = "csv"
    source: Annotated[Source | None, BeforeValidator(_given)] = None
    camera_id: Annotated[Source | None, BeforeValidator(_given)] = None
    risk_level: Annotated[RiskLevel | None, BeforeValidator(_given)] = None
    start_date: Annotated[datetime | None, BeforeValidator(_given)] = None
    end_date: Annotated[datetime | None, BeforeValidator(_given)] = None
    reviewed: Annotated[bool | None, BeforeValidator(_given)] = None


class Deferred(Answer):
    """A job that has been asked for."""

    job_id: str
    status: Literal["pending"]
    message: str


class EventQuery(Query):
    """GET /api/events."""

    source: Source | None = None
    risk_level: RiskLevel | None = None
    reviewed: bool | None = None
    since: Moment | None = Field(None, description="Opened from then on.")
    until: Moment | None = Field(None, description="Opened before then.")
    cursor: str | None = Field(None, description="`next_cursor` of the page before.")
    limit: Limit(50, 500)  # type: ignore[valid-type]


class Event(Answer):
    """An incident; the same thing again counts up `occurrences` while nobody has reviewed it."""

    id: str
    source: str
    risk_level: RiskLevel
    text: str
    job_id: str | None
    occurrences: int
    opened_at: datetime
    last_seen_at: datetime
    reviewed_at: datetime | None
    reviewed_by: str | None
    verdict: str | None
    summary: str | None


class EventDetail(Event):
    """The same with what its source knows of it."""

    details: dict[str, Any]


class Events(Answer):
    """Incidents, newest first."""

    events: list[Event]
    limit: int
    next_cursor: str | None
    has_more: bool


@blueprint.get("")
@needs("operate")
@describe(query=EventQuery, answer=Events)
def index() -> Events:
    """The incidents, newest first."""
    asked = read_query(EventQuery)
    wanted = Wanted(
        risk_level=asked.risk_level,
        source=asked.source,
        is_reviewed=asked.reviewed,
        since=asked.since,
        until=asked.until,
    )
    found, next_cursor = incident_lists.newest(
        db.session(), wanted, owner_name=None, limit=asked.limit, cursor=asked.cursor
    )
    return Events(
        events=[_event(each) for each in found],
        limit=asked.limit,
        next_cursor=next_cursor,
        has_more=next_cursor is not None,
    )


@blueprint.get("/<int:event_id>")
@needs("operate")
@describe(answer=EventDetail)
def show(event_id: int) -> EventDetail:
    """One incident, with its details."""
    incident = incidents.get(db.session(), min(event_id, _MOST_ID))
    return EventDetail(**_said(incident), details=incident.details)


@blueprint.post("/<int:event_id>/review")
@needs("operate")
@describe(answer=Event, errors=(409,))
def review(event_id: int) -> Event:
    """Mark one as reviewed: the same thing again opens a new one."""
    session = db.session()
    event = _event(incidents.review(session, min(event_id, _MOST_ID), g.actor.label))
    session.commit()
    return event


def _event(incident: Incident) -> Event:
    return Event(**_said(incident))


def _said(incident: Incident) -> dict[str, Any]:
    own = {
        name: getattr(incident, name) for name in Event.model_fields if name not in ("id", "job_id")
    }
    job_id = None if incident.job_id is None else str(incident.job_id)
    return {"id": str(incident.id), "job_id": job_id, **own}


@blueprint.post("/export")
@needs("submit")
@describe(body=ExportBody, answer=Deferred, status=202)
def export() -> Deferred:
    """Export incidents to a file; the job's result names it."""
    body = read_body(ExportBody)
    if body.camera_id and body.source and body.camera_id != body.source:
        raise Invalid("source and camera_id mean the same: give one of them.", param="camera_id")
    asked = body.model_dump(mode="json", exclude={"camera_id"}, exclude_none=True)
    if body.camera_id:
        asked["source"] = body.camera_id
    session = db.session()
    job_id = tasks.defer_task(
        session, "export", {"what": "events", **asked}, g.actor, settings=current_settings()
    )
    audit.record(session, g.actor.label, "events.export", str(job_id))
    session.commit()
    return Deferred(
        job_id=str(job_id),
        status="pending",
        message="The export is queued; its job's result names the file.",
    )
