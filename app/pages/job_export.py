"""What the list of jobs shows, as a file: at once where it is not much, else made by a job."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from flask import (
    Blueprint,
    Response,
    g,
    redirect,
    render_template,
    request,
    url_for,
)
from flask.typing import ResponseReturnValue

from app.core import exports, job_search, tasks
from app.core.errors import Conflict, Invalid, NotFound
from app.core.job_lists import Page, Wanted
from app.core.job_matching import COUNT_LIMIT
from app.core.tasks import BulkFilter
from app.core.users import authorize
from app.extensions import current_settings, db
from app.pages import downloads
from app.pages.job_filters import JobFilters

blueprint = Blueprint("job_export", __name__, url_prefix="/jobs")

# Made while the browser waits; a job makes a ZIP of more.
_FORMATS = ("csv", "json", "ndjson")
_TASK_FORMATS = ("csv", "json", "zip")


@dataclass(frozen=True)
class Asked:
    """What the list's filters find, and how much that is."""

    filters: JobFilters
    page: Page

    @classmethod
    def read(cls, filters: JobFilters) -> Asked:
        """Raises Invalid."""
        search = filters.search(g.actor.owner_name)
        found = job_search.find(db.session(), search, Wanted(limit=1, columns=("id",)))
        return cls(filters, found.page)

    @property
    def is_few(self) -> bool:
        """Whether the browser can wait for it."""
        return self.page.total_is_exact

    @property
    def filter(self) -> BulkFilter:
        return tasks.read(BulkFilter, "filter", self.filters.bulk_filter())


@blueprint.get("/export")
def ask() -> str:
    """How many jobs the list's filters find, and the formats: in a dialog, or a page."""
    return render_template(
        "jobs/_export.html" if "HX-Request" in request.headers else "jobs/export.html",
        asked=Asked.read(JobFilters.read(request.args)),
        most=COUNT_LIMIT,
        forms=_TASK_FORMATS,
        may_start="submit" in g.actor.scopes,
    )


@blueprint.get("/export.<form>")
def download(form: str) -> Response:
    """All that the list's filters find, as one file, the oldest job first."""
    if form not in _FORMATS:
        raise NotFound(f"There is no format {form[:20]!r}: use {', '.join(_FORMATS)}.")
    asked = Asked.read(JobFilters.read(request.args))
    if not asked.is_few:
        raise Conflict(
            f"More than {COUNT_LIMIT:,} jobs match: let the task export write them.",
        )
    session = db.session()
    selected = exports.find_jobs(session, asked.filter, g.actor.owner_name)
    name = f"jobs-{datetime.now(UTC):%Y%m%d-%H%M%S}.{form}"
    return downloads.file(exports.stream(session, selected, form), name)


@blueprint.post("/export")
def start() -> ResponseReturnValue:
    """Start the job that writes the file, and show that."""
    authorize(g.actor, "submit")
    form = request.form.get("format", "")
    if form not in _TASK_FORMATS:
        raise Invalid(f"format must be one of {', '.join(_TASK_FORMATS)}.", param="format")
    filters = JobFilters.read(request.form)
    filters.search(g.actor.owner_name)  # what it can't understand is refused here
    arguments = {"format": form, "filter": filters.bulk_filter()}
    session = db.session()
    job_id = tasks.defer_task(session, "export", arguments, g.actor, settings=current_settings())
    session.commit()
    url = url_for("jobs.show", job_id=job_id)
    if "HX-Request" in request.headers:
        return "", 200, {"HX-Redirect": url}
    return redirect(url, 303)
