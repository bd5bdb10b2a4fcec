"""A worker by hand: fetches and ends jobs by Procrastinate's own functions, and runs nothing."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from app.core import jobs, tasks, users
from app.core.models import Job, User
from app.core.users import Actor


class Hand:
    """Acts in the test's session, and commits."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.admin = users.actor_of(users.ensure_admin(session))
        self.worker_id = session.execute(
            text("SELECT worker_id FROM procrastinate_register_worker_v1()")
        ).scalar_one()
        session.commit()

    def user(self, name: str) -> Actor:
        """A plain user."""
        user = User(name=name, role="user")
        self.session.add(user)
        self.session.commit()
        return users.actor_of(user)

    def defer(self, actor: Actor | None = None, **options: object) -> str:
        """An export of somebody's."""
        actor = actor or self.admin
        job_id = tasks.defer_task(self.session, "export", {}, actor, **options, settings=None)  # type: ignore[arg-type]
        self.session.commit()
        return str(job_id)

    def defer_foreign(self, queue: str = "shop", **options: object) -> str:
        """A job of another program's."""
        job_id = jobs.defer(
            self.session,
            "mail",
            {"to": "mia"},
            queue=queue,
            **options,  # type: ignore[arg-type]
        )
        self.session.commit()
        return str(job_id)

    def fetch(self, queue: str = tasks.QUEUE) -> str | None:
        """What a worker of the queue would run next."""
        self.session.rollback()  # what is due is judged by the transaction's begin
        fetched = self.session.execute(
            text("SELECT id FROM procrastinate_fetch_job_v2(ARRAY[:queue]::varchar[], :worker_id)"),
            {"queue": queue, "worker_id": self.worker_id},
        ).scalar()
        self.session.commit()
        return None if fetched is None else str(fetched)

    def finish(self, job_id: str, status: str = "succeeded") -> None:
        """succeeded, failed or aborted."""
        self.session.execute(
            text(
                "SELECT procrastinate_finish_job_v1("
                ":job_id, CAST(:status AS procrastinate_job_status), false)"
            ),
            {"job_id": int(job_id), "status": status},
        )
        self.session.commit()

    def try_again(self, job_id: str, at: datetime | None = None) -> None:
        """A failed attempt whose retry strategy wants another."""
        self.session.execute(
            text("SELECT procrastinate_retry_job_v2(:job_id, :at, NULL, NULL, NULL)"),
            {"job_id": int(job_id), "at": at or datetime.now(UTC)},
        )
        self.session.commit()

    def failed(self, actor: Actor | None = None, **options: object) -> str:
        """An export that has failed."""
        job_id = self.defer(actor, **options)
        assert self.fetch() == job_id
        self.finish(job_id, "failed")
        return job_id

    def job(self, job_id: str) -> Job:
        """The record as it is now."""
        self.session.rollback()
        query = select(Job).where(Job.id == int(job_id)).order_by(Job.created_at.desc()).limit(1)
        return self.session.scalars(query.execution_options(populate_existing=True)).one()

    def queued(self, job_id: str) -> tuple[str, bool] | None:
        """The status of the queue's row, and whether it is asked to stop."""
        row = self.session.execute(
            text("SELECT status::text, abort_requested FROM procrastinate_jobs WHERE id = :id"),
            {"id": int(job_id)},
        ).one_or_none()
        return None if row is None else (row[0], row[1])
