"""How much one user may have waiting: asked in the transaction that submits.

What may *run* at once is no reason to refuse anything: see app.core.admission.
"""

from __future__ import annotations

import math
from typing import Any

from sqlalchemy import Row, func, select
from sqlalchemy.orm import Session

from app.core import queue
from app.core.errors import LimitReached, TooLarge
from app.core.models import IS_OPEN, Batch
from app.core.settings import Settings
from app.core.sql import statement

# When to come back where nothing is known of what is in front.
_UNKNOWN_SECONDS = 60
# What should start at once may still have its file checked first.
_SHORTEST_SECONDS = 5
_LONGEST_SECONDS = 86_400


def check_job(session: Session, settings: Settings, owner_id: int) -> None:
    """Raises LimitReached when the user has as many jobs waiting as one may.

    The next one to ask for the same user waits until the caller has committed.
    """
    most = settings.user_queued_jobs
    if not most:
        return
    use = _use(session, owner_id)
    if use.jobs >= most:
        seconds = _seconds_until_start(session, owner_id)
        raise LimitReached(
            f"You have {use.jobs} jobs waiting, and {most} is the limit: try again in "
            f"{_words(seconds)}, when one of them has started.",
            code="too_many_jobs",
            retry_after_seconds=seconds,
        )


def check_bytes(session: Session, settings: Settings, owner_id: int, size: int) -> None:
    """Raises LimitReached when an input file of `size` is too much beside those of open batches.

    Raises TooLarge when it is too much by itself.
    """
    most = settings.user_queued_bytes
    if not most:
        return
    if size > most:
        raise TooLarge(
            f"The input file has {_size(size)}, and all open batches of a user together may have "
            f"{_size(most)}: split it.",
            param="input_file_id",
            code="too_many_bytes",
        )
    use = _use(session, owner_id)
    if use.bytes + size > most:
        seconds = _seconds_until_end(session, owner_id)
        raise LimitReached(
            f"The input files of your open batches have {_size(use.bytes)} and this one "
            f"{_size(size)}; {_size(most)} is the limit: try again in {_words(seconds)}, when a "
            "batch has ended.",
            param="input_file_id",
            code="too_many_bytes",
            retry_after_seconds=seconds,
        )


def _use(session: Session, owner_id: int) -> Row[Any]:
    # Two at once must not both take the last place.
    lock = func.hashtextextended(f"limits {owner_id}", 0)
    session.execute(select(func.pg_advisory_xact_lock(lock)))
    return session.execute(
        statement("limits", "queued"), {"owner_id": owner_id, "tasks": queue.TASKS}
    ).one()


def _seconds_until_start(session: Session, owner_id: int) -> int:
    """When the first of the user's waiting batches begins, by the queue's own estimate."""
    waits = [place for place in _places(session, owner_id) if place.position > 0]
    return _rounded([place.starts_in_seconds for place in waits])


def _seconds_until_end(session: Session, owner_id: int) -> int:
    """When the first of the user's batches ends."""
    return _rounded(
        [
            (place.starts_in_seconds or 0.0) + (place.duration_seconds or 0.0)
            for place in _places(session, owner_id)
        ]
    )


def _places(session: Session, owner_id: int) -> list[queue.Place]:
    own = session.scalars(select(Batch.id).where(IS_OPEN, Batch.owner_id == owner_id))
    places = queue.positions(session)
    return [places[batch_id] for batch_id in own if batch_id in places]


def _rounded(seconds: list[float | None]) -> int:
    known = [value for value in seconds if value is not None]
    if not known:
        return _UNKNOWN_SECONDS
    return min(max(math.ceil(min(known)), _SHORTEST_SECONDS), _LONGEST_SECONDS)


def _words(seconds: int) -> str:
    if seconds < 120:
        return f"{seconds} seconds"
    return f"{math.ceil(seconds / 60)} minutes"


def _size(size: int) -> str:
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("KB", 10**3)):
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size} bytes"
