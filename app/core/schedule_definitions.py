"""What a schedule is made of, as a person or a program says it."""

from __future__ import annotations

from datetime import datetime
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from sqlalchemy.orm import Session

from app.core import adoption, tasks
from app.core.db import driver_connection
from app.core.errors import Invalid, Refused
from app.core.models import Schedule
from app.core.schedule_times import TRIGGER, Interval, Once, Trigger, runs_after
from app.core.users import Actor, authorize
from app.core.waiting_jobs import LONGEST_QUEUE_BYTES

MOST_JITTER_SECONDS = 3600
MOST_MISSED_RUNS = 100
DEFAULT_QUEUE = "default"

# The pauses between so many next runs bound the jitter.
_RUNS_COMPARED = 50


def _short(queue: str) -> str:
    if len(queue.encode()) > LONGEST_QUEUE_BYTES:
        raise ValueError(f"must have {LONGEST_QUEUE_BYTES} bytes at most")
    return queue


Name = Annotated[str, Field(min_length=1, max_length=200)]
Task = Annotated[str, Field(min_length=1, max_length=128)]
Queue = Annotated[str, Field(min_length=1), AfterValidator(_short)]
Priority = Annotated[int, Field(ge=-1000, le=1000)]
MissedPolicy = Literal["skip", "one", "all"]
MissedLimit = Annotated[int, Field(ge=1, le=MOST_MISSED_RUNS)]
OverlapPolicy = Literal["allow", "skip", "queue"]
Jitter = Annotated[float, Field(ge=0, le=MOST_JITTER_SECONDS, allow_inf_nan=False)]


class Definition(BaseModel):
    """A schedule. `args` are the task's own; `queue` is for the tasks of an adopted app.

    `missed_policy`: of runs that were missed none, one for all, or all of them, the latest
    `missed_limit` at most. `overlap_policy`: while the schedule's last job has not ended, a run comes
    all the same, is skipped, or waits in the queue. `jitter_seconds`: each run is up to so much later.
    """

    model_config = ConfigDict(extra="forbid")

    name: Name
    task: Task
    args: dict[str, Any] = {}
    queue: Queue | None = None
    priority: Priority = 0
    trigger: Trigger
    missed_policy: MissedPolicy = "one"
    missed_limit: MissedLimit = 10
    overlap_policy: OverlapPolicy = "skip"
    jitter_seconds: Jitter = 0.0


def _left_out() -> Any:
    """Such a field may be left out, which is something else than null."""
    return Field(default_factory=lambda: None)


class Changes(BaseModel):
    """What is to be changed of a schedule; what is left out stays."""

    model_config = ConfigDict(extra="forbid")

    name: Name = _left_out()
    task: Task = _left_out()
    args: dict[str, Any] = _left_out()
    queue: Queue | None = _left_out()
    priority: Priority = _left_out()
    trigger: Trigger = _left_out()
    missed_policy: MissedPolicy = _left_out()
    missed_limit: MissedLimit = _left_out()
    overlap_policy: OverlapPolicy = _left_out()
    jitter_seconds: Jitter = _left_out()

    def given(self) -> dict[str, Any]:
        """What was said, by its name."""
        return {name: getattr(self, name) for name in sorted(self.model_fields_set)}


def trigger_of(schedule: Schedule) -> Trigger:
    """When a schedule runs."""
    return TRIGGER.validate_python(schedule.trigger)


def running_trigger(schedule: Schedule) -> Trigger:
    """The same, as it goes on: an interval that has begun goes on before its beginning, too, should
    the clock be set back so far.
    """
    trigger = trigger_of(schedule)
    if isinstance(trigger, Interval) and schedule.next_planned_at != trigger.starts_at:
        return trigger.begun()
    return trigger


def definition_of(schedule: Schedule) -> Definition:
    """A schedule as it was defined."""
    return Definition(
        name=schedule.name,
        task=schedule.task,
        args=schedule.arguments,
        queue=schedule.queue,
        priority=schedule.priority,
        trigger=trigger_of(schedule),
        missed_policy=schedule.missed_policy,  # type: ignore[arg-type]
        missed_limit=schedule.missed_limit,
        overlap_policy=schedule.overlap_policy,  # type: ignore[arg-type]
        jitter_seconds=schedule.jitter_seconds,
    )


def write(schedule: Schedule, definition: Definition, actor: Actor) -> None:
    """Make a schedule so, but for when it runs next; it gets no rights that the actor lacks."""
    schedule.scopes = sorted(actor.scopes)
    schedule.name = definition.name
    schedule.task = definition.task
    schedule.arguments = definition.args
    schedule.queue = definition.queue
    schedule.priority = definition.priority
    schedule.trigger = definition.trigger.model_dump(mode="json")
    schedule.missed_policy = definition.missed_policy
    schedule.missed_limit = definition.missed_limit
    schedule.overlap_policy = definition.overlap_policy
    schedule.jitter_seconds = definition.jitter_seconds


def check_task(session: Session, definition: Definition, actor: Actor) -> None:
    """Whether the actor may have that task run with these arguments.

    Raises NotFound, Invalid and Forbidden as for the task itself, and Refused where the queue is not
    ours to change.
    """
    connection = driver_connection(session)
    if not adoption.may_change_queue(connection):
        raise Refused(
            "Stoker's role may watch the app's queue, and not put jobs into it.", param="task"
        )
    if definition.task not in tasks.TASKS and adoption.is_adopted(connection):
        authorize(actor, "operate")
        return
    queue = tasks.get(definition.task).queue
    if definition.queue not in (None, queue):
        raise Invalid(f"{definition.task} runs in the queue {queue!r} alone.", param="queue")
    tasks.check(session, definition.task, definition.args, actor)


def check_times(definition: Definition, now: datetime) -> None:
    """Raises Refused when it would never run, or when the jitter would mix its runs up."""
    coming = runs_after(definition.trigger, now, _RUNS_COMPARED)
    if isinstance(definition.trigger, Once) and not coming:
        raise Refused("That moment has passed.", param="trigger.at")
    pauses = [(later - sooner).total_seconds() for sooner, later in pairwise(coming)]
    if pauses and definition.jitter_seconds >= min(pauses):
        raise Refused(
            f"The jitter must be shorter than the {min(pauses):g} s between two runs.",
            param="jitter_seconds",
        )
