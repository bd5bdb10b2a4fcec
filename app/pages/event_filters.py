"""The filters of the incidents: read from the address, and said in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from flask import url_for
from werkzeug.datastructures import MultiDict

from app.core.errors import Invalid
from app.core.incident_matching import Wanted
from app.core.incidents import SOURCES
from app.core.models.record import RISK_LEVELS
from app.core.verdicts import VERDICTS
from app.pages.typed_times import moment

RANGES = {
    "24h": ("24 h", timedelta(hours=24), "last 24 hours"),
    "7d": ("7 d", timedelta(days=7), "last 7 days"),
    "30d": ("30 d", timedelta(days=30), "last 30 days"),
    "90d": ("90 d", timedelta(days=90), "last 90 days"),
    "all": ("All", None, "since the beginning"),
}
_DEFAULT = "30d"
_REVIEWED = {"no": "Not reviewed", "yes": "Reviewed"}
_VERDICTS = {**{name: f"Verdict: {name}" for name in VERDICTS}, "none": "No verdict yet"}
_LONGEST = 500
MOST_IDS = 1000


@dataclass(frozen=True)
class EventFilters:
    """What the reader chose to see; empty means everything."""

    severity: str = ""
    source: str = ""
    reviewed: str = ""
    verdict: str = ""
    type: str = ""
    q: str = ""
    range: str = _DEFAULT
    cursor: str = ""

    severities = tuple(reversed(RISK_LEVELS))
    sources = SOURCES
    reviews = tuple(_REVIEWED.items())
    verdicts = tuple(_VERDICTS.items())
    ranges = tuple((key, words[0]) for key, words in RANGES.items())

    @classmethod
    def read(cls, args: MultiDict[str, str]) -> EventFilters:
        """From the address. Raises Invalid, naming what can't be read."""
        given = {
            name: args.get(name, "").replace("\0", "").strip() for name in cls.__dataclass_fields__
        }
        given["range"] = given["range"] or _DEFAULT
        for name, value in given.items():
            if len(value) > _LONGEST:
                raise Invalid(f"{name} is longer than {_LONGEST} characters.", param=name)
        for name, known in (
            ("severity", dict.fromkeys(RISK_LEVELS)),
            ("reviewed", _REVIEWED),
            ("verdict", _VERDICTS),
            ("range", RANGES),
        ):
            _one_of(given[name], name, known)
        return cls(**given)

    @property
    def is_any(self) -> bool:
        """Whether something is chosen that is not usual."""
        return self.given().keys() - {"cursor"} != set()

    @property
    def scope(self) -> str:
        """The window in words."""
        return RANGES[self.range][2]

    def wanted(self, now: datetime) -> Wanted:
        """The same for the core."""
        length = RANGES[self.range][1]
        return Wanted(
            risk_level=self.severity or None,
            source=self.source or None,
            is_reviewed={"yes": True, "no": False}.get(self.reviewed),
            verdict=self.verdict or None,
            task=self.type or None,
            text=self.q or None,
            since=None if length is None else now - length,
        )

    def given(self) -> dict[str, str]:
        """What is not as usual, by its name in the address."""
        every = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {
            name: value
            for name, value in every.items()
            if value and not (name == "range" and value == _DEFAULT)
        }

    def url(self, **changed: Any) -> str:
        """The address of the list with some of it changed, from its first page on."""
        asked = replace(self, **{"cursor": "", **changed})
        return url_for("events_pages.index", **asked.given())  # type: ignore[arg-type]

    def matching_url(self, action: str, until: datetime) -> str:
        """Where an action on all that match is asked for: those that were there when it was looked at."""
        given = replace(self, cursor="").given()
        return url_for(
            "events_pages.ask",
            action=action,
            all="1",
            until=until.isoformat(),
            **given,  # type: ignore[arg-type]
        )


def chosen(args: MultiDict[str, str]) -> tuple[EventFilters, Wanted]:
    """What an action is asked for: the `ids`, or `all` that match. Raises Invalid."""
    filters = EventFilters.read(args)
    if args.get("all") == "1":
        until = moment(args, "until") or datetime.now(UTC)
        return filters, replace(filters.wanted(until), until=until)
    said = args.getlist("ids")
    if not said:
        raise Invalid("ids is missing: pick at least one incident.", param="ids")
    if len(said) > MOST_IDS:
        raise Invalid(f"ids are {MOST_IDS:,} at most.", param="ids")
    if not all(each.isascii() and each.isdecimal() and len(each) < 19 for each in said):
        raise Invalid("ids must be whole numbers.", param="ids")
    return filters, Wanted(ids=tuple(int(each) for each in said))


def _one_of(value: str, name: str, known: Mapping[str, object]) -> None:
    if value and value not in known:
        raise Invalid(f"{name} must be one of {', '.join(known)}.", param=name)
