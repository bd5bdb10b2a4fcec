"""What may be done to one job: asked first in words that say what will happen, then done."""

from __future__ import annotations

import json
from dataclasses import dataclass
from math import isfinite
from typing import Any
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit

from flask import Blueprint, g, make_response, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.datastructures import MultiDict

from app.core import acting, job_actions, job_moves, job_retries, result_files, stuck
from app.core.errors import Conflict, Invalid, NotFound, Refused, StokerError
from app.core.job_moves import MOST_PRIORITY
from app.extensions import current_settings, db
from app.pages.job_details import Details
from app.pages.job_filters import JobFilters
from app.pages.job_words import ACTIONS, Action
from app.pages.jobs import row
from app.pages.typed_times import moment

blueprint = Blueprint("job_actions", __name__, url_prefix="/jobs")

_LONGEST_ARGUMENTS = 100_000


@dataclass(frozen=True)
class Outcome:
    """What an action came to, or why it was refused; `new_id` is the job that was made."""

    job_id: int
    message: str
    warning: str | None = None
    new_id: int | None = None
    is_gone: bool = False
    is_refusal: bool = False


@blueprint.get("/<job_id>/<action>")
def ask(job_id: str, action: str) -> ResponseReturnValue:
    """What an action would do, and the button that does it: the inside of a dialog, or a page."""
    return _ask(Details.read(db.session(), job_id, g.actor), _known(action))


@blueprint.post("/<job_id>/<action>")
def act(job_id: str, action: str) -> ResponseReturnValue:
    """Do it; where the job's status does not allow it any more, say so beside the job."""
    asked = _known(action)
    session = db.session()
    details = Details.read(session, job_id, g.actor)
    try:
        outcome = _do(asked.name, job_id)
    except (Conflict, Refused, Invalid, NotFound) as refusal:
        session.rollback()
        is_late = isinstance(refusal, Conflict) or refusal.code == "status"
        if not is_late:
            if isinstance(refusal, NotFound):
                raise
            return _ask(details, asked, refusal)
        return _told(Outcome(details.job.id, refusal.message, is_refusal=True), 409)
    return _told(outcome, 200)


def _known(action: str) -> Action:
    if action not in ACTIONS:
        raise NotFound(f"There is nothing at {request.method} {request.path}.")
    return ACTIONS[action]


def _ask(
    details: Details, action: Action, refusal: StokerError | None = None
) -> ResponseReturnValue:
    is_part = "HX-Request" in request.headers
    page = render_template(
        "jobs/_ask.html" if is_part else "jobs/ask.html",
        details=details,
        action=action,
        words=action.words(details.word),
        refusal=refusal,
        given=request.form,
        most_priority=MOST_PRIORITY,
        is_too_large=(arguments := details.values["arguments"]) is not None
        and arguments.size > _LONGEST_ARGUMENTS,
    )
    response = make_response(page, 200 if refusal is None else refusal.http_status)
    if refusal is not None:
        response.headers["HX-Retarget"] = "#job-dialog-body"
        response.headers["HX-Reswap"] = "innerHTML"
    return response


def _do(action: str, job_id: str) -> Outcome:
    """Commits. Raises what the core raises, and Invalid for a field of the form."""
    session, actor = db.session(), g.actor
    match action:
        case "retry" | "run-again":
            made = job_retries.retry(
                session,
                current_settings(),
                job_id,
                actor,
                arguments=_arguments(),
                schedule_at=moment(request.form, "schedule_at"),
            )
            session.commit()
            again = "It is made again as" if made.is_new else "It was made again already, as"
            return Outcome(made.retried_from, again, new_id=made.job_id)
        case "cancel":
            done = job_actions.cancel(session, job_id, actor)
        case "put-back":
            done = stuck.put_back(session, current_settings(), job_id, actor)
        case "fail":
            done = stuck.fail(session, current_settings(), job_id, actor)
        case "abort":
            done = job_actions.abort(session, job_id, actor)
        case "delete":
            done = job_actions.delete(session, job_id, actor)
        case "expedite":
            done = job_moves.expedite(session, job_id, actor)
        case "reschedule":
            at = moment(request.form, "schedule_at")
            if at is None:
                raise Invalid("schedule_at is missing: say when.", param="schedule_at")
            done = job_moves.reschedule(session, job_id, actor, at)
        case _:
            done = job_moves.set_priority(session, job_id, actor, _priority())
    return _committed(done)


def _committed(done: acting.Done) -> Outcome:
    outcome = Outcome(done.job_id, done.message, done.warning, is_gone=done.status == "deleted")
    db.session.commit()
    result_files.remove(current_settings(), done.files)
    return outcome


def _priority() -> int:
    said = request.form.get("priority", "").strip()
    try:
        priority = int(said) if len(said) < 10 else MOST_PRIORITY + 1
    except ValueError:
        raise Invalid("priority must be a whole number.", param="priority") from None
    if abs(priority) > MOST_PRIORITY:
        raise Invalid(
            f"priority must be from {-MOST_PRIORITY} to {MOST_PRIORITY}.", param="priority"
        )
    return priority


def _arguments() -> dict[str, Any] | None:
    """Other arguments than the job had; None where the form leaves them as they were."""
    said = request.form.get("args", "").strip()
    if not said or said == request.form.get("args_before", "").strip():
        return None
    try:
        arguments = json.loads(said, parse_constant=_refuse, parse_float=_finite)
    except (ValueError, RecursionError) as fault:
        raise Invalid(f"args is no JSON: {fault}.", param="args") from None
    if not isinstance(arguments, dict):
        raise Invalid("args must be a JSON object.", param="args")
    return arguments


def _refuse(constant: str) -> float:
    raise ValueError(f"JSON has no {constant}")


def _finite(said: str) -> float:
    value = float(said)
    return value if isfinite(value) else _refuse(f"number as large as {said[:20]}")


def _told(outcome: Outcome, http_status: int) -> ResponseReturnValue:
    """What came of it: in the places that the page has for that, or as a page."""
    if "HX-Request" not in request.headers:
        return _page(outcome, http_status)
    session = db.session()
    details = None
    if not outcome.is_gone:
        details = Details.read(session, str(outcome.job_id), g.actor)
    page = render_template(
        "jobs/_acted.html",
        outcome=outcome,
        details=details,
        row=None if outcome.is_gone else row(session, outcome.job_id),
        filters=_filters(),
    )
    response = make_response(page, http_status)
    # It has named its places: the form's own gets nothing.
    response.headers["HX-Retarget"] = "#job-dialog-body"
    response.headers["HX-Reswap"] = "innerHTML"
    response.headers["HX-Trigger"] = "job-acted"
    if outcome.is_gone:
        _leave(response, outcome.job_id)
    return response


def _filters() -> JobFilters:
    """Those of the list that the page shows."""
    current = _shown()
    try:
        return JobFilters.read(MultiDict(parse_qsl(current.query)))
    except Invalid:
        return JobFilters()


def _shown() -> SplitResult:
    """The address that the browser shows, as it says."""
    try:
        return urlsplit(request.headers.get("HX-Current-URL", ""))
    except ValueError:
        return urlsplit("")


def _leave(response: Any, job_id: int) -> None:
    """The address names no job that is gone."""
    current = _shown()
    if current.path != url_for("jobs.index"):
        response.headers["HX-Redirect"] = url_for("jobs.index")
        return
    kept = [
        (name, value)
        for name, value in parse_qsl(current.query)
        if (name, value) != ("job", str(job_id))
    ]
    query = f"?{urlencode(kept)}" if kept else ""
    response.headers["HX-Replace-Url"] = f"{url_for('jobs.index')}{query}"


def _page(outcome: Outcome, http_status: int) -> ResponseReturnValue:
    if outcome.is_refusal:
        details = Details.read(db.session(), str(outcome.job_id), g.actor)
        page = render_template("jobs/show.html", details=details, outcome=outcome)
        return page, http_status
    if outcome.is_gone:
        return redirect(url_for("jobs.index"), 303)
    return redirect(url_for("jobs.show", job_id=outcome.new_id or outcome.job_id), 303)
