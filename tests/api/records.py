"""Rows of the record, as triggers and workers would have written them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from app.core.models import Attempt, Job, JobSearch, JobTransition, LogLine

BEGIN = datetime.now(UTC).replace(microsecond=0) - timedelta(days=3)


class Record:
    """Writes jobs; each is created a minute after the one before."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.last = 0

    def job(self, *, search: str = "", **values: Any) -> Job:
        """A job with sensible values for its status; `search` are more words to be found by."""
        self.last += 1
        created_at = values.setdefault("created_at", BEGIN + timedelta(minutes=self.last))
        status = values.setdefault("status", "completed")
        values.setdefault("id", self.last)
        values.setdefault("task", "export")
        values.setdefault("queue", "tasks")
        values.setdefault("arguments", {})
        if status not in ("pending",):
            values.setdefault("started_at", created_at + timedelta(seconds=1))
            values.setdefault("attempt_started_at", values["started_at"])
            values.setdefault("attempts", 1)
        if status in ("completed", "failed", "cancelled"):
            values.setdefault("run_ms", 4000)
            values.setdefault("ended_at", created_at + timedelta(seconds=5))
        values.setdefault("progress", 100 if status == "completed" else 0)
        job = Job(**values)
        self.session.add(job)
        self.session.flush()
        written = self.session.execute(
            text(
                "SELECT stoker_words(id, task, owner_name, arguments) FROM job"
                " WHERE id = :id AND created_at = :created_at"
            ),
            {"id": job.id, "created_at": created_at},
        ).scalar_one()
        said = job.message if job.ended_at else None  # as the triggers have it
        more = (job.error_type, job.error_message, said, search)
        words = " ".join([written, *(word.lower() for word in more if word)])
        self.session.add(JobSearch(job_id=job.id, job_created_at=created_at, words=words))
        self.session.commit()
        return job

    def add(self, job: Job, kind: type[Any], **values: Any) -> None:
        """A row of a job's."""
        values["job_id"] = job.id
        if kind is not LogLine:
            values["job_created_at"] = job.created_at
        self.session.add(kind(**values))
        self.session.commit()

    def attempt(self, job: Job, number: int, **values: Any) -> None:
        values.setdefault("task", job.task)
        values.setdefault("queue", job.queue)
        self.add(job, Attempt, number=number, **values)

    def transition(self, job: Job, before: str, after: str, **values: Any) -> None:
        self.add(job, JobTransition, from_status=before, to_status=after, **values)

    def line(self, job: Job, message: str, **values: Any) -> None:
        values.setdefault("level", "info")
        self.add(job, LogLine, message=message, **values)
