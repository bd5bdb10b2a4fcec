"""/api/jobs, its types and its search."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from flask import Blueprint, g

from app.api.jobs import answers
from app.api.jobs.queries import ListQuery, SearchQuery
from app.api.openapi import describe, read_query
from app.auth import needs
from app.core import admission, job_lists, job_search, job_types, search_conditions
from app.core.job_lists import Wanted
from app.core.search_conditions import Filters
from app.core.status import API
from app.extensions import current_settings, db

blueprint = Blueprint("listing", __name__)


@blueprint.get("")
@needs("read")
@describe(query=ListQuery, answer=answers.JobList)
def list_jobs() -> answers.JobList:
    """A page of jobs, filtered and sorted."""
    asked = read_query(ListQuery)
    page = job_lists.list_jobs(
        db.session(),
        _wanted(asked),
        owner_name=g.actor.owner_name,
        statuses=API.read_list(asked.status),
        job_type=asked.job_type,
        queue=asked.queue,
    )
    return answers.JobList(
        items=job_answers(page.jobs),
        pagination=answers.Pagination(
            total=page.total,
            limit=asked.limit,
            offset=asked.offset,
            cursor=asked.cursor,
            next_cursor=page.next_cursor,
            has_more=page.has_more,
            total_is_exact=page.total_is_exact,
        ),
    )


@blueprint.get("/types")
@needs("read")
@describe(answer=answers.JobTypes)
def list_types() -> answers.JobTypes:
    """The types of jobs that this server runs or has seen."""
    found = job_types.list_types(db.session(), g.actor.owner_name)
    return answers.JobTypes(
        job_types=[
            answers.JobType(name=each.name, label=each.label, description=each.description)
            for each in found
        ]
    )


@blueprint.get("/search")
@needs("read")
@describe(query=SearchQuery, answer=answers.SearchResult)
def search() -> answers.SearchResult:
    """Jobs by words, fields and filters, and how what was found is made up."""
    asked = read_query(SearchQuery)
    given = asked.model_dump(include=set(Filters.__dataclass_fields__))
    search = search_conditions.read(
        asked.q,
        Filters(statuses=API.read_list(asked.status), **given),
        owner_name=g.actor.owner_name,
        dialect=API,
    )
    found = job_search.find(db.session(), search, _wanted(asked))
    return answers.SearchResult(
        data=job_answers(found.page.jobs),
        meta=answers.SearchMeta(
            total=found.page.total,
            limit=asked.limit,
            offset=asked.offset,
            next_cursor=found.page.next_cursor,
            has_more=found.page.has_more,
            total_is_exact=found.page.total_is_exact,
        ),
        aggregations=answers.Aggregations(
            by_status=_in_dialect(found.by_status), by_type=found.by_type, by_queue=found.by_queue
        ),
    )


# What an answer is made of: a page of a thousand takes half as long without the rest. The last three
# tell why one waits.
_COLUMNS = (
    "id",
    "task",
    "status",
    "progress",
    "message",
    "created_at",
    "started_at",
    "ended_at",
    "result",
    "error_message",
    "scheduled_at",
    "queue",
    "owner_name",
)


def job_answers(jobs: Sequence[Any]) -> list[answers.Job]:
    """Jobs as lists have them."""
    reasons = admission.reasons(db.session(), current_settings(), jobs)
    return [_answer(job, reasons.get(job.id) or job.message) for job in jobs]


def _answer(job: Any, message: str | None) -> answers.Job:
    return answers.Job(
        job_id=str(job.id),
        job_type=job.task,
        status=API.say(job.status),  # type: ignore[arg-type]
        progress=job.progress,
        message=message,
        created_at=job.created_at,
        started_at=job.started_at,
        completed_at=job.ended_at,
        result=job.result,
        error=job.error_message,
    )


def _wanted(asked: ListQuery) -> Wanted:
    return Wanted(
        asked.sort, asked.order, asked.limit, asked.offset, asked.cursor, columns=_COLUMNS
    )


def _in_dialect(by_status: Mapping[str, int]) -> dict[str, int]:
    said: Counter[str] = Counter()
    for status, jobs in by_status.items():
        said[API.say(status)] += jobs
    return dict(said)
