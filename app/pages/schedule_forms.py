"""The form of a schedule: what was filled in, what it means, and what is wrong with which field."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from app.core.errors import Invalid, StokerError
from app.core.models import Schedule
from app.core.schedule_definitions import Changes, Definition, definition_of
from app.core.schedule_times import Cron, Interval, Once, zone
from app.pages.typed_times import address, moment, zone_name
from app.pages.typed_times import field as field_of

KINDS = {"cron": "By the calendar (cron)", "interval": "At an interval", "once": "Once"}
UNITS = {"60": "minutes", "3600": "hours", "86400": "days", "1": "seconds"}
MISSED = {
    "one": "one run for all that were missed",
    "skip": "none: they are skipped",
    "all": "all of them, the latest so many",
}
OVERLAPS = {
    "skip": "skip the new one",
    "queue": "let the new one wait for it",
    "allow": "run them beside each other",
}
_FIELDS = (
    *("name", "task", "args", "queue", "priority", "kind", "cron", "timezone", "every", "unit"),
    *("starts_at", "at", "missed_policy", "missed_limit", "overlap_policy", "jitter_seconds"),
    *("starts_at-at", "zone"),
)
_USUAL = {
    "args": "{}",
    "priority": "0",
    "kind": "cron",
    "cron": "0 7 * * 1-5",
    "every": "1",
    "unit": "3600",
    "missed_policy": "one",
    "missed_limit": "10",
    "overlap_policy": "skip",
    "jitter_seconds": "0",
}
# Where the core's names and the form's differ.
_PLACES = {"seconds": "every", "trigger": "kind"}


@dataclass
class Form:
    """The fields as text; `faults` says what is wrong, by field."""

    given: dict[str, str]
    faults: dict[str, str] = field(default_factory=dict)

    @classmethod
    def new(cls) -> Form:
        """An empty one."""
        usual = {**_USUAL, "timezone": zone_name(), "zone": zone_name()}
        return cls({name: usual.get(name, "") for name in _FIELDS})

    @classmethod
    def read(cls, args: Mapping[str, str]) -> Form:
        """What was sent; what was not is as in an empty one."""
        usual = cls.new().given
        return cls(
            {name: args.get(name, usual[name]).replace("\0", "").strip() for name in _FIELDS}
        )

    @classmethod
    def of(cls, schedule: Schedule) -> Form:
        """A schedule as it stands."""
        known = definition_of(schedule)
        given = cls.new().given | {
            "name": known.name,
            "task": known.task,
            "args": json.dumps(known.args, indent=2, ensure_ascii=False),
            "queue": known.queue or "",
            "priority": str(known.priority),
            "kind": known.trigger.kind,
            "missed_policy": known.missed_policy,
            "missed_limit": str(known.missed_limit),
            "overlap_policy": known.overlap_policy,
            "jitter_seconds": f"{known.jitter_seconds:g}",
        }
        match known.trigger:
            case Cron() as cron:
                given |= {"cron": cron.cron, "timezone": cron.timezone}
            case Interval() as interval:
                unit = next(unit for unit in (86400, 3600, 60, 1) if interval.seconds % unit == 0)
                given |= {"every": str(interval.seconds // unit), "unit": str(unit)}
                if interval.starts_at is not None:
                    given["starts_at"] = field_of(interval.starts_at, seconds=True)
                    given["starts_at-at"] = address(interval.starts_at)
            case Once() as once:
                at = once.at.astimezone(UTC if once.timezone == "UTC" else zone(once.timezone))
                given |= {"at": f"{at:%Y-%m-%dT%H:%M:%S}", "timezone": once.timezone}
        return cls(given)

    def definition(self) -> Definition | None:
        """What it defines; None where something is wrong, which `faults` then says."""
        said = {
            **{
                name: self.given[name]
                for name in ("name", "task", "missed_policy", "overlap_policy")
            },
            "args": self._arguments(),
            "queue": self.given["queue"] or None,
            "priority": self._number("priority"),
            "missed_limit": self._number("missed_limit"),
            "jitter_seconds": self.given["jitter_seconds"] or "0",
            "trigger": self.trigger(),
        }
        try:
            definition = Definition.model_validate(said)
        except ValidationError as fault:
            for each in fault.errors(include_url=False, include_input=False):
                self._fault(str(each["loc"][-1]), str(each["msg"]))
            return None
        return None if self.faults else definition

    def trigger(self) -> dict[str, Any]:
        """When it runs, as the core reads it."""
        match self.given["kind"]:
            case "interval":
                every, unit = self._number("every"), self.given["unit"]
                size = int(unit) if unit in UNITS else 1
                seconds = every * size if isinstance(every, int) else every
                return {
                    "kind": "interval",
                    "seconds": seconds,
                    "starts_at": self._moment("starts_at"),
                }
            case "once":
                timezone = self.given["timezone"] or "UTC"
                return {"kind": "once", "at": self.given["at"], "timezone": timezone}
            case kind:
                timezone = self.given["timezone"] or "UTC"
                return {"kind": kind, "cron": self.given["cron"], "timezone": timezone}

    def changes(self, schedule: Schedule) -> Changes | None:
        """What of a schedule it changes; None where something is wrong."""
        wanted = self.definition()
        if wanted is None:
            return None
        known = definition_of(schedule)
        changed = {
            name: getattr(wanted, name)
            for name in Definition.model_fields
            if getattr(wanted, name) != getattr(known, name)
        }
        return Changes(**changed)

    def refuse(self, refusal: StokerError) -> None:
        """What the core refused, at its field."""
        name = (refusal.param or "").rpartition(".")[2]
        # What is none of the form's own fields is one of the task's arguments.
        place = _PLACES.get(name, name) if name else "all"
        self.faults[place if place in (*_FIELDS, "all") else "args"] = refusal.message

    def _fault(self, name: str, message: str) -> None:
        place = _PLACES.get(name, name)
        if place not in _FIELDS:
            place = "kind"
        words = message.removeprefix("Value error, ")
        self.faults.setdefault(place, words[:1].upper() + words[1:] + ".")

    def _arguments(self) -> Any:
        text = self.given["args"] or "{}"
        try:
            found = json.loads(text, parse_constant=_refuse_constant)
            json.dumps(found, ensure_ascii=False).encode()
        except json.JSONDecodeError as fault:
            self.faults["args"] = (
                f"This is no JSON at line {fault.lineno}, column {fault.colno}: {fault.msg}."
            )
            return {}
        except (ValueError, RecursionError):
            self.faults["args"] = (
                "This JSON is nested too deep, or has half a character, NaN, Infinity or a number "
                "that is too long."
            )
            return {}
        if not isinstance(found, dict):
            self.faults["args"] = 'This must be a JSON object, such as {"format": "csv"}.'
            return {}
        if "\\u0000" in text:
            self.faults["args"] = "No text has the character NUL."
        return found

    def _number(self, name: str) -> int | str:
        """A whole number, else the text: the core says what is wrong with it."""
        text = self.given[name] or _USUAL.get(name, "0")
        return (
            int(text)
            if len(text) < 12 and text.removeprefix("-").isdecimal() and text.isascii()
            else text
        )

    def _moment(self, name: str) -> str | None:
        """A time on the reader's clock, as the core reads it."""
        try:
            return address(moment(self.given, name)) or None
        except Invalid as fault:
            self.faults.setdefault(name, fault.message)
            return None


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def local_runs(runs: list[datetime], timezone: str) -> list[str]:
    """Planned times as the schedule's own zone has them."""
    local = UTC if timezone == "UTC" else zone(timezone)
    form = "%a %d %b %Y %H:%M:%S" if any(run.second for run in runs) else "%a %d %b %Y %H:%M"
    return [f"{run.astimezone(local):{form}}" for run in runs]
