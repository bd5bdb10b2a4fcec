"""Small lines in the first page's cards: how busy the machine was over the window."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from app.core.samples import Machine
from app.pages import charts

_STEPS = 60
# The cards, and the figures that they show.
_CARDS = {"gpu": "gpu_utilization", "cpu": "cpu_percent", "memory": "memory_percent"}
_WORDS = {"gpu": "GPU", "cpu": "CPU", "memory": "Memory"}


@dataclass(frozen=True)
class Spark:
    """A line from 0 to 100 %, and what it says in words."""

    line: charts.Line
    sentence: str


def draw(machine: Machine | None, since: datetime, until: datetime) -> dict[str, Spark]:
    """One for each card of which anything is known."""
    if machine is None:
        return {}
    sparks = {}
    for card, name in _CARDS.items():
        values = _course(machine, name, since, until)
        known = [value for value in values if value is not None]
        if len(known) > 1:
            mean = getattr(machine.figures, name)
            sparks[card] = Spark(
                charts.line(card, values, 100.0),
                f"{_WORDS[card]} in this time: {min(known):.0f} to {max(known):.0f} %,"
                f" {mean:.0f} % on the average",
            )
    return sparks


def _course(machine: Machine, name: str, since: datetime, until: datetime) -> list[float | None]:
    """The mean of each step; None where nothing is known."""
    length = (until - since) / _STEPS
    sums, seconds = [0.0] * _STEPS, [0.0] * _STEPS
    for point in machine.points:
        value = getattr(point.figures, name)
        if value is None:
            continue
        first = max(0, int((point.since - since) / length))
        last = min(_STEPS - 1, int((point.until - since) / length))
        for step in range(first, last + 1):
            begin = since + step * length
            shared = min(point.until, begin + length) - max(point.since, begin)
            if shared > timedelta():
                sums[step] += value * shared.total_seconds()
                seconds[step] += shared.total_seconds()
    return [sums[step] / seconds[step] if seconds[step] else None for step in range(_STEPS)]
