"""Jobs that run after others: each waits in our own table until those on which it depends have completed.

The record's triggers release it in the transaction of the last one's end, or cancel it with the first
that fails or is cancelled (sql/followers.sql). As only jobs that exist can be named, no circle can arise.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row
from sqlalchemy.orm import Session

from app.core.errors import NotFound, Refused
from app.core.models import Job
from app.core.sql import statement

# How many jobs one may depend on, and how many a graph shows.
MOST = 100
MOST_NODES = 200

_ENDED_BADLY = {"failed": "failed", "cancelled": "was cancelled"}


@dataclass(frozen=True)
class Needed:
    """The jobs that one depends on: all, and those of them that have not completed yet."""

    ids: Sequence[int] = ()
    open_ids: Sequence[int] = ()


@dataclass(frozen=True)
class Graph:
    """The jobs around one and what depends on what; `has_more` when not all are in it."""

    nodes: Sequence[Row[Any]]
    edges: Sequence[Row[Any]]
    has_more: bool

    def needs(self) -> dict[int, list[int]]:
        """On which of its jobs each depends."""
        found: dict[int, list[int]] = {node.id: [] for node in self.nodes}
        for edge in self.edges:
            found.setdefault(edge.job_id, []).append(edge.needs_id)
        return found


def hold(session: Session, job_ids: Iterable[int], owner_name: str | None) -> Needed:
    """Look at the jobs that one is to depend on; none of them ends before the caller commits.

    Raises NotFound (one that is not there, or not this owner's), and Refused (one that failed or was
    cancelled, or too many).
    """
    ids = sorted(set(job_ids))
    if not ids:
        return Needed()
    if len(ids) > MOST:
        raise Refused(f"A job may depend on {MOST} others at most.", param="depends_on")
    rows = session.execute(
        statement("dependencies", "lock"), {"ids": ids, "owner_name": owner_name}
    )
    found = {row.id: row.status for row in rows}  # of two with one id, the newer
    for job_id in ids:
        if job_id not in found:
            raise NotFound(f"There is no job '{job_id}'.", param="depends_on", code="not_found")
        if how := _ENDED_BADLY.get(found[job_id]):
            raise Refused(
                f"Job {job_id} {how}: what depends on it could never run.",
                param="depends_on",
                code="dependency_failed",
            )
    open_ids = [job_id for job_id in ids if found[job_id] != "completed"]
    session.execute(statement("dependencies", "mark"), {"ids": open_ids})
    return Needed(ids, open_ids)


def add(session: Session, job_id: int, needed: Needed) -> None:
    """Say on what a job depends; in the transaction that held those and made the job."""
    if not needed.ids:
        return
    session.execute(
        statement("dependencies", "add"),
        {"job_id": job_id, "ids": needed.ids, "open": needed.open_ids},
    )
    if needed.open_ids:
        session.execute(statement("dependencies", "say"), {"job_id": job_id})


def graph(session: Session, job: Job, owner_name: str | None, *, limit: int = MOST_NODES) -> Graph:
    """What a job depends on and what depends on it, and so on, up to `limit` jobs."""
    ids = session.scalars(
        statement("dependencies", "around"),
        {"job_id": job.id, "owner_name": owner_name, "limit": limit + 1},
    ).all()
    shown = {"ids": ids[:limit]}
    return Graph(
        session.execute(statement("dependencies", "nodes"), shown).all(),
        session.execute(statement("dependencies", "edges"), shown).all(),
        has_more=len(ids) > limit,
    )
