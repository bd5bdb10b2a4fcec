"""What two types had in common and what ran beside a job, against looking at every moment."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core import collisions
from app.core.collisions import Span
from app.core.overlaps import number
from app.core.timeline_runs import Runs

BEGIN = datetime(2026, 3, 4, 5, 0, tzinfo=UTC)
LENGTH = 60

# (type, start, length), in seconds from BEGIN; the window is from 0 to LENGTH.
RUNS = st.lists(
    st.tuples(st.sampled_from(("a", "b")), st.integers(-20, 70), st.integers(0, 40)), max_size=20
)


def at(seconds: float) -> datetime:
    return BEGIN + timedelta(seconds=seconds)


def made(found: list[tuple[str, int, int]]) -> Runs:
    """Job 1, 2, … in the order of the list."""
    groups = [("lane", "a", "completed"), ("lane", "b", "completed")]
    starts = np.array([number(at(start)) for _, start, _ in found], dtype=np.int64)
    ends = np.array([number(at(start + long)) for _, start, long in found], dtype=np.int64)
    order = np.argsort(starts, kind="stable")
    jobs = np.arange(1, len(found) + 1)
    group = np.array([0 if task == "a" else 1 for task, _, _ in found], dtype=np.int64)
    ones = np.ones(len(found), dtype=np.int64)
    return Runs(
        groups, group[order], jobs[order], starts[order], ones, starts[order], ends[order], None
    )


def seconds_of(spans: list[Span]) -> set[int]:
    """The whole seconds within them: all bounds are whole."""
    return {
        second
        for span in spans
        for second in range(
            int((span.since - BEGIN).total_seconds()), int((span.until - BEGIN).total_seconds())
        )
    }


def running(found: list[tuple[str, int, int]], task: str, second: int) -> int:
    return sum(kind == task and start <= second < start + long for kind, start, long in found)


@given(RUNS)
def test_two_types_are_together_while_one_of_each_runs(found: list[tuple[str, int, int]]) -> None:
    spans = collisions.together(made(found), "a", "b", BEGIN, at(LENGTH))

    assert seconds_of(spans) == {
        second
        for second in range(LENGTH)
        if running(found, "a", second) and running(found, "b", second)
    }
    assert all(one.until < other.since for one, other in pairwise(spans))


@given(RUNS)
def test_a_type_is_together_with_itself_while_two_of_it_run(
    found: list[tuple[str, int, int]],
) -> None:
    spans = collisions.together(made(found), "a", "a", BEGIN, at(LENGTH))

    assert seconds_of(spans) == {
        second for second in range(LENGTH) if running(found, "a", second) > 1
    }


@given(RUNS.filter(bool))
def test_what_ran_beside_a_job_is_what_shared_a_second_with_it(
    found: list[tuple[str, int, int]],
) -> None:
    spans, beside = collisions.beside(made(found), 1, BEGIN, at(LENGTH))

    own = {second for second in range(LENGTH) if running(found[:1], found[0][0], second)}
    shared = {
        job_id: len(own & {second for second in range(LENGTH) if running([run], run[0], second)})
        for job_id, run in enumerate(found[1:], start=2)
    }
    assert seconds_of(spans) == own
    assert {each.job_id: each.seconds for each in beside} == {
        job_id: seconds for job_id, seconds in shared.items() if seconds
    }
    assert [each.seconds for each in beside] == sorted(
        (each.seconds for each in beside), reverse=True
    )


def test_a_job_that_did_not_run_in_the_window_has_nothing_beside_it() -> None:
    assert collisions.beside(made([("a", 70, 5), ("b", 0, 60)]), 1, BEGIN, at(60)) == ([], [])


def test_a_crowd_beside_a_job_is_listed_up_to_a_limit_the_longest_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(collisions, "MOST_BESIDE", 2)
    found = [("a", 0, 60), ("b", 0, 5), ("b", 0, 30), ("b", 0, 20)]

    _, beside = collisions.beside(made(found), 1, BEGIN, at(60))

    assert [(each.job_id, each.seconds) for each in beside] == [(3, 30.0), (4, 20.0)]
