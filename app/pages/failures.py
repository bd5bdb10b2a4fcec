"""What fails: jobs by what went wrong, with their course over a window, and one action on a group."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import quote_plus

from flask import Blueprint, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from app.core import failures, job_bulk, job_types
from app.core.errors import NotFound
from app.core.failures import Failures, Group
from app.core.stats import StatsCache, if_many
from app.core.tasks import BulkFilter
from app.core.users import authorize
from app.extensions import db
from app.pages import charts
from app.pages.fragments import here, told_at, wants_fragment
from app.pages.window import DATES, Window
from app.pages.window_charts import STEP_WORDS, at, zone_of

blueprint = Blueprint("failures", __name__, url_prefix="/failures")

_FINGERPRINT = re.compile(r"[0-9a-f]{32}")
_ACTIONS = ("retry", "delete")


@dataclass(frozen=True)
class Step:
    """A step of the window, as all groups' courses have it: its place, its time and what finds its jobs."""

    x: float
    width: float
    words: str
    query: str


@dataclass(frozen=True)
class Figures:
    """What is counted once for all who look at one window."""

    failures: Failures
    known_types: list[str]


_figures = StatsCache[Figures](
    patience=100.0,
    lasts=lambda figures: if_many(sum(group.jobs for group in figures.failures.groups)),
)


@blueprint.get("")
def index() -> str:
    """The page, or only what changes on it."""
    window = Window.read(request.args)
    owner_name = g.actor.owner_name
    figures = _figures.get(
        (db.session().get_bind(), owner_name, window.key),
        lambda: _find(window, owner_name),
        told_at(),
    )
    found = figures.failures
    most = max((max(group.counts) for group in found.groups), default=0)
    return render_template(
        "failures/_groups.html" if wants_fragment() else "failures/index.html",
        window=window,
        here=here(),
        at=datetime.now(UTC),
        found=found,
        types=figures.known_types,
        step=STEP_WORDS[found.step_seconds],
        most_jobs=failures.MOST_JOBS,
        sparkline=lambda group: _sparkline(group, most),
        sentences={group.fingerprint: _course(group, found) for group in found.groups},
        action_url=lambda group, action: _action_url(window, found, group, action),
        jobs_url=_jobs_url,
        stretch=_stretch(window.since, window.until + timedelta(seconds=1)),
        steps=_steps(found),
        may_act="submit" in g.actor.scopes,
    )


@blueprint.get("/<fingerprint>/<action>")
def ask(fingerprint: str, action: str) -> str:
    """Show what an action on a group would be done to."""
    authorize(g.actor, "submit")
    asked = _asked(fingerprint, action)
    return render_template(
        "failures/ask.html",
        action=action,
        asked=asked,
        window=Window.read(request.args),
        preview=job_bulk.preview(db.session(), action, asked, g.actor),
        back=_back(),
    )


@blueprint.post("/<fingerprint>/<action>")
def act(fingerprint: str, action: str) -> ResponseReturnValue:
    """Start the job that retries or deletes a group, and show it."""
    session = db.session()
    job_id = job_bulk.start(session, action, _asked(fingerprint, action), g.actor)
    session.commit()
    return redirect(url_for("jobs.show", job_id=job_id), 303)


def _find(window: Window, owner_name: str | None) -> Figures:
    session = db.session()
    found = failures.find(
        session,
        since=window.since,
        until=window.until,
        task=window.type,
        owner_name=owner_name,
    )
    types = job_types.list_types(session, owner_name)
    return Figures(found, [each.name for each in types])


def _asked(fingerprint: str, action: str) -> BulkFilter:
    """The jobs of a group in the address's window."""
    if action not in _ACTIONS or not _FINGERPRINT.fullmatch(fingerprint):
        raise NotFound("There is no such group of failures.")
    window = Window.read(request.args)
    return BulkFilter(
        status="failed",
        job_type=window.type,
        error_fingerprint=fingerprint,
        completed_after=window.since,
        completed_before=window.until,
    )


def _action_url(window: Window, found: Failures, group: Group, action: str) -> str:
    """With fixed times: what was looked at is what is acted on."""
    return url_for(
        "failures.ask",
        fingerprint=group.fingerprint,
        action=action,
        range=DATES,
        type=group.task,
        **{  # type: ignore[arg-type]
            "from": (found.back_to or window.since).isoformat(),
            "to": window.until.isoformat(),
        },
    )


def _jobs_url(group: Group) -> str:
    """The list of a group's jobs that failed, for a stretch of time to be put behind it."""
    jobs = url_for("jobs.index", status="failed", type=group.task)
    return f"{jobs}&q={quote_plus(f'fingerprint:{group.fingerprint} ')}"


def _stretch(since: datetime, until: datetime) -> str:
    """As the address of a list of jobs has it."""
    at_ = [moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") for moment in (since, until)]
    return quote_plus(f"completed:>={at_[0]} completed:<{at_[1]}")


def _steps(found: Failures) -> list[Step]:
    """Made once: there are as many bars as steps in every one of the groups."""
    count = max((len(group.counts) for group in found.groups), default=0)
    length = found.step_seconds
    steps = []
    for place in range(count):
        begins = found.begins_at + timedelta(seconds=place * length)
        words = f"{at(begins, length)} {zone_of(begins, length)}"
        width = charts.WIDTH / count
        query = _stretch(begins, begins + timedelta(seconds=length))
        steps.append(Step(round(place * width, 2), round(width, 2), words, query))
    return steps


def _back() -> str:
    given = {name: request.args.get(name) for name in ("range", "from", "to")}
    return url_for("failures.index", **given)  # type: ignore[arg-type]


def _sparkline(group: Group, most: int) -> str:
    return charts.outline(charts.bars([[("failed", count)] for count in group.counts], most))


def _course(group: Group, found: Failures) -> str:
    """Like: at most 12 in one hour, from 26 Nov 14:00 UTC."""
    most = max(group.counts)
    place = group.counts.index(most)
    begins_at = datetime.fromtimestamp(
        found.begins_at.timestamp() + place * found.step_seconds, UTC
    )
    word = STEP_WORDS[found.step_seconds]
    step = f"one {word}" if word[0].isalpha() else word
    when = f"{at(begins_at, found.step_seconds)} {zone_of(begins_at, found.step_seconds)}"
    return f"at most {most:,} in {step}, from {when}"
