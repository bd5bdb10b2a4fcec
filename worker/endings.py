"""Endings: what came of a request, as the result that is written."""

from __future__ import annotations

from datetime import UTC, datetime

import orjson

from app.core.models import Batch
from app.core.results import NewResult, Usage, read_usage
from worker.asks import Ask
from worker.bodies import RefusedRequest
from worker.engine import Answer, openai_error


def result_id(batch: Batch, ask: Ask) -> str:
    """The result's id, the same whoever asks."""
    return f"batch_req_{batch.id.removeprefix('batch_')}{ask.line:08x}"


def answered(batch: Batch, ask: Ask, answer: Answer) -> NewResult:
    """The engine has answered, well or with an error."""
    if not answer.is_success:
        body = orjson.dumps({"error": openai_error(answer.status_code, answer.body)})
        return _result(batch, ask, status_code=answer.status_code, body=body)
    try:
        content = orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        return _failed(batch, ask, "invalid_answer", "The engine's answer is not valid JSON.")
    usage = read_usage(content)
    return _result(batch, ask, status_code=answer.status_code, body=answer.body, usage=usage)


def refused(batch: Batch, ask: Ask, refusal: RefusedRequest) -> NewResult:
    """It was not to be sent at all."""
    return _result(batch, ask, status_code=400, body=refusal.body())


def timed_out(batch: Batch, ask: Ask) -> NewResult:
    """The engine lives, and has not answered."""
    return _failed(batch, ask, "request_timeout", "The engine took too long for this request.")


def deadly(batch: Batch, ask: Ask) -> NewResult:
    """It was in flight at too many deaths."""
    message = (
        f"The engine, or the worker with it, died {ask.deaths} times while it had this request, "
        "the last time with no other request in it."
    )
    return _failed(batch, ask, "engine_crashed", message)


def _failed(batch: Batch, ask: Ask, code: str, message: str) -> NewResult:
    return _result(batch, ask, error=orjson.dumps({"code": code, "message": message}))


def _result(
    batch: Batch,
    ask: Ask,
    *,
    status_code: int | None = None,
    body: bytes | None = None,
    error: bytes | None = None,
    usage: Usage = Usage(),  # noqa: B008 - frozen
) -> NewResult:
    return NewResult(
        line=ask.line,
        id=result_id(batch, ask),
        last_tried_at=datetime.now(UTC),
        status_code=status_code,
        body=body.decode("utf-8", "replace") if body is not None else None,
        error=error.decode() if error is not None else None,
        usage=usage,
        tries=max(ask.tries, 1),
    )
