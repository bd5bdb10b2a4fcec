"""What the timeline says of a lane, a run, a job that waits and what is planned: one fact a line."""

from __future__ import annotations

from datetime import datetime

from app.core import job_types
from app.core.timeline import Bar, Lane
from app.core.timeline_planned import Planned
from app.core.timeline_waiting import Waiting
from app.pages.display import clock, duration

_WORDS = {None: "running", "lost": "lost: its worker died", "deleted": "ended, not known how"}


def typed(task: str) -> str:
    """What people call a type, with the task's own name where that is a different one."""
    label = job_types.label(task)
    return label if label.casefold() == task.casefold() else f"{label} ({task})"


def note(lane: Lane) -> str:
    """What ran in it."""
    words = []
    if lane.runs or not (lane.waits or lane.plans):
        words.append(f"{lane.runs:,} run{'' if lane.runs == 1 else 's'}")
    if lane.failed:
        words.append(f"{lane.failed:,} failed")
    return ", ".join(words)


def to_come(lane: Lane) -> str:
    """What waits in it, and what is planned."""
    words = []
    if lane.waits:
        words.append(f"{lane.waits:,}{'+' if lane.has_more_waiting else ''} waiting")
    if lane.plans:
        words.append(f"{lane.plans:,} planned")
    return ", ".join(words)


def waiting_tip(job: Waiting, now: datetime) -> str:
    """Of a job that has not started."""
    lines = [
        f"#{job.job_id} {typed(job.type)}",
        "waits to be tried again" if job.is_retry else "waits, has not started",
        f"since {clock(job.since)}",
        f"for {duration(max(0.0, (now - job.since).total_seconds()))} so far",
    ]
    if job.reason:
        lines.append(job.reason)
    return "\n".join(lines)


def planned_tip(planned: Planned) -> str:
    """What is known of it, and what is not."""
    lines = [
        f"{typed(planned.type)}, by the schedule {planned.schedule}"
        if planned.job_id is None
        else f"#{planned.job_id} {typed(planned.type)}",
        f"planned: starts no earlier than {clock(planned.due_at)}",
        "left out if the schedule's last job has not ended then"
        if planned.is_skipped_if_busy
        else "how long it then waits for a worker is not known",
        "how long it runs is not known"
        if planned.seconds is None
        else f"half of its type's runs took {duration(planned.seconds)} at most",
    ]
    return "\n".join(lines)


def run_tip(bar: Bar) -> str:
    """Of a run."""
    word = _WORDS.get(bar.outcome, bar.outcome or "")
    seconds = (bar.ended_at - bar.started_at).total_seconds()
    lines = [
        f"#{bar.job_id} {typed(bar.type)}",
        f"{word}, attempt {bar.number}" if bar.number > 1 else word,
        f"started {clock(bar.started_at)}",
        f"ended {clock(bar.ended_at)}" if bar.outcome else "has not ended",
        f"ran {duration(seconds)}",
    ]
    if bar.wait_seconds is not None:
        lines.append(f"waited {duration(bar.wait_seconds)}")
    if bar.error:
        lines.append(bar.error[:200])
    return "\n".join(lines)
