"""The filters of the list of jobs: read from the address, and said in words."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from typing import Any

from flask import url_for
from werkzeug.datastructures import MultiDict

from app.core import job_types, search_conditions, search_syntax
from app.core.errors import Invalid
from app.core.job_orders import Order, Sort
from app.core.search_conditions import Search
from app.core.search_syntax import Term
from app.core.status import API
from app.pages.typed_times import address, at_minute, moment, span
from app.pages.window import DATES, RANGES

_STATUSES = {
    "pending": "Pending",
    "scheduled": "– due later",
    "retrying": "– to be retried",
    "running": "Running",
    "completed": "Completed",
    "failed": "Failed",
    "cancelled": "Cancelled",
}
_AGES = {key: RANGES[key] for key in ("1h", "24h", "7d", "30d")}
_TIMES = {"": "Created", "started": "Started", "completed": "Completed"}
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
    """One filter or part of the search's text, and the address of the list without it."""

    text: str
    url_without: str
    is_negated: bool = False


@dataclass(frozen=True)
class JobFilters:
    """What the reader chose to see; empty means everything. `job` is the one that is open.

    `range` is how long ago, or DATES: from `since` to `until`; of which `time`, empty for the creation.
    """

    q: str = ""
    status: str = ""
    type: str = ""
    time: str = ""
    range: str = ""
    since: datetime | None = None
    until: datetime | None = None
    sort: str = ""
    cursor: str = ""
    job: str = ""

    statuses = tuple(_STATUSES.items())
    times = tuple(_TIMES.items())
    ranges = (
        *((key, words[2].capitalize()) for key, words in _AGES.items()),
        (DATES, "From … to …"),
    )
    sorts = tuple((key, words[0]) for key, words in _SORTS.items())

    @classmethod
    def read(cls, args: MultiDict[str, str]) -> JobFilters:
        """From the address. Raises Invalid, naming what can't be read."""
        filters = cls.given_by(args)
        for name, value in filters.given().items():
            if name != "q" and len(value) > _LONGEST:
                raise Invalid(f"{name} is longer than {_LONGEST:,} characters.", param=name)
        _one_of(filters.range, "range" if args.get("range") else "created", (*_AGES, DATES))
        _one_of(filters.time, "time", _TIMES)
        _one_of(filters.sort, "sort", _SORTS)
        API.read_list(filters.status)
        if filters.status == "processing":
            filters = replace(filters, status="running")
        if filters.range != DATES:
            return filters
        since, until = moment(args, "from"), moment(args, "to", is_end=True)
        if since and until and since >= until:
            raise Invalid("from must be before to.", param="from")
        return replace(filters, since=since, until=until)

    @classmethod
    def given_by(cls, args: MultiDict[str, str]) -> JobFilters:
        """What the address says, right or wrong, without `from` and `to`."""
        given = {name: args.get(name, "").strip() for name in _TEXTS}
        given["range"] = given["range"] or args.get("created", "").strip()  # what it was once
        return cls(**given)  # type: ignore[arg-type]

    @property
    def is_any(self) -> bool:
        """Whether something is hidden by them."""
        return bool(self.q or self.status or self.type or self._has_range)

    @property
    def _has_range(self) -> bool:
        return self.range in _AGES or bool(self.since or self.until)

    @property
    def is_newest_first(self) -> bool:
        """Whether what is new comes on top of the first page."""
        return not self.sort

    @property
    def order(self) -> tuple[Sort, Order]:
        return _SORTS[self.sort][1:]

    def _moments(self) -> dict[str, datetime]:
        """From when to when, as a search calls it."""
        since = datetime.now(UTC) - _AGES[self.range][1] if self.range in _AGES else self.since
        name = self.time or "created"
        moments = {f"{name}_after": since, f"{name}_before": self.until}
        return {name: at for name, at in moments.items() if at is not None}

    @property
    def has_own_status(self) -> bool:
        """Whether the chosen status is none of the menu's, such as several."""
        return bool(self.status) and self.status not in _STATUSES

    def search(self, owner_name: str | None) -> Search:
        """What they ask for among a user's jobs or (None) everybody's. Raises Invalid."""
        filters = search_conditions.Filters(
            statuses=API.read_list(self.status),
            job_type=self.type or None,
            **self._moments(),  # type: ignore[arg-type]
        )
        return search_conditions.read(self.q, filters, owner_name=owner_name, dialect=API)

    def bulk_filter(self) -> dict[str, Any]:
        """The same as the filter of an action on all that match."""
        asked = {
            "q": self.q,
            "status": self.status,
            "job_type": self.type,
            **{name: at.isoformat() for name, at in self._moments().items()},
        }
        return {name: value for name, value in asked.items() if value}

    def chips(self) -> list[Chip]:
        """The filters that are chosen, and the parts of the text. Raises Invalid."""
        chosen = []
        if self.status:
            word = _STATUSES.get(self.status, self.status).lstrip("– ")
            chosen.append(Chip(f"Status: {word.lower()}", self.changed(status="")))
        if self.type:
            chosen.append(Chip(f"Type: {job_types.label(self.type)}", self.changed(type="")))
        if self._has_range:
            without = self.changed(time="", range="", since=None, until=None)
            chosen.append(Chip(f"{_TIMES[self.time]}: {self._scope}", without))
        return chosen + [self._chip(term) for term in search_syntax.parse(self.q)]

    @property
    def _scope(self) -> str:
        """The stretch of time, in words."""
        if self.range in _AGES:
            return _AGES[self.range][2]
        if self.since and self.until:
            return span(self.since, self.until)
        at, word = (self.since, "since") if self.since else (self.until, "until")
        assert at is not None
        return f"{word} {at_minute(at)}"

    def _chip(self, term: Term) -> Chip:
        rest = f"{self.q[: term.begin]} {self.q[term.end :]}"
        return Chip(
            self.q[term.begin : term.end],
            self.changed(q=" ".join(rest.split()) if '"' not in rest else rest.strip()),
            term.is_negated,
        )

    def changed(self, **changes: Any) -> str:
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
        every = {name: getattr(self, name) for name in _TEXTS}
        every |= {"from": address(self.since), "to": address(self.until)}
        return {name: value for name, value in every.items() if value}

    def with_own_type(self, types: Sequence[str]) -> list[str]:
        """The menu's types, the chosen one among them even when no job has it."""
        return [*types] if self.type in ("", *types) else [*types, self.type]


# What the address has as it is.
_TEXTS = tuple(each.name for each in fields(JobFilters) if each.name not in ("since", "until"))


def _one_of(value: str, name: str, known: Collection[str]) -> None:
    if value and value not in known:
        raise Invalid(f"{name} must be one of {', '.join(filter(None, known))}.", param=name)
