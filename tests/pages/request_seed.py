"""Requests of made-up batches: their lines in a file, and what was answered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy.orm import Session

from app.core import storage
from app.core.models import Batch, File, Request, Result
from app.core.settings import Settings

_NO_PREFIX = UUID(int=0)


@dataclass(frozen=True)
class Exchange:
    """One line: what is asked, and the answer, a message of what went wrong, or neither."""

    custom_id: str
    asked: str = "Why is the sky blue?"
    answer: str | None = None
    error: str | None = None
    error_type: str = "invalid_request_error"
    seconds: float = 1.5
    parameters: tuple[tuple[str, Any], ...] = (("max_tokens", 64), ("temperature", 0.2))


def add_requests(
    session: Session, settings: Settings, batch: Batch, exchanges: Sequence[Exchange]
) -> None:
    """Write the input file with its row, the requests and their results; counts them; commits."""
    path = storage.path(settings, f"file-{batch.id}")
    path.parent.mkdir(parents=True, exist_ok=True)
    position = 0
    with path.open("wb") as file:
        for line, each in enumerate(exchanges, 1):
            words = _line(batch, each)
            file.write(words)
            session.add(
                Request(
                    batch_number=batch.number,
                    line=line,
                    custom_id=each.custom_id,
                    position=position,
                    length=len(words) - 1,
                    max_tokens=64,
                    prefix_key=_NO_PREFIX,
                )
            )
            position += len(words)
            if each.answer is not None or each.error is not None:
                session.add(_result(batch, line, each))
    batch.input_file_id = path.name
    batch.total = len(exchanges)
    batch.completed = sum(each.answer is not None for each in exchanges)
    batch.failed = sum(each.error is not None for each in exchanges)
    batch.input_tokens, batch.output_tokens = 31 * batch.completed, 12 * batch.completed
    batch.cached_tokens = 24 * batch.completed
    if session.get(File, path.name) is None:
        session.add(
            File(
                id=path.name,
                owner_id=batch.owner_id,
                purpose="batch",
                filename=batch.input_filename or "input.jsonl",
                bytes=position,
                sha256="",
            )
        )
    session.commit()


def _line(batch: Batch, each: Exchange) -> bytes:
    body = {
        "model": batch.model,
        "messages": [
            {"role": "system", "content": "You answer in one sentence."},
            {"role": "user", "content": each.asked},
        ],
        **dict(each.parameters),
    }
    request = {
        "custom_id": each.custom_id,
        "method": "POST",
        "url": batch.endpoint,
        "body": body,
    }
    return orjson.dumps(request) + b"\n"


def _result(batch: Batch, line: int, each: Exchange) -> Result:
    began = batch.in_progress_at or batch.created_at
    if each.error is not None:
        body: dict[str, Any] = {"error": {"message": each.error, "type": each.error_type}}
    else:
        message = {"role": "assistant", "content": each.answer}
        body = {
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 31, "completion_tokens": 12},
        }
    return Result(
        batch_number=batch.number,
        line=line,
        id=f"batch_req_{batch.number}_{line}",
        is_success=each.error is None,
        status_code=400 if each.error is not None else 200,
        body=orjson.dumps(body).decode(),
        last_tried_at=began,
        created_at=began + timedelta(seconds=each.seconds),
    )
