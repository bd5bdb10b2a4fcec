"""Searching the record: a page of the jobs that meet some conditions, and how all are made up."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.core import job_lists
from app.core.job_lists import Page, Wanted
from app.core.job_matching import COUNT_LIMIT, Matching
from app.core.models import Job, JobSearch
from app.core.search_conditions import WORDS, OnWords, Search
from app.core.status import shown_column

# What no index serves is looked for among so many of the newest jobs that the rest leaves.
LOOSE_LIMIT = 10_000


@dataclass(frozen=True)
class Found:
    """A page of what was found, and how all of it is made up (COUNT_LIMIT jobs at most)."""

    page: Page
    by_status: dict[str, int]
    by_type: dict[str, int]
    by_queue: dict[str, int]


def find(session: Session, search: Search, wanted: Wanted) -> Found:
    """The jobs that a search finds, newest first unless it is asked otherwise.

    Raises Invalid (the cursor).
    """
    jobs, is_all = search.jobs, True
    words = (*search.words, *search.short) if search.words else ()
    loose = search.loose if words else (*search.loose, *(on(WORDS) for on in search.short))
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
    probed = jobs.where(*(condition(WORDS) for condition in words))
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
