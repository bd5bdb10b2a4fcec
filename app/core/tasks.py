"""The built-in tasks: what each is called, what it takes, and how it is deferred.

The web knows a task by its entry here and never imports the worker's code that runs it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)
from sqlalchemy.orm import Session

from app.core import batches, dependencies, jobs, limits, queue, waiting_jobs
from app.core.errors import Invalid, NotFound
from app.core.settings import Settings
from app.core.users import Actor, authorize

# Long work that needs no engine; it never waits for a batch's turn, nor a batch for it.
QUEUE = queue.TASKS
# All that our worker reads, as patterns of LIKE.
WORKER_QUEUES = (QUEUE, batches.QUEUE, "model:%")

Name = Annotated[str, Field(min_length=1, max_length=200)]
Number = Annotated[int, Field(ge=1, le=2**62)]
Duration = Annotated[float, Field(ge=0, le=10**9, allow_inf_nan=False)]


def _as_utc(moment: datetime) -> datetime:
    try:
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except OverflowError:
        raise ValueError("is outside of the calendar") from None


# Without an offset it is UTC.
Moment = Annotated[datetime, AfterValidator(_as_utc)]
Read = TypeVar("Read", bound="Arguments")


def listed(value: Any) -> Any:
    """Several values may come as one text with commas."""
    return value.split(",") if isinstance(value, str) else value


class Arguments(BaseModel):
    """What a task takes; anything else is refused."""

    model_config = ConfigDict(extra="forbid")


class RunBatch(Arguments):
    """`run_batch`, whose jobs are made by creating batches."""

    batch_id: Name


class BulkFilter(Arguments):
    """Which jobs, as in GET /api/jobs/search; statuses in its words."""

    q: Annotated[str, Field(max_length=2000)] | None = None
    status: Name | None = None
    job_type: Name | None = None
    queue: Name | None = None
    user: Name | None = None
    model: Name | None = None
    worker: Name | None = None
    created_after: Moment | None = None
    created_before: Moment | None = None
    started_after: Moment | None = None
    started_before: Moment | None = None
    completed_after: Moment | None = None
    completed_before: Moment | None = None
    has_error: bool | None = None
    error_fingerprint: Name | None = None
    min_duration: Duration | None = None
    max_duration: Duration | None = None


class Export(Arguments):
    """`export`. Which filters apply depends on `what`; dates are of creation or opening."""

    what: Literal["jobs", "events", "results"] = "jobs"
    format: Literal["csv", "json", "zip"] = "csv"
    start_date: datetime | None = None
    end_date: datetime | None = None
    # of jobs
    status: Annotated[list[Name] | None, BeforeValidator(listed)] = None
    job_type: Name | None = None
    queue: Name | None = None
    owner: Name | None = None
    worker: Name | None = None
    has_error: bool | None = None
    filter: BulkFilter | None = None  # instead of all of these
    # of events
    source: Name | None = None
    risk_level: Literal["low", "medium", "high", "critical"] | None = None
    reviewed: bool | None = None
    # of results
    batch_id: Name | None = None

    @model_validator(mode="after")
    def _names_a_batch(self) -> Export:
        if (self.what == "results") != (self.batch_id is not None):
            raise ValueError("batch_id is needed for results, and only for them")
        others = {"start_date", "end_date", "status", "job_type", "queue", "worker"}
        if self.filter is not None and (
            self.what != "jobs" or (others | {"has_error"}) & {*self.model_dump(exclude_none=True)}
        ):
            raise ValueError("filter is for jobs, and stands alone")
        return self


class Import(Arguments):
    """`import`: a file that `export` wrote, uploaded again."""

    file_id: Name


class Cleanup(Arguments):
    """`cleanup`: the retention's run."""

    dry_run: bool = False


class Backup(Arguments):
    """`backup`: a dump of the database, and of the files where wanted."""

    keep: Annotated[int, Field(ge=1, le=1000)] | None = None
    with_files: bool = False


class BatchAudit(Arguments):
    """`batch_audit`: incidents by id, or a batch's failed requests, judged by a model."""

    model: Name
    incident_ids: Annotated[list[Number] | None, BeforeValidator(listed)] = Field(
        None, min_length=1, max_length=10_000
    )
    batch_id: Name | None = None
    custom_ids: Annotated[list[Name] | None, BeforeValidator(listed)] = Field(
        None, min_length=1, max_length=10_000
    )
    limit: Annotated[int, Field(ge=1, le=10_000)] = 1000

    @model_validator(mode="after")
    def _one_subject(self) -> BatchAudit:
        if self.incident_ids is not None and self.batch_id is not None:
            raise ValueError("give incident_ids or batch_id, not both")
        if self.custom_ids is not None and self.batch_id is None:
            raise ValueError("custom_ids are a batch's: give batch_id, too")
        return self


class ReEvaluation(Arguments):
    """`re_evaluation`: a finished batch's requests again, on another model."""

    batch_id: Name
    model: Name


class Bulk(Arguments):
    """`bulk`: one action on all jobs that match; `scopes` are those of who asked."""

    action: Literal["cancel", "abort", "retry", "delete"]
    filter: BulkFilter
    scopes: list[Name] = []


@dataclass(frozen=True)
class TaskSpec:
    """One built-in task."""

    name: str
    description: str
    queue: str
    arguments: type[Arguments]
    # Whether it can be asked for by name; else its jobs come about in another way.
    is_deferrable: bool = True
    # What its user must be allowed to do.
    scope: str = "submit"


TASKS: dict[str, TaskSpec] = {
    spec.name: spec
    for spec in (
        TaskSpec(
            batches.TASK,
            "Answer the requests of a batch file",
            batches.QUEUE,
            RunBatch,
            is_deferrable=False,
        ),
        TaskSpec("export", "Export jobs, events or results as CSV, JSON or ZIP", QUEUE, Export),
        TaskSpec("import", "Import what an export wrote", QUEUE, Import, scope="admin"),
        TaskSpec("cleanup", "Remove what is past its retention", QUEUE, Cleanup, scope="admin"),
        TaskSpec(
            "backup", "Back up the database, and files where wanted", QUEUE, Backup, scope="admin"
        ),
        TaskSpec(
            "batch_audit",
            "Let a model judge failed requests or events",
            QUEUE,
            BatchAudit,
        ),
        TaskSpec(
            "re_evaluation",
            "Answer a finished batch again on another model, side by side",
            QUEUE,
            ReEvaluation,
        ),
        TaskSpec(
            "bulk",
            "Cancel, abort, retry or delete all jobs that a search finds",
            QUEUE,
            Bulk,
            is_deferrable=False,
        ),
    )
}


def get(name: str) -> TaskSpec:
    """A task that may be deferred by name. Raises NotFound."""
    spec = TASKS.get(name)
    if spec is None or not spec.is_deferrable:
        known = ", ".join(sorted(spec.name for spec in TASKS.values() if spec.is_deferrable))
        raise NotFound(f"There is no task {name!r}: use one of {known}.", param="task")
    return spec


def validate(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments as the task takes them, as JSON values without those left out.

    Raises NotFound (the task), and Invalid that names the first argument at fault.
    """
    asked = read(get(name).arguments, name, arguments)
    return asked.model_dump(mode="json", exclude_none=True)


def read(kind: type[Read], name: str, arguments: dict[str, Any]) -> Read:
    """A task's arguments, typed. Raises Invalid that names the first argument at fault."""
    try:
        return kind.model_validate(arguments)
    except ValidationError as fault:
        first: Any = fault.errors(include_url=False, include_input=False)[0]
        param = ".".join(str(part) for part in first["loc"]) or "args"
        match first["type"]:
            case "missing":
                raise Invalid(f"{name} needs the argument {param!r}.", param=param) from None
            case "extra_forbidden":
                raise Invalid(f"{name} takes no argument {param!r}.", param=param) from None
        reason = str(first["msg"]).removeprefix("Value error, ")
        words = reason if param == "args" else f"{param}: {reason}"
        raise Invalid(f"{words}.", param=param) from None


def check(session: Session, name: str, arguments: dict[str, Any], actor: Actor) -> dict[str, Any]:
    """What the task would be deferred with, if the actor may defer it.

    Raises NotFound (the task, or a batch that the actor may not see), Invalid (an argument), and
    Forbidden (the task needs a scope that the actor lacks).
    """
    spec = get(name)
    authorize(actor, spec.scope)
    checked = validate(name, arguments)
    # It sees no more through a job than by itself.
    if "batch_id" in checked:
        batches.get(session, checked["batch_id"], actor.owner_filter)
    elif spec.arguments is BatchAudit:
        authorize(actor, "operate")  # incidents are for operators
    if spec.arguments is Export and actor.owner_filter is not None:
        checked["owner"] = actor.name
    return checked


def defer_task(
    session: Session,
    name: str,
    arguments: dict[str, Any],
    actor: Actor,
    *,
    settings: Settings | None,
    priority: int = 0,
    lock: str | None = None,
    schedule_at: datetime | None = None,
    timeout_seconds: float | None = None,
    depends_on: Iterable[int] = (),
    horizon_seconds: float = waiting_jobs.HORIZON_SECONDS,
) -> int:
    """Defer a built-in task for whoever asks; returns the job's id. The caller commits.

    `settings` have the limits that it must keep; None for none. Raises as `check`, LimitReached,
    NotFound (a job that the actor may not see), and Refused (one on which no other can depend).
    """
    checked = check(session, name, arguments, actor)
    if settings is not None:
        limits.check_job(session, settings, actor.user_id)
    needed = dependencies.hold(session, depends_on, actor.owner_name)
    job_id = jobs.defer(
        session,
        name,
        checked,
        queue=get(name).queue,
        priority=priority,
        lock=lock,
        schedule_at=schedule_at,
        horizon_seconds=horizon_seconds,
        owner_name=actor.name,
        model=checked.get("model"),
        timeout_seconds=timeout_seconds,
        needs=len(needed.open_ids),
    )
    dependencies.add(session, job_id, needed)
    return job_id
