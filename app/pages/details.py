"""What the details of one batch say: a sentence, the steps of its way, its files, what ran it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from flask import g
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core import admission, delivery_log, history, job_record, queue, results
from app.core.errors import NotFound
from app.core.models import FINAL, Batch, File
from app.core.queue import Place
from app.extensions import current_settings
from app.pages.display import about, ago, number, ordinal

_SHOWN_FAILURES = 5

# Every time that a batch has, in the order of its way.
_STEPS = (
    ("Created", "created_at"),
    ("Validated", "validated_at"),
    ("Started", "in_progress_at"),
    ("First result", "first_result_at"),
    ("Cancel asked for", "cancelling_at"),
    ("Last result", "last_result_at"),
    ("Finalizing", "finalizing_at"),
    ("Completed", "completed_at"),
    ("Failed", "failed_at"),
    ("Expired", "expired_at"),
    ("Cancelled", "cancelled_at"),
)
_FILES = (
    ("Input", "input_file_id"),
    ("Output", "output_file_id"),
    ("Errors", "error_file_id"),
)


@dataclass(frozen=True)
class Step:
    """One time of the batch's way; `after` is the seconds since the step before."""

    word: str
    at: datetime
    after: float | None


@dataclass(frozen=True)
class KeptFile:
    """A file of the batch; without bytes it is kept no longer."""

    kind: str
    id: str
    name: str
    bytes: int | None

    @property
    def is_kept(self) -> bool:
        return self.bytes is not None


class Details:
    """A batch with what the page derives from it."""

    def __init__(self, session: Session, batch: Batch) -> None:
        self.batch = batch
        self.is_final = batch.status in FINAL
        self.place: Place | None = None if self.is_final else queue.positions(session).get(batch.id)
        reasons = admission.batch_reasons(session, current_settings(), [batch])
        self.waiting_reason = reasons.get(batch.id)
        self.files = _files(session, batch)
        self.failed_requests: list[dict[str, Any]] = (
            results.list_failed(session, batch, limit=_SHOWN_FAILURES)[0] if batch.failed else []
        )
        self.has_job = _has_job(session, batch)
        self.delivery = delivery_log.last_delivery(session, batch.id) if batch.webhook else None

    @property
    def native_status(self) -> str:
        """The batch's own status; a validated one that has not begun is queued."""
        return history.native_status(self.batch)

    @property
    def is_live(self) -> bool:
        """Whether anything on the page can still change."""
        return not self.is_final or (self.delivery is not None and self.delivery.is_pending)

    @property
    def to_retry(self) -> int:
        """How many requests failed or were never answered."""
        return self.batch.total - self.batch.completed

    @property
    def actions(self) -> list[str]:
        """What the reader may do to it: `cancel`, `retry`."""
        if "submit" not in g.actor.scopes:
            return []
        if self.is_final:
            return ["retry"] if self.to_retry else []
        return ["cancel"] if self.batch.status in ("validating", "in_progress") else []

    @property
    def is_running(self) -> bool:
        return self.native_status in ("in_progress", "finalizing", "cancelling")

    @property
    def duration(self) -> float | None:
        """Seconds it ran, waiting not counted; up to now while it runs."""
        return history.run_seconds(self.batch, datetime.now(UTC))

    @property
    def wait(self) -> float | None:
        """Seconds before it began to run."""
        began = self.batch.in_progress_at or history.ended_at(self.batch) or datetime.now(UTC)
        return (began - self.batch.created_at).total_seconds()

    @property
    def throughput(self) -> float | None:
        """Answered requests per second of running."""
        return _per_second(self.batch.completed + self.batch.failed, self.duration)

    @property
    def token_throughput(self) -> float | None:
        """Tokens read and written per second of running."""
        return _per_second(self.batch.input_tokens + self.batch.output_tokens, self.duration)

    @property
    def steps(self) -> list[Step]:
        """The batch's way in the order it went."""
        times = [(word, getattr(self.batch, name)) for word, name in _STEPS]
        ordered = sorted(((at, word) for word, at in times if at is not None), key=lambda it: it[0])
        steps: list[Step] = []
        for at, word in ordered:
            after = (at - steps[-1].at).total_seconds() if steps else None
            steps.append(Step(word, at, after))
        return steps

    @property
    def engine(self) -> list[tuple[str, str]]:
        """The engine's version, flags and whatever else was recorded of it."""
        return [
            (f"Engine {name.replace('_', ' ')}", _words(value))
            for name, value in (self.batch.engine or {}).items()
            if value not in (None, "", [])
        ]

    @property
    def sentence(self) -> str:
        """Where it stands, as one would say it."""
        batch = self.batch
        done = batch.completed + batch.failed
        if self.waiting_reason is not None:
            return f"It {self.waiting_reason}."
        kept = f"{number(batch.completed)} {'result' if batch.completed == 1 else 'results'} kept"
        match self.native_status:
            case "validating":
                return "The file is being checked, line by line."
            case "queued" if self.place and self.place.position:
                return f"{ordinal(self.place.position)} in queue{self._start()}."
            case "queued":
                return "Waiting for its turn in the engine."
            case "in_progress":
                return f"{number(done)} of {number(batch.total)} requests answered{self._rest()}."
            case "finalizing":
                return "All requests are answered; the files are being written."
            case "cancelling":
                return f"Requests in flight are being stopped; {kept}."
            case "completed" if batch.failed:
                return f"{number(batch.completed)} of {number(batch.total)} requests succeeded."
            case "completed":
                return f"All {number(batch.total)} requests succeeded."
            case "cancelled":
                return f"Cancelled; {kept}."
            case "expired":
                return f"The completion window of {batch.completion_window} ran out; {kept}."
            case _ if batch.errors:
                return "The file could not be run as a batch; nothing was asked."
            case _:
                return f"The batch failed; {kept}."

    @property
    def webhook_sentence(self) -> str:
        """How telling the batch's newest event went; empty before there is one."""
        delivery = self.delivery
        if delivery is None:
            return ""
        if delivery.delivered_at is not None:
            return f"Delivered {ago(delivery.delivered_at)}"
        tries = f"{delivery.tries} {'try' if delivery.tries == 1 else 'tries'}"
        if not delivery.is_pending:
            return f"Given up after {tries}: {delivery.last_error}"
        if not delivery.tries:
            return "About to be sent"
        failed = f"{ordinal(delivery.tries)} try failed: {delivery.last_error}"
        return f"{failed}; next {_soon(delivery.next_try_at)}"

    def _start(self) -> str:
        if self.place is None or self.place.starts_in_seconds is None:
            return ""
        return f", starts in {about(self.place.starts_in_seconds)}"

    def _rest(self) -> str:
        if self.place is None or self.place.duration_seconds is None:
            return ""
        return f", {about(self.place.duration_seconds)} to go"


def _soon(at: datetime) -> str:
    return ago(at) if at > datetime.now(UTC) + timedelta(seconds=5) else "now"


def _per_second(count: int, seconds: float | None) -> float | None:
    return count / seconds if count and seconds else None


def _has_job(session: Session, batch: Batch) -> bool:
    """Whether the job that runs it, which has its log, is still in the record."""
    if batch.job_id is None:
        return False
    try:
        job_record.get(session, str(batch.job_id), g.actor.owner_name)
    except NotFound:
        return False
    return True


def _words(value: object) -> str:
    if isinstance(value, dict):
        return (
            ", ".join(f"{name} {each}" for name, each in sorted(value.items()))
            or "the engine's own"
        )
    return " ".join(str(part) for part in value) if isinstance(value, list) else str(value)


def _files(session: Session, batch: Batch) -> list[KeptFile]:
    named = [(kind, getattr(batch, name)) for kind, name in _FILES if getattr(batch, name)]
    rows = session.scalars(select(File).where(File.id.in_([file_id for _, file_id in named])))
    kept = {file.id: file for file in rows}
    return [
        KeptFile(kind, file_id, kept[file_id].filename, kept[file_id].bytes)
        if file_id in kept
        else KeptFile(kind, file_id, file_id, None)
        for kind, file_id in named
    ]
