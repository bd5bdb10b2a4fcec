"""The history's filters: read from the address, and said in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from flask import url_for
from werkzeug.datastructures import MultiDict

from app.core.batch_matching import LONGEST_SEARCH, BatchFilters
from app.core.batch_orders import SORTS, Order, Sort
from app.core.errors import Invalid
from app.pages.typed_times import address, at_minute, moment, span
from app.pages.window import RANGES as ALL_RANGES

_RANGES = {key: ALL_RANGES[key] for key in ("24h", "7d", "30d")}
_DATES = "dates"
STATUSES = {
    "completed": "Completed",
    "failed": "Failed",
    "in_progress": "In Progress",
    "queued": "Queued",
    "cancelled": "Cancelled",
}
# The order that a first click on a column's head gives: what one looks for first.
_FIRST_ORDERS: dict[Sort, Order] = {"batch": "asc", "status": "asc", "model": "asc", "user": "asc"}
_USUAL = ("created", "desc")
_LONGEST_NAME = 400


@dataclass(frozen=True)
class Chip:
    """One active filter in words, and the address of the list without it."""

    name: str
    value: str
    url_without: str


@dataclass(frozen=True)
class Filters:
    """What the reader chose to see; empty means everything. `user` is a user's name."""

    statuses: tuple[str, ...] = ()
    model: str = ""
    user: str = ""
    range: str = ""
    since: datetime | None = None
    until: datetime | None = None
    q: str = ""
    sort: Sort = "created"
    order: Order = "desc"
    cursor: str = ""

    ranges = (("", "All"), *((key, words[0]) for key, words in _RANGES.items()), (_DATES, "Dates"))
    all_statuses = tuple(STATUSES.items())
    longest_search = LONGEST_SEARCH

    @classmethod
    def read(cls, args: MultiDict[str, str]) -> Filters:
        """From the address. Raises Invalid, naming what can't be read."""
        chosen = _one_of(args, "range", {**_RANGES, _DATES: ()}) or ""
        has_dates = chosen == _DATES
        since = moment(args, "from") if has_dates else None
        until = moment(args, "to", is_end=True) if has_dates else None
        if since and until and since >= until:
            raise Invalid("from must be before to.", param="from")
        sort: Any = _one_of(args, "sort", dict.fromkeys(SORTS)) or _USUAL[0]
        order: Any = _one_of(args, "order", {"asc": (), "desc": ()})
        return cls(
            statuses=_statuses(args),
            model=_name(args, "model"),
            user=_name(args, "user"),
            range=chosen,
            since=since,
            until=until,
            q=_search(args),
            sort=sort,
            order=order or _FIRST_ORDERS.get(sort, "desc"),
            cursor=args.get("cursor", ""),
        )

    @property
    def is_any(self) -> bool:
        """Whether something is hidden by them."""
        return bool(self.statuses or self.model or self.user or self.q or self._has_range)

    @property
    def is_newest_first(self) -> bool:
        """Whether what is new comes on top of the first page."""
        return (self.sort, self.order) == _USUAL

    @property
    def _has_range(self) -> bool:
        return self.range in _RANGES or bool(self.since or self.until)

    @property
    def scope(self) -> str:
        """The time that the figures are of."""
        if self.range in _RANGES:
            return _RANGES[self.range][2]
        if self.since and self.until:
            return span(self.since, self.until)
        if self.since:
            return f"since {at_minute(self.since)}"
        return f"until {at_minute(self.until)}" if self.until else "since the beginning"

    @property
    def title(self) -> str:
        """What the table shows, like: Failed jobs of gemma, last 24 hours."""
        words = f"{_all_of(self.statuses)} jobs" if self.statuses else "All jobs"
        words += f" of {self.model}" if self.model else ""
        words += f" by {self.user}" if self.user else ""
        return f"{words}, {self.scope}" if self._has_range else words

    def matching(self, owner_id: int | None, user_id: int | None, now: datetime) -> BatchFilters:
        """The same for the core; `user_id` is that of the chosen user."""
        since = now - _RANGES[self.range][1] if self.range in _RANGES else self.since
        return BatchFilters(
            owner_id=owner_id,
            user_id=user_id,
            statuses=self.statuses,
            model=self.model or None,
            since=since,
            until=self.until,
            search=self.q,
        )

    def chips(self) -> list[Chip]:
        """The active filters, each to be taken away."""
        found = [
            Chip("Status", STATUSES[each], self.changed(statuses=_without(self.statuses, each)))
            for each in self.statuses
        ]
        if self.model:
            found.append(Chip("Model", self.model, self.changed(model="")))
        if self.user:
            found.append(Chip("User", self.user, self.changed(user="")))
        if self._has_range:
            without = self.changed(range="", since=None, until=None)
            found.append(Chip("Created", self.scope, without))
        if self.q:
            found.append(Chip("Search", self.q, self.changed(q="")))
        return found

    def with_own(self, names: Sequence[str], chosen: str) -> list[str]:
        """A menu's names, the chosen one among them even when no job has it."""
        return [*names] if chosen in ("", *names) else [*names, chosen]

    def aria_sort(self, sort: str) -> str:
        """What a column's head says of the order."""
        if sort != self.sort:
            return "none"
        return "ascending" if self.order == "asc" else "descending"

    def sorted_by(self, sort: Sort) -> str:
        """The address of the list in a column's order; in the other direction if it has that now."""
        first = _FIRST_ORDERS.get(sort, "desc")
        order = first if sort != self.sort else {"asc": "desc", "desc": "asc"}[self.order]
        return self.changed(sort=sort, order=order)

    def changed(self, **changes: object) -> str:
        """The address of the list with other filters, from its first page on."""
        return replace(self, **{"cursor": "", **changes}).url()  # type: ignore[arg-type]

    @property
    def cleared(self) -> str:
        """The address without any filter, in the same order."""
        return Filters(sort=self.sort, order=self.order).url()

    def exported(self, form: str) -> str:
        """The address of all that they find, as `csv` or `json`."""
        return replace(self, cursor="").url(f"history_exports.as_{form}")

    def url(self, endpoint: str = "history.index", **more: str) -> str:
        """Its address, or that of the same filters elsewhere."""
        return url_for(endpoint, **self.given(), **more)  # type: ignore[arg-type]

    def given(self) -> dict[str, str]:
        """What is not as usual, by its name in the address."""
        first = _FIRST_ORDERS.get(self.sort, "desc")
        every = {
            "q": self.q,
            "status": ",".join(self.statuses),
            "model": self.model,
            "user": self.user,
            "range": self.range,
            "from": address(self.since),
            "to": address(self.until),
            "sort": "" if self.sort == _USUAL[0] else self.sort,
            "order": "" if self.order == first else self.order,
            "cursor": self.cursor,
        }
        return {name: value for name, value in every.items() if value}


def _all_of(statuses: Sequence[str]) -> str:
    words = [STATUSES[each] for each in statuses]
    words = words[:1] + [word.lower() for word in words[1:]]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _without(values: tuple[str, ...], value: str) -> tuple[str, ...]:
    return tuple(each for each in values if each != value)


def _one_of(args: MultiDict[str, str], name: str, known: Mapping[str, object]) -> str | None:
    value = args.get(name) or None
    if value is not None and value not in known:
        raise Invalid(f"{name} must be one of {', '.join(known)}.", param=name)
    return value


def _statuses(args: MultiDict[str, str]) -> tuple[str, ...]:
    """Several, each given by itself or all between commas."""
    asked = {word for value in args.getlist("status") for word in value.split(",") if word}
    if not asked <= set(STATUSES):
        raise Invalid(f"status must be one or more of {', '.join(STATUSES)}.", param="status")
    return tuple(word for word in STATUSES if word in asked)


def _name(args: MultiDict[str, str], name: str) -> str:
    value = args.get(name, "")
    if len(value) > _LONGEST_NAME or "\0" in value:
        raise Invalid(f"{name} must be a name of {_LONGEST_NAME} characters at most.", param=name)
    return value


def _search(args: MultiDict[str, str]) -> str:
    value = " ".join(args.get("q", "").split())
    if len(value) > LONGEST_SEARCH or "\0" in value:
        raise Invalid(f"q must be {LONGEST_SEARCH} characters at most.", param="q")
    return value
