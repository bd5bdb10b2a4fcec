"""A batch's requests: the table with the failures first, and one of them with all it said."""

from __future__ import annotations

from dataclasses import dataclass, replace

import orjson
from flask import Blueprint, Response, g, render_template, request, url_for
from sqlalchemy.orm import Session
from werkzeug.datastructures import MultiDict

from app.core import batch_requests, batches, exchanges
from app.core.batch_requests import LONGEST_SEARCH, STATUSES, Opened, RequestPage
from app.core.errors import Invalid
from app.core.models import FINAL, Batch
from app.core.results import lines_of
from app.extensions import current_settings, db
from app.pages import downloads
from app.pages.fragments import wants_fragment

blueprint = Blueprint("batch_requests", __name__, url_prefix="/history/<batch_id>")

_PAGE_SIZE = 50


@dataclass(frozen=True)
class RequestFilters:
    """What the reader chose to see of a batch's requests; `q` is how a custom_id begins."""

    status: str = ""
    q: str = ""
    cursor: str = ""

    longest_search = LONGEST_SEARCH

    @classmethod
    def read(cls, args: MultiDict[str, str]) -> RequestFilters:
        """From the address. Raises Invalid, naming what can't be read."""
        status = args.get("status", "")
        if status not in ("", *STATUSES):
            raise Invalid(f"status must be one of {', '.join(STATUSES)}.", param="status")
        return cls(status, args.get("q", "").strip(), args.get("cursor", ""))

    @property
    def is_any(self) -> bool:
        return bool(self.status or self.q)

    def changed(self, batch_id: str, **changes: str) -> str:
        """The address of the table with other filters, from its first page on."""
        return replace(self, **{"cursor": "", **changes}).url(batch_id)

    def url(self, batch_id: str) -> str:
        given = {name: getattr(self, name) for name in ("status", "q", "cursor")}
        said = {name: value for name, value in given.items() if value}
        return url_for("batch_requests.index", batch_id=batch_id, **said)


@dataclass(frozen=True)
class Requests:
    """A page of the table, and how many there are of each kind."""

    filters: RequestFilters
    page: RequestPage
    kinds: list[tuple[str, str, int]]
    is_live: bool

    @classmethod
    def read(cls, session: Session, batch: Batch, filters: RequestFilters) -> Requests:
        """Raises Invalid (the search, the cursor)."""
        page = batch_requests.page(
            session,
            batch,
            status=next((each for each in STATUSES if each == filters.status), None),
            search=filters.q,
            cursor=filters.cursor or None,
            limit=_PAGE_SIZE,
        )
        is_final = batch.status in FINAL
        waiting = batch.total - batch.completed - batch.failed
        kinds = [
            ("", "All", batch.total),
            ("failed", "Failed", batch.failed),
            ("completed", "Completed", batch.completed),
            ("waiting", "Not answered" if is_final else "Waiting", waiting),
        ]
        return cls(filters, page, kinds, not is_final)


@blueprint.get("/requests")
def index(batch_id: str) -> str:
    """The table on a page of its own, or the table alone."""
    session = db.session()
    batch = _found(batch_id)
    requests = Requests.read(session, batch, RequestFilters.read(request.args))
    return render_template(
        "history/_requests.html" if wants_fragment() else "history/requests.html",
        batch=batch,
        requests=requests,
    )


@blueprint.get("/requests/<int:line>")
def show(batch_id: str, line: int) -> str:
    """One request: what was asked, what came of it."""
    batch = _found(batch_id)
    opened = batch_requests.open_one(db.session(), current_settings(), batch, line)
    return render_template(
        "history/request.html",
        batch=batch,
        opened=opened,
        status=status_word(opened, batch),
        asked=_pretty(opened.asked),
        answered=_pretty(opened.answered),
        parameters=[(name, _value(value)) for name, value in sorted(opened.parameters.items())],
    )


@blueprint.get("/results.jsonl")
def download(batch_id: str) -> Response:
    """The results that there are now, a line each in input order, to be saved."""
    batch = _found(batch_id)
    is_final = batch.status in FINAL
    name = f"{batch.id}_{'results' if is_final else 'so_far'}.jsonl"
    lines = lines_of(db.session(), batch.number)
    response = downloads.file(lines, name)
    response.headers["Content-Security-Policy"] = "sandbox"
    response.headers["X-Incomplete"] = "false" if is_final else "true"
    return response


def status_word(opened: Opened, batch: Batch) -> str:
    """The badge of one request; what an ended batch did not answer waits no longer."""
    if opened.listed.status == "waiting":
        return "unanswered" if batch.status in FINAL else "queued"
    return opened.listed.status


def _found(batch_id: str) -> Batch:
    return batches.get(db.session(), batch_id, g.actor.owner_filter)


def _pretty(text: str | None) -> str | None:
    """JSON with line ends, to be read; anything else as it is."""
    value = exchanges.load(text)
    if text is None or value is None:
        return text
    return orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()


def _value(value: object) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()
