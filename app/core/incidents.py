"""Incidents: what an operator should look at, opened once and counted up while it stays open.

`scan` looks at what has ended since the last look, and only at that; the housekeeper calls it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import orjson
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from app.core import audit, job_stats, listening, overlaps, quarantine, scans, webhooks
from app.core.errors import Conflict, NotFound, Refused
from app.core.models import Incident
from app.core.sql import statement

SOURCES = ("failure", "stall", "slow", "overlap")

_STATS_HOURS = 24
# From so many on, what is low or medium counts as high.
_MANY = 10
# What a type usually takes is known from so many runs; shorter runs than this are never slow.
_FEWEST_RUNS = 20
_SHORTEST_SLOW_MS = 1000
_TIMES_USUAL = 3
_LONGEST_TEXT = 1000


def report(
    session: Session,
    *,
    source: str,
    risk_level: str,
    fingerprint: str,
    text: str,
    job_id: int | None = None,
    details: dict[str, Any] | None = None,
    occurrences: int = 1,
    seen_at: datetime | None = None,
) -> int:
    """Open an incident, or count up the open one with this fingerprint; returns its id."""
    values = {
        "source": source,
        "risk_level": risk_level,
        "fingerprint": fingerprint,
        "text": text[:_LONGEST_TEXT],
        "job_id": job_id,
        "details": orjson.dumps(details or {}).decode(),
        "occurrences": occurrences,
        "seen_at": seen_at,
    }
    row = session.execute(statement("incidents", "report"), values).one()
    listening.tell(session, "incident")
    if row.is_new:
        event = {
            "id": str(row.id),
            "source": source,
            "risk_level": risk_level,
            "text": values["text"],
            "job_id": None if job_id is None else str(job_id),
        }
        webhooks.tell(session, webhooks.INCIDENT, event)
    if row.occurrences >= _MANY:
        session.execute(
            update(Incident)
            .where(Incident.id == row.id, Incident.risk_level.in_(("low", "medium")))
            .values(risk_level="high")
        )
    return int(row.id)


def get(session: Session, incident_id: int) -> Incident:
    """One incident. Raises NotFound."""
    incident = session.get(Incident, incident_id)
    if incident is None:
        raise NotFound(f"There is no incident {incident_id}.", param="incident_id")
    return incident


def list_open(session: Session, *, limit: int, without_verdict: bool = False) -> Sequence[Incident]:
    """Those that nobody has reviewed, newest first."""
    query = select(Incident).where(Incident.reviewed_at.is_(None))
    if without_verdict:
        query = query.where(Incident.verdict.is_(None))
    return session.scalars(query.order_by(Incident.opened_at.desc()).limit(limit)).all()


def review(session: Session, incident_id: int, actor: str) -> Incident:
    """Close an incident: the same thing again opens a new one. The caller commits.

    Raises NotFound, and Conflict when somebody has reviewed it already.
    """
    incident: Incident | None = session.scalar(
        update(Incident)
        .where(Incident.id == incident_id, Incident.reviewed_at.is_(None))
        .values(reviewed_at=func.clock_timestamp(), reviewed_by=actor)
        .returning(Incident)
    )
    if incident is None:
        found = get(session, incident_id)
        raise Conflict(f"Incident {incident_id} was reviewed by {found.reviewed_by}.")
    audit.record(session, actor, "incident.review", str(incident_id))
    return incident


def scan(session: Session) -> int:
    """Open incidents for what has ended since the last scan; commits. How many were reported.

    One at a time: a second one at once finds nothing left.
    """
    window = scans.next_window(session, "ended")
    reported = 0
    if window is not None:
        reported += _report_failures(session, window)
        reported += _report_stalls(session, window)
        reported += _report_slow(session, window)
    session.commit()
    return reported


def scan_overlaps(session: Session, most_per_day: int) -> int:
    """Open incidents for two types of job that ran at once more than `most_per_day` times; commits.

    Looks at the last 24 hours, and says the same of two types once in that time. Runs of one type
    beside each other are as its queue was set up to run them.
    """
    until = session.execute(select(func.clock_timestamp())).scalar_one()
    since = until - timedelta(hours=_STATS_HOURS)
    try:
        found = overlaps.find(session, since=since, until=until, limit=1)
    except Refused:
        return 0  # so many runs that everything overlaps
    reported = 0
    for pair in found.by_pair:
        if pair.type1 == pair.type2 or pair.pairs <= most_per_day:
            continue
        fingerprint = f"overlap:{pair.type1}:{pair.type2}"
        is_said = select(Incident.id).where(
            Incident.fingerprint == fingerprint,
            Incident.reviewed_at.is_(None),
            Incident.last_seen_at > since,
        )
        if session.scalar(is_said) is not None:
            continue
        reported += 1
        report(
            session,
            source="overlap",
            risk_level="low",
            fingerprint=fingerprint,
            text=f"{pair.type1} and {pair.type2} ran at once {pair.pairs} times within a day, "
            f"{pair.overlap_seconds:.0f} s in all",
            details={
                "task": pair.type1,
                "other_task": pair.type2,
                "pairs": pair.pairs,
                "overlap_seconds": pair.overlap_seconds,
            },
            seen_at=until,
        )
    session.commit()
    return reported


def _report_failures(session: Session, window: dict[str, datetime]) -> int:
    rows = session.execute(statement("incidents", "failures"), window).all()
    for row in rows:
        error = row.error_type or "an error"
        message = (row.error_message or "").strip().partition("\n")[0]
        report(
            session,
            source="failure",
            risk_level="high" if row.error_type == quarantine.ERROR_TYPE else "medium",
            fingerprint=f"failure:{row.task}:{row.error_type}",
            text=f"{row.task} failed with {error}" + (f": {message}" if message else ""),
            job_id=row.job_id,
            details={"task": row.task, "error_type": row.error_type or None},
            occurrences=row.jobs,
            seen_at=row.seen_at,
        )
    return len(rows)


def _report_stalls(session: Session, window: dict[str, datetime]) -> int:
    rows = session.execute(statement("incidents", "stalls"), window).all()
    for row in rows:
        report(
            session,
            source="stall",
            risk_level="high",
            fingerprint=f"stall:{row.task}",
            text=f"{row.task} lost its worker {row.worker_name or ''} while it ran".replace(
                "  ", " "
            ),
            job_id=row.job_id,
            details={"task": row.task, "worker": row.worker_name},
            occurrences=row.attempts,
            seen_at=row.seen_at,
        )
    return len(rows)


def _report_slow(session: Session, window: dict[str, datetime]) -> int:
    usual = {}
    stats = {}
    if session.execute(
        statement("incidents", "runs"), {**window, "tasks": [], "limits_ms": []}
    ).first():
        stats = {each.job_type: each for each in job_stats.by_task(session, hours=_STATS_HOURS)}
        usual = {
            task: max(_SHORTEST_SLOW_MS, round(1000 * _TIMES_USUAL * each.p95_seconds))
            for task, each in stats.items()
            if each.p95_seconds is not None and each.completed_runs >= _FEWEST_RUNS
        }
    rows = session.execute(
        statement("incidents", "runs"),
        {**window, "tasks": list(usual), "limits_ms": list(usual.values())},
    ).all()
    reported = 0
    for row in rows:
        known = stats.get(row.task)
        average = known.avg_duration_seconds if known else None
        if known is not None and known.is_slow and average is not None:
            reported += 1
            report(
                session,
                source="slow",
                risk_level="low",
                fingerprint=f"slow-type:{row.task}",
                text=f"{row.task} takes {average:.0f} s on average",
                job_id=row.job_id,
                details={"task": row.task, "average_seconds": average},
                occurrences=row.jobs,
                seen_at=row.seen_at,
            )
        if row.slow_jobs:
            reported += 1
            report(
                session,
                source="slow",
                risk_level="medium",
                fingerprint=f"slow-run:{row.task}",
                text=f"A run of {row.task} took {row.longest_ms / 1000:.1f} s; 95 % take "
                f"{usual[row.task] / 1000 / _TIMES_USUAL:.1f} s at most",
                job_id=row.job_id,
                details={"task": row.task, "longest_seconds": row.longest_ms / 1000},
                occurrences=row.slow_jobs,
                seen_at=row.seen_at,
            )
    return reported
