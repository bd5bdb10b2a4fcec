"""One action on many jobs: on those that are picked, or on all that the filters find."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flask import Blueprint, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.datastructures import MultiDict

from app.core import job_bulk, job_search, tasks
from app.core.errors import Invalid
from app.core.job_bulk import Preview
from app.core.job_lists import Wanted
from app.core.status import STATUSES
from app.core.tasks import BulkFilter
from app.core.users import authorize
from app.extensions import db
from app.pages.job_filters import JobFilters
from app.pages.job_words import BULK, BulkWords
from app.pages.jobs import Row, rows

blueprint = Blueprint("job_bulk", __name__, url_prefix="/jobs")

MOST_PICKED = 100


@dataclass(frozen=True)
class Asked:
    """What is to be done to which jobs; `ids` are those that were picked, else it is all."""

    action: str
    filters: JobFilters
    ids: Sequence[str]

    @classmethod
    def read(cls, values: MultiDict[str, str]) -> Asked:
        """Raises Invalid."""
        action = values.get("action", "")
        if action not in BULK:
            raise Invalid(f"action must be one of {', '.join(BULK)}.", param="action")
        ids = list(dict.fromkeys(values.getlist("ids")))
        if len(ids) > MOST_PICKED:
            raise Invalid(f"ids has more than {MOST_PICKED} jobs.", param="ids")
        if not all(each.isascii() and each.isdecimal() and len(each) <= 19 for each in ids):
            raise Invalid("ids must be numbers of jobs.", param="ids")
        return cls(action, JobFilters.read(values), ids)

    @property
    def words(self) -> BulkWords:
        return BULK[self.action]

    @property
    def filter(self) -> BulkFilter:
        given = {"q": f"id:{','.join(self.ids)}"} if self.ids else self.filters.bulk_filter()
        return tasks.read(BulkFilter, "filter", given)

    @property
    def scope(self) -> JobFilters:
        return JobFilters(q=f"id:{','.join(self.ids)}") if self.ids else self.filters

    @property
    def can_be(self) -> frozenset[str]:
        """The statuses in which it may be done, by this way."""
        return job_bulk.allowing(self.action)


@dataclass(frozen=True)
class Button:
    """One action of the bar below the list; `reason` says why it can't be had for what is picked."""

    action: str
    words: BulkWords
    statuses: Sequence[str]

    @property
    def reason(self) -> str:
        *others, last = self.statuses
        can = f"{', '.join(others)} or {last}" if others else last
        return f"None of them can be {self.words.participle}: only a job that is {can}."


@dataclass(frozen=True)
class Shown:
    """The preview: to how many, to which first, and why not to the others, by their status."""

    preview: Preview
    sample: Sequence[Row]
    skipped: Mapping[str, int]


@blueprint.app_template_global("bulk_buttons")
def buttons() -> list[Button]:
    """What may be done to many, and in which statuses."""
    return [
        Button(action, words, [each for each in STATUSES if each in job_bulk.allowing(action)])
        for action, words in BULK.items()
    ]


@blueprint.get("/bulk")
def ask() -> str:
    """What an action would be done to, and the button that does it: in a dialog, or a page."""
    authorize(g.actor, "submit")
    asked = Asked.read(request.args)
    session = db.session()
    preview = job_bulk.preview(session, asked.action, asked.filter, g.actor)
    search = asked.scope.search(g.actor.owner_name)
    found = job_search.find(session, search, Wanted(limit=1, columns=("id",)))
    skipped: dict[str, Any] = {
        status: found.by_status[status]
        for status in STATUSES
        if found.by_status.get(status) and status not in asked.can_be
    }
    shown = Shown(preview, rows(session, preview.sample), skipped)
    return render_template(
        "jobs/_bulk.html" if "HX-Request" in request.headers else "jobs/bulk.html",
        asked=asked,
        shown=shown,
    )


@blueprint.post("/bulk")
def start() -> ResponseReturnValue:
    """Start the job that does it, and show that."""
    asked = Asked.read(request.form)
    session = db.session()
    job_id = job_bulk.start(session, asked.action, asked.filter, g.actor)
    session.commit()
    url = url_for("jobs.show", job_id=job_id)
    if "HX-Request" in request.headers:
        return "", 200, {"HX-Redirect": url}
    return redirect(url, 303)
