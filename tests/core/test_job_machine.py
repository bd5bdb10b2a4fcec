"""Every verb in any order against the real database and a model of thirty lines."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as some
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.core import job_actions, job_moves, job_retries, stops
from app.core.db import make_engine
from app.core.errors import StokerError
from app.core.settings import Settings as StokerSettings
from app.core.settings import load_settings
from tests.conftest import new_database
from tests.core.queue_hand import Hand

STEPS = 50
EXAMPLES = 5  # of at most so many steps each
WAITING = {"scheduled", "pending", "retrying"}

# What must hold whatever was done, each as the rows that break it.
BROKEN = {
    "a status that is none": """
        SELECT id FROM job WHERE status NOT IN
            ('pending', 'retrying', 'running', 'completed', 'failed', 'cancelled')
        OR (ended_at IS NULL) <> (status IN ('pending', 'retrying', 'running'))""",
    "several open attempts, or one of a job that does not run": """
        SELECT job.id FROM job
        LEFT JOIN attempt ON attempt.job_id = job.id AND outcome IS NULL
        GROUP BY job.id, job.status
        HAVING count(attempt) <> CASE WHEN job.status = 'running' THEN 1 ELSE 0 END""",
    "a history with a gap, or with another end than its job": """
        SELECT job_id FROM (
            SELECT job_id, from_status, to_status, status,
                   lag(to_status, 1, 'pending') OVER one AS before,
                   lead(told.id) OVER one AS next
            FROM job_transition AS told JOIN job ON job.id = job_id
            WINDOW one AS (PARTITION BY job_id ORDER BY told.id)
        ) AS told
        WHERE from_status <> before OR (next IS NULL AND to_status <> status)""",
    "a record without what it is of": """
        SELECT job_id FROM job_transition WHERE job_id NOT IN (SELECT id FROM job)
        UNION SELECT job_id FROM attempt WHERE job_id NOT IN (SELECT id FROM job)
        UNION SELECT job_id FROM job_search WHERE job_id NOT IN (SELECT id FROM job)
        UNION SELECT id FROM waiting_job WHERE id NOT IN (SELECT id FROM job)
        UNION SELECT id FROM procrastinate_jobs WHERE id NOT IN (SELECT id FROM job)""",
    "a record that the queue does not bear out": """
        SELECT job.id FROM job
        LEFT JOIN procrastinate_jobs AS queued ON queued.id = job.id
        LEFT JOIN waiting_job AS waiting ON waiting.id = job.id
        WHERE queued.id IS NULL AND waiting.id IS NULL AND job.ended_at IS NULL
        OR queued.id IS NOT NULL AND waiting.id IS NOT NULL
        OR queued.id IS NOT NULL AND (
            queued.priority <> job.priority
            OR queued.scheduled_at IS DISTINCT FROM job.scheduled_at
            OR queued.status::text <> ALL (CASE job.status
                WHEN 'pending' THEN '{todo}' WHEN 'retrying' THEN '{todo}'
                WHEN 'running' THEN '{doing}' WHEN 'completed' THEN '{succeeded}'
                WHEN 'failed' THEN '{failed}'
                ELSE '{cancelled,aborted,failed}' END::text[])
            OR queued.status = 'failed' AND (job.status = 'cancelled') <> queued.abort_requested)
        OR waiting.id IS NOT NULL AND (
            job.status NOT IN ('pending', 'cancelled') OR waiting.priority <> job.priority
            OR waiting.due_at IS DISTINCT FROM job.scheduled_at)""",
}


ALL_BROKEN = text(
    " UNION ALL ".join(
        f"SELECT '{what}' AS what, broken.* FROM ({query}) AS broken"
        for what, query in BROKEN.items()
    ).replace("::", "\\:\\:")
)


class Model:
    """What the jobs should be: a status each, and the jobs that retry them."""

    def __init__(self) -> None:
        self.status: dict[str, str] = {}
        self.stopping: set[str] = set()
        self.retries: dict[str, str] = {}

    def cancel(self, job: str) -> str | None:
        status = self.status[job]
        if status in WAITING:
            self.status[job] = "cancelled"
        elif status == "running":
            self.stopping.add(job)
        else:
            return "Conflict"
        return None

    def abort(self, job: str) -> str | None:
        return self.cancel(job) if self.status[job] == "running" else "Invalid"

    def delete(self, job: str) -> str | None:
        if self.status[job] in WAITING or self.status[job] == "running":
            return self.cancel(job)
        del self.status[job]
        return None

    def wait(self, job: str, status: str) -> str | None:
        """Another time or priority."""
        if self.status[job] not in WAITING:
            return "Conflict"
        self.status[job] = "retrying" if self.status[job] == "retrying" else status
        return None

    def end(self, job: str, status: str) -> None:
        is_stopped = status == "retrying" and job in self.stopping
        self.status[job] = "cancelled" if is_stopped else status


class Machine(RuleBasedStateMachine):
    """One database, one worker by hand, and whoever clicks."""

    places: tuple[str, str]
    config: StokerSettings
    steps = 0
    known = Bundle("known")

    def __init__(self) -> None:
        super().__init__()
        self.closing = ExitStack()
        url = self.closing.enter_context(new_database(*self.places))
        self.engine = make_engine(load_settings(database_url=url), "machine")
        self.session = Session(self.engine, expire_on_commit=False)
        self.hand = Hand(self.session)
        self.model = Model()

    def teardown(self) -> None:
        self.session.close()
        self.engine.dispose()
        self.closing.close()

    def do(self, act: Any, job: str, expected: str | None) -> Any:
        """Act, and compare what was refused with what should have been."""
        refused, given = None, None
        try:
            given = act()
            self.session.commit()
        except StokerError as fault:
            self.session.rollback()
            refused = type(fault).__name__
        assert refused == expected, (job, refused, expected)
        return given

    def verb(self, name: str, job: str, *more: Any, expected: str | None) -> Any:
        act = getattr(job_moves if hasattr(job_moves, name) else job_actions, name)
        return self.do(lambda: act(self.session, job, self.hand.admin, *more), job, expected)

    @rule(
        target=known,
        after=some.sampled_from([0, 0, 0, 300, 10**6]),
        priority=some.integers(-2, 2),
        is_ours=some.booleans(),
    )
    def defer(self, after: int, priority: int, is_ours: bool) -> str:
        due = datetime.now(UTC) + timedelta(seconds=after) if after else None
        make = self.hand.defer if is_ours else self.hand.defer_foreign
        job = make(priority=priority, schedule_at=due)  # type: ignore[operator]
        self.model.status[job] = "scheduled" if after else "pending"
        return str(job)

    @rule(queue=some.sampled_from(["tasks", "shop"]))
    def fetch(self, queue: str) -> None:
        job = self.hand.fetch(queue)
        if job is not None:
            assert self.model.status[job] in ("pending", "retrying")
            self.model.status[job] = "running"
            self.model.stopping.discard(job)

    @rule(job=known, how=some.sampled_from(["succeeded", "failed", "aborted", "again"]))
    def end(self, job: str, how: str) -> None:
        if self.model.status.get(job) != "running":
            return
        if how == "again":
            self.hand.try_again(job)
            self.model.end(job, "retrying")
        else:
            self.hand.finish(job, how)
            words = {"succeeded": "completed", "aborted": "cancelled"}
            self.model.end(job, words.get(how, how))

    @rule(job=known)
    def acknowledge(self, job: str) -> None:
        stops.acknowledge(self.session, int(job))
        self.session.commit()

    @rule(job=known, name=some.sampled_from(["cancel", "abort", "delete"]))
    def stop(self, job: str, name: str) -> None:
        is_known = job in self.model.status
        expected = getattr(self.model, name)(job) if is_known else "NotFound"
        self.verb(name, job, expected=expected)

    @rule(job=known)
    def expedite(self, job: str) -> None:
        is_known = job in self.model.status
        expected = self.model.wait(job, "pending") if is_known else "NotFound"
        self.verb("expedite", job, expected=expected)
        if expected is None:
            row = self.hand.job(job)
            assert row.scheduled_at is None or row.scheduled_at <= datetime.now(UTC)

    @rule(job=known, after=some.sampled_from([-60, 300, 10**6]))
    def reschedule(self, job: str, after: int) -> None:
        status = "scheduled" if after > 0 else "pending"
        is_known = job in self.model.status
        expected = self.model.wait(job, status) if is_known else "NotFound"
        due = datetime.now(UTC) + timedelta(seconds=after)
        self.verb("reschedule", job, due, expected=expected)

    @rule(job=known, priority=some.integers(-5, 5))
    def prioritize(self, job: str, priority: int) -> None:
        is_known = job in self.model.status
        expected = self.model.wait(job, self.model.status[job]) if is_known else "NotFound"
        self.verb("set_priority", job, priority, expected=expected)

    @rule(target=known, job=known)
    def retry(self, job: str) -> Any:
        status = self.model.status.get(job)
        expected = "NotFound" if status is None else None
        if status in WAITING or status == "running":
            expected = "Conflict"
        made = self.do(
            lambda: job_retries.retry(self.session, self.config, job, self.hand.admin),
            job,
            expected,
        )
        if made is None:
            return multiple()
        new = str(made.job_id)
        assert self.hand.job(new).retried_from == int(job)
        if not made.is_new:  # the same call again, within moments
            assert self.model.retries[job] == new
            return multiple()
        self.model.retries[job] = new
        self.model.status[new] = "pending"
        return new

    @invariant()
    def the_record_says_what_the_model_says(self) -> None:
        rows = self.session.execute(
            text(
                "SELECT id, CASE WHEN status = 'pending' AND scheduled_at > clock_timestamp()"
                " THEN 'scheduled' ELSE status END AS status FROM job"
            )
        )
        assert {str(row.id): row.status for row in rows} == self.model.status
        assert self.session.execute(ALL_BROKEN).all() == []
        self.session.rollback()
        Machine.steps += 1


def test_no_order_of_verbs_breaks_a_job(
    postgres: str, template_database: str, tmp_path: Path
) -> None:
    Machine.places = (postgres, template_database)
    Machine.config = load_settings(var=tmp_path)
    Machine.steps = 0
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            derandomize=True,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )
    assert Machine.steps >= 200
