"""Which incidents a reader wants: filters as conditions that indexes serve, or that read so many at most."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, and_, cast, exists, func, or_, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Session

from app.core.batch_matching import escaped, plan_anew
from app.core.models import INCIDENT_WORDS, Incident, Job
from app.core.search_words import has_trigram

# So many are found by an index of their own and looked at one by one.
MOST_FOUND = 10_000
# What no index serves is looked for among so many of the newest.
LOOSE_LIMIT = 100_000
_MOST_ID = 2**63 - 1
_MOST_WORDS = 20

Conditions = tuple[ColumnElement[bool], ...]


@dataclass(frozen=True)
class Wanted:
    """Which incidents; None means any. `since` and `until` are of their opening.

    `verdict` may be "none": no model has judged it. `ids` are these alone.
    """

    risk_level: str | None = None
    source: str | None = None
    is_reviewed: bool | None = None
    verdict: str | None = None
    task: str | None = None
    text: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    ids: tuple[int, ...] | None = None

    @property
    def is_walkable(self) -> bool:
        """Whether one index leads through them, the newest first."""
        if self.task or self.text or self.is_reviewed or self.verdict == "none":
            return False
        return (self.risk_level, self.source, self.verdict, self.is_reviewed).count(None) >= 3


@dataclass(frozen=True)
class Matching:
    """Conditions on incidents. `looked_at` is how many of the newest were searched, where not all."""

    conditions: Conditions
    looked_at: int | None = None


def match(session: Session, wanted: Wanted, owner_name: str | None) -> Matching:
    """Everybody's that are wanted, or (with an owner) those about the owner's jobs.

    Few that have the words, or are open, are looked up apart: the planner does not know how they and the
    other filters go together.
    """
    plan_anew(session)
    if wanted.ids is not None or wanted.is_walkable:
        return Matching(conditions(wanted, owner_name))
    led, rest = Wanted(), wanted
    if wanted.text and _has_words_index(session, wanted.text):
        led, rest = replace(led, text=wanted.text), replace(rest, text=None)
    if wanted.is_reviewed is False:
        led, rest = replace(led, is_reviewed=False), replace(rest, is_reviewed=None)
    if led != Wanted():
        found = _ids(session, conditions(led, None))
        if found is not None:
            return Matching((*conditions(rest, owner_name), found))
    return _among_the_newest(session, wanted, owner_name)


def conditions(wanted: Wanted, owner_name: str | None) -> Conditions:
    """What an incident must meet."""
    found: list[ColumnElement[bool]] = []
    if owner_name is not None:
        found.append(exists().where(Job.id == Incident.job_id, Job.owner_name == owner_name))
    if wanted.ids is not None:
        found.append(Incident.id.in_(wanted.ids))
    if wanted.risk_level is not None:
        found.append(Incident.risk_level == wanted.risk_level)
    if wanted.source is not None:
        found.append(Incident.source == wanted.source)
    if wanted.is_reviewed is not None:
        is_open = Incident.reviewed_at.is_(None)
        found.append(~is_open if wanted.is_reviewed else is_open)
    if wanted.verdict is not None:
        is_any = Incident.verdict == wanted.verdict
        found.append(Incident.verdict.is_(None) if wanted.verdict == "none" else is_any)
    if wanted.task is not None:
        tasks: Any = (Incident.details["task"].astext, Incident.details["other_task"].astext)
        found.append(or_(*(task == wanted.task for task in tasks)))
    if wanted.text:
        found.append(_says(wanted.text))
    if wanted.since is not None:
        found.append(Incident.opened_at >= wanted.since)
    if wanted.until is not None:
        found.append(Incident.opened_at < wanted.until)
    return tuple(found)


def _says(text: str) -> ColumnElement[bool]:
    """All words are in what it says; a number is also its own, or its job's."""
    words = []
    for word in text.split()[:_MOST_WORDS]:
        fits: ColumnElement[bool] = INCIDENT_WORDS.like(f"%{escaped(word.lower())}%")
        if _is_number(word):
            fits = or_(fits, _has_number(int(word)))
        words.append(fits)
    return and_(*words)


def _is_number(word: str) -> bool:
    return word.isascii() and word.isdecimal() and len(word) < 20 and int(word) <= _MOST_ID


def _has_number(number: int) -> ColumnElement[bool]:
    return or_(Incident.id == number, Incident.job_id == number)


def _among_the_newest(session: Session, wanted: Wanted, owner_name: str | None) -> Matching:
    """What too many have, or no index finds, is looked for among the newest of the window."""
    asked = conditions(wanted, owner_name)
    window = conditions(Wanted(since=wanted.since, until=wanted.until), None)
    newest = select(Incident.opened_at).where(*window).order_by(Incident.opened_at.desc())
    bound = session.scalar(newest.offset(LOOSE_LIMIT - 1).limit(1))
    is_new: Conditions = () if bound is None else (Incident.opened_at >= bound,)
    looked_at = None if bound is None else LOOSE_LIMIT
    if wanted.text:
        # Read once, instead of once for the page and once to count.
        words = conditions(Wanted(text=wanted.text), None)
        found = _ids(session, (*words, *window, *is_new))
        if found is not None:
            rest = replace(wanted, text=None)
            found = or_(found, *_of_that_number(wanted.text))
            return Matching((*conditions(rest, owner_name), found), looked_at)
    return Matching((*asked, *is_new), looked_at)


def _of_that_number(text: str) -> Conditions:
    """A number alone has indexes, however old its incident is."""
    word = text.strip()
    return (_has_number(int(word)),) if _is_number(word) else ()


def _ids(session: Session, asked: Conditions) -> ColumnElement[bool] | None:
    """That an incident is one of those; None where they are too many."""
    ids = list(session.scalars(select(Incident.id).where(*asked).limit(MOST_FOUND + 1)))
    if len(ids) > MOST_FOUND:
        return None
    return Incident.id == func.any(cast(ids, ARRAY(BigInteger)))


def _has_words_index(session: Session, text: str) -> bool:
    """Whether the index has one of the words, where the server offers trigrams."""
    if not any(has_trigram(word) for word in re.split(r"\s+", text)[:_MOST_WORDS]):
        return False
    return session.scalar(select(func.to_regclass("incident_words_idx").is_not(None))) is True
