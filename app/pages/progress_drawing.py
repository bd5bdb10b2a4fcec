"""How far an attempt was at which time, as a small drawing; a list beside it says its steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from app.core.milestones import Milestone
from app.pages.display import clock_time, duration

WIDTH, HEIGHT = 600.0, 84.0


@dataclass(frozen=True)
class Course:
    """`line` and `area` are paths in WIDTH × HEIGHT; times are told at both ends."""

    line: str
    area: str
    begin: str
    end: str
    sentence: str


def draw(milestones: Sequence[Milestone], began_at: datetime, until: datetime) -> Course | None:
    """From its begin until its end or now; None where no percentage was said at two times."""
    said = [(each.at, each.percent) for each in milestones if each.percent is not None]
    seconds = (until - began_at).total_seconds()
    if len(said) < 2 or seconds <= 0:
        return None
    points = [(0.0, HEIGHT)]
    for at, percent in said:
        x = WIDTH * max(0.0, min(1.0, (at - began_at).total_seconds() / seconds))
        points.append((round(x, 1), round(HEIGHT * (1 - percent / 100), 1)))
    points.append((WIDTH, points[-1][1]))
    line = "M" + "L".join(f"{x:g} {y:g}" for x, y in points)
    sentence = f"Progress over {duration(seconds)}: from {said[0][1]} to {said[-1][1]} %"
    halves = [at for at, percent in said if percent >= 50]
    if halves:
        sentence += f", half of it after {duration((halves[0] - began_at).total_seconds())}"
    return Course(
        line,
        f"{line}V{HEIGHT:g}H0Z",
        clock_time(began_at),
        clock_time(until),
        sentence,
    )
