"""The package `stoker`, installed in another app: one line there adds what only a worker knows."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.adopt.conftest import Connection, Flask
from tests.adopt.shops import Shop, differences, drain
from tests.conftest import ROOT, wait_until


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where pip has installed the package, and nothing else."""
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "worker" / "record", source / "worker" / "record", ignore=ignored)
    target = tmp_path_factory.mktemp("site")
    options = ("--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--no-input")
    subprocess.run(
        [sys.executable, "-m", "pip", "install", *options, "--target", str(target), str(source)],
        check=True,
        capture_output=True,
    )
    assert {path.name.split("-")[0] for path in target.iterdir()} == {"stoker"}
    return target


@pytest.fixture
def recorded_shop(url: str, tmp_path: Path, site: Path) -> Iterator[Shop]:
    shop = Shop(url, tmp_path, app="recorded_shop", path=(site,))
    yield shop
    shop.stop()


def defer(db: Connection, task: str, number: int = 1) -> int:
    row = db.execute(
        "INSERT INTO procrastinate_jobs (queue_name, task_name, args)"
        " VALUES ('mails', %s, jsonb_build_object('number', %s)) RETURNING id",
        [task, number],
    ).fetchone()
    assert row is not None
    return int(row[0])


def test_one_line_adds_results_errors_logs_and_progress(
    recorded_shop: Shop, db: Connection, flask: Flask
) -> None:
    recorded_shop.make_schema()
    assert flask("adopt").exit_code == 0
    worker = recorded_shop.start_worker()
    defer(db, "mail")
    wait_until(
        lambda: (
            db.execute("SELECT FROM queue_worker WHERE name IS NOT NULL").fetchone() is not None
        ),
        "the worker has said who it is",
    )
    parcel, broken, flaky = (defer(db, name, 7) for name in ("parcel", "broken", "flaky"))
    drain(db)
    recorded_shop.stop(worker)

    assert db.execute(
        "SELECT result, items_done, items_total, message, worker_name IS NOT NULL FROM job"
        " WHERE id = %s",
        [parcel],
    ).fetchone() == ("shipped 7", 3, 3, "step 3", True)
    assert db.execute(
        "SELECT level, logger, message FROM log_line WHERE job_id = %s AND logger = 'shop.parcels'",
        [parcel],
    ).fetchall() == [("warning", "shop.parcels", "parcel 7 is heavy")]
    assert db.execute(
        "SELECT status, error_type, error_message FROM job WHERE id = %s", [broken]
    ).fetchone() == ("failed", "ValueError", "no address for 7")
    tracebacks = db.execute(
        "SELECT number, outcome, traceback LIKE '%%the bank is closed%%', host IS NOT NULL,"
        " pid = %s FROM attempt WHERE job_id = %s ORDER BY number",
        [worker.pid, flaky],
    ).fetchall()
    assert tracebacks == [
        (1, "failed", True, True, True),
        (2, "failed", True, True, True),
        (3, "completed", None, True, True),
    ]
    assert differences(db) == []


@pytest.mark.parametrize("delete_jobs", ["successful", "always"])
def test_with_the_line_a_deleted_job_is_known_to_have_failed(
    recorded_shop: Shop, db: Connection, flask: Flask, delete_jobs: str
) -> None:
    recorded_shop.make_schema()
    assert flask("adopt").exit_code == 0
    mail, broken = (defer(db, name) for name in ("mail", "broken"))
    worker = recorded_shop.start_worker(delete_jobs)
    drain(db)
    recorded_shop.stop(worker)

    assert dict(db.execute("SELECT id, status FROM job WHERE task <> 'tick'").fetchall()) == {
        mail: "completed",
        broken: "failed",
    }
    assert differences(db) == []


def test_with_the_line_and_without_adoption_the_app_works_as_before(
    recorded_shop: Shop, db: Connection, flask: Flask
) -> None:
    """And so it does while it is adopted, let go, and adopted again."""
    recorded_shop.make_schema()
    worker = recorded_shop.start_worker()
    for words in ((), ("adopt",), ("adopt", "--remove", "--yes"), ("adopt",)):
        if words:
            ran = flask(*words)
            assert ran.exit_code == 0, ran.output
        ids = [defer(db, "parcel", number) for number in range(5)]
        drain(db)
        assert db.execute(
            "SELECT count(*) FROM procrastinate_jobs WHERE id = ANY (%s) AND status = 'succeeded'",
            [ids],
        ).fetchone() == (5,)
    assert worker.poll() is None
    assert differences(db) == []


def test_with_the_line_record_and_queue_agree_after_a_kill(
    recorded_shop: Shop, db: Connection, flask: Flask
) -> None:
    recorded_shop.make_schema()
    assert flask("adopt").exit_code == 0
    for seconds in (0.0, 0.15):
        recorded_shop.defer(60)
        worker = recorded_shop.start_worker()
        _wait_for_an_end(db)
        time.sleep(seconds)
        worker.kill()
        worker.wait()
        wait_until(
            lambda: (
                db.execute(
                    "SELECT count(*) = 1 FROM pg_stat_activity WHERE datname = current_database()"
                ).fetchone()
                == (True,)
            ),
            "its transactions are over",
        )
        # A worker says how an attempt ended before it ends the job.
        assert differences(db, ends_are_said=True) == []


def _wait_for_an_end(db: Connection) -> None:
    ended = "SELECT count(*) FROM procrastinate_jobs WHERE status IN ('succeeded', 'failed')"
    before = db.execute(ended).fetchall()
    wait_until(lambda: db.execute(ended).fetchall() > before, "it works")
