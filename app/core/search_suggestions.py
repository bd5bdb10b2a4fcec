"""What may follow in a search that is being typed: fields, and the values that the record knows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.core import job_bulk, job_types
from app.core.models import Job
from app.core.search_syntax import ARGUMENTS, FIELDS, quoted
from app.core.status import API

MOST = 8
_NEWEST = 2000  # of one user's jobs, or of all for the names of arguments
_NEWEST_ARGUMENTS = 200
_LETTERS_OF_TYPE = 3  # of a word that may be the name of a type

_MEANINGS = {
    "type": "what a job does",
    "status": "pending, running, completed, failed, cancelled",
    "queue": "where it waits or waited",
    "user": "whose it is",
    "model": "the model it is for",
    "worker": "who ran it last",
    "lock": "never two at a time with one",
    "queueing_lock": "only one waits with it",
    "fingerprint": "a kind of failure",
    "bulk": "the jobs of a bulk action, by its number",
    "error": "a part of its error",
    "id": "its number",
    "duration": "how long it ran, like >60 or >5m",
    "created": "a day, or >24h for the last day",
    "started": "a day, or >24h for the last day",
    "completed": "a day, or >24h for the last day",
    ARGUMENTS: "the value of an argument",
}
_EXAMPLES = {
    "duration": (">60", ">5m", ">1h", "<1"),
    "created": (">1h", ">24h", ">7d"),
    "started": (">1h", ">24h", ">7d"),
    "completed": (">1h", ">24h", ">7d"),
}
_COLUMNS: dict[str, Any] = {
    "queue": Job.queue,
    "user": Job.owner_name,
    "model": Job.model,
    "worker": Job.worker_name,
}
_LAST = re.compile(r"(?:^|(?<=\s))(-?)(?:([A-Za-z]+):)?([^\s:\"]*)$")
_PLAIN = re.compile(r"[^\s\",]+")


@dataclass(frozen=True)
class Suggestion:
    """A word to go on with: `text` is the whole search with it. A field is not complete yet."""

    word: str
    meaning: str
    text: str
    is_complete: bool = True


def suggest(session: Session, text: str, owner_name: str | None) -> list[Suggestion]:
    """What may stand at the end of a text, among a user's jobs or (None) everybody's."""
    last = _LAST.search(text)
    if last is None or text.count('"') % 2:
        return []
    before, sign, field, begun = text[: last.start()], last[1], last[2], last[3]
    if field is not None:
        head = f"{before}{sign}{field}:"
        return [
            Suggestion(f"{field}:{value}", _meaning(field, value), f"{head}{_quoted(value)} ")
            for value in _values(session, field.lower(), begun, owner_name)
        ]
    head = before + sign
    if begun.lower().startswith(ARGUMENTS):
        names = _arguments(session, begun[len(ARGUMENTS) :], owner_name)
        return [_field(head, name) for name in names]
    names = [
        name if name == ARGUMENTS else f"{name}:"
        for name in (*FIELDS, ARGUMENTS)
        if name.startswith(begun.lower())
    ]
    types = _types(session, begun, owner_name) if len(begun) >= _LETTERS_OF_TYPE else []
    return [_field(head, name) for name in names] + [
        Suggestion(f"type:{value}", _meaning("type", value), f"{head}type:{_quoted(value)} ")
        for value in types
    ]


def _field(head: str, name: str) -> Suggestion:
    return Suggestion(name, _MEANINGS.get(name.rstrip(":"), ""), head + name, False)


def _types(session: Session, begun: str, owner_name: str | None) -> list[str]:
    return job_types.find(session, begun, owner_name, MOST)


def _meaning(field: str, value: str) -> str:
    """What people call a type, where that is another word."""
    label = job_types.label(value)
    return label if field.lower() == "type" and label != value else ""


def _quoted(value: str) -> str:
    return value if _PLAIN.fullmatch(value) else quoted(value)


def _values(session: Session, field: str, begun: str, owner_name: str | None) -> list[str]:
    if field == "status":
        return [word for word in API.vocabulary if word.startswith(begun.lower())]
    if field in _EXAMPLES:
        return [word for word in _EXAMPLES[field] if word.startswith(begun)]
    if field == "bulk":
        return _bulk_actions(session, begun, owner_name)
    if field == "type":
        return _types(session, begun, owner_name)
    column = _COLUMNS.get(field)
    if column is None:
        return []
    if owner_name is None:
        return list(_walk(session, column, begun))
    newest = (
        select(column.label("value"))
        .where(Job.owner_name == owner_name)
        .order_by(Job.created_at.desc(), Job.id.desc())
        .limit(_NEWEST)
        .subquery("newest")
    )
    value = newest.c.value
    begins = value.startswith(begun, autoescape=True)
    query = select(value).where(begins).distinct().order_by(value).limit(MOST)
    return list(session.scalars(query))


def _bulk_actions(session: Session, begun: str, owner_name: str | None) -> list[str]:
    """The newest ones."""
    newest = select(Job.id).where(Job.task == job_bulk.TASK)
    if owner_name is not None:
        newest = newest.where(Job.owner_name == owner_name)
    found = session.scalars(newest.order_by(Job.created_at.desc(), Job.id.desc()).limit(MOST))
    return [str(job_id) for job_id in found if str(job_id).startswith(begun)]


def _walk(session: Session, column: Any, begun: str) -> Iterator[str]:
    """From value to value along the column's index, instead of over all jobs."""
    last: str | None = None
    for _ in range(MOST):
        is_next = column >= begun if last is None else column > last
        found: str | None = session.scalar(select(func.min(column)).where(is_next))
        if found is None or not found.startswith(begun):
            return
        yield found
        last = found


def _arguments(session: Session, begun: str, owner_name: str | None) -> list[str]:
    newest = select(Job.arguments).order_by(Job.created_at.desc(), Job.id.desc())
    if owner_name is not None:
        newest = newest.where(Job.owner_name == owner_name)
    some = newest.limit(_NEWEST_ARGUMENTS).subquery("newest")
    names = select(func.jsonb_object_keys(some.c.arguments).label("name")).distinct()
    found = names.subquery("names").c.name
    query = select(found).where(found.startswith(begun, autoescape=True)).order_by(found)
    return [
        f"{ARGUMENTS}{name}:"
        for name in session.scalars(query.limit(MOST))
        if re.fullmatch(r"[^\s:\"]+", name)
    ]
