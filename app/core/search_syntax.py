"""The syntax of a search for jobs: `type:export -status:failed error:"out of memory" duration:>60`.

Every refusal says at which column (counted from 1) the mistake begins.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from app.core.errors import Invalid

Operator = Literal["", ">", ">=", "<", "<="]

# What may be asked of a field: one of several names, a text within it, a number, a time.
NAMES = (
    "type",
    "status",
    "queue",
    "user",
    "model",
    "worker",
    "lock",
    "queueing_lock",
    "fingerprint",
    "bulk",
)
TEXTS = ("error",)
NUMBERS = ("id", "duration")
TIMES = ("created", "started", "completed")
FIELDS = (*NAMES, *TEXTS, *NUMBERS, *TIMES)
ARGUMENTS = "args."

_LONGEST = 2000
_MOST_TERMS = 32
_LARGEST_ID = 2**62
_LONGEST_DURATION = 10**9

_FIELD = re.compile(r"([A-Za-z_]+(?:\.[^\s:\"]+)?):")
_OPERATOR = re.compile(r">=|<=|>|<")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
_PLAIN = re.compile(r"[^\s\"]+")
_AMOUNT = re.compile(r"(\d{1,12}(?:\.\d{1,9})?)(ms|s|m|h|d|w)?")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}


def quoted(value: str) -> str:
    """A value as a search has to say it, to mean that one: in quotation marks."""
    return '"' + re.sub(r'(["\\])', r"\\\1", value) + '"'


@dataclass(frozen=True)
class Term:
    """One condition of a search; `field` is None for a word that is looked for anywhere.

    It stands in the text from `begin` to `end`.
    """

    column: int
    field: str | None
    operator: Operator
    value: str
    is_negated: bool = False
    begin: int = dataclasses.field(default=0, compare=False)
    end: int = dataclasses.field(default=0, compare=False)

    def refuse(self, reason: str) -> Invalid:
        """That this term can't be understood."""
        return refusal(self.column, reason)

    def names(self) -> list[str]:
        """The names that it lists, separated by commas."""
        return [name for name in self.value.split(",") if name]

    def seconds(self) -> float:
        """The duration that it gives: seconds, or with a unit. Raises Invalid."""
        amount = _AMOUNT.fullmatch(self.value)
        if amount is None:
            raise self.refuse(f"'{self.value}' is no duration: write 60, 90s, 5m, 2h or 1d")
        return min(float(amount[1]) * _SECONDS[amount[2] or "s"], _LONGEST_DURATION)

    def whole_numbers(self) -> list[int]:
        """The whole numbers that it lists. Raises Invalid."""
        found = []
        for name in self.names():
            if not (name.isascii() and name.isdecimal()) or len(name) > 19:
                raise self.refuse(f"'{name}' is no whole number")
            found.append(min(int(name), _LARGEST_ID))
        return found

    def times(self, now: datetime) -> tuple[datetime, datetime]:
        """The moments that its value begins and ends with: a date is a whole day, in UTC.

        `24h` is the moment 24 hours before `now`. Raises Invalid.
        """
        amount = _AMOUNT.fullmatch(self.value)
        if amount is not None and amount[2]:
            try:
                moment = now - timedelta(seconds=float(amount[1]) * _SECONDS[amount[2]])
            except OverflowError:
                raise self.refuse(f"'{self.value}' is before the calendar begins") from None
            return moment, moment
        try:
            moment = datetime.fromisoformat(self.value)
        except ValueError:
            raise self.refuse(
                f"'{self.value}' is no time: write 2026-11-01, 2026-11-01T09:30Z or 24h (ago)"
            ) from None
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        try:
            moment = moment.astimezone(UTC)
            is_day = _DATE.fullmatch(self.value) is not None
            return moment, moment + timedelta(days=1) if is_day else moment
        except OverflowError:
            raise self.refuse(f"'{self.value}' is outside of the calendar") from None


def refusal(column: int, reason: str) -> Invalid:
    """That a search can't be understood from a column on."""
    return Invalid(f"column {column}: {reason}.", param="q")


def parse(text: str) -> list[Term]:
    """The terms of a search, all of which a job must meet. Raises Invalid."""
    if len(text) > _LONGEST:
        raise refusal(_LONGEST + 1, f"a search has {_LONGEST:,} characters at most")
    terms: list[Term] = []
    for term in _terms(text):
        if len(terms) == _MOST_TERMS:
            raise refusal(term.column, f"a search has {_MOST_TERMS} parts at most")
        terms.append(term)
    return terms


def _terms(text: str) -> Iterator[Term]:
    place = 0
    while True:
        while place < len(text) and text[place].isspace():
            place += 1
        if place == len(text):
            return
        term, end = _term(text, place)
        yield dataclasses.replace(term, begin=place, end=end)
        place = end


def _term(text: str, begin: int) -> tuple[Term, int]:
    place = begin
    is_negated = text[place] == "-" and place + 1 < len(text) and not text[place + 1].isspace()
    place += is_negated
    named = _FIELD.match(text, place)
    if named is None:
        value, end = _value(text, place)
        return Term(begin + 1, None, "", value, is_negated), end
    field = _known_field(named[1], place + 1)
    place = named.end()
    sign = _OPERATOR.match(text, place)
    operator: Operator = sign[0] if sign else ""  # type: ignore[assignment]
    place = sign.end() if sign else place
    if operator and field not in (*NUMBERS, *TIMES):
        raise refusal(place, f"'{operator}' can't be asked of {field}, which has no order")
    if place == len(text) or text[place].isspace():
        raise refusal(place + 1, f"the value of {field} is missing")
    value, end = _value(text, place)
    if not value.strip():
        raise refusal(place + 1, f"the value of {field} is empty")
    return Term(place + 1, field, operator, value, is_negated), end


def _known_field(name: str, column: int) -> str:
    if name.startswith(ARGUMENTS):
        return name
    if name.lower() in FIELDS:
        return name.lower()
    raise refusal(
        column,
        f"there is no field '{name}': use {', '.join(FIELDS)} or args.NAME,"
        " or put the text in double quotes",
    )


def _value(text: str, place: int) -> tuple[str, int]:
    """A quoted or plain text, and where it ends."""
    if text[place] == '"':
        found = _QUOTED.match(text, place)
        if found is None:
            raise refusal(place + 1, "the quotation mark is not closed")
        if found.end() < len(text) and not text[found.end()].isspace():
            raise refusal(found.end() + 1, "a space is missing after the quotation mark")
        return re.sub(r"\\(.)", r"\1", found[1], flags=re.DOTALL), found.end()
    plain = _PLAIN.match(text, place)
    assert plain is not None
    if plain.end() < len(text) and text[plain.end()] == '"':
        raise refusal(plain.end() + 1, "a quotation mark begins in the middle of a word")
    return plain[0], plain.end()
