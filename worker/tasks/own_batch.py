"""A task's own batch: made once, and awaited without holding the task's slot."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core import batches, files
from app.core.batches import NewBatch
from app.core.errors import Conflict, Invalid
from app.core.follow_ups import key_of
from app.core.models import Batch
from app.core.storage import Draft
from worker.tasks.work import Later, Work

log = logging.getLogger(__name__)

# It looks again after a tenth of the time that the batch has taken so far.
_SHARE = 0.1
_SHORTEST_SECONDS, _LONGEST_SECONDS = 1.0, 300.0


def follow(
    work: Work,
    write_requests: Callable[[Session, Draft], int],
    *,
    endpoint: str,
    name: str,
) -> Batch:
    """The job's own batch, once it is final: made at the first attempt, found again at the others.

    `write_requests` writes its input file's lines and says how many. Raises Later while the batch
    runs, and Conflict when there was nothing to ask or the batch did not complete.
    """
    with work.session() as session:
        batch = session.scalar(
            select(Batch).where(
                Batch.owner_id == work.owner.id, Batch.idempotency_key == key_of(work.job_id)
            )
        )
        if batch is None:
            batch = _make(work, session, write_requests, endpoint, name)
            log.info("asking %s", batch.id)
            work.progress(0, None, f"Waiting for {batch.id}")
            raise Later(_SHORTEST_SECONDS)
        if not batches.is_final(batch):
            answered = batch.completed + batch.failed
            work.progress(answered, batch.total or None, f"Waiting for {batch.id}")
            elapsed = (datetime.now(UTC) - batch.created_at).total_seconds()
            raise Later(min(max(elapsed * _SHARE, _SHORTEST_SECONDS), _LONGEST_SECONDS))
    if batch.status != "completed":
        errors = "; ".join(str(error.get("message")) for error in (batch.errors or [])[:3])
        raise Conflict(f"{batch.id} was {batch.status}" + (f": {errors}" if errors else "."))
    log.info("%s answered %d of %d requests", batch.id, batch.completed, batch.total)
    return batch


def _make(
    work: Work,
    session: Session,
    write_requests: Callable[[Session, Draft], int],
    endpoint: str,
    name: str,
) -> Batch:
    with Draft(work.settings) as draft:
        if not write_requests(session, draft):
            raise Conflict("There is nothing to ask the model about.")
        file = files.create(
            session,
            work.settings,
            draft,
            owner_id=work.owner.id,
            purpose="batch",
            filename=f"{name}_{work.job_id}.jsonl",
        )
    batch = batches.create(
        session,
        work.owner.id,
        NewBatch(
            input_file_id=file.id,
            endpoint=endpoint,
            metadata={"made_by": name, "job_id": str(work.job_id)},
        ),
        settings=None,
        idempotency_key=key_of(work.job_id),
    )
    session.commit()
    return batch


def endpoints_of(work: Work, model: str) -> tuple[str, ...]:
    """What a model serves. Raises Invalid when there is no such model."""
    spec = work.house.registry.read().models.get(model)
    if spec is None:
        raise Invalid(f"There is no model {model!r} here.", param="model")
    return tuple(spec.endpoints)
