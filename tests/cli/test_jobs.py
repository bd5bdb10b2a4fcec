"""`flask jobs`: every verb from a shell."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from click.testing import Result
from flask import Flask
from sqlalchemy.orm import Session

from app.core.models import LogLine
from tests.core.queue_hand import Hand

Run = Callable[..., Result]


@pytest.fixture
def hand(session: Session) -> Hand:
    return Hand(session)


@pytest.fixture
def run(app: Flask) -> Run:
    """Runs `flask jobs …` in this process."""

    def run(*words: str, code: int = 0) -> Result:
        ran = app.test_cli_runner().invoke(args=["jobs", *words])
        assert ran.exit_code == code, (ran.output, ran.exception)
        assert "Traceback" not in ran.output
        return ran

    return run


def read(run: Run, *words: str) -> Any:
    return json.loads(run(*words, "--json").stdout)


def test_jobs_are_listed_searched_and_shown(run: Run, hand: Hand) -> None:
    failed, waiting = hand.failed(), hand.defer(priority=-3)
    assert [row["id"] for row in read(run, "list")] == [int(waiting), int(failed)]
    assert [row["id"] for row in read(run, "list", "--status", "failed")] == [int(failed)]
    assert [row["id"] for row in read(run, "list", "-status:failed")] == [int(waiting)]
    assert read(run, "list", "--type", "none", "--queue", "tasks") == []
    assert "export" in run("list", "--limit", "1").stdout
    shown = read(run, "show", failed)
    assert (shown["status"], shown["attempts"], shown["arguments"]) == (
        "failed",
        1,
        {"what": "jobs", "format": "csv"},
    )
    assert [each["to"] for each in shown["history"]] == ["running", "failed"]
    assert "attempt 1" in run("show", failed).stdout


def test_each_verb_says_what_it_came_to(run: Run, hand: Hand) -> None:
    job_id = hand.defer()
    assert "priority is -5" in run("priority", job_id, "-5").stdout
    due = (datetime.now(UTC) + timedelta(hours=2)).isoformat()
    assert read(run, "reschedule", job_id, due)["status"] == "scheduled"
    assert read(run, "expedite", job_id)["status"] == "pending"
    assert hand.fetch() == job_id
    assert read(run, "cancel", job_id)["status"] == "running"
    assert "It leaves nothing" in run("abort", job_id).stdout
    hand.finish(job_id, "aborted")
    made = read(run, "retry", job_id, "--args", '{"format": "zip"}', "--at", due)
    assert made["retried_from"] == int(job_id)
    assert hand.job(str(made["job_id"])).arguments["format"] == "zip"
    assert read(run, "delete", job_id)["status"] == "deleted"
    assert "no job" in run("show", job_id, code=1).stderr


def test_what_can_not_be_done_ends_with_one_sentence(run: Run, hand: Hand) -> None:
    failed = hand.failed()
    hand.user("ann")
    for words, said, code in (
        (("cancel", failed), "can't be cancelled", 1),
        (("abort", failed), "Only a job that is running", 1),
        (("retry", failed, "--user", "ann"), "There is no job", 1),
        (("retry", failed, "--args", "[1]"), "no JSON object", 2),
        (("reschedule", failed, "soon"), "is no time", 2),
        (("list", "colour:red"), "no field 'colour'", 1),
        (("bulk", "retry", "x" * 3000), "q: ", 1),
        (("logs", "999"), "no job", 1),
    ):
        assert said in run(*words, code=code).stderr


def test_an_action_on_a_search_is_tried_and_begun(run: Run, hand: Hand) -> None:
    failed = hand.failed()
    found = read(run, "bulk", "retry", "type:export", "--dry-run")
    assert (found["matching"], found["sample"][0]["id"]) == (1, int(failed))
    assert "1 jobs match." in run("bulk", "delete", "--status", "failed", "--dry-run").stdout
    begun = read(run, "bulk", "retry", "--type", "export")
    assert hand.job(str(begun["job_id"])).arguments["filter"] == {"job_type": "export"}


def test_the_log_is_followed_until_the_job_has_ended(run: Run, hand: Hand) -> None:
    job_id = hand.defer()
    hand.fetch()

    def log(message: str, level: str = "info") -> None:
        hand.session.add(LogLine(job_id=int(job_id), level=level, message=message))
        hand.session.commit()

    log("one")
    log("tw\x1b[31mo", "warning")
    assert [line.split()[-1] for line in run("logs", job_id).stdout.splitlines()] == [
        "one",
        "tw\ufffd[31mo",
    ]
    only = run("logs", job_id, "--level", "warning", "--json").stdout
    assert json.loads(only)["message"] == "tw\x1b[31mo"
    ran: list[Result] = []
    following = threading.Thread(target=lambda: ran.append(run("logs", "-f", job_id)))
    following.start()
    log("three")
    hand.finish(job_id)
    following.join(60)
    assert [line.split()[-1] for line in ran[0].stdout.splitlines()][::2] == ["one", "three"]
