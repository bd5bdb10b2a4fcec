"""Steps of a batch that run in a helper process: they read or write a whole file."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy.orm import Session, sessionmaker

from app.core import batches, outputs, storage
from app.core.db import make_engine
from app.core.settings import Settings
from worker.lines import Limits
from worker.validation import Findings, validate


def _open_session(settings: Settings) -> Session:
    return sessionmaker(make_engine(settings, "helper", pool_size=1))()


def validate_file(
    settings: Settings, batch_id: str, token: UUID, models: dict[str, tuple[str, ...]]
) -> Findings:
    """Validate a batch's input file; see `worker.validation.validate`."""
    limits = Limits(settings.max_batch_requests, settings.max_batch_tokens, settings.max_line_bytes)
    with _open_session(settings) as session:
        batch = batches.get(session, batch_id, None)
        path = storage.path(settings, batch.input_file_id)
        return validate(session, batch, token, path, models, limits)


def finalize(
    settings: Settings,
    batch_id: str,
    token: UUID,
    status: str,
    errors: list[dict[str, object]] | None,
) -> None:
    """Write a batch's result files; see `app.core.outputs.finalize`."""
    with _open_session(settings) as session:
        batch = batches.get(session, batch_id, None)
        outputs.finalize(session, settings, batch, token, status, errors)


def warm() -> None:
    """Does nothing: its call has this module imported before it is needed."""
