"""Retrying: a new batch of only those requests of an old one that failed."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core import batches, files, limits, storage
from app.core.batches import NewBatch
from app.core.errors import Conflict, NotFound
from app.core.models import Batch, Request, Result
from app.core.settings import Settings


def retry_failed(
    session: Session, settings: Settings, batch_id: str, owner_id: int | None
) -> Batch:
    """Make a batch of the failed (or never answered) requests; the caller commits.

    The lines are copied byte for byte. Raises NotFound (also when the input file is gone), and
    Conflict when the batch is not final or nothing of it failed, and what `batches.create` does.
    """
    batch = batches.get(session, batch_id, owner_id)
    if not batches.is_final(batch):
        raise Conflict(f"The batch is {batch.status}; it can be retried when it has ended.")
    # Before anything is written; once more when its size is known.
    limits.check_job(session, settings, batch.owner_id)
    failed = (
        select(Request.position, Request.length)
        .join(
            Result,
            (Result.batch_number == Request.batch_number) & (Result.line == Request.line),
            isouter=True,
        )
        .where(Request.batch_number == batch.number, Result.is_success.is_distinct_from(True))
        .order_by(Request.line)
    )
    with storage.Draft(settings) as draft:
        try:
            source = storage.path(settings, batch.input_file_id).open("rb")
        except FileNotFoundError:
            raise NotFound(
                "The batch's input file is gone, so nothing can be asked again.",
                param="batch_id",
                code="file_not_found",
            ) from None
        with source:
            for position, length in session.execute(failed.execution_options(yield_per=1000)):
                source.seek(position)
                draft.write(source.read(length) + b"\n")
        if not draft.bytes:
            raise Conflict("No request of this batch failed.", param="batch_id", code="status")
        file = files.create(
            session,
            settings,
            draft,
            owner_id=batch.owner_id,
            purpose="batch",
            filename=f"{batch.id}_failed.jsonl",
        )
    return batches.create(
        session,
        batch.owner_id,
        NewBatch.again(batch, file.id),
        settings=settings,
    )
