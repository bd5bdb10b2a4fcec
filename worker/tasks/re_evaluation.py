"""The task `re_evaluation`: a finished batch again on another model, both answers side by side."""

from __future__ import annotations

import logging
from typing import Any

import orjson
from sqlalchemy import Row, select
from sqlalchemy.orm import Session

from app.core import batches, storage
from app.core.answers import text_of
from app.core.errors import Conflict, Invalid, NotFound
from app.core.models import Batch, Request
from app.core.sql import statement
from app.core.storage import Draft
from app.core.tasks import ReEvaluation
from worker.tasks.own_batch import endpoints_of, follow
from worker.tasks.work import Result, Work, built_in

log = logging.getLogger(__name__)


@built_in("re_evaluation", ReEvaluation)
def re_evaluation(work: Work, asked: ReEvaluation) -> Result:
    """Ask the other model, wait for it, write the file that compares."""
    with work.session() as session:
        first = batches.get(session, asked.batch_id, None if work.sees_all else work.owner.id)
    if not batches.is_final(first):
        raise Conflict(f"{first.id} is {first.status}; it can be asked again when it has ended.")
    if first.endpoint not in endpoints_of(work, asked.model):
        raise Invalid(f"The model {asked.model!r} does not serve {first.endpoint}.", param="model")
    second = follow(
        work,
        lambda session, draft: _write_requests(work, session, first, asked.model, draft),
        endpoint=first.endpoint,
        name="re_evaluation",
    )
    return _compare(work, first, second, asked.model)


def _write_requests(work: Work, session: Session, first: Batch, model: str, draft: Draft) -> int:
    """The first batch's requests in their order, with only the model changed."""
    query = (
        select(Request.position, Request.length)
        .where(Request.batch_number == first.number)
        .order_by(Request.line)
    )
    try:
        source = storage.path(work.settings, first.input_file_id).open("rb")
    except FileNotFoundError:
        raise NotFound(f"The input file of {first.id} is gone.", param="batch_id") from None
    count = 0
    with source:
        for position, length in session.execute(query.execution_options(yield_per=1000)):
            if count % 1000 == 0:
                work.check()
            source.seek(position)
            line = orjson.loads(source.read(length))
            line["body"]["model"] = model
            draft.write(orjson.dumps(line) + b"\n")
            count += 1
    return count


def _compare(work: Work, first: Batch, second: Batch, model: str) -> Result:
    same = rows = 0
    with work.session() as session, Draft(work.settings) as draft:
        # Both in input order, and the second has the first one's requests, no more and no less.
        for one, other in zip(_lines(session, first), _lines(session, second), strict=True):
            if one.custom_id != other.custom_id:
                raise RuntimeError(f"{one.custom_id} stands beside {other.custom_id}")
            found = _side(one, first.model), _side(other, model)
            row = {"custom_id": one.custom_id, "first": found[0], "second": found[1]}
            draft.write(orjson.dumps(row) + b"\n")
            same += found[0]["answer"] is not None and found[0]["answer"] == found[1]["answer"]
            rows += 1
            if rows % 1000 == 0:
                work.check()
        file = work.keep(session, draft, f"{first.id}_and_{second.id}.jsonl")
        session.commit()
    work.progress(rows, rows, f"Compared {rows} answers")
    log.info("%d of %d answers are the same", same, rows)
    return {"batch_id": second.id, "file_id": file.id, "rows": rows, "same_answers": same}


def _lines(session: Session, batch: Batch) -> Any:
    return session.execute(
        statement("results", "lines").execution_options(yield_per=500),
        {"batch_number": batch.number},
    )


def _side(row: Row[Any], model: str | None) -> dict[str, Any]:
    """One model's answer: its words, or the whole body of what has none."""
    answer = text_of(row.body) if row.is_success else None
    body = None if answer is not None or row.body is None else orjson.Fragment(row.body)
    return {
        "model": model,
        "status_code": row.status_code,
        "answer": answer,
        "body": body,
        "error": None if row.error is None else orjson.Fragment(row.error),
    }
