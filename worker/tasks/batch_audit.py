"""The task `batch_audit`: a model judges incidents, or the failed requests of a batch."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import orjson
from sqlalchemy import exists, select, update
from sqlalchemy.orm import Session

from app.core import batches, storage, verdicts
from app.core.answers import text_of
from app.core.models import Attempt, Batch, Incident, Job, Request, Result
from app.core.sql import statement
from app.core.storage import Draft
from app.core.tasks import BatchAudit
from app.core.verdicts import Verdict
from worker.tasks.own_batch import endpoints_of, follow
from worker.tasks.work import Result as Outcome
from worker.tasks.work import Work, built_in

log = logging.getLogger(__name__)

_LONGEST_TRACEBACK = 800
_LONGEST_PROMPT = 1200


@built_in("batch_audit", BatchAudit)
def batch_audit(work: Work, asked: BatchAudit) -> Outcome:
    """Ask for a verdict on each, wait for the answers, write them down."""
    endpoint = verdicts.endpoint_for(endpoints_of(work, asked.model), asked.model)

    def write(session: Session, draft: Draft) -> int:
        subjects = (
            _incidents(session, work, asked)
            if asked.batch_id is None
            else _failed_requests(session, work, asked)
        )
        count = 0
        for custom_id, subject in subjects:
            work.check()
            draft.write(verdicts.request(custom_id, subject, model=asked.model, endpoint=endpoint))
            count += 1
        return count

    batch = follow(work, write, endpoint=endpoint, name="batch_audit")
    if asked.batch_id is None:
        return _judge_incidents(work, batch)
    return _judge_requests(work, batch, asked.batch_id)


def _incidents(session: Session, work: Work, asked: BatchAudit) -> Iterator[tuple[str, str]]:
    query = select(Incident)
    if asked.incident_ids is not None:
        query = query.where(Incident.id.in_(asked.incident_ids))
    else:
        query = query.where(Incident.reviewed_at.is_(None), Incident.verdict.is_(None))
    if not work.sees_all:
        query = query.where(
            exists().where(Job.id == Incident.job_id, Job.owner_name == work.owner.name)
        )
    for incident in session.scalars(query.order_by(Incident.id).limit(asked.limit)):
        parts: dict[str, Any] = {
            "kind": incident.source,
            "what": incident.text,
            "times": incident.occurrences,
            **incident.details,
        }
        trace = session.scalar(
            select(Attempt.traceback)
            .where(Attempt.job_id == incident.job_id, Attempt.traceback.is_not(None))
            .order_by(Attempt.number.desc())
            .limit(1)
        )
        if trace:
            parts["traceback"] = trace[-_LONGEST_TRACEBACK:]
        yield f"incident-{incident.id}", orjson.dumps(parts, default=str).decode()


def _failed_requests(session: Session, work: Work, asked: BatchAudit) -> Iterator[tuple[str, str]]:
    batch = _audited(session, work, asked.batch_id or "")
    query = (
        select(
            Request.line,
            Request.custom_id,
            Request.position,
            Request.length,
            Result.body,
            Result.error,
            Result.status_code,
        )
        .join(Result, (Result.batch_number == Request.batch_number) & (Result.line == Request.line))
        .where(Request.batch_number == batch.number, ~Result.is_success)
    )
    if asked.custom_ids is not None:
        query = query.where(Request.custom_id.in_(asked.custom_ids))
    rows = session.execute(query.order_by(Request.line).limit(asked.limit)).all()
    with open(storage.path(work.settings, batch.input_file_id), "rb") as source:
        for row in rows:
            source.seek(row.position)
            prompt = source.read(row.length).decode("utf-8", "replace")
            parts = {
                "status_code": row.status_code,
                "error": verdicts.shortened(row.error or row.body or "", _LONGEST_TRACEBACK),
                "request": verdicts.shortened(prompt, _LONGEST_PROMPT),
            }
            yield f"request-{row.line}", orjson.dumps(parts).decode()


def _audited(session: Session, work: Work, batch_id: str) -> Batch:
    return batches.get(session, batch_id, None if work.sees_all else work.owner.id)


def _answers(session: Session, batch: Batch) -> Iterator[tuple[int, Verdict]]:
    """What each was called by number, and its verdict."""
    rows = session.execute(
        statement("results", "lines").execution_options(yield_per=500),
        {"batch_number": batch.number},
    )
    for row in rows:
        number = int(row.custom_id.rpartition("-")[2])
        if row.is_success:
            yield number, verdicts.read(text_of(row.body))
        else:
            yield number, Verdict("unclear", "The model could not be asked about this.")


def _judge_incidents(work: Work, batch: Batch) -> Outcome:
    counts: dict[str, int] = {}
    with work.session() as session:
        for incident_id, found in list(_answers(session, batch)):
            session.execute(
                update(Incident)
                .where(Incident.id == incident_id)
                .values(verdict=found.verdict, summary=found.summary)
            )
            counts[found.verdict] = counts.get(found.verdict, 0) + 1
        session.commit()
    log.info("judged %d incidents", sum(counts.values()))
    return {"batch_id": batch.id, "judged": sum(counts.values()), "verdicts": counts}


def _judge_requests(work: Work, batch: Batch, batch_id: str) -> Outcome:
    counts: dict[str, int] = {}
    with work.session() as session, Draft(work.settings) as draft:
        audited = _audited(session, work, batch_id)
        failed = dict(
            session.execute(
                select(Request.line, Request.custom_id)
                .join(
                    Result,
                    (Result.batch_number == Request.batch_number) & (Result.line == Request.line),
                )
                .where(Request.batch_number == audited.number, ~Result.is_success)
            )
            .tuples()
            .all()
        )
        for line, found in _answers(session, batch):
            row = {
                "custom_id": failed.get(line),
                "request_index": line - 1,
                "verdict": found.verdict,
                "summary": found.summary,
            }
            draft.write(orjson.dumps(row) + b"\n")
            counts[found.verdict] = counts.get(found.verdict, 0) + 1
        file = work.keep(session, draft, f"{batch_id}_audit.jsonl")
        session.commit()
    log.info("judged %d failed requests of %s", sum(counts.values()), batch_id)
    return {
        "batch_id": batch.id,
        "judged": sum(counts.values()),
        "verdicts": counts,
        "file_id": file.id,
    }
