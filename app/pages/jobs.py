"""The jobs: a list that is searched and filtered, and one job beside it or on a page of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, g, make_response, render_template, request
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session

from app.core import (
    admission,
    job_lists,
    job_record,
    job_search,
    job_types,
    search_suggestions,
    standing,
    stuck,
)
from app.core.errors import Invalid, NotFound
from app.core.job_lists import Page, Wanted
from app.core.job_search import Found
from app.core.search_conditions import Search
from app.core.status import shown
from app.extensions import current_settings, db
from app.pages.fragments import told_at, wants_fragment
from app.pages.job_details import Details
from app.pages.job_filters import JobFilters
from app.pages.job_words import ACTIONS, Action

blueprint = Blueprint("jobs", __name__, url_prefix="/jobs")

_PAGE_SIZE = 50
# What is typed, and may be wrong.
_SAID_BY_THE_FORM = ("q", "from", "to")
_COLUMNS = (
    "id",
    "task",
    "status",
    "progress",
    "message",
    "created_at",
    "started_at",
    "ended_at",
    "error_type",
    "error_message",
    "scheduled_at",
    "queue",
    "owner_name",
    "items_done",
    "items_total",
    "cancel_requested_at",
    "attempt_started_at",
    "run_ms",
    "priority",
)


@dataclass(frozen=True)
class Row:
    """A job as the list shows it; `word` is our status."""

    job: Any
    word: str
    message: str | None
    seconds: float | None = None  # how long it has run
    is_lost: bool = False  # whether it is said to run, and its worker is gone

    @property
    def look(self) -> str:
        """The badge: a job that was asked to stop, and has not yet, is cancelling."""
        if self.is_lost:
            return "lost"
        is_stopping = self.word == "running" and self.job.cancel_requested_at is not None
        return "cancelling" if is_stopping else self.word

    @property
    def due_at(self) -> datetime | None:
        """When one that is to run later does."""
        return self.job.scheduled_at if self.word in ("scheduled", "retrying") else None

    @property
    def mark(self) -> str:
        """What is worth a tint when it changes."""
        return f"{self.look} {self.job.progress}"


@dataclass(frozen=True)
class Listed:
    """A page of the list. With `back_to`, jobs that were made before then were not looked at.

    `by_status` is how all that match are made up, and None where they are not counted to the end.
    """

    page: Page
    rows: list[Row]
    back_to: datetime | None = None
    by_status: Mapping[str, int] | None = None


@blueprint.get("")
def index() -> ResponseReturnValue:
    """The page; only the list, or the list and what is beside it, where the page asks for that."""
    session = db.session()
    is_list = request.headers.get("HX-Target") == "div#jobs-list"
    try:
        filters = JobFilters.read(request.args)
        chips = filters.chips()
        listed = _listed(session, filters)
    except Invalid as refusal:
        if refusal.param not in _SAID_BY_THE_FORM:
            raise
        return _refused(session, refusal)
    template = "jobs/index.html"
    if wants_fragment():
        template = "jobs/_list.html" if is_list else "jobs/_results.html"
    return render_template(
        template,
        filters=filters,
        chips=chips,
        listed=listed,
        types=filters.with_own_type(_types(session)) if template == "jobs/index.html" else [],
        opened=None if is_list else _opened(session, filters),
        refusal=None,
    )


@blueprint.get("/suggestions")
def suggestions() -> str:
    """What may follow in the search that is being typed: a part, and a page."""
    found = search_suggestions.suggest(
        db.session(), request.args.get("q", "")[:2000], g.actor.owner_name
    )
    return render_template(
        "jobs/_suggestions.html" if wants_fragment() else "jobs/suggestions.html",
        suggestions=found,
    )


@blueprint.get("/<job_id>")
def show(job_id: str) -> str:
    """One job: a page of its own, or what stands beside the list."""
    details = Details.read(db.session(), job_id, g.actor)
    template = "jobs/show.html"
    if wants_fragment():
        is_opened = request.headers.get("HX-Target") == "aside#job-panel"
        template = "jobs/_open.html" if is_opened else "jobs/_job.html"
    return render_template(template, details=details, outcome=None)


@blueprint.app_template_global()
def job_actions_of(details: Details) -> list[Action]:
    """What may be done to a job, as buttons in the order of their weight."""
    return [action for action in ACTIONS.values() if action.key in details.actions]


def row(session: Session, job_id: int) -> Row | None:
    """A job as the list shows it; None where there is none of the reader's."""
    try:
        job = job_record.get(session, str(job_id), g.actor.owner_name)
    except NotFound:
        return None
    return rows(session, [job])[0]


def rows(session: Session, jobs: Any) -> list[Row]:
    """Jobs as the list shows them: with why one waits, or failed."""
    now = datetime.now(UTC)
    reasons = admission.reasons(session, current_settings(), jobs)
    lost = stuck.find(session, current_settings(), jobs)
    reasons |= {job_id: found.sentence(now) for job_id, found in lost.items()}
    return [
        Row(
            job,
            shown(job.status, job.scheduled_at, now),
            reasons.get(job.id) or _failure(job) or job.message,
            job_record.timing(job, now).duration_seconds,
            job.id in lost,
        )
        for job in jobs
    ]


def _failure(job: Any) -> str | None:
    """Why it failed, as Python says it: `KeyError: 'customer_7'` says what `'customer_7'` does not."""
    if job.status != "failed":
        return None
    kind = (job.error_type or "").rpartition(".")[2]
    return ": ".join(filter(None, (kind, job.error_message))) or None


def _listed(session: Session, filters: JobFilters) -> Listed:
    found = _found(session, filters, filters.search(g.actor.owner_name))
    return Listed(
        found.page,
        rows(session, found.page.jobs),
        found.back_to,
        found.by_status if found.page.total_is_exact else None,
    )


def _found(session: Session, filters: JobFilters, search: Search) -> Found:
    """The page, how all are made up, and back to when was looked if not everywhere."""
    sort, order = filters.order
    wanted = Wanted(sort, order, _PAGE_SIZE, 0, filters.cursor or None, _COLUMNS)
    if search == Search():
        counts = standing.read(session, None, told_at()).by_status
        page = job_lists.page(session, search.jobs, wanted, total=sum(counts.values()))
        return Found(page, counts, {}, {})
    return job_search.find(session, search, wanted)


def _opened(session: Session, filters: JobFilters) -> Details | NotFound | None:
    """The job beside the list; where it is gone, that."""
    if not filters.job:
        return None
    try:
        return Details.read(session, filters.job, g.actor)
    except NotFound as refusal:
        return refusal


def _refused(session: Session, refusal: Invalid) -> ResponseReturnValue:
    """A search that can't be understood: said under its box, and the list stays as it is."""
    if wants_fragment():
        response = make_response(
            render_template("jobs/_search_error.html", refusal=refusal), refusal.http_status
        )
        response.headers["HX-Retarget"] = "#search-error"
        response.headers["HX-Reswap"] = "innerHTML"
        response.headers["HX-Push-Url"] = "false"
        return response
    filters = replace(JobFilters.given_by(request.args), job="", cursor="")
    page = render_template(
        "jobs/index.html",
        filters=filters,
        chips=[],
        listed=None,
        types=filters.with_own_type(_types(session)),
        opened=None,
        refusal=refusal,
    )
    return page, refusal.http_status


def _types(session: Session) -> list[str]:
    return [each.name for each in job_types.list_types(session, g.actor.owner_name)]
