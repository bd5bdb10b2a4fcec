"""`flask adopt` on the database of an app that goes on with its work meanwhile."""

from __future__ import annotations

import random
import time

import psycopg
import pytest

from app.core import adoption, schema
from tests.adopt.conftest import Connection, Flask, catalogue
from tests.adopt.shops import Shop, differences, drain
from tests.conftest import wait_until


@pytest.mark.parametrize("delete_jobs", ["never", "successful", "always"])
def test_every_job_of_an_app_that_runs_is_recorded(
    shop: Shop, db: Connection, flask: Flask, delete_jobs: str
) -> None:
    shop.make_schema()
    shop.defer(50)
    worker = shop.start_worker(delete_jobs)
    wait_until(
        lambda: (
            db.execute("SELECT count(*) > 100 FROM procrastinate_events").fetchone() == (True,)
            or delete_jobs != "never"
        ),
        "the worker works",
    )
    deferring = shop.start_deferring(150, 0.01)

    ran = flask("adopt")
    assert ran.exit_code == 0, ran.output
    assert deferring.wait(60) == 0
    drain(db)
    wait_until(
        lambda: (
            db.execute(
                "SELECT count(*) FROM job WHERE task = 'tick' AND status = 'completed'"
            ).fetchone()
            != (0,)
        ),
        "its clock has ticked",
    )
    shop.stop(worker)

    assert differences(db) == []
    tasks = dict(
        db.execute(
            "SELECT task, count(*) FROM job WHERE status <> 'pending' GROUP BY task"
        ).fetchall()
    )
    assert {"mail", "charge", "flaky", "broken", "count", "tick"} <= set(tasks)
    if delete_jobs == "never":
        assert sum(number for task, number in tasks.items() if task != "tick") == 200
        assert db.execute(
            "SELECT task, status, min(attempts), max(attempts) FROM job"
            " WHERE task IN ('flaky', 'broken', 'charge') GROUP BY 1, 2 ORDER BY 1"
        ).fetchall() == [
            ("broken", "failed", 1, 1),
            ("charge", "completed", 1, 1),
            ("flaky", "completed", 3, 3),
        ]


def test_what_the_app_does_is_recorded_although_it_has_no_rights_on_the_record(
    queue: Connection, url: str, flask: Flask
) -> None:
    queue.execute("DROP ROLE IF EXISTS shopkeeper")
    queue.execute("CREATE ROLE shopkeeper LOGIN")
    queue.execute("GRANT ALL ON ALL TABLES IN SCHEMA public TO shopkeeper")
    queue.execute("GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO shopkeeper")
    assert flask("adopt").exit_code == 0
    queue.execute("REVOKE ALL ON job FROM PUBLIC")

    with psycopg.connect(url.replace("postgres@", "shopkeeper@"), autocommit=True) as own:
        own.execute(
            "INSERT INTO procrastinate_jobs (queue_name, task_name) SELECT 'mails', 'mail'"
            " FROM generate_series(1, 3)"
        )
        own.execute("SELECT procrastinate_cancel_job_v1(1, false, false)")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            own.execute("SELECT FROM job")

    assert queue.execute("SELECT status, count(*) FROM job GROUP BY 1 ORDER BY 1").fetchall() == [
        ("cancelled", 1),
        ("pending", 2),
    ]
    queue.execute("DROP OWNED BY shopkeeper")
    queue.execute("DROP ROLE shopkeeper")


def test_record_and_queue_agree_after_each_kill_of_the_worker(
    shop: Shop, db: Connection, flask: Flask
) -> None:
    shop.make_schema()
    shop.defer(30)
    assert flask("adopt").exit_code == 0
    chance = random.Random(3)

    for _ in range(4):
        shop.defer(60)
        worker = shop.start_worker()
        _wait_for_events(db, 5)
        time.sleep(chance.uniform(0, 0.3))
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
        assert differences(db) == []


def _wait_for_events(db: Connection, number: int) -> None:
    count = "SELECT count(*) FROM procrastinate_events"
    before = db.execute(count).fetchall()[0][0]
    wait_until(lambda: db.execute(count).fetchall()[0][0] > before + number, "the worker works")


def test_what_is_removed_leaves_no_trace(queue: Connection, flask: Flask) -> None:
    queue.execute("CREATE EXTENSION pg_trgm")
    queue.execute("INSERT INTO procrastinate_jobs (queue_name, task_name) VALUES ('a', 'mail')")
    before = catalogue(queue)
    rows = queue.execute("SELECT * FROM procrastinate_jobs, procrastinate_events").fetchall()

    ran = flask("adopt")
    assert ran.exit_code == 0, ran.output
    assert catalogue(queue) != before
    removed = flask("adopt", "--remove", "--yes")

    assert removed.exit_code == 0, removed.output
    assert catalogue(queue) == before
    assert (
        queue.execute("SELECT * FROM procrastinate_jobs, procrastinate_events").fetchall() == rows
    )
    queue.execute("INSERT INTO procrastinate_jobs (queue_name, task_name) VALUES ('a', 'mail')")


def test_a_removal_beside_a_running_app_does_not_disturb_it(
    shop: Shop, db: Connection, flask: Flask
) -> None:
    shop.make_schema()
    assert flask("adopt").exit_code == 0
    worker = shop.start_worker()
    deferring = shop.start_deferring(100, 0.01)
    wait_until(
        lambda: db.execute("SELECT count(*) > 20 FROM procrastinate_jobs").fetchone() == (True,),
        "jobs are deferred",
    )

    removed = flask("adopt", "--remove", "--yes")

    assert removed.exit_code == 0, removed.output
    assert deferring.wait(60) == 0
    drain(db)
    assert worker.poll() is None
    assert db.execute(
        "SELECT count(*) FROM procrastinate_jobs WHERE task_name <> 'tick' AND status = 'succeeded'"
    ).fetchone() == (80,)


def test_a_dry_run_says_what_it_would_do_and_changes_nothing(
    queue: Connection, flask: Flask
) -> None:
    queue.execute(
        "INSERT INTO procrastinate_jobs (queue_name, task_name) SELECT 'a', 'mail'"
        " FROM generate_series(1, 7)"
    )
    before = catalogue(queue)

    told = flask("adopt", "--dry-run")

    assert told.exit_code == 0, told.output
    assert "Jobs to take over: 7" in told.output
    assert "03.04.00" in told.output
    assert catalogue(queue) == before


def test_an_upgrade_leaves_an_adopted_queue_alone(
    queue: Connection, url: str, flask: Flask
) -> None:
    assert flask("adopt").exit_code == 0
    assert adoption.is_adopted(queue)
    before = catalogue(queue)

    ran = flask("db", "upgrade")

    assert ran.exit_code == 0, ran.output
    assert catalogue(queue) == before
    assert schema.is_current(queue)


def test_a_second_adoption_changes_nothing(queue: Connection, flask: Flask) -> None:
    queue.execute("INSERT INTO procrastinate_jobs (queue_name, task_name) VALUES ('a', 'mail')")
    assert flask("adopt").exit_code == 0
    before = catalogue(queue)

    again = flask("adopt")

    assert again.exit_code == 0, again.output
    assert catalogue(queue) == before
    assert queue.execute("SELECT count(*) FROM job").fetchone() == (1,)


def test_rows_may_be_archived_only_where_the_owner_says_so(queue: Connection, flask: Flask) -> None:
    assert flask("adopt").exit_code == 0
    assert not adoption.may_archive(queue)
    assert flask("adopt", "--archive").exit_code == 0
    assert adoption.may_archive(queue)
    assert flask("adopt").exit_code == 0
    assert adoption.may_archive(queue)
    assert flask("adopt", "--no-archive").exit_code == 0
    assert not adoption.may_archive(queue)


def test_a_database_without_a_queue_is_refused(db: Connection, flask: Flask) -> None:
    refused = flask("adopt")

    assert refused.exit_code == 1
    assert "has no Procrastinate tables" in refused.output


def test_a_queue_of_stokers_own_is_refused(url: str, db: Connection, flask: Flask) -> None:
    schema.upgrade(url)

    refused = flask("adopt")
    kept = flask("adopt", "--remove", "--yes")

    assert refused.exit_code == kept.exit_code == 1
    assert "there is nothing to adopt" in refused.output
    assert "not adopted" in kept.output
    assert schema.is_current(db)
