"""The audit trail: who did what, when, to what, from where; filtered, paged and exported."""

from __future__ import annotations

from flask import Blueprint, Response, render_template, request, url_for

from app.auth import only_for
from app.core import audit
from app.core.errors import Invalid
from app.core.models import AuditEntry
from app.extensions import db
from app.pages import downloads
from app.pages.fragments import here, wants_fragment
from app.pages.typed_times import address, moment

blueprint = Blueprint("audit_page", __name__, url_prefix="/audit")
only_for(blueprint, "admin")

_PAGE = 50
_LONGEST = 200
_TEXTS = ("actor", "action", "object")

# Where what was acted on can be looked at, by the noun before the action's dot.
_PAGES = {
    "job": ("jobs.show", "job_id"),
    "batch": ("history.show", "batch_id"),
    "alert_rule": ("alerts_page.edit", "rule_id"),
    "webhook_endpoint": ("webhooks.show", "endpoint_id"),
}


@blueprint.get("")
def index() -> str:
    """The page, or only what changes on it."""
    session = db.session()
    wanted = _wanted()
    cursor = request.args.get("cursor") or None
    entries, next_cursor = audit.list_entries(session, wanted, cursor=cursor, limit=_PAGE)
    return render_template(
        "audit/_entries.html" if wants_fragment() else "audit/index.html",
        here=here(),
        entries=entries,
        links={each.id: _link(each) for each in entries},
        wanted=wanted,
        is_filtered=wanted != audit.Filter(),
        is_later=cursor is not None,
        next_url=next_cursor and _url(".index", cursor=next_cursor),
        first_url=_url(".index"),
        export_urls={kind: _url(f".export_{kind}") for kind in ("csv", "json")},
        most_exported=audit.MOST_EXPORTED,
        actions=audit.actions(session),
        actors=audit.actors(session),
    )


@blueprint.get("/export.csv")
def export_csv() -> Response:
    """The entries of the filter as a table, newest first."""
    return _export("audit.csv")


@blueprint.get("/export.json")
def export_json() -> Response:
    """The same as a list of objects."""
    return _export("audit.json")


def _export(name: str) -> Response:
    found = audit.export(db.session(), _wanted())
    return downloads.table(([_row(each) for each in part] for part in found), audit.COLUMNS, name)


def _row(entry: AuditEntry) -> list[object]:
    return [getattr(entry, name) for name in audit.COLUMNS]


def _wanted() -> audit.Filter:
    """From the address. Raises Invalid."""
    texts = {name: request.args.get(name, "").strip() or None for name in _TEXTS}
    for name, value in texts.items():
        if value and (len(value) > _LONGEST or "\0" in value):
            raise Invalid(f"{name} has {_LONGEST} characters at most.", param=name)
    wanted = audit.Filter(
        texts["actor"],
        texts["action"],
        texts["object"],
        moment(request.args, "since"),
        moment(request.args, "until", is_end=True),
    )
    if wanted.since and wanted.until and wanted.since >= wanted.until:
        raise Invalid("since must be before until.", param="since")
    return wanted


def _url(endpoint: str, **more: str) -> str:
    """Of the same filter."""
    wanted = _wanted()
    given = {name: request.args.get(name) for name in _TEXTS}
    given |= {"since": address(wanted.since), "until": address(wanted.until)}
    return url_for(endpoint, **{name: value for name, value in given.items() if value}, **more)  # type: ignore[arg-type]


def _link(entry: AuditEntry) -> str | None:
    page = _PAGES.get(entry.action.partition(".")[0])
    if page is None or entry.action.endswith(".delete") or not entry.object_id:
        return None
    if page[1] == "rule_id" and not entry.object_id.isdecimal():
        return None
    return url_for(page[0], **{page[1]: entry.object_id})  # type: ignore[arg-type]
