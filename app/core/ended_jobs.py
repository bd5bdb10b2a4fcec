"""Counts of ended jobs by task, queue and status, with their waits and runs, that only ever grow.

Rollups follow the record and shrink with it; a scrape takes a count that shrinks for one that began anew.
So these are counted apart: each look adds what ended since the last one, in the same transaction.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core import scans
from app.core.models import EndedJobs
from app.core.sql import statement

# Upper bounds of the buckets, in seconds; one bucket more is for what took longer.
BOUNDS_SECONDS = (0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 14400, 86400)
_BOUNDS_MS = [int(seconds * 1000) for seconds in BOUNDS_SECONDS]

# Pairs of task and queue that are told apart; the names of later ones are `other`.
MOST_PAIRS = 100
OTHER = "other"

_SCAN = "ended_jobs"


@dataclass(frozen=True)
class Durations:
    """Of one task in one queue: how many ended in each bucket of BOUNDS_SECONDS, and their sum in seconds."""

    task: str
    queue: str
    counts: list[int]
    sum_seconds: float


def count(session: Session) -> int:
    """Add what has ended since the last look; the caller commits. How many jobs that was."""
    window = scans.next_window(session, _SCAN)
    if window is None:
        return 0
    rows = session.execute(statement("ended_jobs", "ended"), {**window, "bounds": _BOUNDS_MS}).all()
    if not rows:
        return 0
    known = {(each.task, each.queue, each.status): each for each in list_counts(session)}
    pairs = {(task, queue) for task, queue, _ in known} - {(OTHER, OTHER)}
    for row in rows:
        pair = (row.task, row.queue)
        if pair not in pairs:
            if len(pairs) < MOST_PAIRS:
                pairs.add(pair)
            else:
                pair = (OTHER, OTHER)
        of = known.get((*pair, row.status))
        if of is None:
            of = known[(*pair, row.status)] = _nothing(*pair, row.status)
            session.add(of)
        of.jobs += row.jobs
        of.run_ms += row.run_ms
        of.wait_ms += row.wait_ms
        # New lists: what changes inside of one goes unnoticed.
        of.runs = _with(of.runs, row.run_bucket, row.jobs)
        of.waits = _with(of.waits, row.wait_bucket, row.jobs)
    session.flush()
    return sum(row.jobs for row in rows)


def list_counts(session: Session) -> list[EndedJobs]:
    """All there are, by task, queue and status."""
    order = (EndedJobs.task, EndedJobs.queue, EndedJobs.status)
    query = select(EndedJobs).order_by(*order).execution_options(populate_existing=True)
    return list(session.scalars(query))


def waits(counts: list[EndedJobs]) -> list[Durations]:
    """From when jobs were due to their first start, of all statuses together."""
    return _together([(each, each.waits, each.wait_ms) for each in counts])


def runs(counts: list[EndedJobs]) -> list[Durations]:
    """How long jobs ran, all attempts together, of all statuses together."""
    return _together([(each, each.runs, each.run_ms) for each in counts])


def _together(parts: list[tuple[EndedJobs, list[int], int]]) -> list[Durations]:
    sums: dict[tuple[str, str], Durations] = {}
    for each, counts, milliseconds in parts:
        pair = (each.task, each.queue)
        before = sums.get(pair) or Durations(*pair, [0] * len(counts), 0.0)
        summed = [one + other for one, other in zip(before.counts, counts, strict=True)]
        sums[pair] = Durations(*pair, summed, before.sum_seconds + milliseconds / 1000)
    return list(sums.values())


def _nothing(task: str, queue: str, status: str) -> EndedJobs:
    empty = [0] * (len(_BOUNDS_MS) + 1)
    return EndedJobs(
        task=task, queue=queue, status=status, jobs=0, runs=empty, run_ms=0, waits=empty, wait_ms=0
    )


def _with(counts: list[int], bucket: int | None, more: int) -> list[int]:
    if bucket is None:
        return counts
    return [each + more * (number == bucket) for number, each in enumerate(counts)]
