"""A history of many jobs over 90 days, written straight into the record's tables by COPY."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import psycopg
from psycopg import sql
from sqlalchemy.orm import Session

from app.core import partitions, rollups

Connection = psycopg.Connection[Any]

DAYS = 90
_CHUNK = 50_000
_NULL = "\\N"
_TABLES = ("job", "attempt", "job_search")


@dataclass(frozen=True)
class Kind:
    """A type of job: how many of all it makes up, and its median run in seconds."""

    task: str
    queue: str
    share: float
    seconds: float
    model: str | None = None


KINDS = (
    Kind("send_email", "default", 0.30, 0.3),
    Kind("resize_image", "default", 0.18, 1.2),
    Kind("index_document", "documents", 0.14, 2.5),
    Kind("parse_document", "documents", 0.10, 6.0),
    Kind("generate_taxonomy", "gpu", 0.03, 40.0, "qwen3-8b"),
    Kind("extract_fields", "gpu", 0.08, 8.0, "qwen3-8b"),
    Kind("run_batch", "gpu", 0.04, 90.0, "smollm2-135m-instruct"),
    Kind("embed_chunks", "gpu", 0.05, 3.0, "all-minilm-l6-v2"),
    Kind("export", "maintenance", 0.03, 15.0),
    Kind("cleanup", "maintenance", 0.02, 4.0),
    Kind("backup", "maintenance", 0.01, 120.0),
    Kind("sync_crm", "default", 0.02, 0.8),
)
_STATUSES = (("completed", 0.93), ("failed", 0.05), ("cancelled", 0.02))
_USERS = [f"user{number:02}" for number in range(40)]
_ERRORS = (
    ("TimeoutError", "the server did not answer within 30 s"),
    ("MemoryError", "CUDA out of memory. Tried to allocate {n} MiB"),
    ("ConnectionError", "connection to host 10.0.0.{n} was reset by its peer"),
    ("ValueError", "line {n}: 'amount' is no number"),
    ("KeyError", "'customer_{n}'"),
    ("HTTPError", "Error {n}: the remote service refused the document"),
)


def write(database_url: str, session: Session, jobs: int, *, seed: int = 7) -> None:
    """Write the jobs, their attempts, words and rollups, and gather statistics."""
    began = time.monotonic()
    with psycopg.connect(database_url, autocommit=True) as connection:
        _write_rows(connection, jobs, seed, began)
        connection.execute("VACUUM (ANALYZE) job, attempt, job_search")
        _say(began, "vacuumed")
        roll_up(connection, session)
        _say(began, "rolled up")


def write_batches(connection: Connection, count: int, owner_id: int) -> None:
    """Batches of one user, evenly over the days: 94 of 100 completed, 4 failed, 2 cancelled."""
    connection.execute(
        "INSERT INTO batch (id, owner_id, input_file_id, endpoint, completion_window, fingerprint,"
        " status, model, created_at, expires_at, validated_at, in_progress_at, completed_at, failed_at,"
        " cancelled_at, total, completed, failed, input_tokens, output_tokens, metadata)"
        " SELECT 'batch_' || md5(number::text), %(owner)s, 'file-' || md5(number::text),"
        " '/v1/chat/completions', '24h', md5(number::text), status, model, at,"
        " at + interval '24 h', at + interval '1 s', at + interval '5 s',"
        " CASE status WHEN 'completed' THEN ended END, CASE status WHEN 'failed' THEN ended END,"
        " CASE status WHEN 'cancelled' THEN ended END, total, total - total / 50, total / 50,"
        " total * 120, total * 80, jsonb_build_object('project', 'project-' || number %% 50)"
        " FROM generate_series(1, %(count)s) AS number"
        " CROSS JOIN LATERAL (SELECT"
        "  now() - make_interval(secs => number * %(days)s * 86400.0 / %(count)s) AS at,"
        "  100 + number %% 900 AS total,"
        "  CASE WHEN number %% 50 = 0 THEN 'cancelled' WHEN number %% 25 = 1 THEN 'failed'"
        "  ELSE 'completed' END AS status,"
        "  (ARRAY['qwen3-8b', 'smollm2-135m-instruct', 'all-minilm-l6-v2'])[1 + number %% 3] AS model"
        " ) AS batch"
        " CROSS JOIN LATERAL (SELECT at + make_interval(secs => 60 + number %% 600) AS ended) AS run",
        {"owner": owner_id, "count": count, "days": DAYS},
    )
    connection.execute("VACUUM (ANALYZE) batch")


def roll_up(connection: Connection, session: Session) -> None:
    """Make the rollups of the hours that are over, as the housekeeper does."""
    # What is left is the two hours that are not over.
    while rollups.refresh(session, seconds=3600) > 3:
        pass
    connection.execute("VACUUM (ANALYZE) rollup, rollup_span, dirty_hour")


def _write_rows(connection: Connection, jobs: int, seed: int, began: float) -> None:
    now = datetime.now(UTC)
    partitions.ensure(connection, since=now - timedelta(days=DAYS + 1))
    connection.execute("SET synchronous_commit = off")
    indexes = _drop_indexes(connection)
    random = np.random.default_rng(seed)
    written = 0
    for chunk in _ahead(_chunks(random, jobs, now)):
        for table, columns, rows in chunk:
            names = sql.SQL(", ").join(map(sql.Identifier, columns))
            copy = sql.SQL("COPY {} ({}) FROM STDIN").format(sql.Identifier(table), names)
            with connection.cursor() as cursor, cursor.copy(copy) as stream:
                stream.write("".join(rows))
        written += _CHUNK
        if written % 1_000_000 == 0:
            _say(began, f"{written:,} jobs written")
    _say(began, "all written")
    _make_indexes(connection.info.dsn, indexes)
    _say(began, "indexed")
    connection.execute(
        "SELECT setval(pg_get_serial_sequence('procrastinate_jobs', 'id'), %s)", [jobs + 1]
    )


def _say(began: float, what: str) -> None:
    print(f"{time.monotonic() - began:7.0f} s  {what}", file=sys.stderr, flush=True)


def _drop_indexes(connection: Connection) -> list[str]:
    """Drop what isn't a key, to build it in one go afterwards; what builds it."""
    found = connection.execute(
        "SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid) FROM pg_index"
        " WHERE indrelid = ANY (%s::regclass[]) AND NOT indisprimary",
        [list(_TABLES)],
    ).fetchall()
    for name, _ in found:
        connection.execute(f"DROP INDEX {name}".encode())
    return [definition.replace(" ON ONLY ", " ON ") for _, definition in found]


def _make_indexes(dsn: str, indexes: list[str]) -> None:
    """Build them, two at a time: that of words takes as long as all others."""

    def make(index: str) -> None:
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute("SET maintenance_work_mem = '512MB'")
            connection.execute("SET max_parallel_maintenance_workers = 0")
            connection.execute(index.encode())

    with ThreadPoolExecutor(2) as builders:
        list(builders.map(make, sorted(indexes, key=lambda index: "USING gin" not in index)))


Part = tuple[str, tuple[str, ...], list[str]]


def _ahead(chunks: Iterator[list[Part]]) -> Iterator[list[Part]]:
    """The same, each made while the one before it is written."""
    with ThreadPoolExecutor(1) as maker:
        following = maker.submit(next, chunks, None)
        while (chunk := following.result()) is not None:
            following = maker.submit(next, chunks, None)
            yield chunk


def _chunks(random: np.random.Generator, jobs: int, now: datetime) -> Iterator[list[Part]]:
    end = np.datetime64(now.replace(tzinfo=None), "us")
    step = np.timedelta64(int(DAYS * 86_400e6 / jobs), "us")
    for first in range(1, jobs + 1, _CHUNK):
        ids = np.arange(first, min(first + _CHUNK, jobs + 1))
        created = end - (jobs + 1 - ids) * step
        yield _rows(random, ids, created, end)


def _rows(
    random: np.random.Generator,
    ids: np.ndarray[Any, Any],
    created: np.ndarray[Any, Any],
    now: np.datetime64,
) -> list[Part]:
    size = len(ids)
    kinds = random.choice(len(KINDS), size, p=[kind.share for kind in KINDS])
    statuses = random.choice(3, size, p=[share for _, share in _STATUSES])
    wait_ms = np.minimum(random.lognormal(6.5, 1.5, size), 3.6e6).astype(int)
    typical = np.array([kind.seconds for kind in KINDS])[kinds]
    run_ms = np.minimum(typical * 1000 * random.lognormal(0, 0.7, size), 7.2e6).astype(int)
    started = created + wait_ms.astype("timedelta64[ms]")
    ended = started + run_ms.astype("timedelta64[ms]")
    numbers = random.integers(0, 1000, size)
    users = random.integers(0, len(_USERS) * 2, size)
    tries = np.where(random.random(size) < 0.02, 2, 1)
    job_rows, attempt_rows, word_rows = [], [], []
    columns = (
        ids,
        created,
        started,
        ended,
        kinds,
        statuses,
        wait_ms,
        run_ms,
        numbers,
        users,
        tries,
    )
    texts = [np.datetime_as_string(column, unit="us") for column in columns[1:4]]
    is_ended, is_started = ended <= now, started <= now
    for row, (job, born, start, finish) in enumerate(zip(ids, *texts, strict=True)):
        kind, number = KINDS[kinds[row]], numbers[row]
        status = _STATUSES[statuses[row]][0] if is_ended[row] else "running"
        if not is_started[row]:
            status = "pending"
        user = _USERS[users[row]] if users[row] < len(_USERS) else ""
        error = why = _NULL
        if status == "failed":
            error, why = _ERRORS[number % len(_ERRORS)]
            why = why.replace("{n}", str(number))
        ran, has_ended = is_started[row], is_ended[row]
        path = f"reports/{number}/{job % 97}.pdf"
        begin, end = f"{start}Z" if ran else _NULL, f"{finish}Z" if has_ended else _NULL
        values = (
            job,
            f"{born}Z",
            kind.task,
            kind.queue,
            number % 3,
            f'{{"customer": {number}, "path": "{path}", "user": "{user}"}}',
            user or _NULL,
            kind.model or _NULL,
            status,
            tries[row] if ran else 0,
            100 if status == "completed" else number % 100,
            f"worker-{job % 8}" if ran else _NULL,
            begin,
            begin,
            end,
            run_ms[row] if has_ended else 0,
            wait_ms[row] if ran else _NULL,
            error,
            why,
        )
        job_rows.append("\t".join(map(str, values)) + "\n")
        if ran:
            outcome = status if has_ended else _NULL
            attempt_rows.append(
                f"{job}\t{born}Z\t1\t{kind.task}\t{kind.queue}\t{begin}\t{end}\t{outcome}"
                f"\t{error}\t{why}\n"
            )
        words = f"{job} {kind.task} {user} {number} {path}"
        if status == "failed":
            words += f" {error} {why}".lower()
        word_rows.append(f"{job}\t{born}Z\t{words}\n")
    return [
        ("job", _JOB_COLUMNS, job_rows),
        ("attempt", _ATTEMPT_COLUMNS, attempt_rows),
        ("job_search", ("job_id", "job_created_at", "words"), word_rows),
    ]


_JOB_COLUMNS = (
    "id", "created_at", "task", "queue", "priority", "arguments", "owner_name", "model", "status",
    "attempts", "progress", "worker_name", "started_at", "attempt_started_at", "ended_at", "run_ms",
    "wait_ms", "error_type", "error_message",
)  # fmt: skip
_ATTEMPT_COLUMNS = (
    "job_id", "job_created_at", "number", "task", "queue", "started_at", "ended_at", "outcome",
    "error_type", "error_message",
)  # fmt: skip
