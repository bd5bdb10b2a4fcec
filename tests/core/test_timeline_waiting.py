"""What waits now, in the timeline's lanes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy.orm import Session

from app.core import queue_pauses, timeline_ahead, timeline_waiting
from app.core.models import Attempt, Job
from app.core.settings import Settings
from app.core.timeline import Lane
from app.core.timeline_waiting import Waiting, WaitingLane

NOW = datetime.now(UTC)


def put(session: Session, job_id: int, minutes: float, status: str = "pending", **more: Any) -> Job:
    """A job made so many minutes ago."""
    values: dict[str, Any] = {"task": "export", "queue": "tasks", "arguments": {}, **more}
    job = Job(id=job_id, created_at=NOW - timedelta(minutes=minutes), status=status, **values)
    session.add(job)
    session.flush()
    return job


def read(session: Session, settings: Settings, **more: Any) -> list[WaitingLane]:
    asked = {"until": NOW, "now": NOW, **more}
    return timeline_waiting.read(session, settings, **asked)


def shown(lanes: list[WaitingLane]) -> dict[str | None, list[int]]:
    return {lane.name: [job.job_id for job in lane.first] for lane in lanes}


def test_of_each_lane_those_that_wait_longest_are_shown_and_all_are_counted(
    session: Session, settings: Settings
) -> None:
    for number in range(1, 6):
        put(session, number, minutes=number)
    put(session, 9, minutes=3, task="backup", queue="other", model="gemma", owner_name="ada")

    lanes = read(session, settings)

    assert shown(lanes) == {"export": [5, 4, 3], "backup": [9]}
    assert [lane.waits for lane in lanes] == [5, 1]
    assert set(shown(read(session, settings, lane_by="queue"))) == {"tasks", "other"}
    assert set(shown(read(session, settings, lane_by="model"))) == {None, "gemma"}
    assert set(shown(read(session, settings, lane_by="user"))) == {None, "ada"}
    assert set(shown(read(session, settings, lane_by="worker"))) == {None}
    assert shown(read(session, settings, task="backup")) == {"backup": [9]}
    assert shown(read(session, settings, owner_name="ada")) == {"backup": [9]}


def test_of_very_many_it_is_said_that_there_may_be_more(
    session: Session, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(1, 6):
        put(session, number, minutes=number)
    assert not read(session, settings)[0].has_more
    monkeypatch.setattr(timeline_waiting, "MOST", 4)

    (lane,) = read(session, settings)

    assert (lane.waits, lane.has_more) == (4, True)
    assert timeline_ahead.with_waiting([], [lane])[0].has_more_waiting


def test_what_runs_has_ended_or_is_due_later_does_not_wait(
    session: Session, settings: Settings
) -> None:
    put(session, 1, 5, "running", started_at=NOW, attempt_started_at=NOW)
    put(session, 2, 5, scheduled_at=NOW + timedelta(hours=1))

    assert read(session, settings) == []


def test_what_waits_since_after_the_window_is_not_in_it(
    session: Session, settings: Settings
) -> None:
    put(session, 1, 50)
    put(session, 2, 5)
    put(session, 3, 50, scheduled_at=NOW - timedelta(minutes=10))

    lanes = read(session, settings, until=NOW - timedelta(minutes=30))

    assert shown(lanes) == {"export": [1]}
    assert lanes[0].waits == 1


def test_what_failed_waits_since_then(session: Session, settings: Settings) -> None:
    job = put(session, 1, 50, "retrying")
    ended_at = NOW - timedelta(minutes=20)
    session.add(
        Attempt(
            job_id=1,
            job_created_at=job.created_at,
            number=1,
            task="export",
            queue="tasks",
            started_at=job.created_at,
            ended_at=ended_at,
            outcome="failed",
        )
    )
    session.flush()

    (waiting,) = read(session, settings)[0].first

    assert (waiting.since, waiting.is_retry) == (ended_at, True)
    assert read(session, settings, until=NOW - timedelta(minutes=30)) == []


def test_why_it_waits_is_said_where_it_is_known(session: Session, settings: Settings) -> None:
    put(session, 1, 5)
    queue_pauses.pause(session, "tasks", "new disk", "ada", models=())

    (waiting,) = read(session, settings)[0].first

    assert waiting.reason is not None
    assert "new disk" in waiting.reason


def job(number: int) -> Waiting:
    return Waiting(number, "export", NOW - timedelta(minutes=number), False)


def test_lanes_in_which_something_only_waits_come_in_their_places(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lanes = [Lane("backup", 2, 0, 1), Lane("export", 1, 0, 1)]
    waiting = [WaitingLane("cleanup", 7, (job(1),)), WaitingLane("export", 1, (job(2),))]

    found = timeline_ahead.with_waiting(lanes, waiting)

    assert [(lane.name, lane.runs, lane.waits) for lane in found] == [
        ("backup", 2, 0),
        ("cleanup", 0, 7),
        ("export", 1, 1),
    ]


def test_where_there_are_more_lanes_than_shown_the_rest_waits_in_the_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(timeline_ahead, "MOST_LANES", 2)
    waiting = [WaitingLane(name, 1, (job(place),)) for place, name in enumerate("abcd", start=1)]

    found = timeline_ahead.with_waiting([Lane("z", 1, 0, 1)], waiting)

    assert [(lane.name, lane.others, lane.waits) for lane in found] == [
        ("a", 0, 1),
        ("z", 0, 0),
        (None, 3, 3),
    ]
    assert [each.job_id for each in found[-1].waiting] == [4, 3, 2]

    crowded = timeline_ahead.with_waiting(
        [Lane("z", 1, 0, 1), Lane(None, 5, 0, 1, others=4)], waiting
    )
    assert [(lane.name, lane.others, lane.runs, lane.waits) for lane in crowded] == [
        ("z", 0, 1, 0),
        (None, 4, 5, 4),
    ]
