"""The job history: figures, charts, filters, the list, and one batch's details."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime

from flask import Blueprint, g, make_response, render_template, request
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session

from app.core import batch_figures, batch_lists, batches, history, queue, stats, users
from app.core.batch_figures import Figures
from app.core.batch_lists import Page, Wanted
from app.core.batch_matching import BatchFilters, owners_of
from app.core.errors import Invalid, NotFound
from app.core.history import HistoryJob
from app.extensions import db
from app.pages import history_charts
from app.pages.batch_requests import RequestFilters, Requests
from app.pages.details import Details
from app.pages.filters import Filters
from app.pages.fragments import here, wants_fragment
from app.pages.home import first_batch_command

blueprint = Blueprint("history", __name__, url_prefix="/history")

_PAGE_SIZE = 50
# Every viewer asks again at each change: sums that take 0.5 s are made once in 10 s, no oftener.
_figures = stats.StatsCache[Figures](
    patience=20.0, lasts=lambda figures: stats.if_many(figures.whole.batches)
)


@dataclass(frozen=True)
class Listed:
    """A page of the list: its jobs, and whose they are (nothing where all are the reader's)."""

    page: Page
    jobs: list[HistoryJob]
    owners: dict[str, str]


@blueprint.get("")
def index() -> ResponseReturnValue:
    """The page, or only what changes on it."""
    session = db.session()
    now = datetime.now(UTC)
    try:
        filters = Filters.read(request.args)
        matching = matching_of(session, filters, now)
        listed = _listed(session, filters, matching, now)
    except Invalid as refusal:
        if wants_fragment() or not request.args:
            raise
        return _refused(session, refusal)
    figures = _figures.get(
        (session.get_bind(), filters.range, replace(matching, since=filters.since)),
        lambda: batch_figures.read(session, matching, now),
    )
    return render_template(
        "history/_jobs.html" if wants_fragment() else "history/index.html",
        filters=filters,
        listed=listed,
        figures=figures,
        charts=history_charts.draw(figures),
        is_cut=figures.is_cut,
        figures_limit=batch_figures.FIGURES_LIMIT,
        places=queue.positions(session) if "queued" in {job.status for job in listed.jobs} else {},
        here=here(),
        first_batch=first_batch_command(),
        **({} if wants_fragment() else _menus(session, filters)),
    )


@blueprint.get("/<batch_id>")
def show(batch_id: str) -> str:
    """One batch: a page of its own, or the inside of the dialog."""
    session = db.session()
    batch = batches.get(session, batch_id, g.actor.owner_filter)
    if wants_fragment():
        return render_template("history/_batch.html", batch=batch, details=Details(session, batch))
    return render_template(
        "history/show.html",
        batch=batch,
        details=Details(session, batch),
        requests=Requests.read(session, batch, RequestFilters()),
    )


def matching_of(session: Session, filters: Filters, now: datetime) -> BatchFilters:
    """The filters for the core, with the chosen user found. Raises Invalid (there is no such user)."""
    user_id = None
    if filters.user:
        try:
            user_id = users.get(session, filters.user).id
        except NotFound:
            user_id = -1  # nobody's, whether or not the reader might know of one
    return filters.matching(g.actor.owner_filter, user_id, now)


def _listed(session: Session, filters: Filters, matching: BatchFilters, now: datetime) -> Listed:
    wanted = Wanted(filters.sort, filters.order, _PAGE_SIZE, filters.cursor or None)
    page = batch_lists.page(session, matching, wanted)
    names = {}
    if g.actor.owner_filter is None:
        names = users.names(session, list({batch.owner_id for batch in page.batches}))
    return Listed(
        page,
        [history.describe(batch, now) for batch in page.batches],
        {batch.id: names.get(batch.owner_id, "") for batch in page.batches} if names else {},
    )


def _menus(session: Session, filters: Filters) -> dict[str, list[str]]:
    """What the filters' menus offer; users only to those who see everybody's."""
    owner_id = g.actor.owner_filter
    names: list[str] = []
    if owner_id is None:
        names = sorted(users.names(session, owners_of(session, None)).values(), key=str.lower)
    return {
        "models": filters.with_own(history.list_models(session, owner_id), filters.model),
        "users": filters.with_own(names, filters.user) if owner_id is None else [],
    }


def _refused(session: Session, refusal: Invalid) -> ResponseReturnValue:
    """An address that can't be read: said above the filters, which are empty again."""
    page = render_template(
        "history/index.html",
        filters=Filters(),
        listed=None,
        refusal=refusal,
        here=here(),
        **_menus(session, Filters()),
    )
    return make_response(page, refusal.http_status)
