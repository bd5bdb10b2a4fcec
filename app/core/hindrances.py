"""Why a job that waits is not running: what would have to change first, in words and in order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.core import admission, lines, other_workers, queue, stuck
from app.core.models import Batch, Job, Worker
from app.core.settings import Settings
from app.core.sql import statement

_OURS = (queue.BATCHES, queue.TASKS)


@dataclass(frozen=True)
class Hindrance:
    """One reason; `kind` names it, `at` is when it ends by itself, `job_id` is the job at fault."""

    kind: str
    sentence: str
    at: datetime | None = None
    job_id: int | None = None


def find(
    session: Session, settings: Settings, job: Job, owner_name: str | None
) -> Sequence[Hindrance]:
    """Why a job waits, or runs without a worker; nothing of any other.

    Jobs that are not `owner_name`'s (None: anybody's) are not named.
    """
    if job.status == "running":
        lost = stuck.find(session, settings, [job]).get(job.id)
        return () if lost is None else (Hindrance("lost", lost.sentence(datetime.now(UTC))),)
    if job.status not in ("pending", "retrying"):
        return ()
    return _Finder(session, settings, job, owner_name).all()


@dataclass(frozen=True)
class _Finder:
    session: Session
    settings: Settings
    job: Job
    owner_name: str | None

    def all(self) -> list[Hindrance]:
        found = [self._later(), self._needed(), self._queueing_lock()]
        found += [self._held(), self._locked(), self._unserved()]
        reasons = [each for each in found if each is not None]
        if not reasons:
            reasons = [self._model() or self._turn()]
        return reasons

    def _later(self) -> Hindrance | None:
        due_at = self.job.scheduled_at
        if due_at is None or due_at <= datetime.now(UTC):
            return None
        if self.job.status == "retrying":
            words = f"Attempt {self.job.attempts} failed, and it is to be tried again"
        else:
            words = "It is due later"
        return Hindrance("later", words, at=due_at)

    def _needed(self) -> Hindrance | None:
        needs = self.session.scalar(statement("hindrances", "needs"), {"job_id": self.job.id})
        if not needs:
            return None
        jobs = (
            "one job that it depends on has" if needs == 1 else f"{needs} jobs that it needs have"
        )
        return Hindrance("dependency", f"{jobs.capitalize()} not completed yet")

    def _queueing_lock(self) -> Hindrance | None:
        if self.job.queueing_lock is None:
            return None
        return self._because_of(
            "queueing lock",
            (f"The queueing lock {self.job.queueing_lock!r} is held by", ", which waits too"),
            "queueing_lock_holder",
            queueing_lock=self.job.queueing_lock,
        )

    def _locked(self) -> Hindrance | None:
        if self.job.lock is None:
            return None
        return self._because_of(
            "lock",
            (f"The lock {self.job.lock!r} lets one job run at a time, and it is the turn of", ""),
            "lock_holder",
            lock=self.job.lock,
            priority=self.job.priority,
        )

    def _because_of(
        self, kind: str, words: tuple[str, str], name: str, **asked: Any
    ) -> Hindrance | None:
        """`words` stand before and after the name of the job that is in the way."""
        row = self.session.execute(
            statement("hindrances", name), {"job_id": self.job.id, **asked}
        ).first()
        if row is None:
            return None
        if self._may_name(row.id):
            return Hindrance(kind, f"{words[0]} job {row.id}{words[1]}", job_id=row.id)
        return Hindrance(kind, f"{words[0]} somebody else's job{words[1]}")

    def _may_name(self, job_id: int) -> bool:
        if self.owner_name is None:
            return True
        query = select(Job.owner_name).where(Job.id == job_id).order_by(Job.created_at.desc())
        return self.session.scalar(query.limit(1)) == self.owner_name

    def _held(self) -> Hindrance | None:
        holds = admission.read(self.session, self.settings)
        reason = holds.reason(self.job.queue, self.job.owner_name)
        if reason is None:
            return None
        words = reason.removeprefix("waits: ")
        if self.job.queue in holds.pauses:
            return Hindrance("paused", f"The queue {words}")
        return Hindrance("limit", words)

    @property
    def _model_name(self) -> str | None:
        """Of the queue of a model's batches."""
        prefix = queue.model_queue("")
        return self.job.queue.removeprefix(prefix) if self.job.queue.startswith(prefix) else None

    def _workers(self) -> list[Worker]:
        """Ours that live."""
        silent = timedelta(seconds=self.settings.worker_stale_seconds)
        heard = Worker.last_heartbeat_at > func.clock_timestamp() - silent
        return list(
            self.session.scalars(
                select(Worker).where(Worker.kind == "worker", Worker.stopped_at.is_(None), heard)
            )
        )

    def _unserved(self) -> Hindrance | None:
        """No worker reads its queue. Which queues another app's workers read, they don't tell."""
        if self.job.queue not in _OURS and self._model_name is None:
            if other_workers.may_live(self.session, self.settings.worker_stale_seconds):
                return None
            return Hindrance("no worker", f"No worker that reads the queue {self.job.queue} lives")
        workers = self._workers()
        if not workers:
            return Hindrance("no worker", f"No worker lives that reads the queue {self.job.queue}")
        model = self._model_name
        if model is not None and not any(model in worker.models for worker in workers):
            return Hindrance("no worker", f"No worker that lives has the model {model}")
        return None

    def _model(self) -> Hindrance | None:
        """The engine has one model at a time."""
        model = self._model_name
        if model is None:
            return None
        loaded = {worker.current_model for worker in self._workers() if worker.current_model}
        place = self._place()
        words = (
            f"The engine is busy with the model {', '.join(sorted(loaded))}"
            if loaded and model not in loaded
            else f"Its turn with the model {model} has not come"
        )
        if place is not None and place.position:
            words += f": it is number {place.position:,} in the queue"
        at = None
        if place is not None and place.starts_in_seconds is not None:
            at = datetime.now(UTC) + timedelta(seconds=place.starts_in_seconds)
        return Hindrance("model", words, at=at)

    def _place(self) -> queue.Place | None:
        batch_id = self.session.scalar(select(Batch.id).where(Batch.job_id == self.job.id))
        return None if batch_id is None else queue.positions(self.session).get(batch_id)

    def _turn(self) -> Hindrance:
        front = lines.in_front(self.session, [self.job.id]).get(self.job.id, 0)
        if not front:
            return Hindrance("turn", "It is the next of its queue, as soon as a worker is free")
        number = f"{front:,}" if front < lines.MOST_IN_FRONT else f"{front:,} or more"
        jobs = "job stands" if front == 1 else "jobs stand"
        return Hindrance("turn", f"{number} {jobs} in front of it in the queue {self.job.queue}")
