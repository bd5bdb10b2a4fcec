"""`flask schedules`, as an operator types it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import Result
from flask import Flask
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from app.core.models import AuditEntry, Job

Run = Callable[..., Result]


@pytest.fixture
def run(app: Flask) -> Run:
    return lambda *words: app.test_cli_runner().invoke(args=["schedules", *words])


@pytest.fixture
def said(run: Run) -> Callable[..., Any]:
    """What a command prints with --json."""

    def said(*words: str) -> Any:
        result = run(*words, "--json")
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    return said


def test_a_schedule_from_its_making_to_its_end(
    run: Run, said: Callable[..., Any], session: Session
) -> None:
    made = run("create", "report", "export", "format=zip", "--cron", "30 7 * * 1-5")
    assert made.exit_code == 0, made.output
    assert made.stdout.startswith(
        "Schedule 1 (report) runs export every weekday at 07:30 UTC; next 20"
    )
    (listed,) = said("list")
    assert (listed["name"], listed["owner"], listed["status"]) == ("report", "admin", "active")
    assert "every weekday" in " ".join(run("list").stdout.split())

    changed = said("change", "1", "--every", "90m", "--overlap", "queue", "--jitter", "2")
    assert changed["text"].startswith("every 90 minutes, from ")
    assert (changed["overlap_policy"], changed["args"]) == ("queue", {"format": "zip"})
    assert len(changed["next_runs"]) == 5
    assert said("change", "1", "what=events", "--name", "events")["args"] == {"what": "events"}

    assert said("pause", "1", "the disk is full")["paused_by"] == "command line"
    assert "is paused" in run("change", "1", "--priority", "3").stdout
    assert "the disk is full" in run("show", "1").stdout
    assert said("resume", "1")["status"] == "active"

    job_id = said("run", "1")["job_id"]
    assert session.scalars(select(Job.priority).where(Job.id == job_id)).one() == 3
    (firing,) = said("show", "1")["firings"]
    assert (firing["job_id"], firing["asked_by"]) == (job_id, "command line")
    assert "pending" in run("show", "1").stdout

    assert run("delete", "1").stdout == "Schedule 1 is removed.\n"
    assert said("list") == []
    assert set(session.scalars(select(AuditEntry.action))) == {
        f"schedule.{verb}" for verb in ("create", "change", "pause", "resume", "run", "delete")
    }


def test_times_are_tried_before_they_are_kept(run: Run, said: Callable[..., Any]) -> None:
    shown = run("preview", "--cron", "0 0 29 2 *", "--timezone", "Europe/Berlin")
    lines = shown.stdout.splitlines()
    assert lines[0] == "on the 29th of February at 00:00 Europe/Berlin"
    assert len(lines) == 6
    assert lines[1].endswith("-02-28 23:00:00 UTC")
    once = said("preview", "--at", "2099-01-01T09:30", "--timezone", "Asia/Tokyo")
    assert once == {
        "text": "once, 2099-01-01 09:30 Asia/Tokyo",
        "next_runs": ["2099-01-01T00:30:00+00:00"],
    }
    begun = said("preview", "--every", "1d", "--from", "2099-01-01T00:00Z")
    assert begun["text"] == "every day, from 2099-01-01 00:00 UTC"


@pytest.mark.usefixtures("database_url")
def test_what_is_wrong_is_said_in_one_sentence(run: Run) -> None:
    for words, code, sentence in (
        (("preview",), 2, "Give --cron, --every or --at."),
        (("preview", "--every", "soon"), 2, "'soon' is no interval"),
        (("preview", "--cron", "* * * *"), 1, "cron: must have five fields"),
        (("preview", "--cron", "@daily", "--every", "1h"), 2, "Give one of"),
        (("preview", "--cron", "@daily", "--timezone", "Mars"), 1, "no time zone"),
        (("create", "n", "export"), 1, "Give --cron, --every or --at."),
        (("create", "n", "paint", "--every", "1h"), 1, "There is no task 'paint'"),
        (("create", "n", "export", "colour=red", "--every", "1h"), 1, "colour"),
        (("create", "n", "export", "--args", "[]", "--every", "1h"), 2, "no JSON object"),
        (("create", "n", "export", "--at", "2020-01-01T00:00Z"), 1, "That moment has passed."),
        (("change", "7", "--priority", "1"), 1, "There is no schedule '7'."),
        (("run", "x"), 1, "There is no schedule 'x'."),
        (("delete", "x"), 1, "There is no schedule 'x'."),
    ):
        result = run(*words)
        assert result.exit_code == code, (words, result.output)
        assert sentence in result.stderr
        assert "Traceback" not in result.stderr


def test_an_adopted_apps_tasks_are_scheduled_and_its_periodic_ones_listed(
    said: Callable[..., Any], session: Session
) -> None:
    session.execute(text("INSERT INTO adoption DEFAULT VALUES"))
    session.execute(
        text(
            "INSERT INTO procrastinate_periodic_defers (task_name, periodic_id, defer_timestamp)"
            " VALUES ('tick', 'east', 1764072000)"
        )
    )
    session.commit()
    made = said(
        "create", "bills", "shop.bill", "--args", '{"days": 3}', "--queue", "shop", "--every", "1h"
    )
    assert (made["task"], made["args"], made["queue"]) == ("shop.bill", {"days": 3}, "shop")
    periodic = said("list")[1]
    assert (periodic["id"], periodic["status"]) == ("tick east", "periodic")
    assert periodic["text"] == "last planned 2025-11-25 12:00:00 UTC"
