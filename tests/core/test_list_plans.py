"""Lists of a long history beside the jobs' are served by indexes: no plan reads their tables row by row."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from hashlib import md5
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.orm import Session

from app.core import (
    alerts,
    audit,
    dead_letters,
    delivery_log,
    files,
    incident_lists,
    queue_stats,
    redeliveries,
    retention_runs,
    schedules,
)
from app.core import db as database
from app.core.incident_matching import Wanted
from app.core.models import Schedule
from tests.conftest import new_database
from tests.core.test_job_plans import statements

ROWS = 20_000
# A statement that an index serves looks at no more rows in vain.
FEW = 200

SEED = f"""
INSERT INTO user_account (id, name, role) OVERRIDING SYSTEM VALUE
SELECT n, 'user_' || n, 'submitter' FROM generate_series(1, 50) AS n;
INSERT INTO incident (source, risk_level, fingerprint, text, summary, job_id, details, verdict, opened_at, reviewed_at)
SELECT CASE WHEN n % 2 = 0 THEN 'failure' ELSE 'slow' END, CASE WHEN n % 5000 = 0 THEN 'critical' ELSE 'low' END, n,
       'export failed with code ' || md5(n::text), CASE WHEN n % 3 = 0 THEN 'Kind ' || md5('x' || n) END, 70000 + n,
       jsonb_build_object('task', 'export'), CASE WHEN n % 5000 = 0 THEN 'fix' WHEN n % 3 = 0 THEN 'harmless' END,
       now() - n * interval '20 s', CASE WHEN n % 500 <> 0 THEN now() END
FROM generate_series(1, {ROWS}) AS n;
INSERT INTO alert_rule (id, name, kind, threshold, window_seconds, fewest_jobs, targets, cooldown_seconds, is_enabled,
                        created_by) OVERRIDING SYSTEM VALUE
SELECT n, 'rule ' || n, 'job_failure', 1, 60, 1, '{{}}', 60, true, 'admin' FROM generate_series(1, 3) AS n;
INSERT INTO alert (rule_id, rule_name, kind, threshold, figure, text, since, opened_at, last_seen_at, resolved_at)
SELECT CASE WHEN n % 5000 = 0 THEN 2 ELSE 1 END, 'rule', 'job_failure', 1, 2, 'many', at, at, at, at
FROM (SELECT n, now() - n * interval '1 min' AS at FROM generate_series(1, {ROWS}) AS n) AS made;
INSERT INTO webhook_endpoint (id, owner_id, name, url, event_types, hears_all, secret)
SELECT 'we_' || n, n, 'e', 'https://x.test/', '{{incident}}', true, 's' FROM generate_series(1, 50) AS n;
INSERT INTO webhook_delivery (id, type, url, host, payload, status, tries, next_try_at, created_at, owner_id, endpoint_id,
                              died_at)
SELECT 'msg_' || n, 'incident.opened', 'https://x.test/', 'x.test', '{{}}', 'dead', 1, now(), at, owner, 'we_' || owner, at
FROM (SELECT n, CASE WHEN n % 5000 = 0 THEN 7 ELSE 1 + n % 3 END AS owner, now() - n * interval '30 s' AS at
      FROM generate_series(1, {ROWS}) AS n) AS made;
INSERT INTO file (id, owner_id, purpose, filename, bytes, sha256, created_at)
SELECT 'file-' || n, CASE WHEN n % 5000 = 0 THEN 7 ELSE 1 END, CASE WHEN n % 5000 = 0 THEN 'vision' ELSE 'batch' END,
       'f.jsonl', 5, 'x', now() - n * interval '1 min'
FROM generate_series(1, {ROWS}) AS n;
INSERT INTO retention_run (run_id, table_name, started_at, ended_at, before, rows_removed)
SELECT (n - 1) / 20 * 20 + 1, 't' || n % 20, now() - interval '1 h', now() - interval '1 h', now(), 3
FROM generate_series(1, {ROWS}) AS n;
INSERT INTO audit_entry (at, actor, action, object_id, details)
SELECT now() - n * interval '30 s', 'user_' || CASE WHEN n % 5000 = 0 THEN 7 ELSE 1 END,
       CASE WHEN n % 5000 = 0 THEN 'queue.pause' ELSE 'job.retry' END, n % 1000, ''
FROM generate_series(1, {ROWS}) AS n;
INSERT INTO schedule (id, owner_id, name, scopes, task, trigger, missed_policy, missed_limit, overlap_policy)
OVERRIDING SYSTEM VALUE SELECT n, 1, n, '{{submit}}', 'export', '{{}}', 'skip', 1, 'allow' FROM generate_series(1, 50) AS n;
INSERT INTO schedule_firing (schedule_id, planned_at, job_id)
SELECT 1 + n % 50, now() - n * interval '1 min', n FROM generate_series(1, {ROWS}) AS n
"""

Read = Callable[[Session], object]


def _incidents(owner_name: str | None = None, **wanted: Any) -> Read:
    return lambda session: incident_lists.page(
        session, Wanted(**wanted), owner_name=owner_name, limit=50
    )


def _audit(**wanted: Any) -> Read:
    return lambda session: audit.list_entries(session, audit.Filter(**wanted), limit=50)


def _files(owner_id: int | None, purpose: str | None) -> Read:
    return lambda session: files.list_files(
        session, owner_id, after=None, limit=50, purpose=purpose
    )


def _firings(session: Session) -> object:
    schedule = session.get_one(Schedule, 7)
    return schedules.list_firings(session, schedule, before=None, limit=51)


READS: dict[str, Read] = {
    "incidents": _incidents(),
    "a word of no incident": _incidents(text="absent"),
    "a word of one incident": _incidents(text=md5(b"77").hexdigest()),
    "a word of one verdict": _incidents(text=md5(b"x9").hexdigest(), risk_level="low"),
    "a job's number": _incidents(text="70077"),
    "incidents of a level": _incidents(risk_level="critical"),
    "incidents of a source": _incidents(source="stall"),
    "incidents of a verdict": _incidents(verdict="fix"),
    "incidents in a window": _incidents(
        risk_level="critical", since=datetime.now(UTC) - timedelta(days=1)
    ),
    "open incidents": _incidents(is_reviewed=False),
    "open incidents of a verdict": _incidents(is_reviewed=False, verdict="fix"),
    "audit": _audit(),
    "audit of a person": _audit(actor="user_7"),
    "audit of an action": _audit(action="queue.pause"),
    "audit of an object": _audit(object_id="77"),
    "audit of nobody": _audit(actor="nobody", action="job.retry"),
    "alerts": lambda session: alerts.list_alerts(session, limit=50, offset=0),
    "alerts of a rule": lambda session: alerts.list_alerts(session, rule_id=2, limit=50, offset=0),
    "alerts of none": lambda session: alerts.list_alerts(session, rule_id=3, limit=50, offset=0),
    "deliveries": lambda session: delivery_log.list_deliveries(
        session, 7, endpoint_id="we_7", after=None, limit=50
    ),
    "dead letters": lambda session: dead_letters.list_letters(session, 7, limit=50, offset=0),
    "no dead letters": lambda session: dead_letters.list_letters(session, 9, limit=50, offset=0),
    "unheard letters": lambda session: dead_letters.count_unheard(session, 9),
    "letters to send again": lambda session: redeliveries.dead_ids(session, 9),
    "files": _files(None, None),
    "files of a purpose": _files(None, "vision"),
    "files of an owner": _files(7, None),
    "runs of the retention": lambda session: retention_runs.runs(session, limit=20),
    "the last clean-up": queue_stats.last_cleanup,
    "a schedule's runs": _firings,
}


@pytest.fixture(scope="module")
def history(postgres: str, template_database: str) -> Iterator[Engine]:
    """A database with a long history of everything but jobs; the module's tests only read it."""
    with new_database(postgres, template_database) as url:
        connect_args = database.connect_args("test")
        # As a server with its database in memory or on flash has it.
        connect_args["options"] += " -c random_page_cost=1.1"
        engine = create_engine(database.sqlalchemy_url(url), connect_args=connect_args)
        with engine.begin() as connection:
            for statement in SEED.split(";\n"):
                connection.execute(text(statement))
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("VACUUM ANALYZE"))
        yield engine
        engine.dispose()


@pytest.mark.parametrize("name", READS)
def test_every_list_is_served_by_an_index(history: Engine, name: str) -> None:
    with statements(history) as seen, Session(history) as session:
        READS[name](session)
    assert seen
    with history.connect() as connection:
        driver: Any = connection.connection.driver_connection
        for statement, parameters in seen:
            rows = driver.execute("EXPLAIN (ANALYZE, COSTS OFF) " + statement, parameters)
            plan = "\n".join(row[0] for row in rows)
            tables = (
                r"incident|audit_entry|alert|webhook_delivery|file|retention_run|schedule_firing"
            )
            for scan in re.finditer(rf"Seq Scan on ({tables})\b.*?rows=(\d+)", plan):
                assert int(scan[2]) <= incident_lists.COUNT_LIMIT, (
                    plan
                )  # a count's first rows as they lie
            removed = re.findall(r"Rows Removed by (?:Filter|Index Recheck): (\d+)", plan)
            assert sum(map(int, removed)) <= FEW, plan
