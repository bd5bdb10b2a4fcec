"""A house in which every text that somebody or something sent would like to be more than text."""

from __future__ import annotations

import json

from sqlalchemy import text
from sqlalchemy.orm import Session

# Tables and the columns that others write into: from the network, from jobs, from other apps' programs.
THEIRS = {
    "alert": ("rule_name", "text"),
    "alert_rule": ("name", "targets", "silenced_by", "silence_reason", "created_by"),
    "attempt": (
        "task", "queue", "worker_name", "host", "error_type", "error_message", "traceback", "result",
        "milestones",
    ),
    "audit_entry": ("actor", "object_id", "details", "address"),
    "batch": ("metadata", "webhook", "model", "errors", "engine", "input_filename"),
    "bulk_item": ("task", "kind", "reason"),
    "file": ("filename",),
    "incident": ("text", "details", "reviewed_by", "summary"),
    "job": (
        "created_by", "task", "queue", "lock", "queueing_lock", "arguments", "owner_name", "model", "message",
        "worker_name", "result", "error_type", "error_message",
    ),
    "job_transition": ("triggered_by", "details"),
    "log_line": ("logger", "message", "context"),
    "queue_pause": ("queue", "paused_by", "reason"),
    "request": ("custom_id",),
    "result": ("error", "body"),
    "retention_run": ("error",),
    "saved_view": ("name",),
    "schedule": ("name", "task", "arguments", "queue", "paused_by", "pause_reason"),
    "schedule_firing": ("asked_by", "reason"),
    "user_account": ("name",),
    "webhook_delivery": ("url", "host", "payload", "last_error"),
    "webhook_endpoint": ("name", "url"),
    "webhook_try": ("error",),
    "worker": ("name", "host", "current_model", "engine_error", "models"),
    "worker_sample": ("host", "model"),
}  # fmt: skip
# What is ours alone: ids, statuses, figures, words of our own, and what no page shows.
OURS = {
    "adoption": ("horizon",),
    "alembic_version": ("version_num",),
    "alert": ("kind",),
    "alert_rule": ("kind", "queue", "task"),  # one of the two at most; as those of jobs
    "api_key": ("name", "hint", "scopes"),
    "attempt": ("outcome",),
    "audit_entry": ("action",),
    "batch": (
        "id", "input_file_id", "endpoint", "completion_window", "retried_from", "idempotency_key",
        "fingerprint", "status", "output_file_id", "error_file_id",
    ),
    "ended_jobs": ("task", "queue", "status", "runs", "waits"),
    "file": ("id", "purpose", "sha256"),
    "idempotency_key": ("key", "fingerprint"),
    "incident": ("source", "risk_level", "fingerprint", "verdict"),
    "incident_scan": ("name",),
    "job": ("status",),
    "job_search": ("words",),
    "job_transition": ("from_status", "to_status"),
    "log_line": ("level",),
    "queue_worker": ("name", "host", "max_attempts"),
    "result": ("id",),
    "retention_run": ("table_name",),
    "rollup": ("span", "dimension", "name", "status", "run_histogram", "wait_histogram"),
    "rollup_span": ("span",),
    "saved_view": ("address",),
    "schedule": ("scopes", "trigger", "missed_policy", "overlap_policy"),
    "user_account": ("role",),
    "waiting_job": ("task", "queue", "lock", "queueing_lock", "arguments"),  # they are jobs as well
    "webhook_delivery": ("id", "batch_id", "type", "status", "endpoint_id"),
    "webhook_endpoint": ("id", "event_types", "secret", "old_secret"),
    "webhook_try": ("delivery_id",),
    "worker": ("kind", "status", "engine_status", "running_job_ids", "queue_worker_ids", "metrics"),
}  # fmt: skip

# Each row's own, where there may be no two alike; of the queue's pauses there is one.
_UNIQUE = {
    ("alert_rule", "name"),
    ("saved_view", "name"),
    ("schedule", "name"),
    ("webhook_endpoint", "name"),
}
_UNIQUE |= {("user_account", "name"), ("job", "queueing_lock"), ("request", "custom_id")}
# Rows that must stay what they are.
_BUT = {
    "job": "task <> 'bulk'",
    "schedule": "paused_at IS NOT NULL",
    "bulk_item": "kind IS NOT NULL",
}


def kept_texts(session: Session) -> set[tuple[str, str]]:
    """All columns of our own tables that hold text in any form."""
    found = session.execute(
        text(
            "SELECT table_name, column_name FROM information_schema.columns JOIN information_schema.tables"
            " USING (table_schema, table_name) WHERE table_schema = current_schema()"
            " AND table_type = 'BASE TABLE' AND table_name NOT LIKE 'procrastinate%'"
            " AND data_type IN ('text', 'jsonb', 'json', 'ARRAY', 'character varying')"
            " AND NOT EXISTS (SELECT FROM pg_inherits WHERE inhrelid = to_regclass(quote_ident(table_name)))"
        )
    )
    return {(table, column) for table, column in found}


def spoil(session: Session, hostile: str) -> None:
    """Have every text of `THEIRS` be the hostile one, in all rows that are there; commits."""
    steps = json.dumps([{"at": 1_790_000_000, "message": hostile, "percent": 40, "done": 4}])
    values = {
        "text": hostile,
        "jsonb": json.dumps({hostile[:60]: [hostile]}),
        "steps": steps,
        "errors": json.dumps([{"code": hostile, "line": 1, "param": hostile, "message": hostile}]),
        "hook": json.dumps({"url": hostile}),
        "answer": json.dumps(
            {"choices": [{"message": {"content": hostile}, "finish_reason": hostile}]}
        ),
        "fault": json.dumps({"error": {"message": hostile, "type": hostile, "code": hostile}}),
    }
    for table, columns in THEIRS.items():
        kinds: dict[str, str] = dict(
            session.execute(
                text(
                    "SELECT column_name, udt_name FROM information_schema.columns"
                    " WHERE table_schema = current_schema() AND table_name = :table"
                ),
                {"table": table},
            ).all()
        )
        sets = ", ".join(f"{each} = {_value(table, each, kinds[each])}" for each in columns)
        condition = _BUT.get(table, "true")
        session.execute(text(f"UPDATE {table} SET {sets} WHERE {condition}"), values)
    session.execute(
        text(
            "UPDATE job SET owner_name = :text, message = :text, arguments ="
            " jsonb_set(arguments, '{filter,q}', to_jsonb(CAST(:text AS text))) WHERE task = 'bulk'"
        ),
        values,
    )
    session.commit()


def _value(table: str, column: str, kind: str) -> str:
    if (table, column) == ("result", "body"):
        return "CASE WHEN is_success THEN :answer ELSE :fault END"
    if kind == "_text":
        return "ARRAY[CAST(:text AS text)]"
    if kind == "jsonb":
        name = {"milestones": "steps", "errors": "errors", "webhook": "hook"}.get(column, "jsonb")
        return f"CAST(:{name} AS jsonb)"
    return ":text || ctid::text" if (table, column) in _UNIQUE else ":text"
