"""Defer a built-in task for somebody: now or at a time, after other jobs, and once for each key."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

from procrastinate import exceptions
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    WithJsonSchema,
)
from sqlalchemy.orm import Session

from app.core import audit, dependencies, idempotency, tasks, waiting_jobs
from app.core.errors import Conflict, Invalid
from app.core.settings import Settings
from app.core.users import Actor

_LONGEST_TIMEOUT_SECONDS = 30 * 86_400
_LAST_YEAR = 2200


def _in_reach(at: datetime) -> datetime:
    if not 1970 <= at.year <= _LAST_YEAR:
        raise ValueError(f"the year must be from 1970 to {_LAST_YEAR}")
    return at.astimezone(UTC)


def _without_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("no text has the character NUL")
    return text


_JobNumber = Annotated[
    int,
    Field(ge=1, le=2**62),
    WithJsonSchema({"type": "string", "pattern": "^[1-9][0-9]{0,17}$"}),
]


class Terms(BaseModel):
    """How a job is to run.

    Those of a higher priority first, never beside another of the same lock, not before its time nor
    before the jobs on which it depends have completed, and each attempt no longer than its time-out.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    schedule_at: Annotated[AwareDatetime, AfterValidator(_in_reach)] | None = None
    priority: Annotated[int, Field(ge=-1000, le=1000)] = 0
    lock: (
        Annotated[str, Field(min_length=1, max_length=128), AfterValidator(_without_nul)] | None
    ) = None
    timeout_seconds: Annotated[float, Field(ge=0.1, le=_LONGEST_TIMEOUT_SECONDS)] | None = None
    depends_on: Annotated[
        tuple[_JobNumber, ...], BeforeValidator(tasks.listed), Field(max_length=dependencies.MOST)
    ] = ()
    idempotency_key: (
        Annotated[str, Field(min_length=1, max_length=255), AfterValidator(_without_nul)] | None
    ) = None


def startable(actor: Actor) -> list[tasks.TaskSpec]:
    """The tasks that the actor may start by name."""
    return [
        spec for spec in tasks.TASKS.values() if spec.is_deferrable and spec.scope in actor.scopes
    ]


def read_terms(given: dict[str, Any]) -> Terms:
    """What a form or a command line says. Raises Invalid that names the first part at fault."""
    try:
        return Terms.model_validate(given)
    except ValidationError as fault:
        first: Any = fault.errors(include_url=False, include_input=False)[0]
        param = str(first["loc"][0])
        reason = str(first["msg"]).removeprefix("Value error, ")
        raise Invalid(f"{param}: {reason}.", param=param) from None


@dataclass(frozen=True)
class Deferred:
    """The job; not a new one when the same request had been made before."""

    job_id: int
    is_new: bool


def defer(
    session: Session,
    task: str,
    arguments: dict[str, Any],
    actor: Actor,
    terms: Terms = Terms(),  # noqa: B008 - frozen
    *,
    settings: Settings | None,
) -> Deferred:
    """Defer `task` with its audit row; the caller commits. `settings` have the limits, None for none.

    Raises what tasks.defer_task raises, and Conflict: the key was used for something else.
    """
    key, words = terms.idempotency_key, ""
    if key is not None:
        how = {**terms.model_dump(), "depends_on": sorted(set(terms.depends_on))}
        words = idempotency.fingerprint(task, tasks.validate(task, arguments), how)
        first = idempotency.first_job(session, actor.user_id, key, words)
        if first is not None:
            return Deferred(first, is_new=False)
    horizon_seconds = waiting_jobs.HORIZON_SECONDS
    if settings is not None:
        horizon_seconds = settings.waiting_horizon_seconds
    later = terms.schedule_at
    if later is not None and later <= datetime.now(UTC):
        later = None
    try:
        job_id = tasks.defer_task(
            session,
            task,
            arguments,
            actor,
            priority=terms.priority,
            lock=terms.lock,
            schedule_at=later,
            timeout_seconds=terms.timeout_seconds,
            depends_on=terms.depends_on,
            settings=settings,
            horizon_seconds=horizon_seconds,
        )
    except exceptions.AlreadyEnqueued as fault:
        raise Conflict(
            "Such a job waits already.", param="task", code="already_enqueued"
        ) from fault
    if key is not None:
        idempotency.remember(session, actor.user_id, key, words, job_id)
    audit.record(session, actor.label, "job.defer", str(job_id), task)
    return Deferred(job_id, is_new=True)
