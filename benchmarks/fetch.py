"""What a fetch by our own function takes, whatever waits.

    python -m benchmarks.fetch [--jobs 1000000]

So many jobs wait in one queue. The lines `figure NAME MILLISECONDS` are medians of several fetches: from
another queue, from that one, from three queues together, each before the tables were analysed and after;
and from a queue in which 10,000 jobs wait for one lock that is held. Triggers that do not matter here are
off while the jobs are made and fetched.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import psycopg

from app.core import embedded, schema

_FETCHES = 9
_LOCKED = 10_000

Connection = psycopg.Connection[Any]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=1_000_000)
    jobs = parser.parse_args().jobs
    base = Path(tempfile.mkdtemp(prefix="stoker-benchmark-"))
    base.chmod(0o711)
    try:
        url = embedded.start(base)
        schema.upgrade(url)
        with psycopg.connect(url, autocommit=True) as connection:
            measure(connection, jobs)
    finally:
        home = embedded.home(base)
        embedded.stop(base, "immediate")
        shutil.rmtree(home, ignore_errors=True)
        shutil.rmtree(base, ignore_errors=True)


def measure(connection: Connection, jobs: int) -> None:
    """All of it, printed as it comes."""
    connection.execute("ALTER TABLE procrastinate_jobs DISABLE TRIGGER USER")
    row = connection.execute("SELECT procrastinate_register_worker_v1()").fetchone()
    assert row is not None
    worker: int = row[0]
    defer(connection, jobs, "other")
    defer(connection, 1000, "own")
    for when in ("", "_analysed"):
        for name, queues in (
            ("behind_others", ["own"]),
            ("from_the_full_queue", ["other"]),
            ("from_three_queues", ["none", "own", "other"]),
        ):
            say(f"{name}{when}", connection, worker, queues)
        connection.execute("VACUUM (ANALYZE) procrastinate_jobs")
    defer(connection, _LOCKED, "locked", lock="one")
    fetch(connection, worker, ["locked"])  # and holds it
    say("all_wait_for_one_lock", connection, worker, ["locked"])


def defer(connection: Connection, jobs: int, queue: str, lock: str | None = None) -> None:
    """So many jobs that wait."""
    connection.execute(
        "INSERT INTO procrastinate_jobs (queue_name, task_name, lock)"
        " SELECT %s, 'task', %s FROM generate_series(1, %s)",
        [queue, lock, jobs],
    )


def say(name: str, connection: Connection, worker: int, queues: list[str]) -> None:
    fetch(connection, worker, queues)  # makes the plan
    taken = [fetch(connection, worker, queues) for _ in range(_FETCHES)]
    print(f"figure {name} {statistics.median(taken):.2f}", flush=True)


def fetch(connection: Connection, worker: int, queues: list[str]) -> float:
    """Milliseconds."""
    began = time.perf_counter()
    connection.execute("SELECT id FROM stoker_fetch(%s, %s, '{}', 0, 0)", [queues, worker])
    return (time.perf_counter() - began) * 1000


if __name__ == "__main__":
    main()
