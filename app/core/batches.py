"""Batches: created with their job in one transaction, moved by guarded updates."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Select, func, select, tuple_, update
from sqlalchemy.orm import Session

from app.core import jobs, limits, preflight, queue, stops
from app.core.errors import Conflict, Invalid, NotFound
from app.core.ids import new_id
from app.core.models import FINAL, Batch, File, User
from app.core.settings import Settings

ENDPOINTS = (
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/embeddings",
    "/v1/responses",
)
TASK = "run_batch"
QUEUE = queue.BATCHES

# The SDKs send the same request again within seconds; later the same words are a new batch.
_RETRY_WINDOW = timedelta(minutes=10)


@dataclass(frozen=True)
class NewBatch:
    """What a client asks for, already read and checked for shape."""

    input_file_id: str
    endpoint: str
    completion_window: str = "24h"
    metadata: dict[str, str] | None = None
    priority: int = 0
    webhook: dict[str, Any] | None = None
    output_expires_after_seconds: int | None = None
    retried_from: str | None = None

    @classmethod
    def again(cls, batch: Batch, input_file_id: str) -> NewBatch:
        """What retries a batch, with its settings, on a file: its own, or one of what failed."""
        return cls(
            input_file_id=input_file_id,
            endpoint=batch.endpoint,
            completion_window=batch.completion_window,
            metadata={**(batch.custom_metadata or {}), "retried_from": batch.id},
            priority=batch.priority,
            webhook=batch.webhook,
            output_expires_after_seconds=batch.output_expires_after_seconds,
            retried_from=batch.id,
        )

    def fingerprint(self, owner_id: int) -> str:
        """Equal for two requests that ask for the same thing."""
        words = json.dumps([owner_id, asdict(self)], sort_keys=True)
        return hashlib.sha256(words.encode()).hexdigest()

    def window(self) -> timedelta:
        """The completion window. Raises Invalid unless it reads like `24h` (1h to 168h)."""
        hours = self.completion_window.removesuffix("h")
        if not (
            self.completion_window.endswith("h")
            and hours.isascii()
            and hours.isdigit()
            and len(hours) <= 3
            and 1 <= int(hours) <= 168
        ):
            raise Invalid(
                "completion_window must be a number of hours from 1h to 168h, like 24h.",
                param="completion_window",
            )
        return timedelta(hours=int(hours))


def create(
    session: Session,
    owner_id: int,
    request: NewBatch,
    *,
    settings: Settings | None,
    idempotency_key: str | None = None,
    is_retry: bool = False,
) -> Batch:
    """Insert the batch and defer its job in the session's transaction; the caller commits.

    With an idempotency key, or when the client says that it retries, the batch that the first
    try made is returned instead. `settings` have the limits that it must keep; None for what a job
    of the user's makes, which was admitted itself. Raises Invalid, NotFound (the input file),
    Conflict (a key used for something else), LimitReached and TooLarge (see app.core.limits), and
    Unavailable (see app.core.preflight).
    """
    window = request.window()
    if request.endpoint not in ENDPOINTS:
        raise Invalid(
            f"endpoint must be one of {', '.join(ENDPOINTS)}; got {request.endpoint!r}.",
            param="endpoint",
        )
    fingerprint = request.fingerprint(owner_id)
    first_try = _first_try(session, owner_id, fingerprint, idempotency_key, is_retry)
    if first_try is not None:
        return first_try
    file = _input_file(session, owner_id, request.input_file_id)
    if settings is not None:
        preflight.check(session, settings, file.id)
        limits.check_job(session, settings, owner_id)
        limits.check_bytes(session, settings, owner_id, file.bytes)
    now = datetime.now(UTC)
    batch = Batch(
        id=new_id("batch"),
        owner_id=owner_id,
        input_file_id=request.input_file_id,
        input_filename=file.filename,
        endpoint=request.endpoint,
        completion_window=request.completion_window,
        priority=request.priority,
        custom_metadata=request.metadata,
        webhook=request.webhook,
        output_expires_after_seconds=request.output_expires_after_seconds,
        retried_from=request.retried_from,
        idempotency_key=idempotency_key,
        fingerprint=fingerprint,
        created_at=now,
        expires_at=now + window,
    )
    batch.job_id = defer_job(session, batch, priority=request.priority)
    session.add(batch)
    session.flush()
    jobs.announce(session, "batch", batch.id)
    return batch


def _first_try(
    session: Session,
    owner_id: int,
    fingerprint: str,
    idempotency_key: str | None,
    is_retry: bool,
) -> Batch | None:
    """The batch that an earlier try of the same request made, if any."""
    # Two tries at once: the second waits here until the first has committed.
    words = idempotency_key or fingerprint
    session.execute(
        select(func.pg_advisory_xact_lock(func.hashtextextended(f"batch {owner_id} {words}", 0)))
    )
    if idempotency_key is not None:
        batch = session.scalar(
            select(Batch).where(
                Batch.owner_id == owner_id, Batch.idempotency_key == idempotency_key
            )
        )
        if batch is not None and batch.fingerprint != fingerprint:
            raise Conflict(
                "This Idempotency-Key was used for a different batch.",
                param="Idempotency-Key",
                code="idempotency_key_reused",
            )
        return batch
    if not is_retry:
        return None
    return session.scalar(
        select(Batch)
        .where(
            Batch.fingerprint == fingerprint,
            Batch.created_at > datetime.now(UTC) - _RETRY_WINDOW,
        )
        .order_by(Batch.created_at.desc())
        .limit(1)
    )


def _input_file(session: Session, owner_id: int, file_id: str) -> File:
    # Locked, so that nobody deletes the file between this look and the batch's commit.
    file = session.scalar(
        select(File).where(File.id == file_id, File.owner_id == owner_id).with_for_update(read=True)
    )
    if file is None or (file.expires_at is not None and file.expires_at <= datetime.now(UTC)):
        raise NotFound(
            f"There is no file {file_id!r}.",
            param="input_file_id",
            code="file_not_found",
        )
    if file.purpose != "batch":
        raise Invalid(
            f"The file {file_id!r} has the purpose {file.purpose!r}; a batch needs 'batch'.",
            param="input_file_id",
        )
    return file


def _visible(owner_id: int | None) -> Select[Batch]:
    query = select(Batch)
    return query if owner_id is None else query.where(Batch.owner_id == owner_id)


def get(session: Session, batch_id: str, owner_id: int | None) -> Batch:
    """One batch. Raises NotFound when it is absent or (with an owner) somebody else's."""
    batch = session.scalar(_visible(owner_id).where(Batch.id == batch_id))
    if batch is None:
        raise NotFound(f"There is no batch {batch_id!r}.", param="batch_id", code="not_found")
    return batch


def list_batches(
    session: Session, owner_id: int | None, *, after: str | None, limit: int
) -> tuple[list[Batch], bool]:
    """A page, newest first, and whether more follow. Raises NotFound when `after` is unknown."""
    query = _visible(owner_id)
    if after is not None:
        last = get(session, after, owner_id)
        query = query.where(tuple_(Batch.created_at, Batch.number) < (last.created_at, last.number))
    query = query.order_by(Batch.created_at.desc(), Batch.number.desc()).limit(limit + 1)
    found = list(session.scalars(query))
    return found[:limit], len(found) > limit


def cancel(session: Session, batch_id: str, owner_id: int | None) -> Batch:
    """Ask for a batch to be cancelled; its finished results are kept. Idempotent while it is.

    Raises NotFound, and Conflict when the batch is being finalised or is final.
    """
    get(session, batch_id, owner_id)
    batch: Batch | None = session.scalar(
        update(Batch)
        .where(Batch.id == batch_id, Batch.status.in_(("validating", "in_progress")))
        .values(status="cancelling", cancelling_at=func.clock_timestamp())
        .returning(Batch)
    )
    if batch is None:
        session.expire_all()
        batch = get(session, batch_id, owner_id)
        if batch.status == "cancelling":
            return batch
        raise Conflict(
            f"A batch that is {batch.status} can't be cancelled.",
            param="batch_id",
            code="status",
        )
    hurry(session, batch)
    if batch.job_id is not None:
        stops.ask(session, batch.job_id)
    return batch


def hurry(session: Session, batch: Batch) -> None:
    """Let the end of a batch that waits for its turn be written now instead of at its turn.

    A batch that runs sees the changed status by itself.
    """
    if batch.job_id is not None and jobs.cancel_waiting(session, batch.job_id):
        batch.job_id = defer_job(session, batch, priority=1)
    session.flush()
    jobs.announce(session, "batch", batch.id)


def defer_job(session: Session, batch: Batch, *, priority: int) -> int:
    """Enqueue the job that brings a batch as far as it can go; returns the job's id."""
    return jobs.defer(
        session,
        TASK,
        {"batch_id": batch.id},
        queue=QUEUE,
        priority=priority,
        owner_name=session.scalar(select(User.name).where(User.id == batch.owner_id)),
        model=batch.model,
    )


def is_final(batch: Batch) -> bool:
    """Whether nothing about the batch can change any more."""
    return batch.status in FINAL
