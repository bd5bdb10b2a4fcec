"""Tasks that ask a model by a batch of their own: audits and re-evaluations, with a real worker."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core import follow_ups, incidents, jobs, tasks, users
from app.core.errors import NotFound
from app.core.models import Batch, File, Incident, Job
from app.core.settings import Settings
from tests.conftest import wait_until
from tests.worker.stack import Stack, chat, ids

JUDGEMENT = json.dumps({"verdict": "retry", "summary": "The disk was full; try again."})


@pytest.fixture
def stack(settings: Settings, session: Session, tmp_path: Path) -> Iterator[Stack]:
    # One slot: a task that held it while its batch runs would keep the next from starting.
    stack = Stack(settings, session, tmp_path, {"STOKER_TASK_SLOTS": "1"})
    stack.write_models(fake={}, judge={"FAKE_ANSWER": JUDGEMENT}, slow={"FAKE_DELAY": "60"})
    yield stack
    stack.stop()


def defer(stack: Stack, name: str, **arguments: Any) -> int:
    actor = users.actor_of(users.ensure_admin(stack.session))
    job_id = tasks.defer_task(stack.session, name, arguments, actor, settings=None)
    stack.session.commit()
    return job_id


def read(stack: Stack, job_id: int) -> Job:
    stack.session.rollback()
    stack.session.expire_all()
    return stack.session.scalars(select(Job).where(Job.id == job_id)).one()


def wait(stack: Stack, job_id: int) -> Job:
    try:
        wait_until(lambda: read(stack, job_id).ended_at, "the task has ended")
    except AssertionError as fault:
        raise AssertionError(f"{fault}\n{stack.logs()}") from None
    return read(stack, job_id)


def written(stack: Stack, filename_part: str) -> list[dict[str, Any]]:
    file = stack.session.scalars(
        select(File).where(File.purpose == "export", File.filename.contains(filename_part))
    ).one()
    return stack.read(file.id)


def test_a_model_writes_verdict_and_summary_on_the_incidents(stack: Stack) -> None:
    for n in range(3):
        incidents.report(
            stack.session,
            source="failure",
            risk_level="medium",
            fingerprint=f"f{n}",
            text=f"export {n} failed with OSError",
        )
    stack.session.commit()
    stack.start()
    job = wait(stack, defer(stack, "batch_audit", model="judge"))
    assert job.status == "completed", stack.logs()
    assert job.model == "judge"
    found = stack.session.scalars(select(Incident)).all()
    assert {(each.verdict, each.summary) for each in found} == {
        ("retry", "The disk was full; try again.")
    }
    batch = stack.session.scalars(select(Batch)).one()
    assert batch.custom_metadata == {"made_by": "batch_audit", "job_id": str(job.id)}
    # All have a verdict now: there is nothing left to ask about.
    again = wait(stack, defer(stack, "batch_audit", model="judge"))
    assert again.status == "failed"


def test_failed_requests_are_judged_in_a_file(stack: Stack) -> None:
    stack.start()
    audited = stack.wait(
        stack.submit(
            [
                chat("good", model="judge"),
                chat("bad", model="judge", guided_json={}),
                chat("worse", model="judge", guided_json={}),
            ]
        )
    )
    assert audited.failed == 2
    job = wait(stack, defer(stack, "batch_audit", model="judge", batch_id=audited.id))
    assert job.status == "completed", stack.logs()
    lines = written(stack, "_audit.jsonl")
    assert ids(lines) == ["bad", "worse"]
    assert {line["verdict"] for line in lines} == {"retry"}


def test_two_re_evaluations_share_one_slot_and_put_both_answers_side_by_side(
    stack: Stack,
) -> None:
    stack.start()
    lines = [chat(f"q-{n}", f"Question {n}") for n in range(20)] + [chat("no", "STATUS 400")]
    first = stack.wait(stack.submit(lines))
    both = [defer(stack, "re_evaluation", batch_id=first.id, model="judge") for _ in range(2)]
    for job_id in both:
        assert wait(stack, job_id).status == "completed", stack.logs()
    seconds = stack.session.scalars(select(Batch).where(Batch.id != first.id)).all()
    assert len(seconds) == 2
    for second in seconds:
        assert (second.model, second.total, second.status) == ("judge", 21, "completed")
        rows = written(stack, f"_and_{second.id}")
        assert ids(rows) == ids(lines)
        assert rows[0]["first"]["answer"].startswith("answer ")
        assert rows[0]["second"]["answer"] == JUDGEMENT
        assert [rows[0][side]["model"] for side in ("first", "second")] == ["fake", "judge"]
        assert rows[20]["first"]["status_code"] == 400
        assert rows[20]["first"]["body"]["error"]["message"]


def test_what_can_not_be_evaluated_again_fails_with_the_reason(stack: Stack) -> None:
    stack.start()
    first = stack.wait(stack.submit([chat("a")]))
    assert wait(stack, defer(stack, "re_evaluation", batch_id=first.id, model="none")).status == (
        "failed"
    )
    with pytest.raises(NotFound):
        defer(stack, "re_evaluation", batch_id="batch_x", model="judge")


def test_cancelling_the_task_cancels_its_batch(stack: Stack) -> None:
    stack.start()
    stack.start("worker.housekeeper")
    first = stack.wait(stack.submit([chat("a")]))
    job_id = defer(stack, "re_evaluation", batch_id=first.id, model="slow")
    query = select(Batch).where(Batch.idempotency_key == follow_ups.key_of(job_id))

    def second() -> Batch | None:
        stack.session.rollback()
        return stack.session.scalar(query)

    wait_until(second, "the task's batch is made")
    wait_until(
        lambda: (read(stack, job_id), jobs.cancel_waiting(stack.session, job_id))[1],
        "the task is cancelled while it waits",
    )
    stack.session.commit()
    batch = second()
    assert batch is not None
    assert stack.wait(batch).status == "cancelled"
