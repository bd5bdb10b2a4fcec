"""The worker: fetches jobs, keeps the engine, and leaves nothing behind when it ends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from typing import Any
from uuid import uuid4

import psutil
import psycopg
import structlog
from procrastinate.worker import Worker
from sqlalchemy.orm import sessionmaker

from app.core import adoption, job_types, tasks
from app.core.db import SessionFactory, connect_args, make_engine
from app.core.engines import RegistryError, RegistryFile
from app.core.logging import configure_logging
from app.core.settings import Settings, SettingsError, load_settings
from app.core.workers import Pulse
from worker import gpu, own_log
from worker.admission import Admission
from worker.engine import Engine
from worker.heart import Heart
from worker.house import Helpers, House
from worker.outages import Patience
from worker.queue_connector import make_connector
from worker.queue_workers import make_step_worker, make_task_worker, make_turn_worker
from worker.samples import Sampler
from worker.tasks.registered import app as tasks_app
from worker.turns import Turns

log = structlog.get_logger("worker")

ABANDONED = 3


def main() -> int:
    """Run until SIGTERM or SIGINT (exit 0), or until a part fails (exit 1).

    Exit 3: a task's thread did not stop when its job was aborted, and could end in no other way.
    """
    try:
        settings = load_settings()
        if not settings.database_url:
            raise SettingsError("The setting DATABASE_URL is needed: `flask up` gives it.")
        registry = RegistryFile(settings.models_path)
        registry.read()
    except (SettingsError, RegistryError) as fault:
        print(fault, file=sys.stderr)
        return 2
    configure_logging(settings)
    job_types.use(settings)
    sys.stderr = own_log.doubled(sys.stderr, settings)
    code = asyncio.run(run(settings, registry))
    if code == ABANDONED:
        _leave_threads()
    return code


def _leave_threads() -> None:
    """End the process and its children now: Python would wait for a thread that does not stop."""
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            child.kill()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(ABANDONED)


async def run(settings: Settings, registry: RegistryFile) -> int:
    """The worker's life; returns the exit code."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    hurried = asyncio.Event()

    def stop() -> None:
        """The first signal lets requests in flight finish, a second one doesn't."""
        if stopping.is_set():
            hurried.set()
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    if (why := await _hindrance(settings, stopping)) is not None:
        print(f"The queue is another app's, and no worker may run on it: {why}.", file=sys.stderr)
        return 2
    sessions: SessionFactory = sessionmaker(
        make_engine(settings, "worker", pool_size=12), expire_on_commit=False
    )
    turns = Turns(settings, registry, sessions, Engine(settings))
    house = House(
        settings, sessions, registry, turns, Helpers(), worker_id=uuid4(), patience=Patience()
    )
    house.helpers.warm()
    with tasks_app.replace_connector(make_connector(settings, house.patience)) as app:
        app.job_manager = Admission(app.connector, settings)
        async with app.open_async():
            workers = [
                make_step_worker(app, house),
                make_turn_worker(app, house),
                make_task_worker(app, house),
            ]
            heart = Heart(
                sessions,
                _pulse_of(house, workers, stopping),
                settings.worker_heartbeat_seconds,
                Sampler(),
            )
            turns.engine.on_status = heart.quicken
            heart.start()
            try:
                return await _work(house, workers, heart, stopping, hurried)
            finally:
                await turns.close()
                house.helpers.close()
                heart.stop(house.worker_id)


async def _hindrance(settings: Settings, stopping: asyncio.Event) -> str | None:
    """What forbids a worker on this database; waits for the database, or for the end."""

    def look() -> str | None:
        with psycopg.connect(settings.database_url, **connect_args("worker")) as connection:
            return adoption.hindrance(connection, tasks.WORKER_QUEUES)

    while not stopping.is_set():
        try:
            return await asyncio.to_thread(look)
        except psycopg.OperationalError as fault:
            log.warning("worker.waits_for_database", error=str(fault)[:200])
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), 1.0)
    return None


async def _work(
    house: House,
    workers: Sequence[Worker],
    heart: Heart,
    stopping: asyncio.Event,
    hurried: asyncio.Event,
) -> int:
    keep = asyncio.create_task(house.turns.keep())
    runs = [asyncio.create_task(_run(worker)) for worker in workers]
    stop = asyncio.create_task(stopping.wait())
    stuck = asyncio.create_task(house.stuck.wait())
    log.info("worker.started", pid=os.getpid(), models=sorted(house.registry.read().models))
    await asyncio.sleep(0.2)
    heart.quicken()  # now the queue workers have their ids
    waits = [keep, *runs, stop, stuck]
    done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    failed = [task for task in done if task not in (stop, stuck)]
    for task in failed:
        fault = task.exception() if not task.cancelled() else None
        log.error("worker.part_ended", part=task.get_name(), error=repr(fault))
    stopping.set()
    house.stopping.set()
    heart.quicken()
    await house.turns.stop(house.settings.worker_drain_seconds)
    asyncio.get_running_loop().call_later(house.settings.worker_drain_seconds, house.patience.end)
    for worker in workers:
        worker.stop()  # type: ignore[no-untyped-call]
    hurry = asyncio.create_task(_hurry(house, hurried))
    ended, _ = await asyncio.wait(runs, timeout=house.settings.worker_drain_seconds + 10)
    for run in ended:
        if not run.cancelled() and (fault := run.exception()) is not None:
            # Without a database it can't say goodbye to the queue, either.
            log.warning("worker.part_ended", part=run.get_name(), error=repr(fault))
    hurry.cancel()
    keep.cancel()
    with contextlib.suppress(asyncio.CancelledError, Exception):
        await keep
    log.info("worker.stopped")
    if house.stuck.is_set():
        return ABANDONED
    return 1 if failed else 0


async def _hurry(house: House, hurried: asyncio.Event) -> None:
    await hurried.wait()
    await house.turns.stop(0)


async def _run(worker: Worker) -> None:
    await worker.run()  # type: ignore[no-untyped-call]


def _pulse_of(
    house: House, workers: Sequence[Worker], stopping: asyncio.Event
) -> Callable[[], Pulse]:
    library = gpu.find_library()

    def pulse() -> Pulse:
        turns = house.turns
        engine = turns.engine
        job_ids = list(house.running.values())
        status = "running" if job_ids else "idle"
        if stopping.is_set():
            status = "draining"
        elif engine.status == "starting":
            status = "loading"
        process = psutil.Process()
        metrics: dict[str, Any] = {
            "memory_bytes": process.memory_info().rss,
            "host_memory_percent": psutil.virtual_memory().percent,
            "host_cpu_percent": psutil.cpu_percent(),
            "engine_deaths": engine.deaths,
            "tokens_per_second": round(house.tokens.rate(), 1),
            **gpu.figures(library),
        }
        if (short := engine.shortage()) is not None:
            metrics["short_of_memory"] = {"model": short[0], "message": short[1]}
        return Pulse(
            id=house.worker_id,
            kind="worker",
            name=f"worker-{socket.gethostname()}-{os.getpid()}",
            status=status,
            current_model=turns.active,
            engine_status=engine.status,
            engine_error=turns.error,
            running_job_ids=job_ids,
            queue_worker_ids=[
                worker.worker_id for worker in workers if worker.worker_id is not None
            ],
            models=sorted(house.registry.read().models),
            metrics=metrics,
        )

    return pulse


if __name__ == "__main__":
    sys.exit(main())
