"""The built-in tasks: what each does, and a form made of the arguments that it takes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from flask import Blueprint, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from app.core import audit, tasks
from app.core.errors import Forbidden, Invalid, LimitReached, StokerError
from app.core.tasks import TaskSpec
from app.core.users import authorize
from app.extensions import current_settings, db

blueprint = Blueprint("tasks", __name__, url_prefix="/tasks")


@dataclass(frozen=True)
class Field:
    """One argument as a form's field; `kind` is text, number, moment, choice or switch."""

    name: str
    kind: str
    is_needed: bool
    default: Any
    choices: tuple[str, ...]
    least: int | None
    most: int | None

    @property
    def word(self) -> str:
        return self.name.replace("_", " ").capitalize()

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
    session = db.session()
    try:
        job_id = tasks.defer_task(
            session, name, _arguments(tasks.get(name)), g.actor, settings=current_settings()
        )
    except (Invalid, LimitReached) as refusal:
        session.rollback()
        return _page(name, refusal), refusal.http_status
    audit.record(session, g.actor.label, "task.start", str(job_id), name)
    session.commit()
    return redirect(url_for("jobs.show", job_id=job_id), 303)


def _page(at_fault: str | None = None, refusal: StokerError | None = None) -> str:
    return render_template(
        "tasks/index.html",
        tasks=[
            (spec, list(_fields(spec)), request.form if spec.name == at_fault else {})
            for spec in tasks.TASKS.values()
            if spec.is_deferrable and _may_start(spec)
        ],
        at_fault=at_fault,
        refusal=refusal,
    )


def _may_start(spec: TaskSpec) -> bool:
    try:
        authorize(g.actor, spec.scope)
    except Forbidden:
        return False
    return True


def _arguments(spec: TaskSpec) -> dict[str, Any]:
    """What was filled in: a field that was left alone is no argument."""
    given: dict[str, Any] = {}
    for field in _fields(spec):
        value = request.form.get(field.name, "").strip()
        if field.kind == "moment" and value:
            value += "Z"  # the form says that its times are UTC
        if value:
            given[field.name] = value
    return given


def _fields(spec: TaskSpec) -> Iterator[Field]:
    schema = spec.arguments.model_json_schema()
    for name, described in schema.get("properties", {}).items():
        kinds = described.get("anyOf", [described])
        kind = next(each for each in kinds if each.get("type") != "null")
        yield Field(
            name,
            _kind(kind),
            is_needed=name in schema.get("required", ()),
            default=described.get("default"),
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
        case "boolean":
            return "switch"
        case "array":
            return "list"
    return "moment" if schema.get("format") == "date-time" else "text"
