"""What a search asks of the words of jobs, and whether their index can find it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, or_, select

from app.core.models import Job, JobSearch

OnWords = Callable[[Any], ColumnElement[bool]]

# A job's words, looked up job by job.
WORDS = (
    select(JobSearch.words)
    .where(JobSearch.job_created_at == Job.created_at, JobSearch.job_id == Job.id)
    .correlate(Job)
    .scalar_subquery()
)


@dataclass(frozen=True)
class Word:
    """What a job's words must have: `of_job` says all of it, `on_words` what their index serves."""

    on_words: OnWords
    of_job: ColumnElement[bool]
    is_enough: bool  # whether `on_words` says as much

    @classmethod
    def of(cls, on_words: OnWords, of_job: ColumnElement[bool] | None = None) -> Word:
        """`on_words` says all of it, unless `of_job` says more."""
        if of_job is None:
            return cls(on_words, on_words(WORDS), is_enough=True)
        return cls(on_words, of_job, is_enough=False)


def contains(value: str) -> OnWords:
    """A value stands anywhere among the words."""
    wanted = pattern(value.lower())
    return lambda words: words.like(wanted)


def stands(value: str) -> OnWords:
    """A value stands between spaces among the words, or at their end.

    That gives the index three characters of a value of two.
    """
    begin = "% " + _escaped(value.lower())
    return lambda words: or_(words.like(f"{begin} %"), words.like(begin))


def pattern(value: str) -> str:
    """Of LIKE, for a text that has the value somewhere in it."""
    return f"%{_escaped(value)}%"


def _escaped(value: str) -> str:
    return re.sub(r"([\\%_])", r"\\\1", value)


def has_trigram(value: str) -> bool:
    """Whether the index on words can find it: three letters or digits in a row."""
    return re.search(r"[^\W_]{3}", value) is not None
