"""Searching the record: a page of the jobs that meet some conditions, and how all are made up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, Subquery, func, select
from sqlalchemy.orm import Session, aliased

from app.core import bulk_items, common_searches, job_lists, search_tallies
from app.core.job_lists import Page, Wanted
from app.core.job_matching import COUNT_LIMIT, Matching
from app.core.models import Job, JobSearch
from app.core.search_conditions import Search
from app.core.search_tallies import Tallies
from app.core.search_words import Word

# What no index serves is looked for among so many of the newest jobs that the rest leaves.
LOOSE_LIMIT = 10_000
# How words that more jobs have than are counted are made up is read from so many of the newest jobs.
WALKED_LIMIT = 30_000

_NEWEST_WORDS = (JobSearch.job_created_at.desc(), JobSearch.job_id.desc())


@dataclass(frozen=True)
class Found:
    """A page of what was found, and how all of it is made up (COUNT_LIMIT jobs at most).

    With `back_to`, jobs that were made before then were not looked at.
    """

    page: Page
    by_status: dict[str, int]
    by_type: dict[str, int]
    by_queue: dict[str, int]
    back_to: datetime | None = None


def find(session: Session, search: Search, wanted: Wanted) -> Found:
    """The jobs that a search finds, newest first unless it is asked otherwise.

    Raises Invalid (the cursor).
    """
    # A plan for any value, which Postgres tries after a few calls, may read a hundred times as much.
    session.execute(select(func.set_config("plan_cache_mode", "force_custom_plan", True)))
    finder = _Finder(session, search, wanted)
    if search.bulk:
        return finder.rare() or finder.exact(everything(search))
    if search.words:
        return finder.rare() or finder.common()
    if search.slow:
        return finder.rare() or finder.slow()
    if search.short and not search.loose and search.jobs.is_everything:
        return finder.short()
    return finder.loose() if search.short or search.loose else finder.exact(search.jobs)


def everything(search: Search) -> Matching:
    """All jobs that a search finds, whatever it costs to look at them."""
    on_words = [word.of_job for word in (*search.words, *search.short)]
    matching = search.jobs.where(*search.slow, *search.loose, *on_words)
    if search.bulk:
        of_them = (bulk_items.is_of(search.bulk), bulk_items.is_in_their_time(search.bulk))
        matching = matching.where(*of_them)
    return matching


@dataclass(frozen=True)
class _Finder:
    """The ways to find what is searched for."""

    session: Session
    search: Search
    wanted: Wanted

    def exact(self, matching: Matching) -> Found:
        """What indexes serve."""
        tallies = self._tallies(matching)
        return self._found(tallies, matching, counted=tallies.total)

    def rare(self) -> Found | None:
        """By what few jobs have: words, a long run or a bulk action; None where there are more than are counted.

        Apart from what is common, as the planner does not know how these conditions and the others
        go together, and would read all that meet either.
        """
        search = self.search
        words = (*search.words, *search.short)
        if search.bulk:
            keys = bulk_items.keys(search.bulk)
            more = [word.of_job for word in words] + [*search.slow]
        elif search.words:
            keys = _with_words(words)
            more = [word.of_job for word in search.words if not word.is_enough] + [*search.slow]
        else:
            keys = _slow(search)
            more = [word.of_job for word in search.short]
        name = common_searches.key(self.session, keys, COUNT_LIMIT)
        if common_searches.is_known(name):
            return None
        among = keys.limit(COUNT_LIMIT + 1).cte("among")
        matching = replace(search.jobs, among=among).where(*more, *search.loose)
        tallies = search_tallies.read(
            self.session, matching, most=COUNT_LIMIT + 1, first=self._first, candidates=among
        )
        if tallies.candidates > COUNT_LIMIT:
            common_searches.note(name)
            return None
        return self._found(tallies, matching, counted=tallies.total)

    def common(self) -> Found:
        """Words that many jobs have: the newest are tallied, and the list has all."""
        search, words = self.search, (*self.search.words, *self.search.short)
        is_more = search.slow or search.loose or not search.jobs.is_everything
        if is_more or not all(word.is_enough for word in words):
            return self.loose()
        tallies = self._tallies(Matching(among=_newest_with(words, WALKED_LIMIT)))
        listed = search.jobs.where(*(word.of_job for word in words))
        return self._found(tallies, listed, counted=COUNT_LIMIT + 1, is_more=True)

    def slow(self) -> Found:
        """Long runs that many jobs had."""
        search = self.search
        if search.short or search.loose:
            return self.loose()
        matching = search.jobs.where(*search.slow)
        if not search.jobs.is_everything:
            return self.exact(matching)
        newest = _slow(search).order_by(Job.created_at.desc(), Job.id.desc())
        among = newest.limit(COUNT_LIMIT + 1).subquery("among")
        tallies = self._tallies(Matching(among=among))
        return self._found(tallies, matching, counted=tallies.total)

    def short(self) -> Found:
        """Short words and nothing else: their table has those of the newest jobs side by side."""
        moments = select(JobSearch.job_created_at).order_by(*_NEWEST_WORDS)
        bound = self.session.scalar(moments.offset(LOOSE_LIMIT - 1).limit(1))
        matching = Matching(among=_newest_with(self.search.short, LOOSE_LIMIT))
        tallies = replace(self._tallies(matching), bound=bound)
        return self._found(tallies, matching, counted=tallies.total)

    def loose(self) -> Found:
        """What no index serves, or none better than to read the newest jobs that the rest leaves."""
        search = self.search
        conditions = [word.of_job for word in (*search.words, *search.short)] + [*search.loose]
        jobs = search.jobs.where(*search.slow)
        tallies = self._tallies(jobs, conditions)
        listed = jobs.where(*conditions)
        if tallies.bound is not None and search.words and not search.loose:
            return self._found(tallies, listed, counted=COUNT_LIMIT + 1, is_more=True)
        if tallies.bound is not None:
            listed = listed.where(Job.created_at >= tallies.bound)
        return self._found(tallies, listed, counted=tallies.total)

    @property
    def _first(self) -> int:
        """How many of the newest make the page, and show that there is another; 0: it is read apart."""
        wanted = self.wanted
        if wanted.cursor is not None or (wanted.sort, wanted.order) != ("created_at", "desc"):
            return 0
        most = wanted.offset + wanted.limit + 1
        return most if most <= COUNT_LIMIT else 0

    def _tallies(
        self, matching: Matching, conditions: Sequence[ColumnElement[bool]] = ()
    ) -> Tallies:
        most = LOOSE_LIMIT if conditions else COUNT_LIMIT + 1
        return search_tallies.read(self.session, matching, conditions, most=most, first=self._first)

    def _found(
        self, tallies: Tallies, listed: Matching, *, counted: int, is_more: bool = False
    ) -> Found:
        """With a page of those `listed`; `is_more`: it has some that were not looked at."""
        if tallies.keys and (not is_more or len(tallies.keys) == tallies.first):
            listed = Matching(among=tallies.among())
        page = job_lists.page(self.session, listed, self.wanted, counted=counted)
        if tallies.bound is not None:
            total = max(min(tallies.total, COUNT_LIMIT), len(page.jobs))
            page = replace(page, total=total, total_is_exact=False)
        return Found(
            page,
            dict(tallies.by_status),
            dict(tallies.by_type),
            dict(tallies.by_queue),
            None if is_more else tallies.bound,
        )


def _with_words(words: Sequence[Word], source: Any = JobSearch) -> Select[Any]:
    """The keys of the jobs that have these words."""
    return select(source.job_created_at.label("created_at"), source.job_id.label("id")).where(
        *(word.on_words(source.words) for word in words)
    )


def _newest_with(words: Sequence[Word], most: int) -> Subquery:
    """The keys of those of the newest jobs that have these words, COUNT_LIMIT at most."""
    newest = select(JobSearch).order_by(*_NEWEST_WORDS).limit(most).subquery("newest_words")
    source = aliased(JobSearch, newest)
    keys = _with_words(words, source).order_by(source.job_created_at.desc(), source.job_id.desc())
    return keys.limit(COUNT_LIMIT).subquery("among")


def _slow(search: Search) -> Select[Any]:
    """The keys of the jobs whose runs took so long: the index has them, and they alone."""
    columns: Sequence[Any] = (Job.created_at, Job.id)
    return select(*columns).where(*search.slow)
