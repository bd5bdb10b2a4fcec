"""The schedules: what runs by the clock, its next and last runs, and forms that change it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from pydantic import ValidationError
from sqlalchemy import Row
from sqlalchemy.orm import Session

from app.core import adoption, missed_runs, models, reasons, schedules, tasks
from app.core.db import driver_connection
from app.core.errors import (
    Conflict,
    Forbidden,
    Invalid,
    LimitReached,
    NotFound,
    Refused,
    StokerError,
)
from app.core.schedule_definitions import trigger_of
from app.core.schedule_times import TRIGGER, runs_after
from app.core.schedule_words import describe
from app.core.users import authorize
from app.extensions import current_settings, db
from app.pages import schedule_forms
from app.pages.fragments import here, wants_fragment
from app.pages.schedule_forms import Form
from app.pages.typed_times import moment, zone_name

blueprint = Blueprint("schedules_pages", __name__, url_prefix="/schedules")

_PAGE_SIZE = 50
_REFUSALS = (Conflict, Forbidden, Invalid, LimitReached, NotFound, Refused)


@dataclass(frozen=True)
class Shown:
    """A schedule as the pages show it; `skipped` planned times of the latest made no job."""

    schedule: models.Schedule
    status: str
    words: str
    timezone: str
    next_runs: list[datetime]
    next_words: list[str]
    last: Row[Any] | None
    fired: int
    skipped: int


@blueprint.get("")
def index() -> str:
    """All schedules that the reader may see, the next to run first."""
    session = db.session()
    rows = schedules.list_schedules(session, g.actor.owner_filter)
    periodic = schedules.list_periodic(session) if g.actor.owner_filter is None else ()
    return render_template(
        "schedules/_list.html" if wants_fragment() else "schedules/index.html",
        here=here(),
        listed=_shown(session, rows),
        late=missed_runs.to_flag(session, datetime.now(UTC)),
        periodic=periodic,
        may_act="submit" in g.actor.scopes,
        tallied=schedules.TALLIED,
    )


@blueprint.get("/new")
def new() -> str:
    """The form of a new schedule."""
    authorize(g.actor, "submit")
    form = Form.new()
    form.given["task"] = request.args.get("task", "")[:128]
    return _form(form, None)


@blueprint.post("")
def create() -> ResponseReturnValue:
    """Make a schedule, and show it; what is wrong is said at its field."""
    authorize(g.actor, "submit")
    form = Form.read(request.form)
    session = db.session()
    definition = form.definition()
    if definition is None:
        return _form(form, None), 400
    most = current_settings().schedules_per_user
    try:
        made = schedules.create(session, definition, g.actor, most=most, now=datetime.now(UTC))
    except _REFUSALS as refusal:
        session.rollback()
        form.refuse(refusal)
        return _form(form, None), refusal.http_status
    session.commit()
    return redirect(url_for("schedules_pages.show", schedule_id=made.id), 303)


@blueprint.get("/preview")
def preview() -> str:
    """What a form's times mean, and the next five of them."""
    form = Form.read(request.args)
    said, runs, timezone = "", [], "UTC"
    try:
        trigger = TRIGGER.validate_python(form.trigger())
        said, timezone = describe(trigger), getattr(trigger, "timezone", zone_name())
        runs = runs_after(trigger, datetime.now(UTC))
    except ValidationError:
        form.given["name"] = form.given["task"] = "x"
        form.definition()
    return render_template(
        "schedules/_preview.html" if wants_fragment() else "schedules/preview.html",
        said=said,
        runs=schedule_forms.local_runs(runs, timezone),
        timezone=timezone,
        faults=[words for name, words in form.faults.items() if name != "args"],
    )


@blueprint.get("/<schedule_id>")
def show(schedule_id: str) -> str:
    """One schedule: when it runs, what it does, and what became of its planned times."""
    session = db.session()
    schedule = schedules.get(session, schedule_id, g.actor.owner_filter)
    before = moment(request.args, "before")
    rows = schedules.list_firings(session, schedule, before=before, limit=_PAGE_SIZE + 1)
    return render_template(
        "schedules/_schedule.html" if wants_fragment() else "schedules/show.html",
        here=here(),
        shown=_shown(session, [schedule])[0],
        late=missed_runs.to_flag(session, datetime.now(UTC)),
        arguments=Form.of(schedule).given["args"],
        firings=rows[:_PAGE_SIZE],
        older=rows[_PAGE_SIZE - 1].planned_at if len(rows) > _PAGE_SIZE else None,
        is_first=before is None,
        missed=schedule_forms.MISSED,
        overlaps=schedule_forms.OVERLAPS,
        may_act="submit" in g.actor.scopes,
    )


@blueprint.get("/<schedule_id>/edit")
def edit(schedule_id: str) -> str:
    """The form of a schedule that is there."""
    authorize(g.actor, "submit")
    schedule = schedules.get(db.session(), schedule_id, g.actor.owner_filter)
    return _form(Form.of(schedule), schedule)


@blueprint.post("/<schedule_id>")
def change(schedule_id: str) -> ResponseReturnValue:
    """Change a schedule, and show it; what is wrong is said at its field."""
    authorize(g.actor, "submit")
    session = db.session()
    schedule = schedules.get(session, schedule_id, g.actor.owner_filter)
    form = Form.read(request.form)
    changes = form.changes(schedule)
    if changes is None:
        return _form(form, schedule), 400
    try:
        if changes.given():
            schedules.change(session, schedule_id, changes, g.actor, now=datetime.now(UTC))
    except _REFUSALS as refusal:
        session.rollback()
        form.refuse(refusal)
        schedule = schedules.get(session, schedule_id, g.actor.owner_filter)
        return _form(form, schedule), refusal.http_status
    session.commit()
    return redirect(url_for("schedules_pages.show", schedule_id=schedule_id), 303)


@blueprint.get("/<schedule_id>/<action>")
def ask(schedule_id: str, action: str) -> str:
    """Say what an action would do, before it is done."""
    return _ask(schedule_id, _known(action))


@blueprint.post("/<schedule_id>/<action>")
def act(schedule_id: str, action: str) -> ResponseReturnValue:
    """Pause, resume, run or delete a schedule."""
    authorize(g.actor, "submit")
    session = db.session()
    do = _ACTIONS[_known(action)]
    try:
        leads_to = do(session, schedule_id)
    except _REFUSALS as refusal:
        session.rollback()
        return _ask(schedule_id, action, refusal), refusal.http_status
    session.commit()
    return redirect(leads_to, 303)


def _pause(session: Session, schedule_id: str) -> str:
    reason = request.form.get("reason", "").replace("\0", "")
    schedules.pause(session, schedule_id, g.actor, reason, now=datetime.now(UTC))
    return url_for("schedules_pages.show", schedule_id=schedule_id)


def _resume(session: Session, schedule_id: str) -> str:
    schedules.resume(session, schedule_id, g.actor, now=datetime.now(UTC))
    return url_for("schedules_pages.show", schedule_id=schedule_id)


def _run(session: Session, schedule_id: str) -> str:
    now = datetime.now(UTC)
    firing = schedules.run(session, schedule_id, g.actor, now=now, settings=current_settings())
    return url_for("jobs.show", job_id=firing.job_id)


def _delete(session: Session, schedule_id: str) -> str:
    schedules.delete(session, schedule_id, g.actor)
    return url_for("schedules_pages.index")


_ACTIONS: dict[str, Callable[[Session, str], str]] = {
    "pause": _pause,
    "resume": _resume,
    "run": _run,
    "delete": _delete,
}


def _known(action: str) -> str:
    if action not in _ACTIONS:
        raise NotFound(f"There is nothing at {request.method} {request.path}.")
    return action


def _ask(schedule_id: str, action: str, refusal: StokerError | None = None) -> str:
    authorize(g.actor, "submit")
    session = db.session()
    schedule = schedules.get(session, schedule_id, g.actor.owner_filter)
    return render_template(
        "schedules/ask.html",
        action=action,
        shown=_shown(session, [schedule])[0],
        late=missed_runs.to_flag(session, datetime.now(UTC)),
        refusal=refusal,
        reason=request.form.get("reason", ""),
        longest=reasons.LONGEST,
    )


def _form(form: Form, schedule: models.Schedule | None) -> str:
    startable = [spec for spec in tasks.TASKS.values() if spec.is_deferrable]
    startable = [spec for spec in startable if spec.scope in g.actor.scopes]
    is_adopted = adoption.is_adopted(driver_connection(db.session()))
    return render_template(
        "schedules/form.html",
        form=form,
        schedule=schedule,
        tasks=startable,
        is_free=is_adopted and "operate" in g.actor.scopes,
        kinds=schedule_forms.KINDS,
        units=schedule_forms.UNITS,
        missed=schedule_forms.MISSED,
        overlaps=schedule_forms.OVERLAPS,
    )


def _shown(session: Session, rows: Any) -> list[Shown]:
    now = datetime.now(UTC)
    latest = schedules.latest_firings(session, rows)
    tallies = schedules.tallies(session, rows)
    shown = []
    for row in rows:
        trigger = trigger_of(row)
        timezone = getattr(trigger, "timezone", zone_name())
        runs = schedules.next_runs(row, now)
        tally = tallies.get(row.id)
        shown.append(
            Shown(
                row,
                schedules.status_of(row),
                describe(trigger),
                timezone,
                runs,
                schedule_forms.local_runs(runs, timezone),
                latest.get(row.id),
                tally.fired if tally else 0,
                tally.skipped if tally else 0,
            )
        )
    return shown
