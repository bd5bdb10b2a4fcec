"""What the record costs: no-op jobs a second with it and without.

    python -m benchmarks.record_overhead [--jobs 2500] [--rounds 5] [--analyzed]
    python -m benchmarks.record_overhead logging

The same Procrastinate app runs the same jobs on three databases of one server, in turns: bare
Procrastinate; the same with the record, its triggers and the middleware, over a queue that nobody
tuned, as an adopted app's is; and what we ship: the record over our own queue, with the pool, the
autocommit, the polling and the fetch of our own worker. Each run is a process of its own. The ratios are
medians of what each round gave.

Procrastinate's own fetch takes from 0.1 to 0.7 ms, by the plan that the statistics of its table give it
just then, and that hides what the record costs. With --analyzed the table is vacuumed and analysed before
each run, which gives it the best one.

`logging` shows how much a task that logs as fast as it can is slowed by being captured.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import procrastinate
import psycopg
from procrastinate.schema import SchemaManager

from app.core import embedded, schema
from app.core.settings import Settings
from worker import record
from worker.admission import Admission
from worker.queue_connector import UncheckedPool, _set_autocommit
from worker.record import capture
from worker.record.attempt import Attempt, attempt_here

ROOT = Path(__file__).resolve().parents[1]
VARIANTS = ("bare", "recorded", "ours")
_CONCURRENCY = 10


def make_app(url: str, is_ours: bool) -> procrastinate.App:
    """The app: one task that does nothing."""
    options: dict[str, Any] = {}
    if is_ours:
        options = {"pool_factory": UncheckedPool, "configure": _set_autocommit}
    connector = procrastinate.PsycopgConnector(conninfo=url, **options)
    app = procrastinate.App(connector=connector, import_paths=[])

    @app.task(name="noop", queue="benchmark")
    async def noop(number: int) -> None:
        pass

    return app


async def run(url: str, variant: str, jobs: int, *, is_analyzed: bool = False) -> float:
    """Defer so many jobs and run them; jobs a second."""
    app = make_app(url, variant == "ours")
    options: dict[str, Any] = {}
    if variant != "bare":
        options["worker_middleware"] = [record.middleware]
    if variant == "ours":
        app.job_manager = Admission(app.connector, Settings())
    async with app.open_async():
        for begin in range(0, jobs, 500):
            await app.configure_task("noop", queue="benchmark").batch_defer_async(
                *({"number": number} for number in range(begin, min(begin + 500, jobs)))
            )
        if is_analyzed:
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute("VACUUM (ANALYZE) procrastinate_jobs")
        started = time.perf_counter()
        await app.run_worker_async(
            queues=["benchmark"], wait=False, concurrency=_CONCURRENCY, **options
        )
        return jobs / (time.perf_counter() - started)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", nargs="?", default="jobs", choices=["jobs", "logging", "run"])
    parser.add_argument("--jobs", type=int, default=2500)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--analyzed", action="store_true")
    parser.add_argument("--url")
    parser.add_argument("--variant", choices=VARIANTS)
    options = parser.parse_args()
    if options.what == "run":
        print(json.dumps(asyncio.run(_run(options))))
    elif options.what == "logging":
        measure_logging(options.rounds)
    else:
        measure_jobs(options.jobs, options.rounds, is_analyzed=options.analyzed)


async def _run(options: argparse.Namespace) -> float:
    return await run(options.url, options.variant, options.jobs, is_analyzed=options.analyzed)


def measure_jobs(jobs: int, rounds: int, *, is_analyzed: bool) -> None:
    """Interleaved rounds on a server of its own."""
    base = Path(tempfile.mkdtemp(prefix="stoker-benchmark-"))
    base.chmod(0o711)
    try:
        urls = {name: _database(embedded.start(base), name) for name in VARIANTS}
        rates: dict[str, list[float]] = {name: [] for name in VARIANTS}
        for number in range(rounds + 1):
            order = VARIANTS if number % 2 else VARIANTS[::-1]
            for name in order:
                rate = _in_process(urls[name], name, jobs, is_analyzed)
                if number:  # the first round only warms the caches
                    rates[name].append(rate)
            if number:
                print("  ".join(f"{name} {rates[name][-1]:.0f}" for name in VARIANTS), flush=True)
        _check(urls, jobs * (rounds + 1))
    finally:
        home = embedded.home(base)
        embedded.stop(base, "immediate")
        shutil.rmtree(home, ignore_errors=True)
        shutil.rmtree(base, ignore_errors=True)
    for name in VARIANTS:
        print(f"{name}: {statistics.median(rates[name]):.0f} jobs/s, median of {rounds} rounds")
    for what, name in (("record_same_settings", "recorded"), ("record_against_stock", "ours")):
        ratios = [with_it / bare for with_it, bare in zip(rates[name], rates["bare"], strict=True)]
        print(f"ratio {what} {statistics.median(ratios):.3f}")


def _database(server: str, name: str) -> str:
    """A database with Procrastinate's tables, with the record or without."""
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    url = urlunsplit(urlsplit(server)._replace(path=f"/{name}"))
    if name == "bare":
        with psycopg.connect(url) as connection:
            connection.execute(SchemaManager.get_schema())
        return url
    schema.upgrade(url)
    if name == "ours":
        return url
    # As in an adopted app, whose queue nobody tunes: else two things would be measured at once.
    with psycopg.connect(url) as connection:
        connection.execute(
            "ALTER FUNCTION procrastinate_fetch_job_v2 RESET plan_cache_mode;"
            " DROP INDEX procrastinate_jobs_worker_id_idx, procrastinate_jobs_next_idx,"
            " procrastinate_jobs_lock_open_idx;"
            " ALTER TABLE procrastinate_jobs RESET"
            " (autovacuum_vacuum_scale_factor, autovacuum_vacuum_cost_delay)"
        )
    return url


def _in_process(url: str, variant: str, jobs: int, is_analyzed: bool) -> float:
    command = [sys.executable, "-m", "benchmarks.record_overhead", "run", "--url", url]
    answer = subprocess.run(
        [*command, "--variant", variant, "--jobs", str(jobs), *["--analyzed"][: int(is_analyzed)]],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        check=True,
        timeout=600,
    )
    return float(json.loads(answer.stdout))


def _check(urls: dict[str, str], jobs: int) -> None:
    """What was measured has to be the whole record."""
    for name in VARIANTS[1:]:
        with psycopg.connect(urls[name]) as connection:
            found = connection.execute(
                "SELECT (SELECT count(*) FROM job WHERE status = 'completed'),"
                " (SELECT count(*) FROM job_transition WHERE to_status = 'completed'),"
                " (SELECT count(*) FROM attempt WHERE outcome = 'completed'"
                "  AND cpu_seconds IS NOT NULL)"
            ).fetchone()
        if found != (jobs, jobs, jobs):
            raise SystemExit(f"{name}: of {jobs} jobs the record has {found}")


def measure_logging(rounds: int) -> None:
    """Lines a second of a tight loop, with our handler and with one that does nothing."""
    logger = logging.getLogger("benchmark")
    slower = []
    for number in range(rounds + 1):
        with_null = _lines_per_second(logger, _with_null)
        captured = _lines_per_second(logger, _captured)
        if number:
            print(
                f"null handler {with_null:.0f} lines/s  captured {captured:.0f} lines/s", flush=True
            )
            slower.append(captured / with_null)
    print(f"ratio logging_captured {statistics.median(slower):.3f}")


def _lines_per_second(
    logger: logging.Logger, around: Callable[[Callable[[], float]], float]
) -> float:
    def loop() -> float:
        lines = 300_000
        started = time.perf_counter()
        for number in range(lines):
            logger.info("item %d of %s", number, "a file")
        return lines / (time.perf_counter() - started)

    return around(loop)


def _with_null(loop: Callable[[], float]) -> float:
    root, handler = logging.getLogger(), logging.NullHandler()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    try:
        return loop()
    finally:
        root.removeHandler(handler)
        root.setLevel(level)


def _captured(loop: Callable[[], float]) -> float:
    async def flush() -> None:
        pass

    capture.begin()
    here = attempt_here.set(Attempt(1, 1, deque(maxlen=50_000), flush))
    try:
        return loop()
    finally:
        attempt_here.reset(here)
        capture.end()


if __name__ == "__main__":
    main()
