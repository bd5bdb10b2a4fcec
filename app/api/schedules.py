"""/api/schedules: what runs by the clock."""

from __future__ import annotations

from datetime import UTC, datetime

from flask import Blueprint, Response, g
from pydantic import BaseModel, ConfigDict, Field

from app.api import schedule_answers as answers
from app.api.jobs.queries import Moment
from app.api.openapi import Limit, Query, describe, read_query
from app.api.schemas import read_body
from app.auth import needs
from app.core import models, reasons, schedules
from app.core.schedule_definitions import Changes, Definition
from app.core.schedule_times import Trigger, runs_after
from app.core.schedule_words import describe as in_words
from app.extensions import current_settings, db

blueprint = Blueprint("schedules", __name__, url_prefix="/api/schedules")


class PauseBody(BaseModel):
    """POST /api/schedules/{schedule_id}/pause."""

    model_config = ConfigDict(extra="forbid")

    reason: str = Field(min_length=1, max_length=reasons.LONGEST)


class PreviewBody(BaseModel):
    """POST /api/schedules/preview."""

    model_config = ConfigDict(extra="forbid")

    trigger: Trigger


class HistoryQuery(Query):
    """GET /api/schedules/{schedule_id}/history."""

    limit: Limit(50, 1000)  # type: ignore[valid-type]
    before: Moment | None = Field(None, description="Only what was planned before this.")


@blueprint.get("")
@needs("read")
@describe(answer=answers.Schedules)
def list_schedules() -> answers.Schedules:
    """The schedules, those that run next first."""
    session = db.session()
    rows = schedules.list_schedules(session, g.actor.owner_filter)
    periodic = schedules.list_periodic(session) if g.actor.owner_filter is None else ()
    return answers.Schedules(
        schedules=answers.describe_all(session, rows),
        count=len(rows),
        periodic_tasks=[answers.periodic_task(row) for row in periodic],
    )


@blueprint.post("")
@needs("submit")
@describe(body=Definition, answer=answers.Schedule, status=201, errors=(409, 422))
def create() -> answers.Schedule:
    """Make a schedule."""
    definition = read_body(Definition)
    session = db.session()
    most = current_settings().schedules_per_user
    made = schedules.create(session, definition, g.actor, most=most, now=datetime.now(UTC))
    session.commit()
    return _answer(made)


@blueprint.post("/preview")
@needs("read")
@describe(body=PreviewBody, answer=answers.Preview)
def preview() -> answers.Preview:
    """What a trigger means and when it would run next; nothing is kept."""
    trigger = read_body(PreviewBody).trigger
    return answers.Preview(text=in_words(trigger), next_runs=runs_after(trigger, datetime.now(UTC)))


@blueprint.get("/<schedule_id>")
@needs("read")
@describe(answer=answers.Schedule)
def get(schedule_id: str) -> answers.Schedule:
    """A schedule."""
    return _answer(schedules.get(db.session(), schedule_id, g.actor.owner_filter))


@blueprint.patch("/<schedule_id>")
@needs("submit")
@describe(body=Changes, answer=answers.Schedule, errors=(409, 422))
def change(schedule_id: str) -> answers.Schedule:
    """Change what is given of a schedule."""
    changes = read_body(Changes)
    session = db.session()
    changed = schedules.change(session, schedule_id, changes, g.actor, now=datetime.now(UTC))
    session.commit()
    return _answer(changed)


@blueprint.delete("/<schedule_id>")
@needs("submit")
@describe(status=204)
def delete(schedule_id: str) -> Response:
    """Remove a schedule and its history; its jobs stay."""
    session = db.session()
    schedules.delete(session, schedule_id, g.actor)
    session.commit()
    return Response(status=204)


@blueprint.post("/<schedule_id>/run")
@needs("submit")
@describe(answer=answers.Run, status=202, errors=(409, 422))
def run(schedule_id: str) -> answers.Run:
    """Run a schedule now, besides its planned times."""
    session = db.session()
    firing = schedules.run(
        session, schedule_id, g.actor, now=datetime.now(UTC), settings=current_settings()
    )
    session.commit()
    return answers.Run(
        schedule_id=str(firing.schedule_id),
        job_id=str(firing.job_id),
        planned_at=firing.planned_at,
    )


@blueprint.post("/<schedule_id>/pause")
@needs("submit")
@describe(body=PauseBody, answer=answers.Schedule, errors=(409,))
def pause(schedule_id: str) -> answers.Schedule:
    """Let a schedule not run until it is resumed."""
    reason = read_body(PauseBody).reason
    session = db.session()
    paused = schedules.pause(session, schedule_id, g.actor, reason, now=datetime.now(UTC))
    session.commit()
    return _answer(paused)


@blueprint.delete("/<schedule_id>/pause")
@needs("submit")
@describe(answer=answers.Schedule, errors=(409,))
def resume(schedule_id: str) -> answers.Schedule:
    """Let a paused schedule run again."""
    session = db.session()
    resumed = schedules.resume(session, schedule_id, g.actor, now=datetime.now(UTC))
    session.commit()
    return _answer(resumed)


@blueprint.get("/<schedule_id>/history")
@needs("read")
@describe(query=HistoryQuery, answer=answers.History)
def history(schedule_id: str) -> answers.History:
    """What became of a schedule's planned times."""
    asked = read_query(HistoryQuery)
    session = db.session()
    schedule = schedules.get(session, schedule_id, g.actor.owner_filter)
    rows = schedules.list_firings(session, schedule, before=asked.before, limit=asked.limit)
    return answers.History(
        schedule_id=str(schedule.id),
        firings=[answers.firing(row) for row in rows],
        next_before=rows[-1].planned_at if len(rows) == asked.limit else None,
    )


def _answer(schedule: models.Schedule) -> answers.Schedule:
    return answers.describe_all(db.session(), [schedule])[0]
