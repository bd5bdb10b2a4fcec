"""The built-in tasks: what each does, and a form made of the arguments that it takes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from flask import Blueprint, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from pydantic import BaseModel

from app.core import tasks
from app.core.defer import Terms, defer, read_terms, startable
from app.core.errors import (
    Conflict,
    Invalid,
    LimitReached,
    NotFound,
    Refused,
    StokerError,
)
from app.extensions import current_settings, db
from app.pages.typed_times import address, moment

blueprint = Blueprint("tasks", __name__, url_prefix="/tasks")


# What says how a job is to run, beside its task's own arguments.
_OF_TERMS = "how."
_WORDS = {
    "schedule_at": "Not before",
    "lock": "Never beside another with the lock",
    "timeout_seconds": "Time-out in seconds",
    "depends_on": "After the jobs",
    "idempotency_key": "Key under which it starts once",
}


@dataclass(frozen=True)
class Field:
    """One argument as a form's field; `kind` is text, number, decimal, moment, list, choice or switch.

    `form_name` is its name in the form.
    """

    name: str
    form_name: str
    kind: str
    is_needed: bool
    default: Any
    choices: tuple[str, ...]
    least: float | None
    most: float | None

    @property
    def word(self) -> str:
        return _WORDS.get(self.name) or self.name.replace("_", " ").capitalize()

    @property
    def is_list(self) -> bool:
        """Several values, with commas."""
        return self.kind == "list"


@blueprint.get("")
def index() -> str:
    """All tasks that this person may start."""
    return _page()


@blueprint.post("/<name>")
def start(name: str) -> ResponseReturnValue:
    """Start a task with what the form says; then show its job."""
    spec = tasks.get(name)
    session = db.session()
    try:
        deferred = defer(
            session,
            name,
            _given(spec.arguments),
            g.actor,
            read_terms(_given(Terms, _OF_TERMS)),
            settings=current_settings(),
        )
    except (Invalid, LimitReached, NotFound, Conflict, Refused) as refusal:
        session.rollback()
        return _page(name, refusal), refusal.http_status
    session.commit()
    return redirect(url_for("jobs.show", job_id=deferred.job_id), 303)


def _page(at_fault: str | None = None, refusal: StokerError | None = None) -> str:
    return render_template(
        "tasks/index.html",
        terms=list(_fields(Terms, _OF_TERMS)),
        tasks=[
            (spec, list(_fields(spec.arguments)), request.form if spec.name == at_fault else {})
            for spec in startable(g.actor)
        ],
        at_fault=at_fault,
        refusal=refusal,
        is_about_terms=refusal is not None and refusal.param in Terms.model_fields,
    )


def _given(asked: type[BaseModel], prefix: str = "") -> dict[str, Any]:
    """What was filled in: a field that was left alone says nothing."""
    given: dict[str, Any] = {}
    for field in _fields(asked, prefix):
        value = request.form.get(field.form_name, "").strip()
        if field.kind == "moment":
            value = address(moment(request.form, field.form_name, called=field.name))
        if value:
            given[field.name] = value
    return given


def _fields(asked: type[BaseModel], prefix: str = "") -> Iterator[Field]:
    schema = asked.model_json_schema()
    for name, described in schema.get("properties", {}).items():
        kinds = described.get("anyOf", [described])
        kind = next(each for each in kinds if each.get("type") != "null")
        yield Field(
            name,
            prefix + name,
            _kind(kind),
            is_needed=name in schema.get("required", ()),
            default=None if described.get("default") == [] else described.get("default"),
            choices=tuple(kind.get("enum", ())),
            least=kind.get("minimum"),
            most=kind.get("maximum"),
        )


def _kind(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return "choice"
    match schema.get("type"):
        case "integer":
            return "number"
        case "number":
            return "decimal"
        case "boolean":
            return "switch"
        case "array":
            return "list"
    return "moment" if schema.get("format") == "date-time" else "text"
