"""A job's statuses as a small state diagram: which it was in and when, which way it took.

All ways that a job usually takes are there, thin; those that this one took are bold and say how long it
stayed before it took them. A list beside the picture has every step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from app.pages.display import clock_time, duration

WIDTH, HEIGHT = 600.0, 206.0
BOX_WIDTH, BOX_HEIGHT = 116.0, 40.0
_PLACES = {
    "pending": (2.0, 62.0),
    "running": (220.0, 62.0),
    "retrying": (110.0, 146.0),
    "completed": (480.0, 2.0),
    "failed": (480.0, 62.0),
    "cancelled": (480.0, 122.0),
}
# The path from one to another, and where its words stand.
_WAYS = {
    ("pending", "running"): ("M118 82H214", 166.0, 75.0),
    ("running", "completed"): ("M336 74C400 70 420 26 474 22", 408.0, 34.0),
    ("running", "failed"): ("M336 82H474", 405.0, 75.0),
    ("running", "cancelled"): ("M336 90C400 94 420 138 474 142", 408.0, 118.0),
    ("running", "retrying"): ("M240 102C236 124 214 130 206 141", 196.0, 124.0),
    ("retrying", "running"): ("M226 168C280 166 296 140 300 108", 300.0, 160.0),
    ("pending", "cancelled"): ("M40 102C44 230 520 216 534 168", 166.0, 202.0),
    ("retrying", "cancelled"): ("M226 178C330 190 440 178 474 152", 380.0, 172.0),
    ("retrying", "failed"): ("M226 162C360 160 420 120 474 92", 356.0, 138.0),
}
_USUAL = set(_WAYS) - {("retrying", "failed"), ("retrying", "cancelled")}


@dataclass(frozen=True)
class State:
    """A status; `word` says when it was come into last, and how often if more than once."""

    status: str
    x: float
    y: float
    word: str
    is_current: bool


@dataclass(frozen=True)
class Way:
    """From one status to another; `word` is empty where it was not taken."""

    path: str
    x: float
    y: float
    word: str
    is_taken: bool


@dataclass(frozen=True)
class Diagram:
    """All of it, and a sentence that says the same."""

    states: list[State]
    ways: list[Way]
    sentence: str


def draw(steps: Sequence[tuple[str, datetime, float | None]]) -> Diagram:
    """Of the steps in their order: the status, since when, and for how long it was in the one before."""
    came: dict[str, list[datetime]] = {}
    took: dict[tuple[str, str], list[float]] = {}
    for place, (status, at, seconds) in enumerate(steps):
        came.setdefault(status, []).append(at)
        if place and seconds is not None:
            took.setdefault((steps[place - 1][0], status), []).append(seconds)
    current = steps[-1][0] if steps else ""
    states = [
        State(status, x, y, _times(came.get(status, [])), status == current)
        for status, (x, y) in _PLACES.items()
    ]
    ways = [_way(pair, took.get(pair, [])) for pair in _WAYS if pair in _USUAL or pair in took]
    ways += [_way(pair, seconds) for pair, seconds in took.items() if pair not in _WAYS]
    sentence = "Its statuses: " + ", then ".join(status for status, _, _ in steps[-8:])
    return Diagram(states, sorted(ways, key=lambda way: way.is_taken), sentence)


def _times(moments: list[datetime]) -> str:
    if not moments:
        return ""
    return clock_time(moments[-1]) + (f", {len(moments)} times" if len(moments) > 1 else "")


def _way(pair: tuple[str, str], seconds: list[float]) -> Way:
    path, x, y = _WAYS[pair] if pair in _WAYS else _unusual(pair)
    word = ""
    if seconds:
        word = duration(seconds[-1]) if len(seconds) == 1 else f"{len(seconds)} ×"
    return Way(path, x, y, word, bool(seconds))


def _unusual(pair: tuple[str, str]) -> tuple[str, float, float]:
    """A way that has no path of its own, as an arc over the others."""
    # What no status of ours is would have no place.
    (one_x, one_y), (other_x, other_y) = (_PLACES.get(each, (240.0, 2.0)) for each in pair)
    begin, end = one_x + BOX_WIDTH / 2, other_x + BOX_WIDTH / 2 + 14
    path = f"M{begin} {one_y}C{begin} {one_y - 46} {end} {other_y - 46} {end} {other_y - 5}"
    return path, (begin + end) / 2, max(12.0, (one_y + other_y) / 2 - 28)
