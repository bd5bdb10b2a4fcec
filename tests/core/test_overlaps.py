"""Overlaps of runs, against looking at every two of them."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime, timedelta
from itertools import combinations
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.core import overlaps
from app.core.errors import Refused
from app.core.models import Attempt, Job

NOW = datetime(2026, 3, 4, 5, 6, 7, 891, tzinfo=UTC)
SECOND = timedelta(seconds=1)

# (type, start, length) in seconds before and after NOW - 100 s; None runs still.
RUNS = st.lists(
    st.tuples(
        st.sampled_from(("a", "b", "c")),
        st.integers(-50, 99),
        st.one_of(st.none(), st.integers(0, 60)),
    ),
    max_size=30,
)


def put(session: Session, runs: list[tuple[str, float, float | None]], **job: Any) -> None:
    """One job for each run, with ids from 1."""
    base = NOW - 100 * SECOND
    for number, (task, start, length) in enumerate(runs, start=1):
        started_at = base + start * SECOND
        ended_at = None if length is None else min(started_at + length * SECOND, NOW)
        session.add(
            Attempt(
                job_id=number,
                job_created_at=job.get("created_at", started_at),
                number=1,
                task=task,
                queue="q",
                started_at=started_at,
                ended_at=ended_at,
                outcome=None if length is None else "completed",
            )
        )
    session.flush()


def look(session: Session, seconds: float = 100, **changes: Any) -> overlaps.Overlaps:
    return overlaps.find(
        session, **{"since": NOW - seconds * SECOND, "until": NOW, "limit": 10_000, **changes}
    )


def clipped(run: Any, since: datetime) -> tuple[str, int, datetime, datetime]:
    task, job_id, started_at, ended_at = run
    return task, job_id, max(started_at, since), min(ended_at or NOW, NOW)


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(runs=RUNS, window=st.integers(1, 120), limit=st.integers(1, 40))
def test_the_sweep_finds_what_looking_at_every_two_runs_finds(
    session: Session, runs: list[Any], window: int, limit: int
) -> None:
    session.execute(text("DELETE FROM attempt"))
    put(session, runs)
    since = NOW - window * SECOND
    rows = session.execute(text("SELECT task, job_id, started_at, ended_at FROM attempt")).all()
    inside = [run for run in (clipped(row, since) for row in rows) if run[2] < run[3]]
    pairs: dict[tuple[str, str], list[float]] = defaultdict(list)
    ids = {}
    for one, other in combinations(inside, 2):
        begin, end = max(one[2], other[2]), min(one[3], other[3])
        if begin < end:
            seconds = (end - begin) / SECOND
            types = tuple(sorted((one[0], other[0])))
            pairs[types[0], types[1]].append(seconds)
            ids[frozenset((one[1], other[1]))] = (seconds, begin)
    moments = sorted({moment for run in inside for moment in run[2:]})
    levels = [(at, sum(run[2] <= at < run[3] for run in inside)) for at in moments]

    told = look(session, window, limit=limit)

    assert told.count == len(ids)
    assert {(pair.type1, pair.type2): pair.pairs for pair in told.by_pair} == {
        types: len(seconds) for types, seconds in pairs.items()
    }
    for pair in told.by_pair:
        assert pair.overlap_seconds == pytest.approx(sum(pairs[pair.type1, pair.type2]))
    assert len(told.overlaps) == min(limit, len(ids))
    assert told.is_truncated == (limit < len(ids))
    listed = {
        frozenset((overlap.first.job_id, overlap.second.job_id)): overlap
        for overlap in told.overlaps
    }
    assert len(listed) == len(told.overlaps)
    for both, overlap in listed.items():
        assert overlap.seconds == pytest.approx(ids[both][0])
        assert overlap.first.started_at <= overlap.second.started_at
    # The latest ones: none that is left out began after one that is listed.
    left_out = [begin for both, (_, begin) in ids.items() if both not in listed]
    begins = [ids[both][1] for both in listed]
    assert not left_out or max(left_out) <= min(begins)
    changes = [
        level
        for before, level in zip([(None, 0), *levels], levels, strict=False)
        if before[1] != level[1]
    ]
    assert [(point.at, point.running) for point in told.concurrency] == changes
    highest = max((running for _, running in levels), default=0)
    assert (told.peak.running if told.peak else 0) == highest
    if told.peak:
        assert (told.peak.at, highest) == next(level for level in levels if level[1] == highest)


def test_a_running_job_ends_now(session: Session) -> None:
    put(session, [("a", 10, None), ("b", 90, None)])

    told = look(session)

    assert [overlap.seconds for overlap in told.overlaps] == [10.0]
    assert told.overlaps[0].first.ended_at == NOW


def test_runs_that_touch_do_not_overlap(session: Session) -> None:
    put(session, [("a", 10, 10), ("b", 20, 10)])

    told = look(session)

    assert (told.count, told.overlaps, told.by_pair) == (0, [], [])
    assert [point.running for point in told.concurrency] == [1, 0]


def test_a_run_without_any_length_overlaps_with_nothing(session: Session) -> None:
    put(session, [("a", 10, 10), ("b", 15, 0)])

    assert look(session).count == 0


def test_a_job_created_long_ago_counts_when_it_runs_now(session: Session) -> None:
    put(session, [("a", 10, 30), ("b", 20, 30)], created_at=NOW - timedelta(days=400))

    assert look(session).count == 1


def test_what_ran_before_the_window_is_cut_at_its_edge(session: Session) -> None:
    put(session, [("a", -40, 100), ("b", -40, 45)])

    told = look(session, 98)

    assert told.overlaps[0].seconds == 3.0
    assert told.overlaps[0].first.started_at == NOW - 140 * SECOND
    assert told.concurrency[0] == overlaps.Point(NOW - 98 * SECOND, 2)


def test_two_attempts_of_one_job_never_overlap_each_other(session: Session) -> None:
    put(session, [("a", 10, 30)])
    again = {"job_id": 1, "number": 2, "task": "a", "queue": "q"}
    session.add(
        Attempt(
            job_created_at=NOW - 90 * SECOND,
            started_at=NOW - 80 * SECOND,
            ended_at=NOW - 50 * SECOND,
            outcome="completed",
            **again,
        )
    )
    session.flush()

    told = look(session)

    assert told.count == 0
    assert told.peak == overlaps.Point(NOW - 90 * SECOND, 1)


def test_only_one_type_is_looked_at_when_it_is_named(session: Session) -> None:
    put(session, [("a", 10, 30), ("a", 20, 30), ("b", 20, 30)])

    told = look(session, task="a")

    assert told.count == 1
    assert [(pair.type1, pair.type2) for pair in told.by_pair] == [("a", "a")]


def test_somebody_elses_runs_are_not_looked_at(session: Session) -> None:
    put(session, [("a", 10, 30), ("a", 20, 30), ("b", 25, 30)])
    for number, owner in ((1, "ada"), (2, "ada"), (3, "kim")):
        row = session.get_one(Attempt, _key(session, number))
        started_at = row.job_created_at
        session.add(
            Job(id=number, created_at=started_at, task=row.task, queue="q", owner_name=owner)
        )
    session.flush()

    assert look(session, owner_name="ada").count == 1
    assert look(session, owner_name="kim").count == 0
    assert look(session).count == 3


def _key(session: Session, job_id: int) -> dict[str, Any]:
    created_at = session.scalar(
        text("SELECT job_created_at FROM attempt WHERE job_id = :id"), {"id": job_id}
    )
    return {"job_created_at": created_at, "job_id": job_id, "number": 1}


def test_the_profile_is_bounded_and_keeps_the_peak(session: Session) -> None:
    session.execute(
        text(
            "INSERT INTO attempt (job_id, job_created_at, number, task, queue, started_at, ended_at,"
            " outcome) SELECT n, at, 1, 't' || n % 7, 'q', at, at + n % 5 * interval '1 s', 'failed'"
            " FROM generate_series(1, 5000) AS n, LATERAL ("
            "  SELECT CAST(:now AS timestamptz) - n * interval '700 ms' AS at) AS moment"
        ),
        {"now": NOW},
    )

    told = look(session, 4000)

    assert len(told.concurrency) <= overlaps.MOST_POINTS
    assert max(point.running for point in told.concurrency) == told.peak.running  # type: ignore[union-attr]
    assert told.peak in told.concurrency
    ats = [point.at for point in told.concurrency]
    assert ats == sorted(ats)


def test_too_many_runs_are_refused_by_the_windows_name(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overlaps, "MOST_RUNS", 2)
    put(session, [("a", 10, 30), ("a", 20, 30), ("b", 25, 30)])

    with pytest.raises(Refused, match="fewer hours") as refused:
        look(session)

    assert refused.value.param == "hours"


def test_nothing_ran(session: Session) -> None:
    assert look(session) == overlaps.Overlaps([], 0, [], [], None)
