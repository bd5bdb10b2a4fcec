"""Two workers that think they own one batch, ends that get lost, helpers that are killed."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from app.core.models import Attempt, Batch
from app.core.settings import Settings
from tests.conftest import wait_until
from tests.faults.proxy import Proxy
from tests.worker.engines import family_of
from tests.worker.stack import Stack, chat, ids
from tests.worker.test_guards import locked, wait_until_blocked

pytestmark = pytest.mark.faults

# Of a batch whose second worker was taken for dead: validated, lost, done.
ENDS = ["moved", "lost", "completed"]


@pytest.fixture
def stack(settings: Settings, session: Session, tmp_path: Path) -> Iterator[Stack]:
    stack = Stack(settings, session, tmp_path)
    stack.write_models(fake={"FAKE_DELAY": "0.05", "WINDOW": "4"})
    yield stack
    stack.stop()


@pytest.fixture
def proxy(stack: Stack) -> Iterator[Proxy]:
    """Between the database and the processes that the test starts from now on."""
    proxy = Proxy(stack.settings.database_url)
    stack.environment["DATABASE_URL"] = proxy.url
    yield proxy
    stack.stop()
    proxy.close()


def outcomes(stack: Stack, batch: Batch) -> list[str | None]:
    stack.session.rollback()
    of_job = select(Attempt.outcome).where(Attempt.job_id == batch.job_id)
    return list(stack.session.scalars(of_job.order_by(Attempt.number)))


def job_status(stack: Stack, batch: Batch) -> Any:
    stack.session.rollback()
    query = text("SELECT status::text FROM procrastinate_jobs WHERE id = :id")
    return stack.session.execute(query, {"id": batch.job_id}).scalar_one()


def results_of(stack: Stack, batch: Batch) -> dict[str, str]:
    """The written answers, as they are byte for byte."""
    stack.session.rollback()
    query = text("SELECT id, body || last_tried_at FROM result WHERE batch_number = :number")
    rows = stack.session.execute(query, {"number": batch.number})
    return {row[0]: row[1] for row in rows}


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def test_a_worker_that_was_taken_for_dead_changes_nothing_and_works_on(stack: Stack) -> None:
    stack.start("worker.housekeeper")
    first = stack.start()
    lines = [chat(f"q-{n}") for n in range(150)]
    batch = stack.submit(lines)
    stack.wait_for_results(batch, 30)
    with frozen(first.pid):
        wait_until(lambda: outcomes(stack, batch) == ["moved", "lost"], "it is taken for dead")
        before = results_of(stack, batch)
        second = stack.start()
        stack.wait(batch)
        assert (batch.status, batch.completed, batch.failed) == ("completed", 150, 0)
        wait_until(lambda: job_status(stack, batch) == "succeeded", "the job has ended")
        after = results_of(stack, batch)
    wait_until(lambda: "job.lost" in stack.logs(), "the first worker learns that it lost the job")
    assert job_status(stack, batch) == "succeeded"
    wait_until(lambda: outcomes(stack, batch) == ENDS, "the attempts are closed")
    assert results_of(stack, batch) == after
    assert ids(stack.read(stack.refresh(batch).output_file_id)) == ids(lines)
    again = {name for name, times in Counter(stack.asked()).items() if times > 1}
    assert not again & set(before)

    # The first one works on, as whom the queue knows it again.
    second.terminate()
    assert second.wait(60) == 0
    other = stack.wait(stack.submit([chat("a"), chat("b")]))
    assert (other.status, other.completed) == ("completed", 2)
    assert first.poll() is None


def test_a_worker_that_wakes_while_the_other_runs_its_batch_does_not_end_the_job(
    stack: Stack,
) -> None:
    stack.start("worker.housekeeper")
    first = stack.start()
    # So many that the second worker is still at them when the first one has looked about.
    batch = stack.submit([chat(f"q-{n}") for n in range(500)])
    stack.wait_for_results(batch, 20)
    with frozen(first.pid):
        wait_until(lambda: outcomes(stack, batch) == ["moved", "lost"], "it is taken for dead")
        second = stack.start()
        wait_until(lambda: len(outcomes(stack, batch)) == 3, "another has taken over")
        held = stack.refresh(batch).completed
        stack.wait_for_results(batch, held + 5)
    wait_until(lambda: "job.lost" in stack.logs(), "the first worker learns that it lost the job")
    assert job_status(stack, batch) == "doing"
    stack.wait(batch)
    assert (batch.status, batch.completed, batch.failed) == ("completed", 500, 0)
    wait_until(lambda: outcomes(stack, batch) == ENDS, "the attempts are closed")
    assert (first.poll(), second.poll()) == (None, None)


@pytest.mark.parametrize("errcode", ["P0001", "53100"])
def test_a_lost_end_of_a_job_is_made_up_for(stack: Stack, errcode: str) -> None:
    # A sequence is not rolled back: the fault happens once.
    stack.session.execute(text("CREATE SEQUENCE fault"))
    stack.session.execute(
        text(f"""
        CREATE FUNCTION lose_the_end() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF NEW.status = 'succeeded' AND nextval('fault') = 1 THEN
                RAISE EXCEPTION 'the end is lost' USING ERRCODE = '{errcode}';
            END IF;
            RETURN NEW;
        END $$
        """)
    )
    stack.session.execute(
        text(
            "CREATE TRIGGER lose_the_end BEFORE UPDATE ON procrastinate_jobs"
            " FOR EACH ROW EXECUTE FUNCTION lose_the_end()"
        )
    )
    stack.session.commit()
    stack.start("worker.housekeeper")
    worker = stack.start()
    batch = stack.wait(stack.submit([chat(f"q-{n}") for n in range(10)]))
    assert (batch.status, batch.completed) == ("completed", 10)
    wait_until(lambda: job_status(stack, batch) == "succeeded", "the end is recorded after all")
    assert stack.session.execute(text("SELECT last_value FROM fault")).scalar_one() == 2
    assert len(stack.asked()) == 10
    assert worker.poll() is None


def test_connections_that_are_cut_again_and_again_lose_and_double_nothing(stack: Stack) -> None:
    stack.start("worker.housekeeper")
    worker = stack.start()
    lines = [chat(f"q-{n}") for n in range(200)]
    batch = stack.submit(lines)
    # Between a COMMIT and its answer too, sooner or later.
    cut = text(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    pause, before = 0.2, 0
    while (completed := stack.refresh(batch).completed) < 150:
        stack.session.execute(cut)
        # Something has to get done in between, on a slow machine too.
        pause = 0.2 if completed > before else min(pause * 1.2, 5.0)
        before = completed
        time.sleep(pause)
    stack.wait(batch)
    assert (batch.status, batch.completed, batch.failed) == ("completed", 200, 0)
    assert ids(stack.read(batch.output_file_id)) == ids(lines)
    assert len(stack.asked()) == len(set(stack.asked())) == 200
    usage = [line["response"]["body"]["usage"] for line in stack.read(batch.output_file_id)]
    assert batch.output_tokens == sum(each["completion_tokens"] for each in usage)
    assert worker.poll() is None


def test_a_commit_whose_answer_is_lost_is_neither_lost_nor_counted_twice(
    stack: Stack, proxy: Proxy
) -> None:
    stack.start("worker.housekeeper", DATABASE_URL=stack.settings.database_url)
    worker = stack.start()
    proxy.lose_every = 3
    lines = [chat(f"q-{n}") for n in range(100)]
    batch = stack.wait(stack.submit(lines))
    assert proxy.lost > 5
    assert (batch.status, batch.completed, batch.failed) == ("completed", 100, 0)
    assert ids(stack.read(batch.output_file_id)) == ids(lines)
    assert len(stack.asked()) == len(set(stack.asked())) == 100
    assert batch.output_tokens == 4 * 100
    wait_until(lambda: job_status(stack, batch) == "succeeded", "the job has ended")
    assert worker.poll() is None


def test_a_worker_ends_in_order_while_the_database_is_away(stack: Stack, proxy: Proxy) -> None:
    stack.start("worker.housekeeper", DATABASE_URL=stack.settings.database_url)
    worker = stack.start()
    batch = stack.submit([chat(f"q-{n}") for n in range(150)])
    stack.wait_for_results(batch, 20)
    proxy.go_away()
    worker.terminate()
    worker.wait(60)
    assert family_of(stack.settings.run_path) == []
    proxy.come_back()
    stack.start()
    stack.wait(batch)
    assert (batch.status, batch.completed, batch.failed) == ("completed", 150, 0)


def test_a_killed_validation_is_tried_again(stack: Stack) -> None:
    worker = stack.start()
    wait_until(lambda: len(helpers(worker.pid)) >= 2, "the helpers are there")
    lines = [chat(f"q-{n}") for n in range(4000)]
    for line in lines[20:]:
        line["body"]["guided_json"] = {}  # refused at once: only validation takes its time
    # The helper is still at it when it is killed: it may not write.
    with locked(stack.settings, "request"):
        batch = stack.submit(lines)
        wait_until_blocked(stack, "COPY request", "request")
        assert outcomes(stack, batch) == [None]
        for helper in helpers(worker.pid):
            helper.kill()
    stack.wait(batch)
    assert (batch.status, batch.total) == ("completed", 4000)
    ends = ["failed", "moved", "completed"]
    wait_until(lambda: outcomes(stack, batch) == ends, "the attempts are closed")
    assert worker.poll() is None


def helpers(pid: int) -> list[psutil.Process]:
    """The worker's helper processes (its other children are the engine's and a resource tracker)."""
    found = []
    for child in psutil.Process(pid).children():
        with suppress(psutil.NoSuchProcess):  # one that has just ended
            if "spawn_main" in " ".join(child.cmdline()):
                found.append(child)
    return found
