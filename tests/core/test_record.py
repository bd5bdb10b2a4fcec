"""The record's triggers and functions, by plain SQL: any program may be the one that speaks."""

from __future__ import annotations

import hashlib
import json
import secrets
import threading
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg import conninfo

from app.core import record
from app.core.settings import Settings
from tests.conftest import wait_until

Connection = psycopg.Connection[Any]


@pytest.fixture
def db(settings: Settings) -> Iterator[Connection]:
    with psycopg.connect(settings.database_url, autocommit=True) as connection:
        yield connection


def defer(db: Connection, **arguments: Any) -> int:
    row = db.execute(
        "INSERT INTO procrastinate_jobs (queue_name, task_name, args) VALUES ('shop', 'mail', %s)"
        " RETURNING id",
        [json.dumps(arguments)],
    ).fetchone()
    assert row is not None
    return int(row[0])


def fetch(db: Connection, job_id: int) -> None:
    db.execute("UPDATE procrastinate_jobs SET status = 'doing' WHERE id = %s", [job_id])


def end(db: Connection, job_id: int, status: str = "succeeded") -> None:
    db.execute(
        "UPDATE procrastinate_jobs SET status = %s, attempts = attempts + 1 WHERE id = %s",
        [status, job_id],
    )


def say_end(db: Connection, job_id: int, **said: Any) -> None:
    words = json.dumps([{"job": job_id, "number": 1, **said}])
    db.execute("SELECT stoker_end(%s::jsonb)", [words])


def test_a_queue_that_counts_from_one_again_goes_on_and_its_past_stays(db: Connection) -> None:
    first = defer(db, of="first")
    fetch(db, first)
    end(db, first, "failed")
    db.execute("TRUNCATE procrastinate_jobs RESTART IDENTITY CASCADE")
    second = defer(db, of="second")
    assert second == first

    fetch(db, second)
    db.execute(
        "SELECT stoker_progress(%s)",
        [json.dumps([{"job": second, "number": 1, "percent": 50, "message": "half"}])],
    )
    say_end(db, second, outcome="completed", result={"sent": 1})
    end(db, second)

    columns = "arguments ->> 'of', status, attempts, message, result"
    assert db.execute(f"SELECT {columns} FROM job ORDER BY created_at").fetchall() == [
        ("first", "failed", 1, None, None),
        ("second", "completed", 1, "half", {"sent": 1}),
    ]
    attempts = "SELECT outcome FROM attempt ORDER BY job_created_at"
    assert db.execute(attempts).fetchall() == [("failed",), ("completed",)]


def test_an_argument_of_any_size_may_be_called_user_or_model(db: Connection) -> None:
    cards = "".join(hashlib.sha256(str(card).encode()).hexdigest() for card in range(500))
    job_id = defer(db, user={"cards": cards}, model=cards)
    row = db.execute(
        "SELECT length(owner_name), length(model), arguments ->> 'model' = %s FROM job"
        " WHERE id = %s",
        [cards, job_id],
    ).fetchone()
    assert row == (200, 200, True)


def test_how_a_deleted_job_ended_may_be_said_late(db: Connection) -> None:
    job_id = defer(db)
    fetch(db, job_id)
    db.execute("DELETE FROM procrastinate_jobs WHERE id = %s", [job_id])
    assert db.execute("SELECT status FROM job").fetchone() == ("completed",)
    db.execute("DELETE FROM dirty_hour")

    for _ in range(2):
        say_end(db, job_id, outcome="failed", error_type="OSError", error_message="disk full")

    assert db.execute("SELECT status, error_type FROM job").fetchall() == [("failed", "OSError")]
    assert db.execute("SELECT outcome, error_message FROM attempt").fetchall() == [
        ("failed", "disk full")
    ]
    assert db.execute("SELECT to_status FROM job_transition ORDER BY id").fetchall() == [
        ("running",),
        ("failed",),
    ]
    assert db.execute("SELECT count(*) FROM dirty_hour").fetchone() == (1,)


def test_the_end_of_a_job_and_what_is_said_of_it_wait_for_each_other_in_one_order(
    db: Connection, settings: Settings
) -> None:
    job_id = defer(db)
    fetch(db, job_id)
    said = threading.Thread(
        target=say_end, args=(db, job_id), kwargs={"outcome": "failed", "error_type": "OSError"}
    )
    with psycopg.connect(settings.database_url) as other:
        # As the trigger does in its first statement, before it comes to the attempt.
        other.execute("SELECT FROM job WHERE id = %s FOR UPDATE", [job_id])
        said.start()
        wait_until(
            lambda: (
                other.execute("SELECT count(*) FROM pg_locks WHERE NOT granted").fetchone() != (0,)
            ),
            "it waits for the job",
        )
        end(other, job_id, "failed")
    said.join()
    assert db.execute("SELECT status, error_type FROM job").fetchall() == [("failed", "OSError")]


@pytest.fixture
def stranger(db: Connection, settings: Settings) -> Iterator[Connection]:
    """A connection of a role that may only log in."""
    name = f"stranger_{secrets.token_hex(4)}"
    db.execute(f"CREATE ROLE {name} LOGIN")
    parts = conninfo.conninfo_to_dict(settings.database_url) | {"user": name}
    with psycopg.connect(conninfo.make_conninfo("", **parts), autocommit=True) as connection:
        yield connection
    db.execute(f"DROP OWNED BY {name}")
    db.execute(f"DROP ROLE {name}")


@pytest.mark.parametrize(
    "forged",
    [
        "stoker_register(1, gen_random_uuid(), 'me', 'here', 1, '{}')",
        "stoker_claim(1, 1)",
        """stoker_use('[{"job": 1, "number": 1, "cpu_seconds": 9}]')""",
        """stoker_end('[{"job": 1, "number": 1, "outcome": "completed"}]')""",
        """stoker_progress('[{"job": 1, "number": 1, "percent": 99}]')""",
        """stoker_log('[{"job": 1, "at": "2026-01-01", "level": "info", "message": "x"}]')""",
    ],
)
def test_a_role_without_rights_on_the_queue_can_say_nothing_of_its_jobs(
    db: Connection, stranger: Connection, forged: str
) -> None:
    fetch(db, defer(db))
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="may not say what became"):
        stranger.execute(f"SELECT * FROM {forged}".encode())

    role = stranger.info.user
    db.execute(f"GRANT UPDATE ON procrastinate_jobs TO {role}")
    stranger.execute(f"SELECT * FROM {forged}".encode())


@pytest.mark.parametrize(
    "change", ["deferred", "changed", "deleted", "truncated", "forgotten", "followed"]
)
def test_the_triggers_can_not_be_hung_on_a_table_of_ones_own(
    stranger: Connection, change: str
) -> None:
    stranger.execute("CREATE TEMP TABLE mine (id bigint)")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        stranger.execute(
            "CREATE TRIGGER forged AFTER TRUNCATE ON mine"
            f" FOR EACH STATEMENT EXECUTE FUNCTION stoker_{change}()".encode()
        )


def test_rights_that_a_restored_dump_lacks_are_taken_away_again(
    db: Connection, settings: Settings
) -> None:
    db.execute("GRANT EXECUTE ON FUNCTION stoker_deferred() TO PUBLIC")
    assert not record.is_current(db)
    record.install(db, lambda once: once())
    assert record.is_current(db)
