"""Every change of a job names who made it."""

from __future__ import annotations

import psycopg


def test_a_program_that_gives_no_name_is_named_by_its_role(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True, application_name="") as connection:
        connection.execute(
            "INSERT INTO procrastinate_jobs (queue_name, task_name) VALUES ('q', 'noop')"
        )
        connection.execute("UPDATE procrastinate_jobs SET status = 'cancelled'")
        role = connection.info.user
        made_by = connection.execute("SELECT created_by FROM job").fetchone()
        changes = connection.execute(
            "SELECT to_status, triggered_by FROM job_transition"
        ).fetchall()

    assert made_by == (role,)
    assert changes == [("cancelled", role)]
