"""Every address of every page: none is forgotten that is made later."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from flask import Flask
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.core import failures

_ACTIONS = {
    "job_actions": (
        "retry", "run-again", "cancel", "abort", "delete", "expedite", "reschedule", "priority", "put-back",
        "fail",
    ),
    "failures": ("retry", "delete"),
    "schedules_pages": ("run", "pause", "resume", "delete"),
    "dead_letters_page": ("retry", "delete"),
}  # fmt: skip


def more_numbers(session: Session) -> dict[str, str]:
    """What stands in the addresses of a house (`tests.pages.house`) beside what its `fill` gives."""
    numbers = {
        name: str(session.scalar(text(query)))
        for name, query in (
            ("rule_id", "SELECT id FROM alert_rule LIMIT 1"),
            ("endpoint_id", "SELECT id FROM webhook_endpoint LIMIT 1"),
            ("incident_id", "SELECT id FROM incident LIMIT 1"),
            ("file_id", "SELECT id FROM file LIMIT 1"),
        )
    }
    now = datetime.now(UTC)
    found = failures.find(session, since=now - timedelta(days=1), until=now)
    session.rollback()
    return numbers | {"fingerprint": found.groups[0].fingerprint}


def addresses(
    app: Flask, numbers: dict[str, str], methods: set[str]
) -> Iterator[tuple[str, str, str]]:
    """Endpoint, method and address of every page's calls, and of its parts and downloads: of each action
    where there are several. The API's are not among them, nor is the stream of changes.
    """
    known = {
        "job_id": numbers["job"], "batch_id": numbers["batch"], "schedule_id": numbers["schedule"],
        "worker_id": numbers["worker"], "line": "2", "name": "model:gemma-3-4b", "kind": "disk_low",
        "form": "csv", "view_id": "1", "delivery_id": str(uuid.UUID(int=1)), "token": "x", **numbers,
    }  # fmt: skip
    for rule in app.url_map.iter_rules():
        if rule.endpoint in ("static", "changes.stream") or hasattr(
            app.view_functions[rule.endpoint], "scope"
        ):
            continue
        for method in sorted(methods & (rule.methods or set())):
            for action in _ACTIONS.get(rule.endpoint.split(".")[0], ("",)):
                path = rule.rule
                for argument in rule.arguments:
                    value = action if argument == "action" else known[argument]
                    if rule.endpoint.startswith("bulk_actions.") and argument == "job_id":
                        value = numbers["bulk"]
                    for kind in ("", "path:", "int:", "uuid:"):
                        path = path.replace(f"<{kind}{argument}>", value)
                yield rule.endpoint, method, path
