"""What has not begun, in the lanes of what ran: what waits now, and what is planned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from app.core.timeline import MOST_LANES, NARROWEST, Lane
from app.core.timeline_planned import Planned
from app.core.timeline_waiting import EACH, WaitingLane

# What is planned beside more than this at once is counted, not drawn.
MOST_PLANNED_ROWS = 3


def with_waiting(lanes: Sequence[Lane], waiting: Sequence[WaitingLane]) -> list[Lane]:
    """The lanes and what waits in them; lanes where nothing ran yet come in their places.

    Where some lanes are drawn as one already, those in which only something waits are in it, too.
    """
    by_name = {each.name: each for each in waiting}
    rest = next((lane for lane in lanes if lane.others), None)
    named = [lane for lane in lanes if not lane.others]
    found = []
    for lane in named:
        more = by_name.pop(lane.name, None)
        found.append(_waited_for(lane, [more]) if more else lane)
    room = 0 if rest else max(0, MOST_LANES - len(named))
    new = [*by_name.values()]
    found += [_waited_for(Lane(each.name, 0, 0, 0), [each]) for each in new[:room]]
    found.sort(key=lambda lane: (lane.name is None, lane.name or ""))
    if left := new[room:]:
        rest = rest or Lane(None, 0, 0, 0, others=len(left))
        rest = _waited_for(rest, left)
    return [*found, rest] if rest else found


def with_planned(
    lanes: Sequence[Lane], planned: Sequence[Planned], length: timedelta
) -> list[Lane]:
    """The lanes of a window so long, with what is to start in them; as with what waits."""
    by_name: dict[str | None, list[Planned]] = {}
    for each in planned:
        by_name.setdefault(each.lane, []).append(each)
    rest = next((lane for lane in lanes if lane.others), None)
    named = [lane for lane in lanes if not lane.others]
    room = 0 if rest else max(0, MOST_LANES - len(named))
    known = {lane.name for lane in named}
    new = [name for name in by_name if name not in known]
    named += [Lane(name, 0, 0, 0) for name in new[:room]]
    found = [_planned_for(lane, by_name.get(lane.name, []), length) for lane in named]
    found.sort(key=lambda lane: (lane.name is None, lane.name or ""))
    if left := [each for name in new[room:] for each in by_name[name]]:
        rest = rest or Lane(None, 0, 0, 0, others=len(new) - room)
        rest = _planned_for(rest, sorted(left, key=lambda each: each.due_at), length)
    return [*found, rest] if rest else found


def _planned_for(lane: Lane, planned: Sequence[Planned], length: timedelta) -> Lane:
    ends: list[datetime] = []
    drawn = []
    for each in planned:
        row = next((row for row, end in enumerate(ends) if end <= each.due_at), len(ends))
        if row == MOST_PLANNED_ROWS:
            continue
        end = each.due_at + max(timedelta(seconds=each.seconds or 0), length * NARROWEST)
        ends[row : row + 1] = [end]
        drawn.append((row, each))
    return replace(lane, planned=tuple(drawn), plans=len(planned))


def _waited_for(lane: Lane, waiting: Sequence[WaitingLane]) -> Lane:
    longest = sorted((job for each in waiting for job in each.first), key=lambda job: job.since)
    return replace(
        lane,
        waiting=tuple(longest[:EACH]),
        waits=sum(each.waits for each in waiting),
        has_more_waiting=any(each.has_more for each in waiting),
    )
