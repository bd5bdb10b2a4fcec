"""How far the stop of a job has come: asked for, heard of by its worker, done; and whether it takes long."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from app.core.models import JOB_FINAL, Job, JobTransition

# So long a cancel may take before the way by force is offered.
LONG_SECONDS = 30.0
_SAME_SECONDS = 0.5


@dataclass(frozen=True)
class Stop:
    """Times are None for what has not happened; `forced_at` is when it was asked for by force."""

    requested_at: datetime
    requested_by: str | None
    forced_at: datetime | None
    forced_by: str | None
    acknowledged_at: datetime | None
    ended_at: datetime | None
    ended_as: str | None
    seconds: float

    @property
    def is_direct(self) -> bool:
        """Whether it was asked for by force from the first; that is written in two moments."""
        return (
            self.forced_at is not None
            and (self.forced_at - self.requested_at).total_seconds() < _SAME_SECONDS
        )

    @property
    def is_over(self) -> bool:
        return self.ended_at is not None

    @property
    def takes_long(self) -> bool:
        """Whether it goes on although there was time to stop."""
        return not self.is_over and self.forced_at is None and self.seconds >= LONG_SECONDS


def read(job: Job, transitions: Sequence[JobTransition], now: datetime) -> Stop:
    """Of a job that somebody asked to stop; `transitions` say who did."""
    assert job.cancel_requested_at is not None
    is_final = job.status in JOB_FINAL
    until = job.ended_at if is_final and job.ended_at is not None else now
    return Stop(
        requested_at=job.cancel_requested_at,
        requested_by=_who(transitions, "cancel requested") or _who(transitions, "abort requested"),
        forced_at=job.abort_requested_at,
        forced_by=_who(transitions, "abort requested"),
        acknowledged_at=job.cancel_acknowledged_at,
        ended_at=job.ended_at if is_final else None,
        ended_as=job.status if is_final else None,
        seconds=max(0.0, (until - job.cancel_requested_at).total_seconds()),
    )


def _who(transitions: Sequence[JobTransition], details: str) -> str | None:
    return next((each.triggered_by for each in transitions if each.details == details), None)
