"""The filters of the list of jobs: read from the address, and said in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from flask import url_for
from werkzeug.datastructures import MultiDict

from app.core import search_conditions, search_syntax
from app.core.errors import Invalid
from app.core.job_orders import Order, Sort
from app.core.search_conditions import Search
from app.core.search_syntax import Term
from app.core.status import API

_STATUSES = {
    "pending": "Pending",
    "scheduled": "– due later",
    "retrying": "– to be retried",
    "running": "Running",
    "completed": "Completed",
    "failed": "Failed",
    "cancelled": "Cancelled",
}
_AGES = {
    "1h": ("Last hour", timedelta(hours=1)),
    "24h": ("Last 24 hours", timedelta(hours=24)),
    "7d": ("Last 7 days", timedelta(days=7)),
    "30d": ("Last 30 days", timedelta(days=30)),
}
_SORTS: dict[str, tuple[str, Sort, Order]] = {
    "": ("Newest first", "created_at", "desc"),
    "oldest": ("Oldest first", "created_at", "asc"),
    "started": ("Latest start", "started_at", "desc"),
    "started-first": ("Earliest start", "started_at", "asc"),
    "completed": ("Latest end", "completed_at", "desc"),
    "completed-first": ("Earliest end", "completed_at", "asc"),
    "progress": ("Most progress", "progress", "desc"),
    "progress-least": ("Least progress", "progress", "asc"),
    "status": ("By status", "status", "asc"),
    "status-last": ("By status, ended first", "status", "desc"),
    "type": ("By type, A to Z", "job_type", "asc"),
    "type-last": ("By type, Z to A", "job_type", "desc"),
}
_LONGEST = 2000


@dataclass(frozen=True)
class Chip:
    """One part of the search's text, and the address of the list without it."""

    text: str
    field: str | None
    is_negated: bool
    url_without: str


@dataclass(frozen=True)
class JobFilters:
    """What the reader chose to see; empty means everything. `job` is the one that is open."""

    q: str = ""
    status: str = ""
    type: str = ""
    created: str = ""
    sort: str = ""
    cursor: str = ""
    job: str = ""

    statuses = tuple(_STATUSES.items())
    ages = tuple((key, words[0]) for key, words in _AGES.items())
    sorts = tuple((key, words[0]) for key, words in _SORTS.items())

    @classmethod
    def read(cls, args: MultiDict[str, str]) -> JobFilters:
        """From the address. Raises Invalid, naming what can't be read."""
        given = {name: args.get(name, "").strip() for name in cls.__dataclass_fields__}
        for name, value in given.items():
            if name != "q" and len(value) > _LONGEST:
                raise Invalid(f"{name} is longer than {_LONGEST:,} characters.", param=name)
        _one_of(given["created"], "created", _AGES)
        _one_of(given["sort"], "sort", _SORTS)
        API.read_list(given["status"])
        if given["status"] == "processing":
            given["status"] = "running"
        return cls(**given)

    @property
    def is_any(self) -> bool:
        """Whether something is hidden by them."""
        return bool(self.q or self.status or self.type or self.created)

    @property
    def is_newest_first(self) -> bool:
        """Whether what is new comes on top of the first page."""
        return not self.sort

    @property
    def order(self) -> tuple[Sort, Order]:
        return _SORTS[self.sort][1:]

    @property
    def created_after(self) -> datetime | None:
        """Jobs created from here on."""
        return datetime.now(UTC) - _AGES[self.created][1] if self.created else None

    @property
    def has_own_status(self) -> bool:
        """Whether the chosen status is none of the menu's, such as several."""
        return bool(self.status) and self.status not in _STATUSES

    def search(self, owner_name: str | None) -> Search:
        """What they ask for among a user's jobs or (None) everybody's. Raises Invalid."""
        filters = search_conditions.Filters(
            statuses=API.read_list(self.status),
            job_type=self.type or None,
            created_after=self.created_after,
        )
        return search_conditions.read(self.q, filters, owner_name=owner_name, dialect=API)

    def bulk_filter(self) -> dict[str, Any]:
        """The same as the filter of an action on all that match."""
        asked = {
            "q": self.q,
            "status": self.status,
            "job_type": self.type,
            "created_after": self.created_after and self.created_after.isoformat(),
        }
        return {name: value for name, value in asked.items() if value}

    def chips(self) -> list[Chip]:
        """The parts of the text. Raises Invalid."""
        return [self._chip(term) for term in search_syntax.parse(self.q)]

    def _chip(self, term: Term) -> Chip:
        rest = f"{self.q[: term.begin]} {self.q[term.end :]}"
        return Chip(
            self.q[term.begin : term.end],
            term.field,
            term.is_negated,
            self.changed(q=" ".join(rest.split()) if '"' not in rest else rest.strip()),
        )

    def changed(self, **changes: str) -> str:
        """The address of the list with other filters, from its first page on, no job open."""
        return replace(self, **{"cursor": "", "job": "", **changes}).url()

    def opening(self, job_id: object) -> str:
        """The address of the same page with a job open beside it."""
        return replace(self, job=str(job_id)).url()

    def url(self, **more: str) -> str:
        """Its address."""
        return url_for("jobs.index", **self.given(), **more)  # type: ignore[arg-type]

    def given(self) -> dict[str, str]:
        """What is not empty, by its name in the address."""
        every = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {name: value for name, value in every.items() if value}

    def with_own_type(self, types: Sequence[str]) -> list[str]:
        """The menu's types, the chosen one among them even when no job has it."""
        return [*types] if self.type in ("", *types) else [*types, self.type]


def _one_of(value: str, name: str, known: Mapping[str, object]) -> None:
    if value and value not in known:
        raise Invalid(f"{name} must be one of {', '.join(filter(None, known))}.", param=name)
