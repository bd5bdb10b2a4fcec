"""Which batches a reader wants: filters as conditions that indexes serve, or that read so many at most."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Integer, Select, cast, func, or_, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Session

from app.core.batch_status import history_status_filter
from app.core.errors import Invalid
from app.core.models import BATCH_WORDS, Batch

# Counting stops here, and so many are found by the filters' own indexes and sorted.
COUNT_LIMIT = 10_000
# What no index serves is looked for among so many of the newest.
LOOSE_LIMIT = 20_000
LONGEST_SEARCH = 200

# `key=value`, "some words", or one word.
_TERM = re.compile(r'(?:([^\s="]+)=)?(?:"([^"]*)"|(\S+))')
_ID_PREFIX = re.compile(r"batch_[0-9A-Za-z_-]*")


@dataclass(frozen=True)
class BatchFilters:
    """What is asked for; empty means everything. `statuses` are the history's words.

    `owner_id` is whose batches the reader may see (None: all), `user_id` whose they chose.
    """

    owner_id: int | None = None
    user_id: int | None = None
    statuses: tuple[str, ...] = ()
    model: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    search: str = ""


@dataclass(frozen=True)
class Matching:
    """Conditions on batches. `looked_at` is how many of the newest were searched, where not all."""

    conditions: tuple[ColumnElement[bool], ...] = ()
    is_walkable: bool = True  # one index leads through them, the newest first
    looked_at: int | None = None

    @property
    def is_everything(self) -> bool:
        return not self.conditions

    def select(self, *columns: Any) -> Select[Any]:
        """A query for columns of theirs, in no order."""
        return select(*columns).where(*self.conditions)


@dataclass(frozen=True)
class _Terms:
    """A search in parts, of which a batch must meet all."""

    words: list[str] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    metadata: list[tuple[str, str]] = field(default_factory=list)


def match(session: Session, filters: BatchFilters) -> Matching:
    """The batches that meet the filters. Raises Invalid (a status, the search)."""
    plan_anew(session)
    exact = _exact(filters)
    if not filters.search:
        return exact
    return _searched(session, exact, _terms(filters.search))


def plan_anew(session: Session) -> None:
    """Until the transaction's end, plan each statement for its own values.

    A plan for any value, which Postgres tries after a few calls, may read a hundred times as much.
    """
    session.execute(select(func.set_config("plan_cache_mode", "force_custom_plan", True)))


def count(session: Session, matching: Matching) -> int:
    """How many match; COUNT_LIMIT + 1 stands for more."""
    some = matching.select(Batch.number).limit(COUNT_LIMIT + 1).subquery()
    return session.scalar(select(func.count()).select_from(some)) or 0


def _exact(filters: BatchFilters) -> Matching:
    conditions: list[ColumnElement[bool]] = []
    for owner in (filters.owner_id, filters.user_id):
        if owner is not None:
            conditions.append(Batch.owner_id == owner)
    if filters.statuses:
        conditions.append(or_(*(history_status_filter(word) for word in filters.statuses)))
    if filters.model is not None:
        conditions.append(Batch.model == filters.model)
    is_walkable = len(conditions) <= 1 and len(filters.statuses) <= 1
    if filters.since is not None:
        conditions.append(Batch.created_at >= filters.since)
    if filters.until is not None:
        conditions.append(Batch.created_at < filters.until)
    return Matching(tuple(conditions), is_walkable)


def _terms(search: str) -> _Terms:
    if len(search) > LONGEST_SEARCH:
        raise Invalid(f"q is longer than {LONGEST_SEARCH} characters.", param="q")
    if "\0" in search:
        raise Invalid("q must not hold a NUL character.", param="q")
    found = _Terms()
    for key, quoted, plain in _TERM.findall(search):
        value = quoted or plain
        if key and value:
            found.metadata.append((key, value))
        elif _ID_PREFIX.fullmatch(value):
            found.ids.append(value)
        elif value or key:
            found.words.append(value or key)
    return found


def _searched(session: Session, exact: Matching, terms: _Terms) -> Matching:
    """Words are looked up apart: the planner does not know how they and the filters go together."""
    conditions: list[ColumnElement[bool]] = []
    conditions += [Batch.id.like(escaped(prefix) + "%") for prefix in terms.ids]
    conditions += [Batch.custom_metadata.contains({key: value}) for key, value in terms.metadata]
    words = [BATCH_WORDS.like(f"%{escaped(word.lower())}%") for word in terms.words]
    is_indexed = bool(conditions)
    if words and not is_indexed:
        has_trigram = any(re.search(r"[^\W_]{3}", word) for word in terms.words)
        is_indexed = has_trigram and _has_words_index(session)
    if is_indexed:
        hits = select(Batch.number).where(*conditions, *words).limit(COUNT_LIMIT + 1)
        numbers = list(session.scalars(hits))
        if len(numbers) <= COUNT_LIMIT:
            among = Batch.number == func.any(cast(numbers, ARRAY(Integer)))
            return replace(exact, conditions=(*exact.conditions, among), is_walkable=False)
    return _among_the_newest(session, exact, (*conditions, *words))


def _among_the_newest(
    session: Session, exact: Matching, conditions: Sequence[ColumnElement[bool]]
) -> Matching:
    """What too many have, or no index finds, is looked for among the newest that the rest leaves."""
    if not conditions:
        return exact
    newest = exact.select(Batch.created_at).order_by(Batch.created_at.desc(), Batch.number.desc())
    bound = session.scalar(newest.offset(LOOSE_LIMIT - 1).limit(1))
    found = replace(exact, conditions=(*exact.conditions, *conditions), is_walkable=False)
    if bound is None:
        return found
    return replace(
        found, conditions=(*found.conditions, Batch.created_at >= bound), looked_at=LOOSE_LIMIT
    )


def _has_words_index(session: Session) -> bool:
    return session.scalar(select(func.to_regclass("batch_words_idx").is_not(None))) is True


def escaped(value: str) -> str:
    return re.sub(r"([\\%_])", r"\\\1", value)


def owners_of(session: Session, owner_id: int | None) -> list[int]:
    """Whose batches there are, 500 users at most: by a walk over the index instead of all rows."""
    if owner_id is not None:
        return [owner_id]
    owner = select(func.min(Batch.owner_id).label("id")).cte("owner", recursive=True)
    following = select(func.min(Batch.owner_id)).where(Batch.owner_id > owner.c.id)
    owner = owner.union_all(select(following.scalar_subquery()).where(owner.c.id.is_not(None)))
    return list(session.scalars(select(owner.c.id).where(owner.c.id.is_not(None)).limit(500)))
