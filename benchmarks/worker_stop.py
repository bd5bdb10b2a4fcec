"""How long a worker's row takes to go when millions of jobs have ended on it.

    python -m benchmarks.worker_stop [--jobs 5000000]

Procrastinate removes the row when a worker stops, and when another finds it dead; the foreign key then
looks for the jobs that name it. Three databases with as many finished jobs of one worker:

    stock    Procrastinate's own schema: every job is read
    index    with our index on the worker's column: every job is found, and changed
    stoker   with our trigger, too: an ended job names no worker

The lines `figure NAME MILLISECONDS` are medians of several workers. Triggers that do not matter here
are off while the jobs are made, or that would take an hour.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
from procrastinate.schema import SchemaManager

from app.core import embedded, schema

_PIECE = 250_000
_WORKERS = 5

Connection = psycopg.Connection[Any]


def stock(url: str) -> None:
    """Procrastinate's tables as it makes them."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(SchemaManager.get_schema())


def stoker(url: str) -> None:
    """Ours."""
    schema.upgrade(url)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("ALTER TABLE procrastinate_jobs ENABLE ALWAYS TRIGGER stoker_released")


def index(url: str) -> None:
    """Ours, before the trigger."""
    schema.upgrade(url)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP TRIGGER stoker_released ON procrastinate_jobs")


def fill(connection: Connection, jobs: int) -> list[int]:
    """Finished jobs of several workers; the workers' ids."""
    workers = [
        _number(connection, "SELECT procrastinate_register_worker_v1()") for _ in range(_WORKERS)
    ]
    connection.execute("SET session_replication_role = replica")
    for begin in range(0, jobs, _PIECE):
        connection.execute(
            "INSERT INTO procrastinate_jobs (queue_name, task_name, status, attempts, worker_id)"
            " SELECT 'q', 't', 'doing', 1, (%s::bigint[])[1 + n %% %s] FROM generate_series(1, %s) AS n",
            [workers, _WORKERS, min(_PIECE, jobs - begin)],
        )
        connection.execute(
            "UPDATE procrastinate_jobs SET status = 'succeeded' WHERE status = 'doing'"
        )
    connection.execute("SET session_replication_role = origin")
    connection.execute("VACUUM ANALYZE procrastinate_jobs")
    return workers


def measure(url: str, make: Callable[[str], None], jobs: int) -> float:
    """Milliseconds until a worker's row is gone."""
    make(url)
    with psycopg.connect(url, autocommit=True) as connection:
        workers = fill(connection, jobs)
        seconds = []
        for worker in workers:
            begun = time.perf_counter()
            connection.execute("SELECT procrastinate_unregister_worker_v1(%s)", [worker])
            seconds.append(time.perf_counter() - begun)
        # However it was done, no job may name a worker that is gone.
        assert not _number(
            connection, "SELECT count(*) FROM procrastinate_jobs WHERE worker_id IS NOT NULL"
        )
    return statistics.median(seconds) * 1000


def _number(connection: Connection, query: str) -> int:
    row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return int(row[0])


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--jobs", type=int, default=5_000_000, help="finished jobs")
    jobs: int = arguments.parse_args().jobs
    base = Path(tempfile.mkdtemp(prefix="stoker-benchmark-"))
    base.chmod(0o711)
    url = embedded.start(base, ("shared_buffers=512MB", "max_wal_size=4GB"))
    try:
        for make in (stock, index, stoker):
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute("CREATE DATABASE workers")
            milliseconds = measure(_named(url, "workers"), make, jobs)
            print(f"figure {make.__name__} {milliseconds:.1f}", flush=True)
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute("DROP DATABASE workers")
    finally:
        home = embedded.home(base)
        embedded.stop(base, "immediate")
        shutil.rmtree(home, ignore_errors=True)
        shutil.rmtree(base, ignore_errors=True)


def _named(url: str, database: str) -> str:
    head, mark, tail = url.partition("?")
    return f"{head.rsplit('/', 1)[0]}/{database}{mark}{tail}"


if __name__ == "__main__":
    main()
