"""What becomes of a batch: a real worker process, a real database, a fake engine."""

from __future__ import annotations

import json
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app.core import batches, logs, retries
from app.core.models import Attempt, Batch, Job
from app.core.settings import Settings
from tests.conftest import wait_until
from tests.worker.stack import Stack, chat, ids


@pytest.fixture
def stack(settings: Settings, session: Session, tmp_path: Path) -> Iterator[Stack]:
    stack = Stack(settings, session, tmp_path)
    stack.write_models(fake={})
    yield stack
    stack.stop()


def open_job(stack: Stack, batch: Batch) -> Job:
    """The record's job of a batch."""
    return stack.session.scalars(select(Job).where(Job.id == batch.job_id)).one()


def job_of(stack: Stack, batch: Batch) -> Job:
    """The same, once it has ended: its end is written after the batch's."""
    job = open_job(stack, batch)

    def has_ended() -> bool:
        stack.session.rollback()
        stack.session.refresh(job)
        return job.ended_at is not None

    wait_until(has_ended, "the job has ended")
    return job


def test_every_request_is_answered_once_and_in_input_order(stack: Stack) -> None:
    stack.start()
    lines = [chat(f"q-{n:03}", f"Question {n}", max_tokens=1 + n % 5) for n in range(150)]
    batch = stack.wait(stack.submit(lines, metadata={"run": "1"}))
    assert (batch.status, batch.total, batch.completed, batch.failed) == ("completed", 150, 150, 0)
    output = stack.read(batch.output_file_id)
    assert ids(output) == ids(lines)
    assert batch.error_file_id is None
    assert len(set(stack.asked())) == len(stack.asked()) == 150
    assert output[0]["response"]["status_code"] == 200
    assert output[0]["error"] is None
    usage = [line["response"]["body"]["usage"] for line in output]
    assert batch.input_tokens == sum(each["prompt_tokens"] for each in usage)
    assert batch.output_tokens == sum(each["completion_tokens"] for each in usage)
    assert batch.engine is not None
    assert batch.engine["version"] == "0.0.fake"
    assert batch.model_load_seconds is not None
    # The log's last lines are written after the batch's end.
    job_of(stack, batch)
    text = logs.read_text(stack.session, batch)
    assert "validated model=fake requests=150" in text
    assert "completed" in text


def test_failed_requests_stand_in_the_error_file_and_the_others_go_on(stack: Stack) -> None:
    stack.start()
    lines = [
        chat("good"),
        chat("bad", "STATUS 400"),
        chat("refused", guided_json={"type": "object"}),
        chat("fetches", content="x"),
        chat("broken", "STATUS 500"),
        chat("busy", "STATUS 503 once"),
    ]
    lines[3]["body"]["messages"][0]["content"] = [
        {"type": "image_url", "image_url": {"url": "http://169.254.169.254/secret"}}
    ]
    batch = stack.wait(stack.submit(lines))
    assert (batch.status, batch.completed, batch.failed) == ("completed", 2, 4)
    assert ids(stack.read(batch.output_file_id)) == ["good", "busy"]
    errors = stack.read(batch.error_file_id)
    assert ids(errors) == ["bad", "refused", "fetches", "broken"]
    for line, code in zip(errors, (400, 400, 400, 500), strict=True):
        assert line["error"] is None
        assert line["response"]["status_code"] == code
        error = line["response"]["body"]["error"]
        assert set(error) == {"message", "type", "param", "code"}
    assert errors[1]["response"]["body"]["error"]["param"] == "guided_json"
    assert "url" in errors[2]["response"]["body"]["error"]["param"]


def test_a_batch_of_only_failed_requests_is_completed_without_output(stack: Stack) -> None:
    stack.start()
    batch = stack.wait(stack.submit([chat(str(n), "STATUS 400") for n in range(3)]))
    assert (batch.status, batch.completed, batch.failed) == ("completed", 0, 3)
    assert batch.output_file_id is None
    assert len(stack.read(batch.error_file_id)) == 3


def test_a_malformed_line_fails_the_batch_with_its_line_number(stack: Stack) -> None:
    stack.start()
    batch = stack.wait(stack.submit(b'{"custom_id": "a"\n'))
    assert batch.status == "failed"
    assert batch.errors is not None
    assert (batch.errors[0]["code"], batch.errors[0]["line"]) == ("invalid_json_line", 1)
    job = job_of(stack, batch)
    assert (job.status, job.attempts) == ("failed", 1)
    assert job.error_message == f"Line 1: {batch.errors[0]['message']}"


def test_the_job_of_a_batch_says_how_far_it_is(stack: Stack) -> None:
    stack.write_models(fake={"FAKE_DELAY": "0.1", "WINDOW": "2"})
    stack.start()
    batch = stack.submit([chat(f"q-{n}") for n in range(60)])
    job = open_job(stack, batch)

    def said() -> tuple[str, str | None, int | None]:
        stack.session.rollback()
        stack.session.refresh(job)
        return job.status, job.message, job.items_total

    wait_until(lambda: said() == ("running", "Answering", 60), "it says so")
    assert 0 < (job.items_done or 0) <= 60
    assert job.progress == 100 * (job.items_done or 0) // 60
    stack.wait(batch)
    done = job_of(stack, batch)
    assert (done.progress, done.items_done, done.message) == (
        100,
        60,
        "Answered 60 of 60, 0 failed",
    )


def test_a_cancelled_batch_keeps_its_finished_results(stack: Stack) -> None:
    stack.write_models(fake={"FAKE_DELAY": "0.05", "WINDOW": "4"})
    stack.start()
    lines = [chat(f"q-{n}") for n in range(400)]
    batch = stack.submit(lines)
    stack.wait_for_results(batch, 20)
    batches.cancel(stack.session, batch.id, None)
    stack.session.commit()
    stack.wait(batch)
    assert batch.status == "cancelled"
    assert job_of(stack, batch).status == "cancelled"
    output, errors = stack.read(batch.output_file_id), stack.read(batch.error_file_id)
    assert 20 <= len(output) == batch.completed < 400
    assert {line["error"]["code"] for line in errors} == {"batch_cancelled"}
    assert sorted(ids(output) + ids(errors)) == sorted(ids(lines))


def test_a_batch_that_waits_for_its_turn_is_cancelled_at_once(stack: Stack) -> None:
    stack.write_models(fake={"FAKE_DELAY": "120", "WINDOW": "1"}, other={})
    stack.start()
    first = stack.submit([chat("a", model="fake")])
    wait_until(lambda: stack.asked(), "the first batch is in the engine")
    waiting = stack.submit([chat("b", model="other")])
    wait_until(lambda: stack.refresh(waiting).validated_at, "it is validated")
    batches.cancel(stack.session, waiting.id, None)
    stack.session.commit()
    stack.wait(waiting)
    assert waiting.status == "cancelled"
    assert ids(stack.read(waiting.error_file_id)) == ["b"]
    assert stack.refresh(first).status == "in_progress"


def test_an_expired_batch_keeps_its_finished_results(stack: Stack) -> None:
    stack.write_models(fake={"FAKE_DELAY": "0.1", "WINDOW": "2"})
    stack.start()
    batch = stack.submit([chat(f"q-{n}") for n in range(400)])
    stack.wait_for_results(batch, 4)
    stack.session.execute(
        update(Batch).where(Batch.id == batch.id).values(expires_at=batch.in_progress_at)
    )
    stack.session.commit()
    stack.wait(batch)
    assert batch.status == "expired"
    job = job_of(stack, batch)
    assert (job.status, job.error_message) == (
        "failed",
        "The completion window was over before all requests were answered.",
    )
    output, errors = stack.read(batch.output_file_id), stack.read(batch.error_file_id)
    assert output
    assert {line["error"]["code"] for line in errors} == {"batch_expired"}
    assert len(output) + len(errors) == 400


def test_after_a_killed_worker_nothing_answered_is_asked_again(stack: Stack) -> None:
    stack.write_models(fake={"FAKE_DELAY": "0.05", "WINDOW": "4"})
    stack.start("worker.housekeeper")
    worker = stack.start()
    lines = [chat(f"q-{n}") for n in range(300)]
    batch = stack.submit(lines)
    stack.wait_for_results(batch, 60)
    worker.kill()
    worker.wait()
    answered = set(ids(list(map(json.loads, _written(stack, batch)))))
    before = stack.asked()
    stack.start()
    stack.wait(batch)
    assert (batch.status, batch.completed) == ("completed", 300)
    assert ids(stack.read(batch.output_file_id)) == ids(lines)
    again = {request for request, times in Counter(stack.asked()).items() if times > 1}
    line_of = {each["id"]: each["custom_id"] for each in stack.read(batch.output_file_id)}
    assert not {line_of[request] for request in again} & answered
    # What the kill costs is at most the window and what was not written yet.
    assert len(again) <= len(before) - len(answered)

    def outcomes() -> list[str | None]:
        stack.session.rollback()
        of_job = select(Attempt.outcome).where(Attempt.job_id == batch.job_id)
        return list(stack.session.scalars(of_job.order_by(Attempt.number)))

    wait_until(lambda: outcomes() == ["moved", "lost", "completed"], "the attempts are closed")


def _written(stack: Stack, batch: Batch) -> list[bytes]:
    from app.core import results

    stack.session.rollback()
    return results.read_page(stack.session, batch.number, after_line=0)[0]


def test_a_stopped_worker_puts_its_batch_back_for_the_next_one(stack: Stack) -> None:
    stack.write_models(fake={"FAKE_DELAY": "0.05", "WINDOW": "4"})
    worker = stack.start()
    batch = stack.submit([chat(f"q-{n}") for n in range(400)])
    stack.wait_for_results(batch, 20)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(60) == 0
    assert stack.refresh(batch).status == "in_progress"
    stack.start()
    stack.wait(batch)
    assert (batch.status, batch.completed) == ("completed", 400)


def test_a_request_that_kills_the_engine_fails_alone(stack: Stack) -> None:
    stack.write_models(fake={"FAKE_DELAY": "0.01", "WINDOW": "4"})
    stack.start()
    lines = [chat(f"q-{n}", "CRASH" if n == 10 else f"Question {n}") for n in range(30)]
    batch = stack.wait(stack.submit(lines))
    assert (batch.status, batch.completed, batch.failed) == ("completed", 29, 1)
    (error,) = stack.read(batch.error_file_id)
    assert (error["custom_id"], error["error"]["code"]) == ("q-10", "engine_crashed")
    assert "died 3 times" in error["error"]["message"]
    assert batch.engine_deaths == 3
    job_of(stack, batch)
    text = logs.read_text(stack.session, batch)
    assert text.count("the engine died") == 3
    assert "a request is given up" in text


@pytest.mark.parametrize("end", ["", "dies"])
def test_an_engine_whose_memory_runs_out_is_asked_less_at_once(stack: Stack, end: str) -> None:
    stack.write_models(
        fake={"FAKE_DELAY": "1", "WINDOW": "8", "FAKE_OOM_OVER": "2", "FAKE_OOM_DIES": end}
    )
    stack.start()
    batch = stack.wait(stack.submit([chat(f"q-{n}") for n in range(6)]))
    assert (batch.status, batch.completed, batch.failed) == ("completed", 6, 0)
    assert (batch.engine_deaths > 0) is (end == "dies")
    job_of(stack, batch)
    text = logs.read_text(stack.session, batch)
    assert "the engine's memory ran out: fewer requests at once" in text


def test_a_request_that_takes_too_much_memory_even_alone_fails_alone(stack: Stack) -> None:
    stack.write_models(fake={"FAKE_DELAY": "0.1", "WINDOW": "4"})
    stack.start()
    lines = [chat(f"q-{n}", "HUGE" if n == 3 else f"Question {n}") for n in range(8)]
    batch = stack.wait(stack.submit(lines))
    assert (batch.status, batch.completed, batch.failed) == ("completed", 7, 1)
    (error,) = stack.read(batch.error_file_id)
    assert error["custom_id"] == "q-3"
    assert "out of memory" in error["response"]["body"]["error"]["message"]


def test_a_frozen_engine_is_replaced_and_the_batch_goes_on(stack: Stack) -> None:
    stack.write_models(fake={"FAKE_FREEZE": "15", "WINDOW": "8"})
    stack.start(STOKER_ENGINE_STALL_SECONDS="2")
    batch = stack.wait(stack.submit([chat(f"q-{n}") for n in range(20)]))
    assert (batch.status, batch.completed) == ("completed", 20)
    assert batch.engine_deaths >= 1


def test_a_model_that_cannot_be_started_fails_its_batch_with_the_reason(stack: Stack) -> None:
    stack.write_models(fake={"FAKE_START_ERROR": "ValueError: no room for KV blocks"})
    stack.start(STOKER_ENGINE_RESTART_LIMIT="2", STOKER_PRELOAD="false")
    batch = stack.wait(stack.submit([chat("a")]))
    assert batch.status == "failed"
    assert batch.errors is not None
    assert batch.errors[0]["code"] == "engine_unavailable"
    assert "no room for KV blocks" in batch.errors[0]["message"]
    stack.write_models(fake={})
    assert stack.wait(stack.submit([chat("a")])).status == "completed"


def test_batches_are_grouped_by_model_so_that_few_swaps_are_needed(stack: Stack) -> None:
    # All wait for their model before one of them is ready: else a quick turn ends before the last is
    # validated.
    stack.write_models(one={"FAKE_START_DELAY": "60"}, two={"FAKE_START_DELAY": "60"})
    made = [stack.submit([chat("a", model=("one", "two")[n % 2])]) for n in range(6)]
    worker = stack.start()
    for batch in made:
        wait_until(lambda batch=batch: stack.refresh(batch).validated_at, "it is validated")
    worker.terminate()
    assert worker.wait(60) == 0
    stack.write_models(one={"FAKE_DELAY": "0.2"}, two={"FAKE_DELAY": "0.2"})
    stack.start()
    for batch in made:
        assert stack.wait(batch).status == "completed"
    order = sorted(made, key=lambda batch: str(batch.in_progress_at))
    assert [batch.model for batch in order] == ["one"] * 3 + ["two"] * 3


def test_no_batch_waits_for_ever_behind_another_model(stack: Stack) -> None:
    stack.write_models(one={"FAKE_DELAY": "0.2", "WINDOW": "1"}, two={})
    stack.start(STOKER_MODEL_TURN_SECONDS="2")
    long = stack.submit([chat(f"q-{n}", model="one") for n in range(60)])
    stack.wait_for_results(long, 1)
    short = stack.wait(stack.submit([chat("a", model="two")]))
    assert short.status == "completed"
    assert stack.refresh(long).status == "in_progress"
    assert stack.wait(long).completed == 60
    assert len(stack.asked()) == len(set(stack.asked()))


def test_an_urgent_batch_overtakes_the_requests_of_one_that_runs(stack: Stack) -> None:
    stack.write_models(fake={"FAKE_DELAY": "0.1", "WINDOW": "2"})
    stack.start()
    slow = stack.submit([chat(f"q-{n}") for n in range(150)], priority=-1)
    stack.submit([chat(f"r-{n}") for n in range(150)], priority=-1)
    stack.wait_for_results(slow, 2)
    urgent = stack.wait(stack.submit([chat("now")], priority=1))
    assert urgent.status == "completed"
    assert stack.refresh(slow).status == "in_progress"


def test_only_the_failed_requests_are_retried(stack: Stack) -> None:
    stack.start()
    lines = [chat("good"), chat("bad", "STATUS 400"), chat("worse", "STATUS 422")]
    batch = stack.wait(stack.submit(lines))
    again = retries.retry_failed(stack.session, stack.settings, batch.id, None)
    stack.session.commit()
    stack.wait(again)
    assert (again.total, again.failed) == (2, 2)
    assert again.custom_metadata == {"retried_from": batch.id}
    assert ids(stack.read(again.error_file_id)) == ["bad", "worse"]


@pytest.mark.parametrize(
    ("endpoint", "body"),
    [
        ("/v1/completions", {"prompt": "Once upon a time"}),
        ("/v1/embeddings", {"input": ["one", "two"]}),
        ("/v1/responses", {"input": "Hello"}),
    ],
)
def test_every_endpoint_is_answered(stack: Stack, endpoint: str, body: dict[str, object]) -> None:
    stack.start()
    line = {
        "custom_id": "a",
        "method": "POST",
        "url": endpoint,
        "body": {"model": "fake", **body},
    }
    batch = stack.wait(stack.submit([line], endpoint=endpoint))
    assert (batch.status, batch.completed) == ("completed", 1)
    assert batch.input_tokens > 0
