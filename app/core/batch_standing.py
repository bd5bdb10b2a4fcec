"""Where one open batch stands, in the figures of GET /v1/queue."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy.orm import Session

from app.core import queue


@dataclass(frozen=True)
class Standing:
    """`position` 0 = running, else its place in line.

    Tokens per second are those read and written: of the worker in the last seconds, of the batch on
    the average; None before it runs.
    """

    position: int
    starts_in_seconds: float
    eta_seconds: float
    current_tokens_per_second: float | None = None
    average_tokens_per_second: float | None = None


def standing(session: Session, batch_id: str) -> Standing | None:
    """None: it is not open, or beyond the LIMIT first."""
    found = queue.read(session)
    row = next((row for row in found.rows if row.id == batch_id), None)
    if row is None:
        return None
    place = found.places[batch_id]
    if place.position:
        said = queue.entry(row, found, None)
        return Standing(
            said["position"], said["starts_in_seconds"], said["estimated_duration_seconds"]
        )
    said = queue.current_job(row, found, queue.live_worker(session), datetime.now(UTC))
    return Standing(
        0,
        0.0,
        said["timing"]["eta_seconds"],
        float(said["throughput"]["current_tokens_per_sec"]),
        float(said["throughput"]["average_tokens_per_sec"]),
    )
