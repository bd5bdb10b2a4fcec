"""The record of a Procrastinate app that is not ours, with our middleware in its worker."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, LiteralString

import procrastinate
import psycopg
import pytest
from procrastinate import JobContext, exceptions
from psycopg.rows import dict_row

from app.core.settings import Settings
from tests.conftest import ROOT, process_environment, wait_until
from worker.record import Recorder, current, progress
from worker.record.attempt import BURST

log = logging.getLogger("shop.orders")

Row = dict[str, Any]


@pytest.fixture
def db(settings: Settings) -> Iterator[psycopg.Connection[Row]]:
    with psycopg.connect(
        settings.database_url, autocommit=True, row_factory=dict_row
    ) as connection:
        yield connection


@pytest.fixture
def shop(settings: Settings) -> procrastinate.App:
    """An app with a task for each way to end."""
    app = procrastinate.App(
        connector=procrastinate.PsycopgConnector(conninfo=settings.database_url)
    )

    @app.task(name="succeed")
    async def succeed() -> None:
        pass

    @app.task(name="fail")
    async def fail() -> None:
        raise ValueError("no such \0 item")

    @app.task(
        name="fail_once", retry=procrastinate.RetryStrategy(max_attempts=2), pass_context=True
    )
    async def fail_once(context: JobContext) -> str:
        if context.job.attempts == 0:
            raise KeyError("first")
        return "second"

    @app.task(name="wait_for_abort")
    async def wait_for_abort() -> None:
        await asyncio.sleep(60)

    @app.task(name="abort_itself")
    def abort_itself() -> None:
        raise exceptions.JobAborted

    @app.task(name="work_in_steps")
    def work_in_steps() -> None:
        for done in range(1, 8):
            progress(done, 10, f"at item {done}")

    @app.task(name="answer")
    async def answer(kind: str) -> Any:
        attempt = current()
        assert attempt is not None
        attempt.gpu_seconds = 1.5
        return {
            "json": {"total": 3, "names": ["ä", None]},
            "large": ["x" * 1000] * 1200,
            "object": Path("/of/no/json/kind"),
            "nan": float("nan"),
        }[kind]

    @app.task(name="log_async")
    async def log_async() -> None:
        log.debug("not kept")
        log.info("order %d taken", 7, extra={"order": 7, "lines": ["a"], "of": Path("x")})
        await asyncio.to_thread(log.warning, "from a thread")
        try:
            raise OSError("disk full")
        except OSError:
            log.exception("not \0 stored \ud800")

    @app.task(name="log_sync")
    def log_sync() -> None:
        log.info("in thread %s", threading.current_thread() is not threading.main_thread())

    @app.task(name="log_much")
    def log_much() -> None:
        for number in range(20_000):
            log.info("line %d", number)

    return app


def work(app: procrastinate.App, recorder: Recorder | None = None, **options: Any) -> None:
    """Run all that is due, the way an app does; retries included."""
    recorder = recorder or Recorder()

    async def run() -> None:
        async with app.open_async():
            await app.run_worker_async(
                wait=False,
                install_signal_handlers=False,
                worker_middleware=[recorder.middleware],
                **options,
            )

    asyncio.run(run())


def defer(app: procrastinate.App, task: str, **arguments: Any) -> int:
    with app.open():
        return app.configure_task(task).defer(**arguments)


def job_of(db: psycopg.Connection[Row], job_id: int) -> Row:
    row = db.execute("SELECT * FROM job WHERE id = %s", [job_id]).fetchone()
    assert row is not None
    return row


def attempts_of(db: psycopg.Connection[Row], job_id: int) -> list[Row]:
    return db.execute(
        "SELECT * FROM attempt WHERE job_id = %s ORDER BY number", [job_id]
    ).fetchall()


def steps_of(db: psycopg.Connection[Row], job_id: int) -> list[str]:
    rows = db.execute("SELECT * FROM job_transition WHERE job_id = %s ORDER BY id", [job_id])
    return [f"{row['from_status']} > {row['to_status']}" for row in rows]


def lines_of(db: psycopg.Connection[Row], job_id: int) -> list[Row]:
    return db.execute("SELECT * FROM log_line WHERE job_id = %s ORDER BY id", [job_id]).fetchall()


def assert_consistent(db: psycopg.Connection[Row]) -> None:
    """Every final job ended once, its attempts are closed, and the last of them says the same."""
    final = ("completed", "failed", "cancelled")
    rows = db.execute(
        "SELECT job.id, job.status, job.attempts,"
        " (SELECT count(*) FROM job_transition AS t WHERE t.job_id = job.id"
        "  AND t.to_status = ANY (%(final)s) AND t.from_status <> ALL (%(final)s)) AS ends,"
        " (SELECT to_status FROM job_transition AS t WHERE t.job_id = job.id"
        "  ORDER BY t.id DESC LIMIT 1) AS last_status,"
        " (SELECT count(*) FROM attempt WHERE job_id = job.id) AS tries,"
        " (SELECT count(*) FROM attempt WHERE job_id = job.id AND outcome IS NULL) AS open,"
        " (SELECT outcome FROM attempt WHERE job_id = job.id ORDER BY number DESC LIMIT 1) AS outcome"
        " FROM job",
        {"final": list(final)},
    ).fetchall()
    for row in rows:
        assert row["attempts"] == row["tries"], row
        # Of a worker that is killed between the two, the attempt has ended and the job has not.
        assert row["open"] in ((0, 1) if row["status"] == "running" else (0,)), row
        if row["status"] in final:
            assert (row["ends"], row["last_status"]) == (1, row["status"]), row
            assert row["outcome"] in (row["status"], None), row
        else:
            assert row["ends"] == 0, row


def test_a_success_says_who_ran_it_and_what_it_used(
    db: psycopg.Connection[Row], shop: procrastinate.App
) -> None:
    job_id = defer(shop, "succeed")
    work(shop)
    job, (attempt,) = job_of(db, job_id), attempts_of(db, job_id)
    assert (job["status"], job["progress"], attempt["outcome"]) == ("completed", 100, "completed")
    assert attempt["pid"] == os.getpid()
    assert attempt["worker_name"] == job["worker_name"]
    assert attempt["worker_name"] is not None
    assert attempt["cpu_seconds"] >= 0
    assert attempt["peak_memory_bytes"] > 1_000_000
    assert steps_of(db, job_id) == ["pending > running", "running > completed"]
    assert_consistent(db)


def test_a_failure_keeps_its_type_message_and_traceback(
    db: psycopg.Connection[Row], shop: procrastinate.App
) -> None:
    job_id = defer(shop, "fail")
    work(shop)
    job, (attempt,) = job_of(db, job_id), attempts_of(db, job_id)
    assert (job["status"], attempt["outcome"]) == ("failed", "failed")
    for row in (job, attempt):
        assert (row["error_type"], row["error_message"]) == ("ValueError", "no such � item")
    assert "raise ValueError" in attempt["traceback"]
    words = db.execute("SELECT words FROM job_search WHERE job_id = %s", [job_id]).fetchone()
    assert words is not None
    assert "no such" in words["words"]
    assert_consistent(db)


def test_a_retry_is_a_second_attempt_and_its_success_clears_the_error(
    db: psycopg.Connection[Row], shop: procrastinate.App
) -> None:
    job_id = defer(shop, "fail_once")
    work(shop)
    job, attempts = job_of(db, job_id), attempts_of(db, job_id)
    assert [attempt["outcome"] for attempt in attempts] == ["failed", "completed"]
    assert [attempt["error_type"] for attempt in attempts] == ["KeyError", None]
    assert (job["status"], job["attempts"], job["max_attempts"]) == ("completed", 2, 3)
    assert (job["error_type"], job["result"], attempts[1]["result"]) == (None, "second", "second")
    assert steps_of(db, job_id) == [
        "pending > running",
        "running > retrying",
        "retrying > running",
        "running > completed",
    ]
    assert_consistent(db)


def test_a_job_that_was_cancelled_or_aborted_says_so(
    db: psycopg.Connection[Row], shop: procrastinate.App
) -> None:
    cancelled = defer(shop, "succeed")
    with shop.open():
        assert shop.job_manager.cancel_job_by_id(cancelled)
    by_itself, from_outside = defer(shop, "abort_itself"), defer(shop, "wait_for_abort")

    def abort() -> None:
        wait_until(lambda: job_of(db, from_outside)["status"] == "running", "it runs")
        with psycopg.connect(db.info.dsn) as connection:
            connection.execute(
                "SELECT procrastinate_cancel_job_v1(%s, true, false)", [from_outside]
            )

    thread = threading.Thread(target=abort)
    thread.start()
    work(shop)
    thread.join()
    for job_id in (cancelled, by_itself, from_outside):
        assert job_of(db, job_id)["status"] == "cancelled"
    assert attempts_of(db, cancelled) == []
    assert [attempts_of(db, job)[0]["outcome"] for job in (by_itself, from_outside)] == [
        "cancelled",
        "cancelled",
    ]
    assert "running > running" in steps_of(db, from_outside)
    assert_consistent(db)


def test_a_job_of_an_unknown_task_has_failed(
    db: psycopg.Connection[Row], shop: procrastinate.App
) -> None:
    job_id = defer(shop, "nobody_has_this")
    work(shop)
    assert job_of(db, job_id)["status"] == "failed"
    assert_consistent(db)


def test_jobs_whose_rows_are_deleted_at_their_end_keep_how_they_ended(
    db: psycopg.Connection[Row], shop: procrastinate.App
) -> None:
    jobs = {task: defer(shop, task) for task in ("succeed", "fail", "fail_once", "abort_itself")}
    work(shop, delete_jobs="always")
    left = db.execute("SELECT count(*) AS rows FROM procrastinate_jobs").fetchone()
    assert left == {"rows": 0}
    ends = {task: job_of(db, job_id)["status"] for task, job_id in jobs.items()}
    assert ends == {
        "succeed": "completed",
        "fail": "failed",
        "fail_once": "completed",
        "abort_itself": "cancelled",
    }
    assert_consistent(db)


def test_the_last_progress_is_kept_however_fast_it_comes(
    db: psycopg.Connection[Row], shop: procrastinate.App
) -> None:
    job_id = defer(shop, "work_in_steps")
    work(shop)
    job = job_of(db, job_id)
    assert (job["items_done"], job["items_total"], job["message"]) == (7, 10, "at item 7")
    words = db.execute("SELECT words FROM job_search WHERE job_id = %s", [job_id]).fetchone()
    assert words is not None
    assert "at item 7" in words["words"]


def test_what_an_attempt_did_and_when_is_kept_with_it(
    db: psycopg.Connection[Row], shop: procrastinate.App
) -> None:
    job_id = defer(shop, "work_in_steps")
    work(shop)
    (attempt,) = attempts_of(db, job_id)
    kept = attempt["milestones"]
    assert kept[0]["message"] == "at item 1"
    assert {name: kept[-1][name] for name in ("message", "percent", "done")} == {
        "message": "at item 7",
        "percent": 70,
        "done": 7,
    }
    began, ended = attempt["started_at"].timestamp(), attempt["ended_at"].timestamp()
    assert began - 5 < kept[0]["at"] <= kept[-1]["at"] < ended + 5


def test_progress_outside_of_a_job_does_nothing() -> None:
    progress(1, 2)
    assert current() is None


def test_log_lines_come_with_their_level_context_and_exception_from_every_thread(
    db: psycopg.Connection[Row], shop: procrastinate.App
) -> None:
    first, second = defer(shop, "log_async"), defer(shop, "log_sync")
    log.warning("nobody's")
    work(shop, concurrency=2)
    lines = lines_of(db, first)
    said = [(line["level"], line["message"], line["logger"]) for line in lines]
    assert said == [
        ("info", "order 7 taken", "shop.orders"),
        ("warning", "from a thread", "shop.orders"),
        ("error", "not � stored ?", "shop.orders"),
    ]
    assert lines[0]["context"] == {"order": 7, "lines": ["a"], "of": "PosixPath('x')"}
    assert "OSError: disk full" in lines[2]["context"]["exception"]
    assert {line["attempt_number"] for line in lines} == {1}
    assert [line["message"] for line in lines_of(db, second)] == ["in thread True"]


def test_a_job_that_defers_others_logs_their_ids_and_not_their_arguments(
    db: psycopg.Connection[Row], shop: procrastinate.App
) -> None:
    @shop.task(name="defer_others")
    async def defer_others() -> None:
        await shop.configure_task("answer").batch_defer_async({"kind": "json"}, {"kind": "nan"})

    first = defer(shop, "defer_others")
    work(shop)
    deferred = db.execute("SELECT id FROM job WHERE task = 'answer' ORDER BY id").fetchall()
    (line,) = lines_of(db, first)
    assert line["message"] == "Deferred 2 jobs"
    assert line["context"] == {"action": "jobs_deferred", "jobs": [each["id"] for each in deferred]}


def test_capturing_lets_other_handlers_print_no_more_than_before(
    db: psycopg.Connection[Row], shop: procrastinate.App
) -> None:
    printed: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: printed.append(record.getMessage())  # type: ignore[method-assign]
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    try:
        job_id = defer(shop, "log_async")
        work(shop)
        assert root.level == logging.WARNING
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
    assert [line["level"] for line in lines_of(db, job_id)] == ["info", "warning", "error"]
    assert [line for line in printed if "order 7" in line] == []
    assert "from a thread" in printed


def test_a_flood_of_log_lines_is_cut_and_says_how_many_are_missing(
    db: psycopg.Connection[Row], shop: procrastinate.App
) -> None:
    job_id = defer(shop, "log_much")
    work(shop)
    lines = lines_of(db, job_id)
    said = [line for line in lines if line["message"].endswith("an attempt are kept")]
    missing = sum(int(line["message"].split()[0]) for line in said)
    assert len(said) >= 1
    assert len(lines) - len(said) + missing == 20_000
    assert len(lines) - len(said) >= BURST
    assert missing > 10_000


def test_results_are_kept_inline_in_files_or_as_text(
    db: psycopg.Connection[Row], shop: procrastinate.App, tmp_path: Path
) -> None:
    jobs = {kind: defer(shop, "answer", kind=kind) for kind in ("json", "large", "object", "nan")}
    work(shop, Recorder(results_folder=tmp_path / "results"))
    results = {kind: job_of(db, job_id)["result"] for kind, job_id in jobs.items()}
    assert results["json"] == {"total": 3, "names": ["ä", None]}
    assert results["object"] == {"$stoker": "repr", "text": "PosixPath('/of/no/json/kind')"}
    assert results["nan"] == {"$stoker": "repr", "text": "nan"}
    assert results["large"]["$stoker"] == "file"
    file = tmp_path / "results" / results["large"]["name"]
    assert json.loads(file.read_bytes()) == ["x" * 1000] * 1200
    assert file.stat().st_size == job_of(db, jobs["large"])["result_bytes"]
    assert attempts_of(db, jobs["json"])[0]["gpu_seconds"] == 1.5


def test_a_large_result_without_a_folder_leaves_its_size(
    db: psycopg.Connection[Row], shop: procrastinate.App
) -> None:
    job_id = defer(shop, "answer", kind="large")
    work(shop)
    job = job_of(db, job_id)
    assert job["result"] == {"$stoker": "too large", "bytes": job["result_bytes"]}


def test_what_is_said_twice_changes_nothing(
    db: psycopg.Connection[Row], shop: procrastinate.App
) -> None:
    job_id = defer(shop, "fail")
    work(shop)
    entry = {"job": job_id, "number": 1, "error_type": "ValueError", "error_message": "again"}
    query = "SELECT stoker_end(%s::jsonb) AS found"
    before = (job_of(db, job_id), attempts_of(db, job_id)[0]["outcome"], steps_of(db, job_id))
    as_other = json.dumps([{**entry, "outcome": "completed"}])
    assert db.execute(query, [as_other]).fetchone() == {"found": 0}
    same = json.dumps([{**entry, "outcome": "failed", "error_message": before[0]["error_message"]}])
    words = "SELECT words FROM job_search"
    for _ in range(2):
        assert db.execute(query, [same]).fetchone() == {"found": 1}
        said = db.execute(words).fetchall()
    assert db.execute(words).fetchall() == said
    after = (job_of(db, job_id), attempts_of(db, job_id)[0]["outcome"], steps_of(db, job_id))
    assert after == before


def test_a_defer_that_is_rolled_back_leaves_nothing(
    db: psycopg.Connection[Row], settings: Settings
) -> None:
    with psycopg.connect(settings.database_url) as connection:
        connection.execute(
            "INSERT INTO procrastinate_jobs (queue_name, task_name) VALUES ('q', 't')"
        )
        connection.rollback()
    for table in ("job", "job_search", "job_transition", "attempt"):
        assert db.execute(f"SELECT FROM {table}").fetchall() == []


def test_a_thousand_jobs_deferred_at_once_are_all_recorded_and_their_ends_too(
    db: psycopg.Connection[Row], shop: procrastinate.App
) -> None:
    with shop.open():
        shop.configure_task("succeed").batch_defer(*({} for _ in range(1000)))
    work(shop, concurrency=10)
    row = db.execute(
        "SELECT count(*) AS jobs, count(DISTINCT id) AS ids FROM job WHERE status = 'completed'"
    ).fetchone()
    assert row == {"jobs": 1000, "ids": 1000}
    used = db.execute("SELECT count(cpu_seconds) AS known FROM attempt").fetchone()
    assert used == {"known": 1000}
    assert_consistent(db)


def test_without_the_record_an_app_works_as_before_and_is_told_once(
    db: psycopg.Connection[Row], shop: procrastinate.App, caplog: pytest.LogCaptureFixture
) -> None:
    from app.core import record

    with psycopg.connect(db.info.dsn) as connection:
        record.remove(connection)
    jobs = [defer(shop, "succeed") for _ in range(3)]
    work(shop)
    rows = db.execute(
        "SELECT status FROM procrastinate_jobs WHERE id = ANY (%s)", [jobs]
    ).fetchall()
    assert [row["status"] for row in rows] == ["succeeded"] * 3
    assert caplog.text.count("Stoker's record is not installed") == 1


def test_a_record_that_does_not_answer_does_not_keep_a_job(
    db: psycopg.Connection[Row], shop: procrastinate.App, settings: Settings
) -> None:
    job_id = defer(shop, "fail")
    with psycopg.connect(settings.database_url) as blocker:
        blocker.execute("SELECT pg_advisory_xact_lock(77)")
        db.execute(
            "CREATE OR REPLACE FUNCTION stoker_end(ends jsonb) RETURNS int LANGUAGE plpgsql AS $$"
            " BEGIN PERFORM pg_advisory_xact_lock(77); RETURN 1; END $$"
        )

        def release() -> None:
            query = "SELECT status::text AS status FROM procrastinate_jobs WHERE id = %s"
            wait_until(
                lambda: db.execute(query, [job_id]).fetchone() == {"status": "failed"},
                "the job has ended without the record's answer",
            )
            blocker.rollback()

        thread = threading.Thread(target=release)
        thread.start()
        work(shop, Recorder(wait_seconds=0.1))
        thread.join()
    assert job_of(db, job_id)["status"] == "failed"


def test_jobs_that_begin_while_the_record_is_looked_for_are_recorded_too(
    db: psycopg.Connection[Row], shop: procrastinate.App, settings: Settings
) -> None:
    class SlowToFind(procrastinate.PsycopgConnector):
        async def execute_query_one_async(
            self, query: LiteralString, **arguments: Any
        ) -> dict[str, Any]:
            if "FROM pg_trigger" in query:
                await asyncio.sleep(0.3)
            row: Row = await super().execute_query_one_async(query, **arguments)
            return row

    jobs = [defer(shop, "succeed") for _ in range(4)]
    work(shop.with_connector(SlowToFind(conninfo=settings.database_url)), concurrency=4)
    assert [attempts_of(db, job)[0]["cpu_seconds"] is None for job in jobs] == [False] * 4


def test_a_record_that_refuses_the_last_words_does_not_break_the_workers_end(
    db: psycopg.Connection[Row], shop: procrastinate.App, caplog: pytest.LogCaptureFixture
) -> None:
    job_id = defer(shop, "succeed")
    db.execute(
        "CREATE OR REPLACE FUNCTION stoker_use(uses jsonb) RETURNS void LANGUAGE plpgsql AS $$"
        " BEGIN RAISE EXCEPTION 'not now'; END $$"
    )
    work(shop)
    assert job_of(db, job_id)["status"] == "completed"
    assert "the last of the record can't be written: not now" in caplog.text


PROGRAM = """
import asyncio, random, sys, procrastinate
from worker import record
app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=sys.argv[1]))

@app.task(name="chance", retry=procrastinate.RetryStrategy(max_attempts=3))
async def chance(number: int):
    await asyncio.sleep(random.random() / 50)
    record.progress(number, 1000)
    if random.random() < 0.3:
        raise RuntimeError(number)
    return number if number % 2 else None

async def main():
    async with app.open_async():
        await app.run_worker_async(
            concurrency=5, worker_middleware=[record.middleware], fetch_job_polling_interval=0.1
        )

asyncio.run(main())
"""


@pytest.mark.faults
def test_a_worker_killed_at_any_moment_leaves_a_record_without_contradictions(
    db: psycopg.Connection[Row], settings: Settings
) -> None:
    db.execute(
        "INSERT INTO procrastinate_jobs (queue_name, task_name, args)"
        " SELECT 'default', 'chance', jsonb_build_object('number', n) FROM generate_series(1, 600) AS n"
    )
    open_jobs = "SELECT count(*) AS jobs FROM procrastinate_jobs WHERE status IN ('todo', 'doing')"

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-c", PROGRAM, settings.database_url],
            cwd=ROOT,
            env=process_environment(settings),
            stderr=subprocess.DEVNULL,
        )

    def ended() -> int:
        row = db.execute("SELECT count(*) AS jobs FROM job WHERE ended_at IS NOT NULL").fetchone()
        assert row is not None
        return int(row["jobs"])

    put_back = procrastinate.App(
        connector=procrastinate.SyncPsycopgConnector(conninfo=settings.database_url)
    )
    for _ in range(3):
        process, before = start(), ended()
        wait_until(lambda before=before: ended() > before, "it works")  # type: ignore[misc]
        time.sleep(random.random() / 2)
        process.send_signal(signal.SIGKILL)
        process.wait()
        # The server ends the statement that it was at, and only then its session.
        wait_until(
            lambda: (
                db.execute(
                    "SELECT FROM pg_stat_activity WHERE datname = current_database()"
                    " AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
                ).fetchone()
                is None
            ),
            "its transactions are over",
        )
        assert_consistent(db)
        db.execute("DELETE FROM procrastinate_workers")
        with put_back.open():
            doing = db.execute(
                "SELECT id FROM procrastinate_jobs WHERE status = 'doing'"
            ).fetchall()
            for row in doing:
                put_back.job_manager.retry_job_by_id(row["id"], retry_at=datetime.now(UTC))
        assert_consistent(db)
    process = start()
    wait_until(lambda: db.execute(open_jobs).fetchone() == {"jobs": 0}, "all is done")
    process.terminate()
    process.wait()
    assert_consistent(db)
    lost = db.execute("SELECT count(*) AS n FROM attempt WHERE outcome = 'lost'").fetchone()
    assert lost is not None
    assert ended() == 600
