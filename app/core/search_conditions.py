"""What a search's text and its filters mean, as conditions on jobs."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, func, literal_column, or_

from app.core import bulk_items, failures, job_types, search_syntax, search_words
from app.core.errors import Invalid
from app.core.job_matching import HAS_ERROR, Matching
from app.core.models import Job
from app.core.search_syntax import Term
from app.core.search_words import OnWords, Word
from app.core.status import API, OURS, STATUSES, Dialect
from app.core.tasks import BulkFilter

_SLOW_MS = 60_000  # from here on, an index has the run times
_COLUMNS: dict[str, Any] = {
    "type": Job.task,
    "queue": Job.queue,
    "user": Job.owner_name,
    "model": Job.model,
    "worker": Job.worker_name,
    "lock": Job.lock,
    "queueing_lock": Job.queueing_lock,
    "created": Job.created_at,
    "started": Job.started_at,
    "completed": Job.ended_at,
}
_COMPARISONS: dict[str, Any] = {
    ">": lambda column, value: column > value,
    ">=": lambda column, value: column >= value,
    "<": lambda column, value: column < value,
    "<=": lambda column, value: column <= value,
}

# Of a lock that an index has.
LONGEST_INDEXED = 500


@dataclass(frozen=True)
class Filters:
    """A search beside its text; what is None is not asked. Durations are seconds."""

    statuses: frozenset[str] | None = None
    job_type: str | None = None
    queue: str | None = None
    user: str | None = None
    model: str | None = None
    worker: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    started_after: datetime | None = None
    started_before: datetime | None = None
    completed_after: datetime | None = None
    completed_before: datetime | None = None
    has_error: bool | None = None
    error_fingerprint: str | None = None
    min_duration: float | None = None
    max_duration: float | None = None


@dataclass(frozen=True)
class Search:
    """Conditions on jobs, on their words, on long runs, and (`loose`) those that no index serves.

    Nor does it serve `short` words; beside longer ones they need none. `bulk` are the bulk actions of
    which they are the jobs.
    """

    jobs: Matching = field(default_factory=Matching)
    words: tuple[Word, ...] = ()
    short: tuple[Word, ...] = ()
    slow: tuple[ColumnElement[bool], ...] = ()
    loose: tuple[ColumnElement[bool], ...] = ()
    bulk: tuple[int, ...] = ()

    def where(self, *conditions: ColumnElement[bool]) -> Search:
        return replace(self, jobs=self.jobs.where(*conditions))

    def of(self, statuses: frozenset[str]) -> Search:
        """Those of them that are shown with one of these statuses."""
        return replace(self, jobs=self.jobs.of(statuses))

    def where_words(self, on_words: OnWords, of_job: ColumnElement[bool] | None = None) -> Search:
        return replace(self, words=(*self.words, Word.of(on_words, of_job)))

    def with_error(self) -> Search:
        return replace(self, jobs=replace(self.jobs, has_error=True))

    def where_loose(self, condition: ColumnElement[bool]) -> Search:
        return replace(self, loose=(*self.loose, condition))


def read(
    text: str | None,
    filters: Filters,
    *,
    owner_name: str | None,
    dialect: Dialect = OURS,
    now: datetime | None = None,
) -> Search:
    """The search that a text and filters ask for, among a user's jobs or (None) everybody's.

    Statuses in the text speak `dialect`. Raises Invalid.
    """
    now = now or datetime.now(UTC)
    search = Search()
    if owner_name is not None:
        search = search.where(Job.owner_name == owner_name)
    search = _filtered(search, filters)
    for term in search_syntax.parse(text or ""):
        search = _with_term(search, term, dialect, now)
    return search


def read_filter(asked: BulkFilter, owner_name: str | None) -> Search:
    """The search that a task's filter asks for. Raises Invalid."""
    given = asked.model_dump(exclude={"q", "status"})
    filters = Filters(statuses=API.read_list(asked.status), **given)
    return read(asked.q, filters, owner_name=owner_name, dialect=API)


def _filtered(search: Search, filters: Filters) -> Search:
    search = replace(search, jobs=search.jobs.of(filters.statuses))
    names: tuple[tuple[Any, str | None], ...] = (
        (Job.task, filters.job_type),
        (Job.queue, filters.queue),
        (Job.owner_name, filters.user),
        (Job.model, filters.model),
        (Job.worker_name, filters.worker),
    )
    for column, value in names:
        if value is not None:
            search = search.where(column == value)
    for column, after, before in (
        (Job.created_at, filters.created_after, filters.created_before),
        (Job.started_at, filters.started_after, filters.started_before),
        (Job.ended_at, filters.completed_after, filters.completed_before),
    ):
        if after is not None:
            search = search.where(column >= after)
        if before is not None:
            search = search.where(column <= before)
    if filters.has_error is not None:
        search = search.with_error() if filters.has_error else search.where(~HAS_ERROR)
    if filters.error_fingerprint is not None:
        kind = failures.has_fingerprint(filters.error_fingerprint)
        search = search.of(frozenset({"failed"})).where(kind)
    if filters.min_duration is not None:
        search = _with_duration(search, ">=", filters.min_duration)
    if filters.max_duration is not None:
        search = _with_duration(search, "<=", filters.max_duration)
    return search


def _with_term(search: Search, term: Term, dialect: Dialect, now: datetime) -> Search:
    match term.field:
        case None:
            return _with_word(search, term)
        case "status":
            return _with_status(search, term, dialect)
        case "type" | "queue" | "user" | "model" | "worker":
            column = _COLUMNS[term.field]
            names = term.names()
            if term.field == "type":
                names = [name for each in names for name in job_types.named(each)]
            condition = column == names[0] if len(names) == 1 else column.in_(names)
            return search.where(_negated(condition, term))
        case "lock" | "queueing_lock":
            column, names = _COLUMNS[term.field], term.names()
            named = column.in_(names)
            # The indexes have locks of ordinary length alone: they are an app's own words.
            if term.is_negated or any(len(name) > LONGEST_INDEXED for name in names):
                return search.where_loose(_negated(named, term))
            return search.where(
                and_(func.length(column) <= literal_column(str(LONGEST_INDEXED)), named)
            )
        case "fingerprint":
            return _with_fingerprint(search, term)
        case "bulk":
            return _with_bulk(search, term)
        case "id":
            return search.where(_negated(_id_condition(term), term))
        case "duration":
            if term.is_negated:
                raise term.refuse("a duration can't be negated: turn its sign around")
            return _with_duration(search, term.operator, term.seconds())
        case "created" | "started" | "completed":
            return search.where(_negated(_time_condition(term, now), term))
        case "error":
            return _with_error(search, term)
    return _with_argument(search, term)


def _negated(condition: ColumnElement[bool], term: Term) -> ColumnElement[bool]:
    return condition.is_not(True) if term.is_negated else condition


def _with_status(search: Search, term: Term, dialect: Dialect) -> Search:
    try:
        meant = dialect.read_list(term.value) or frozenset()
    except Invalid as fault:
        raise term.refuse(fault.message.rstrip(".")) from None
    if term.is_negated:
        meant = frozenset(STATUSES) - meant
    return replace(search, jobs=search.jobs.of(meant))


def _id_condition(term: Term) -> ColumnElement[bool]:
    numbers = term.whole_numbers()
    if term.operator:
        if len(numbers) != 1:
            raise term.refuse("a comparison takes one number")
        compared: ColumnElement[bool] = _COMPARISONS[term.operator](Job.id, numbers[0])
        return compared
    return Job.id == numbers[0] if len(numbers) == 1 else Job.id.in_(numbers)


def _time_condition(term: Term, now: datetime) -> ColumnElement[bool]:
    column = _COLUMNS[term.field or ""]
    begin, end = term.times(now)
    condition: ColumnElement[bool]
    match term.operator:
        case ">":
            condition = column >= end if end > begin else column > begin
        case ">=":
            condition = column >= begin
        case "<":
            condition = column < begin
        case "<=":
            condition = column < end if end > begin else column <= begin
        case _ if end > begin:
            condition = and_(column >= begin, column < end)
        case _:  # `24h`: since then
            condition = column >= begin
    return condition


def _with_fingerprint(search: Search, term: Term) -> Search:
    """Failures of a kind: those that failed have an index of it."""
    kinds = or_(*(failures.has_fingerprint(name.lower()) for name in term.names()))
    if term.is_negated:
        return search.where_loose(~kinds)
    return search.of(frozenset({"failed"})).where(kinds)


def _with_bulk(search: Search, term: Term) -> Search:
    """What was acted on by these actions."""
    numbers = term.whole_numbers()
    if term.is_negated:
        return search.where(~bulk_items.is_of(numbers))
    if search.bulk:  # both: the second one is looked up job by job
        return search.where(bulk_items.is_of(numbers))
    return replace(search, bulk=tuple(numbers))


def _with_duration(search: Search, operator: str, seconds: float) -> Search:
    """The run time of jobs that have ended."""
    ms = round(seconds * 1000)
    if operator == "":
        # As it is shown: to the second, or to what was asked.
        width = 1000 if seconds == int(seconds) else 1
        condition = and_(Job.run_ms >= ms, Job.run_ms < ms + width)
    else:
        condition = _COMPARISONS[operator](Job.run_ms, ms)
    condition = and_(condition, Job.ended_at.is_not(None))
    if operator in (">", ">=", "") and ms + (operator == ">") > _SLOW_MS:
        # Said as well, so that the planner sees that the index of the slow ones has them.
        slow = and_(condition, Job.run_ms > literal_column(str(_SLOW_MS)))
        return replace(search, slow=(*search.slow, slow))
    return search.where_loose(condition)


def _with_word(search: Search, term: Term) -> Search:
    condition = search_words.contains(term.value)
    if term.is_negated:
        return search.where(~condition(search_words.WORDS))
    if search_words.has_trigram(term.value):
        return search.where_words(condition)
    return replace(search, short=(*search.short, Word.of(condition)))


def _with_error(search: Search, term: Term) -> Search:
    text = func.concat_ws(" ", Job.error_type, Job.error_message)
    condition = text.ilike(search_words.pattern(term.value))
    if term.is_negated:
        return search.where(~condition)
    if not search_words.has_trigram(term.value):
        return search.with_error().where_loose(condition)
    # The words have it, too, and an index.
    return search.with_error().where_words(search_words.contains(term.value), condition)


def _with_argument(search: Search, term: Term) -> Search:
    assert term.field is not None
    path = term.field.removeprefix(search_syntax.ARGUMENTS).split(".")
    here = func.lower(func.jsonb_extract_path_text(Job.arguments, *path))
    condition = here == term.value.lower()
    if term.is_negated:
        return search.where(condition.is_not(True))
    if not re.search(r"[^\W_]{2}", term.value):
        return search.where_loose(condition)
    return search.where_words(search_words.stands(term.value), condition)
