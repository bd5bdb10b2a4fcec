"""`flask queues`: a queue is paused from a shell, shown as such, and resumed."""

from __future__ import annotations

import json

from app.core.settings import Settings
from tests.cli.test_backup import flask


def test_a_queue_is_paused_shown_and_resumed(settings: Settings) -> None:
    paused = flask(settings, "queues", "pause", "tasks", "disk is moved", "--json")
    assert paused.returncode == 0, paused.stderr
    told = json.loads(paused.stdout)
    assert (told["is_paused"], told["paused_by"]) == (True, "command line")

    [row] = json.loads(flask(settings, "queues", "list", "--json").stdout)
    assert (row["name"], row["pending"], row["pause_reason"]) == ("tasks", 0, "disk is moved")
    assert row["paused_at"] == told["paused_at"]

    resumed = json.loads(flask(settings, "queues", "resume", "tasks", "--json").stdout)
    assert resumed == {"name": "tasks", "is_paused": False, "was_paused": True}


def test_what_can_not_be_paused_ends_with_one_sentence(settings: Settings) -> None:
    refused = flask(settings, "queues", "pause", "taskz", "why")

    assert refused.returncode == 1
    assert refused.stderr == "Error: There is no queue 'taskz'.\n"
