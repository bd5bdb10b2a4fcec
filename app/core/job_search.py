"""Searching the record: what a search's text and its filters mean, as conditions on jobs."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, func, literal_column, or_, select
from sqlalchemy.orm import Session

from app.core import job_lists, search_syntax
from app.core.errors import Invalid
from app.core.job_lists import COUNT_LIMIT, Matching, Page, Wanted
from app.core.models import Job, JobSearch
from app.core.search_syntax import Term
from app.core.status import OURS, STATUSES, Dialect, shown_column

# What no index serves is looked for among so many of the newest jobs that the rest leaves.
LOOSE_LIMIT = 10_000

OnWords = Callable[[Any], ColumnElement[bool]]

# A job's words, looked up job by job.
_WORDS = (
    select(JobSearch.words)
    .where(JobSearch.job_created_at == Job.created_at, JobSearch.job_id == Job.id)
    .correlate(Job)
    .scalar_subquery()
)

_SLOW_MS = 60_000  # from here on, an index has the run times
_COLUMNS: dict[str, Any] = {
    "type": Job.task,
    "queue": Job.queue,
    "user": Job.owner_name,
    "model": Job.model,
    "worker": Job.worker_name,
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
    completed_after: datetime | None = None
    completed_before: datetime | None = None
    has_error: bool | None = None
    min_duration: float | None = None
    max_duration: float | None = None


@dataclass(frozen=True)
class Found:
    """A page of what was found, and how all of it is made up (COUNT_LIMIT jobs at most)."""

    page: Page
    by_status: dict[str, int]
    by_type: dict[str, int]
    by_queue: dict[str, int]


@dataclass(frozen=True)
class Search:
    """Conditions on jobs, on their words, and (`loose`) those that no index serves.

    Nor does it serve `short` words; beside longer ones they need none.
    """

    jobs: Matching = field(default_factory=Matching)
    words: tuple[OnWords, ...] = ()
    short: tuple[OnWords, ...] = ()
    loose: tuple[ColumnElement[bool], ...] = ()

    def where(self, *conditions: ColumnElement[bool]) -> Search:
        return replace(self, jobs=self.jobs.where(*conditions))

    def where_words(self, condition: OnWords) -> Search:
        return replace(self, words=(*self.words, condition))

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


def find(session: Session, search: Search, wanted: Wanted) -> Found:
    """The jobs that a search finds, newest first unless it is asked otherwise.

    Raises Invalid (the cursor).
    """
    jobs, is_all = search.jobs, True
    words = (*search.words, *search.short) if search.words else ()
    loose = search.loose if words else (*search.loose, *(on(_WORDS) for on in search.short))
    if loose:
        bound = _bound(session, jobs)
        jobs, is_all = jobs.where(*loose), bound is None
        if bound is not None:
            jobs = jobs.where(Job.created_at >= bound)
    tallied, listed = _ways(session, jobs, words) if words else (jobs, jobs)
    by_status, by_type, by_queue, total = _tallies(session, tallied)
    is_all = is_all and tallied is listed
    counted = total if tallied is listed else COUNT_LIMIT + 1
    page = job_lists.page(session, listed, wanted, counted=counted)
    if not is_all:
        page = replace(page, total=max(min(total, COUNT_LIMIT), len(page.jobs)))
        page = replace(page, total_is_exact=False)
    return Found(page, by_status, by_type, by_queue)


def _ways(
    session: Session, jobs: Matching, words: tuple[OnWords, ...]
) -> tuple[Matching, Matching]:
    """How to tally and how to list the jobs with these words.

    Apart from what is rare, as the planner does not know how conditions on jobs and on words go
    together, and would read all of both. Where both are common, the newest are tallied.
    """
    keys = select(JobSearch.job_created_at.label("created_at"), JobSearch.job_id.label("id")).where(
        *(condition(JobSearch.words) for condition in words)
    )
    rare = keys.limit(COUNT_LIMIT + 1).subquery("among")
    if (session.scalar(select(func.count()).select_from(rare)) or 0) <= COUNT_LIMIT:
        matching = replace(jobs, among=rare)
        return matching, matching
    probed = jobs.where(*(condition(_WORDS) for condition in words))
    if jobs.is_everything:
        newest = keys.order_by(JobSearch.job_created_at.desc(), JobSearch.job_id.desc())
        return replace(jobs, among=newest.limit(COUNT_LIMIT + 1).subquery("among")), probed
    bound = _bound(session, jobs)
    if bound is None:
        return probed, probed
    return probed.where(Job.created_at >= bound), probed


def _bound(session: Session, jobs: Matching) -> datetime | None:
    """When the oldest of the newest LOOSE_LIMIT was created; None where there are fewer."""
    newest = jobs.select(Job.created_at).order_by(Job.created_at.desc(), Job.id.desc())
    moment: datetime | None = session.scalar(newest.offset(LOOSE_LIMIT - 1).limit(1))
    return moment


def _tallies(
    session: Session, matching: Matching
) -> tuple[dict[str, int], dict[str, int], dict[str, int], int]:
    some = (
        matching.select(shown_column().label("status"), Job.task, Job.queue)
        .order_by(Job.created_at.desc(), Job.id.desc())
        .limit(COUNT_LIMIT + 1)
        .subquery("matching")
    )
    rows = session.execute(
        select(some.c.status, some.c.task, some.c.queue, func.count()).group_by(*some.c)
    )
    by_status: Counter[str] = Counter()
    by_type: Counter[str] = Counter()
    by_queue: Counter[str] = Counter()
    for status, task, queue, jobs in rows:
        by_status[status] += jobs
        by_type[task] += jobs
        by_queue[queue] += jobs
    return dict(by_status), dict(by_type), dict(by_queue), by_status.total()


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
        (Job.ended_at, filters.completed_after, filters.completed_before),
    ):
        if after is not None:
            search = search.where(column >= after)
        if before is not None:
            search = search.where(column <= before)
    if filters.has_error is not None:
        search = search.where(_has_error() if filters.has_error else ~_has_error())
    if filters.min_duration is not None:
        search = _with_duration(search, ">=", filters.min_duration)
    if filters.max_duration is not None:
        search = _with_duration(search, "<=", filters.max_duration)
    return search


def _has_error() -> ColumnElement[bool]:
    return and_(
        Job.status != literal_column("'completed'"),
        Job.error_message.is_not(None) | (Job.status == literal_column("'failed'")),
    )


def _with_term(search: Search, term: Term, dialect: Dialect, now: datetime) -> Search:
    match term.field:
        case None:
            return _with_word(search, term)
        case "status":
            return _with_status(search, term, dialect)
        case "type" | "queue" | "user" | "model" | "worker":
            column = _COLUMNS[term.field]
            names = term.names()
            condition = column == names[0] if len(names) == 1 else column.in_(names)
            return search.where(_negated(condition, term))
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
        return search.where(and_(condition, Job.run_ms > literal_column(str(_SLOW_MS))))
    return search.where_loose(condition)


def _with_word(search: Search, term: Term) -> Search:
    condition = _contains(term.value)
    if term.is_negated:
        return search.where(~condition(_WORDS))
    if _has_trigram(term.value):
        return search.where_words(condition)
    return replace(search, short=(*search.short, condition))


def _with_error(search: Search, term: Term) -> Search:
    text = func.concat_ws(" ", Job.error_type, Job.error_message)
    condition = text.ilike(_pattern(term.value))
    if term.is_negated:
        return search.where(~condition)
    if not _has_trigram(term.value):
        return search.where(_has_error()).where_loose(condition)
    # The words have it, too, and an index.
    return search.where(_has_error(), condition).where_words(_contains(term.value))


def _with_argument(search: Search, term: Term) -> Search:
    assert term.field is not None
    path = term.field.removeprefix(search_syntax.ARGUMENTS).split(".")
    here = func.lower(func.jsonb_extract_path_text(Job.arguments, *path))
    condition = here == term.value.lower()
    if term.is_negated:
        return search.where(condition.is_not(True))
    if not re.search(r"[^\W_]{2}", term.value):
        return search.where_loose(condition)
    return search.where(condition).where_words(_stands(term.value))


def _contains(value: str) -> OnWords:
    pattern = _pattern(value.lower())
    return lambda words: words.like(pattern)


def _stands(value: str) -> OnWords:
    """A value stands between spaces among the words, or at their end.

    That gives the index three characters of a value of two.
    """
    begin = "% " + _escaped(value.lower())
    return lambda words: or_(words.like(f"{begin} %"), words.like(begin))


def _pattern(value: str) -> str:
    return f"%{_escaped(value)}%"


def _escaped(value: str) -> str:
    return re.sub(r"([\\%_])", r"\\\1", value)


def _has_trigram(value: str) -> bool:
    """Whether the index on words can find it: three letters or digits in a row."""
    return re.search(r"[^\W_]{3}", value) is not None
