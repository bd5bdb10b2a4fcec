"""What one job's page tells: where it stands, why, what it was given, and what came of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session, defer

from app.core import (
    acting,
    admission,
    bulk_actions,
    dependencies,
    files,
    hindrances,
    job_bulk,
    job_company,
    job_record,
    job_values,
    milestones,
    old_results,
    status,
)
from app.core.bulk_actions import BulkAction
from app.core.bulk_items import Tally
from app.core.errors import NotFound
from app.core.hindrances import Hindrance
from app.core.job_company import Company
from app.core.job_record import Timing
from app.core.job_values import Value
from app.core.models import Attempt, Job, JobTransition
from app.core.users import Actor
from app.core.watched_job import JobState, get_state
from app.extensions import current_settings
from app.pages import (
    dependency_drawing,
    job_batch,
    job_diagram,
    job_log,
    job_stop,
    progress_drawing,
)
from app.pages.job_batch import JobBatch
from app.pages.job_log import Log
from app.pages.job_stop import Stop
from app.pages.job_words import BULK
from app.pages.progress_drawing import Course

MOST_ATTEMPTS = 50
MOST_HISTORIES = 10
# What may be done to a job whose worker has died.
_RESCUES = ("put back", "fail")
MOST_TRANSITIONS = 60


@dataclass(frozen=True)
class Step:
    """A job came into a status; `seconds` since the step before. `notes` are what was done in it."""

    status: str
    at: datetime
    seconds: float | None
    by: str | None
    notes: Sequence[JobTransition] = ()


@dataclass(frozen=True)
class ProgressHistory:
    """What one attempt did and when, and how far it was by then."""

    number: int
    steps: Sequence[milestones.Step]
    course: Course | None


@dataclass(frozen=True)
class Details:
    """One job for one reader. What costs a query is read when it is asked for."""

    session: Session
    job: Job
    state: JobState
    actor: Actor

    most_attempts = MOST_ATTEMPTS
    most_transitions = MOST_TRANSITIONS

    @classmethod
    def read(cls, session: Session, job_id: str, actor: Actor) -> Details:
        """Raises NotFound."""
        state = get_state(session, job_id, actor.owner_name)
        query = select(Job).where(Job.id == state.id, Job.created_at == state.created_at)
        job = session.scalars(query.execution_options(populate_existing=True)).one()
        return cls(session, job, state, actor)

    @property
    def word(self) -> str:
        """Its status as we show it."""
        return self.state.status

    @property
    def is_live(self) -> bool:
        return self.word not in status.FINAL

    @cached_property
    def message(self) -> str | None:
        reasons = admission.reasons(self.session, current_settings(), [self.job])
        return reasons.get(self.job.id) or self.job.message

    @property
    def actions(self) -> tuple[str, ...]:
        """What its status allows, if the reader may do anything."""
        if "submit" not in self.actor.scopes:
            return ()
        return (
            (*_RESCUES, *status.ACTIONS[self.word]) if self.is_lost else status.ACTIONS[self.word]
        )

    @property
    def is_lost(self) -> bool:
        """Whether it is said to run, and its worker is gone."""
        return any(reason.kind == "lost" for reason in self.hindrances)

    @property
    def is_recovered(self) -> bool:
        """Whether the housekeeper puts it back when its worker has died."""
        return acting.is_ours(self.session, self.job)

    @cached_property
    def timing(self) -> Timing:
        return job_record.timing(self.job, datetime.now(UTC))

    @property
    def items_per_second(self) -> str | None:
        """The present attempt's rate, in words, while it runs and counts items."""
        began, done = self.job.attempt_started_at, self.job.items_done
        if self.word != "running" or began is None or not done:
            return None
        rate = done / max((datetime.now(UTC) - began).total_seconds(), 1.0)
        return f"{rate:,.0f}" if rate >= 100 else f"{rate:.1f}" if rate >= 0.1 else f"{rate:.3f}"

    @cached_property
    def hindrances(self) -> Sequence[Hindrance]:
        return hindrances.find(self.session, current_settings(), self.job, self.actor.owner_name)

    @cached_property
    def attempts(self) -> list[Attempt]:
        """The newest ones, the first of them first."""
        latest = (
            select(Attempt)
            .where(Attempt.job_id == self.job.id, Attempt.job_created_at == self.job.created_at)
            .order_by(Attempt.number.desc())
            .limit(MOST_ATTEMPTS)
            .options(defer(Attempt.result))
        )
        return list(reversed(self.session.scalars(latest).all()))

    @cached_property
    def stop(self) -> Stop | None:
        """How far a stop has come that somebody asked for."""
        if self.job.cancel_requested_at is None:
            return None
        return job_stop.read(self.job, self.transitions, datetime.now(UTC))

    @cached_property
    def batch(self) -> JobBatch | None:
        """The batch that it runs, where that is the reader's to see."""
        return job_batch.read(self.session, self.job, self.actor)

    @cached_property
    def progress_histories(self) -> list[ProgressHistory]:
        """Of the attempts that said anything of it; the latest is the last."""
        now = datetime.now(UTC)
        histories = []
        for attempt in self.attempts[-MOST_HISTORIES:]:
            reached = milestones.read(attempt)
            if reached:
                course = progress_drawing.draw(reached, attempt.started_at, attempt.ended_at or now)
                steps = milestones.steps(attempt, reached, now)
                histories.append(ProgressHistory(attempt.number, steps, course))
        return histories

    @cached_property
    def company(self) -> Company | None:
        """Who ran beside its latest run; None when it has not run."""
        if not self.attempts:
            return None
        return job_company.find(self.session, self.attempts[-1], self.actor.owner_name)

    @cached_property
    def transitions(self) -> Sequence[JobTransition]:
        """The latest changes, one more than are shown where there are more."""
        return job_record.list_transitions(self.session, self.job, latest=MOST_TRANSITIONS + 1)

    @property
    def has_more_steps(self) -> bool:
        """Whether its way began before what is shown of it."""
        return len(self.transitions) > MOST_TRANSITIONS

    @cached_property
    def steps(self) -> list[Step]:
        """Its way through the statuses, the latest MOST_TRANSITIONS changes of it."""
        return list(self._steps())

    @cached_property
    def diagram(self) -> job_diagram.Diagram:
        """The same as a drawing."""
        return job_diagram.draw([(step.status, step.at, step.seconds) for step in self.steps])

    def _steps(self) -> Iterator[Step]:
        transitions = self.transitions[-MOST_TRANSITIONS:]
        if self.has_more_steps:
            before = self.transitions[0]
            step = Step(before.to_status, before.at, None, before.triggered_by)
        else:
            first = transitions[0].from_status if transitions else self.job.status
            step = Step(first, self.job.created_at, None, self.job.created_by)
        for each in transitions:
            if each.from_status == each.to_status:
                step = Step(step.status, step.at, step.seconds, step.by, (*step.notes, each))
                continue
            yield step
            seconds = max(0.0, (each.at - step.at).total_seconds())
            step = Step(
                each.to_status, each.at, seconds, each.triggered_by, (each,) if each.details else ()
            )
        yield step

    @cached_property
    def log(self) -> Log:
        return job_log.read(self.session, self.job)

    @cached_property
    def values(self) -> dict[str, Value | None]:
        return job_values.read(self.session, self.job)

    @property
    def has_expired(self) -> bool:
        return bool(self.job.result == old_results.EXPIRED)

    @cached_property
    def bulk(self) -> tuple[BulkAction, Tally] | None:
        """The action on many jobs that it is, and what that came to so far."""
        if self.job.task != job_bulk.TASK:
            return None
        action, tally = bulk_actions.describe(self.session, self.job)
        return None if action.asked is None else (action, tally)

    bulk_words = BULK

    @cached_property
    def file(self) -> Any:
        """The file that a task made, where its result names one that is still kept."""
        result: Any = self.job.result
        file_id = result.get("file_id") if isinstance(result, dict) else None
        if not isinstance(file_id, str):
            return None
        try:
            return files.get(self.session, file_id, self.actor.owner_filter)
        except NotFound:
            return None

    @cached_property
    def graph(self) -> dependencies.Graph:
        return dependencies.graph(self.session, self.job, self.actor.owner_name)

    @cached_property
    def graph_drawing(self) -> dependency_drawing.Drawing:
        """The nearest jobs of it as a drawing."""
        return dependency_drawing.draw(self.graph, self.job.id)
