"""What built-in tasks stand on: each runs in a thread of its own, says how far it is, and can be stopped."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from procrastinate import BaseRetryStrategy, JobContext, RetryDecision
from procrastinate.job_context import AbortReason
from procrastinate.jobs import Job as QueueJob
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core import files, stops, tasks, users
from app.core.models import File, Job, User
from app.core.settings import Settings
from app.core.storage import Draft
from worker import record
from worker.house import House
from worker.tasks.app import app
from worker.tasks.batches import MoveTo

Asked = TypeVar("Asked", bound=tasks.Arguments)
Result = dict[str, Any]

log = logging.getLogger(__name__)

# How often it is looked whether a job that was cancelled is to be aborted by now.
_LOOK_SECONDS = 0.5


class Stopped(Exception):
    """The work was told to stop, and has left nothing half done."""


class Later(Exception):
    """What the work waits for is not there yet: it gives its slot back and begins again after a while."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"looks again in {seconds:.0f} s")
        self.seconds = seconds


@dataclass
class Work:
    """One attempt of a built-in task's job, as its thread sees it."""

    house: House
    job_id: int
    number: int
    owner: User
    _stop: threading.Event = field(default_factory=threading.Event)

    @property
    def settings(self) -> Settings:
        return self.house.settings

    @property
    def sees_all(self) -> bool:
        """Whether its user may see other people's things."""
        return users.actor_of(self.owner).owner_filter is None

    @contextmanager
    def session(self) -> Iterator[Session]:
        """A session of the thread's own."""
        with self.house.sessions() as session:
            yield session

    def stop(self) -> None:
        """Have the next `check` end the work."""
        self._stop.set()

    def check(self) -> None:
        """Raises Stopped when the job was cancelled or the worker is to end: between two steps."""
        if self._stop.is_set() or self.house.stopping.is_set():
            raise Stopped

    def progress(self, done: int, total: int | None = None, message: str | None = None) -> None:
        """Say how far the job is; cheap enough for each part of the rows."""
        record.progress(done, total, message)

    def keep(
        self, session: Session, draft: Draft, filename: str, created_at: datetime | None = None
    ) -> File:
        """What the job has written becomes a file of its user's, for as long as files are kept.

        The caller commits while the draft is open.
        """
        created_at = created_at or datetime.now(UTC)
        draft.keep()
        return files.add(
            session,
            draft,
            owner_id=self.owner.id,
            purpose="export",
            filename=filename,
            created_at=created_at,
            expires_at=created_at + timedelta(days=self.settings.file_days),
        )


class _Moves(BaseRetryStrategy):
    """What moves goes on; an error is the job's end."""

    def get_retry_decision(
        self, *, exception: BaseException, job: QueueJob
    ) -> RetryDecision | None:
        if isinstance(exception, MoveTo):
            return RetryDecision(retry_in={"seconds": round(exception.seconds)})
        return None


def built_in(
    name: str, arguments: type[Asked]
) -> Callable[[Callable[[Work, Asked], Result]], Callable[[Work, Asked], Result]]:
    """Register a function as the task `name`; what it returns is the job's result."""

    def register(function: Callable[[Work, Asked], Result]) -> Callable[[Work, Asked], Result]:
        @app.task(name=name, queue=tasks.QUEUE, retry=_Moves(), pass_context=True)
        async def run(context: JobContext, /, **given: Any) -> Result | None:
            # Its attempt was checked when the job was deferred; this only types it again.
            asked = arguments.model_validate(given)
            return await _run(context, lambda work: function(work, asked))

        return function

    return register


async def _run(context: JobContext, function: Callable[[Work], Result]) -> Result:
    house: House = context.additional_context["house"]
    job = context.job
    assert job.id is not None
    job_id = job.id
    owner, timeout_seconds = await house.patience.outlast(
        lambda: _owner_and_timeout(house, job_id), "the job's user"
    )
    work = Work(house, job_id, job.attempts + 1, owner)
    began = time.monotonic()
    running = _in_thread(job.task_name, function, work)
    try:
        await asyncio.wait([running], timeout=timeout_seconds)
        if not running.done():
            await _time_out(work, running, timeout_seconds, began)
        return running.result()
    except asyncio.CancelledError:
        work.stop()
        is_asked = context.abort_reason() is AbortReason.USER_REQUEST
        if is_asked:
            await _see_through(house, job_id, running)
        else:
            await asyncio.wait([running])
        if running.exception() is None:
            return running.result()  # it was through before it noticed
        if is_asked:
            raise
        raise MoveTo(job.queue) from None
    except Stopped:
        raise MoveTo(job.queue) from None
    except Later as fault:
        raise MoveTo(job.queue, seconds=fault.seconds) from None


async def _see_through(house: House, job_id: int, running: asyncio.Future[Result]) -> None:
    """Wait until work that was told to stop has stopped.

    An abort gives it `abort_grace_seconds` from when it is heard of. A thread can't be killed: then
    the job ends, and the whole process after it. Raises CancelledError.
    """
    grace = house.settings.abort_grace_seconds
    deadline: float | None = None
    while True:
        is_abort = await house.patience.outlast(lambda: _acknowledge(house, job_id), "stop")
        if running.done():
            return
        if is_abort and deadline is None:
            deadline = time.monotonic() + grace
        if deadline is not None and time.monotonic() >= deadline:
            log.error("it did not stop within %g s: its worker ends and is started again", grace)
            house.stuck.set()
            raise asyncio.CancelledError
        seconds = _LOOK_SECONDS if deadline is None else deadline - time.monotonic()
        await asyncio.wait([running], timeout=min(_LOOK_SECONDS, max(seconds, 0.0)))


def _acknowledge(house: House, job_id: int) -> bool:
    """Say that the worker knows that the job is to stop; whether it is to stop by force."""
    with house.sessions() as session:
        is_abort = stops.acknowledge(session, job_id)
        session.commit()
        return is_abort


def _in_thread(name: str, function: Callable[[Work], Result], work: Work) -> asyncio.Future[Result]:
    """What the function returns or raises, run in a thread that no process waits for at its end."""
    future: Future[Result] = Future()
    context = contextvars.copy_context()

    def run() -> None:
        try:
            future.set_result(context.run(function, work))
        except BaseException as fault:
            future.set_exception(fault)

    threading.Thread(target=run, name=name, daemon=True).start()
    return asyncio.wrap_future(future)


async def _time_out(
    work: Work, running: asyncio.Future[Result], timeout_seconds: float, began: float
) -> None:
    """Its time is over: ask it to stop, and after the grace end it as an abort does.

    Returns when it came to an end of its own meanwhile. Raises TimeoutError.
    """
    work.stop()
    await asyncio.wait([running], timeout=work.settings.job_timeout_grace_seconds)
    words = f"after {time.monotonic() - began:.1f} s: its time-out is {timeout_seconds:g} s."
    if not running.done():
        running.add_done_callback(lambda late: late.cancelled() or late.exception())
        log.error("it did not stop at its time-out: its worker ends and is started again")
        work.house.stuck.set()
        raise TimeoutError(
            f"It was given up {words} It did not stop when asked to, so its worker was ended; what it "
            "had begun may be half done."
        )
    if isinstance(running.exception(), Stopped):
        raise TimeoutError(f"It was stopped {words}")


def _owner_and_timeout(house: House, job_id: int) -> tuple[User, float]:
    """The job's user, and how long an attempt may take.

    A job that no user is named for is the administrator's. Raises NotFound when there is none of that
    name any more: nobody else's rights are in its place.
    """
    with house.sessions() as session:
        name, timeout_seconds = session.execute(
            select(Job.owner_name, Job.timeout_seconds)
            .where(Job.id == job_id)
            .order_by(Job.created_at.desc())
            .limit(1)
        ).one()
        owner = users.get(session, name) if name else users.ensure_admin(session)
        session.commit()
        return owner, timeout_seconds or house.settings.job_timeout_seconds
