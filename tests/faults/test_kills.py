"""A part of Stoker dies in the middle of 200 requests, with real vLLM in the engine.

That nothing answered was asked again is the engine's own word: it logs each request it receives.
"""

from __future__ import annotations

import signal

import pytest

from tests.conftest import wait_until
from tests.faults.stack import FLUSHED, WINDOW, EngineStack, kill

pytestmark = [pytest.mark.engine, pytest.mark.faults, pytest.mark.timeout(400)]


def test_killed_web_and_housekeeper_leave_the_batch_alone(stack: EngineStack) -> None:
    batch, lines, _ = stack.run_to_the_middle()
    status = stack.poll(batch)
    assert stack.web is not None
    assert stack.housekeeper is not None
    kill(stack.web, with_children=True)
    kill(stack.housekeeper)
    assert stack.get("/health") == 0
    stack.bring_up()
    assert stack.check_whole(batch, lines) == set()
    assert status() == "completed"
    wait_until(lambda: stack.outcomes(batch) == ["moved", "completed"], "one attempt ran it")


@pytest.mark.parametrize(("mode", "seconds"), [("fast", 1.0), ("immediate", 8.0)])
def test_a_restarted_postgres_costs_no_answer_and_no_process(
    stack: EngineStack, mode: str, seconds: float
) -> None:
    pids = [process and process.pid for process in (stack.worker, stack.housekeeper, stack.web)]
    batch, lines, _ = stack.run_to_the_middle()
    status = stack.poll(batch)
    paths = [f"/v1/batches/{batch.id}", "/v1/files", "/v1/queue"]
    with stack.outage(mode, seconds):
        for path in paths:
            code, headers = stack.ask(path)
            assert code == 503
            assert int(headers["retry-after"]) > 0
        assert stack.get("/health") == 200
    assert stack.check_whole(batch, lines) == set()
    assert status() == "completed"
    stack.bring_up()
    assert pids == [
        process and process.pid for process in (stack.worker, stack.housekeeper, stack.web)
    ]
    wait_until(lambda: stack.outcomes(batch) == ["moved", "completed"], "one attempt ran it")


def test_a_killed_engine_core_is_replaced_and_only_what_it_held_is_asked_again(
    stack: EngineStack,
) -> None:
    batch, lines, answered = stack.run_to_the_middle()
    stack.engine_process("EngineCore").kill()
    again = stack.check_whole(batch, lines)
    assert not again & answered
    assert 0 < len(again) <= WINDOW
    assert batch.engine_deaths == 1
    wait_until(lambda: stack.outcomes(batch) == ["moved", "completed"], "one attempt ran it")


def test_a_frozen_engine_is_replaced_and_only_what_it_held_is_asked_again(
    stack: EngineStack,
) -> None:
    batch, lines, answered = stack.run_to_the_middle()
    stack.engine_process("EngineCore").send_signal(signal.SIGSTOP)
    again = stack.check_whole(batch, lines)
    assert not again & answered
    assert 0 < len(again) <= WINDOW
    assert batch.engine_deaths == 1
    wait_until(lambda: stack.outcomes(batch) == ["moved", "completed"], "one attempt ran it")


def test_after_a_killed_worker_the_next_one_goes_on_from_what_was_written(
    stack: EngineStack,
) -> None:
    batch, lines, answered = stack.run_to_the_middle()
    assert stack.worker is not None
    kill(stack.worker)
    stack.bring_up()
    again = stack.check_whole(batch, lines)
    assert not again & answered
    # What was in the engine, and answers on their way into the database.
    assert 0 < len(again) <= WINDOW + 2 * FLUSHED
    wait_until(
        lambda: stack.outcomes(batch) == ["moved", "lost", "completed"], "the attempts are closed"
    )
