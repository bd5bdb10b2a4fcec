"""The statuses of jobs: our words, what earlier systems call them, and what may be done in each.

A job that is stored as `pending` and due later is shown as `scheduled`; everything else is shown as
it is stored.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import ColumnElement, and_, case, false, func, literal_column, or_

from app.core.errors import Invalid
from app.core.models import Job

STATUSES = ("scheduled", "pending", "retrying", "running", "completed", "failed", "cancelled")
ACTIVE = ("scheduled", "pending", "retrying", "running")
FINAL = ("completed", "failed", "cancelled")

_WAITING_ACTIONS = ("cancel", "delete", "reschedule", "expedite", "change priority")

# What may be done to a job, by its status. "retry" and "run again" make a new job.
ACTIONS: Mapping[str, tuple[str, ...]] = {
    "scheduled": _WAITING_ACTIONS,
    "pending": _WAITING_ACTIONS,
    "retrying": _WAITING_ACTIONS,
    "running": ("cancel", "abort"),
    "completed": ("delete", "run again"),
    "failed": ("retry", "delete"),
    "cancelled": ("retry", "delete"),
}


@dataclass(frozen=True)
class Dialect:
    """How one family of routes names the statuses."""

    name: str
    words: Mapping[str, str]
    # What its filters take besides its own words.
    aliases: Mapping[str, str] = field(default_factory=dict)

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """Its words, in the order of a job's life."""
        return tuple(dict.fromkeys(self.words[status] for status in STATUSES))

    def say(self, status: str) -> str:
        """Our word in this dialect."""
        return self.words[status]

    def read(self, word: str) -> frozenset[str]:
        """Our statuses that a word of this dialect means; ours are understood, too.

        Raises Invalid.
        """
        word = self.aliases.get(word, word)
        meant = frozenset(status for status in STATUSES if self.words[status] == word)
        if not meant and word in STATUSES:
            meant = frozenset((word,))
        if not meant:
            known = ", ".join((*self.vocabulary, *self.aliases))
            raise Invalid(f"'{word[:100]}' is no status: use one of {known}.", param="status")
        return meant

    def read_list(self, words: str | None) -> frozenset[str] | None:
        """Our statuses that several words, separated by commas, mean; None when there is none.

        Raises Invalid.
        """
        if words is None or not words.strip():
            return None
        return frozenset().union(*(self.read(word.strip()) for word in words.split(",")))


_PLATFORM = {
    "scheduled": "PENDING",
    "pending": "PENDING",
    "retrying": "RETRY",
    "running": "STARTED",
    "completed": "SUCCESS",
    "failed": "FAILURE",
    "cancelled": "REVOKED",
}

OURS = Dialect("ours", {status: status for status in STATUSES}, {"processing": "running"})
V1 = Dialect(
    "v1",
    {
        "scheduled": "queued",
        "pending": "queued",
        "retrying": "queued",
        "running": "in_progress",
        "completed": "completed",
        "failed": "failed",
        "cancelled": "cancelled",
    },
)
API = Dialect(
    "api",
    {
        "scheduled": "pending",
        "pending": "pending",
        "retrying": "pending",
        "running": "running",
        "completed": "completed",
        "failed": "failed",
        "cancelled": "cancelled",
    },
    # An earlier system's word, and Procrastinate's own.
    {
        "processing": "running",
        "todo": "pending",
        "doing": "running",
        "succeeded": "completed",
        "aborted": "cancelled",
    },
)
PLATFORM = Dialect("platform", _PLATFORM)
# Its list of pending jobs tells those that are due later from the others.
PLATFORM_LIST = Dialect("platform list", {**_PLATFORM, "scheduled": "SCHEDULED"})

DIALECTS = {dialect.name: dialect for dialect in (OURS, V1, API, PLATFORM, PLATFORM_LIST)}


def shown(status: str, scheduled_at: datetime | None, now: datetime) -> str:
    """The status of a job as we show it."""
    if status == "pending" and scheduled_at is not None and scheduled_at > now:
        return "scheduled"
    return status


def is_one_of(statuses: Iterable[str]) -> ColumnElement[bool]:
    """Jobs that are shown with one of these statuses, as a condition that the indexes serve."""
    wanted = set(statuses)
    is_later = func.coalesce(Job.scheduled_at > func.now(), false())
    waiting = wanted & {"scheduled", "pending"}
    stored = sorted(wanted - {"scheduled", "pending"})
    parts: list[ColumnElement[bool]] = []
    if len(waiting) == 2:
        stored.append("pending")
    elif waiting == {"scheduled"}:
        parts.append(and_(has_status("pending"), is_later))
    elif waiting == {"pending"}:
        parts.append(and_(has_status("pending"), ~is_later))
    if len(stored) == 1:
        parts.append(has_status(stored[0]))
    elif stored:
        parts.append(Job.status.in_([literal_column(f"'{status}'") for status in stored]))
    return or_(false(), *parts) if parts else false()


def has_status(stored: str) -> ColumnElement[bool]:
    """Jobs stored with this status. As a literal: the planner knows which partial index fits."""
    assert stored in STATUSES
    return Job.status == literal_column(f"'{stored}'")


def shown_column() -> ColumnElement[str]:
    """`shown` as an expression, to select or group by."""
    return case((is_one_of({"scheduled"}), literal_column("'scheduled'")), else_=Job.status)
