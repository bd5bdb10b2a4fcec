"""What becomes of a batch whose job is taken from under it: a real worker, a fake engine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import procrastinate
import psycopg
import pytest
from sqlalchemy import select, text, update
from sqlalchemy.orm import Session

from app.core import batches
from app.core.models import Attempt, Batch, Worker
from app.core.settings import Settings
from tests.conftest import wait_until
from tests.worker.stack import Stack, chat, ids


@pytest.fixture
def stack(settings: Settings, session: Session, tmp_path: Path) -> Iterator[Stack]:
    stack = Stack(settings, session, tmp_path)
    stack.write_models(fake={})
    yield stack
    stack.stop()


@contextmanager
def locked(settings: Settings, table: str) -> Iterator[None]:
    """Nobody else writes to the table meanwhile."""
    with psycopg.connect(settings.database_url) as connection:
        connection.execute(f"LOCK TABLE {table} IN EXCLUSIVE MODE")  # type: ignore[call-overload]
        yield


def wait_until_blocked(stack: Stack, words: str, table: str) -> None:
    """Until some statement with these words waits for that table: fetches wait for each other, too."""

    def is_blocked() -> bool:
        stack.session.rollback()
        found = stack.session.scalar(
            text(
                "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid)"
                " WHERE NOT granted AND relation = CAST(:table AS regclass)"
                " AND datname = current_database() AND query LIKE :words"
            ),
            {"words": f"%{words}%", "table": table},
        )
        return bool(found)

    wait_until(is_blocked, f"a statement with {words} waits for {table}")


def abort(stack: Stack, batch: Batch) -> None:
    """As an operator who knows only Procrastinate would."""
    connector = procrastinate.SyncPsycopgConnector(conninfo=stack.settings.database_url)
    with procrastinate.App(connector=connector).open() as app:
        assert batch.job_id is not None
        assert app.job_manager.cancel_job_by_id(batch.job_id, abort=True)


def test_a_running_job_aborted_through_procrastinate_leaves_a_cancelled_batch_with_its_results(
    stack: Stack,
) -> None:
    stack.write_models(fake={"FAKE_DELAY": "0.05", "WINDOW": "4"})
    stack.start("worker.housekeeper")
    stack.start()
    lines = [chat(f"q-{n}") for n in range(400)]
    batch = stack.submit(lines)
    stack.wait_for_results(batch, 20)
    abort(stack, batch)
    stack.wait(batch)
    assert batch.status == "cancelled"
    output, errors = stack.read(batch.output_file_id), stack.read(batch.error_file_id)
    assert 20 <= len(output) == batch.completed < 400
    assert {line["error"]["code"] for line in errors} == {"batch_cancelled"}
    assert sorted(ids(output) + ids(errors)) == sorted(ids(lines))


def test_a_waiting_job_aborted_through_procrastinate_leaves_a_cancelled_batch(
    stack: Stack,
) -> None:
    stack.write_models(fake={"FAKE_DELAY": "120", "WINDOW": "1"}, other={})
    stack.start("worker.housekeeper")
    stack.start()
    first = stack.submit([chat("a", model="fake")])
    wait_until(stack.asked, "the first batch is in the engine")
    waiting = stack.submit([chat("b", model="other")])
    wait_until(lambda: stack.refresh(waiting).validated_at, "it is validated")
    abort(stack, waiting)
    stack.wait(waiting)
    assert waiting.status == "cancelled"
    assert ids(stack.read(waiting.error_file_id)) == ["b"]
    assert stack.refresh(first).status == "in_progress"


def test_a_batch_cancelled_while_it_is_validated_ends_without_asking_the_engine(
    stack: Stack,
) -> None:
    with locked(stack.settings, "request"):
        stack.start()
        batch = stack.submit([chat("a"), chat("b")])
        wait_until_blocked(stack, "COPY request", "request")
        batches.cancel(stack.session, batch.id, None)
        stack.session.commit()
    stack.wait(batch)
    assert batch.status == "cancelled"
    assert batch.output_file_id is None
    assert stack.asked() == []


def test_a_batch_that_is_fetched_after_its_turn_has_ended_waits_for_the_next_one(
    stack: Stack,
) -> None:
    asked = {name: stack.folder / f"asked-{name}.log" for name in ("one", "two")}
    # Validated, and then waiting for an engine that takes its time.
    stack.write_models(one={"FAKE_START_DELAY": "60"}, two={"FAKE_START_DELAY": "60"})
    worker = stack.start()
    late, urgent = (stack.submit([chat(f"{name}-1", model=name)]) for name in ("one", "two"))
    for batch in (late, urgent):
        wait_until(lambda batch=batch: stack.refresh(batch).validated_at, "it is validated")
    worker.terminate()
    assert worker.wait(60) == 0
    stack.write_models(**{name: {"FAKE_LOG": str(path)} for name, path in asked.items()})

    # A fetched job's event is what its fetch waits for now.
    with locked(stack.settings, "procrastinate_events"):
        stack.start()
        wait_until_blocked(stack, "stoker_fetch", "procrastinate_events")
        stack.session.execute(update(Batch).where(Batch.id == urgent.id).values(priority=1))
        stack.session.commit()
        wait_until(lambda: loaded(stack) == "two", "the other model has its turn")
    assert stack.wait(urgent).completed == 1
    assert stack.wait(late).completed == 1
    assert urgent.in_progress_at is not None
    assert late.in_progress_at is not None
    assert urgent.in_progress_at < late.in_progress_at
    for path in asked.values():
        assert len(path.read_text().splitlines()) == 1
    of_job = select(Attempt.outcome).where(Attempt.job_id == late.job_id).order_by(Attempt.number)

    def outcomes() -> list[str | None]:
        stack.session.rollback()
        return list(stack.session.scalars(of_job))

    # A job's last attempt ends after its batch.
    wait_until(lambda: None not in outcomes(), "the attempts are closed")
    assert outcomes() == ["moved", "moved", "completed"]


def loaded(stack: Stack) -> str | None:
    """The model that is ready to be asked."""
    stack.session.rollback()
    return stack.session.scalar(
        select(Worker.current_model).where(
            Worker.kind == "worker", Worker.stopped_at.is_(None), Worker.engine_status == "ready"
        )
    )
