"""How far the worker's engine is: a step for each model that it loads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app.cli.screen import Screen
from app.core import workers
from app.core.db import make_engine
from app.core.models import Worker
from app.core.settings import Settings

POLL_SECONDS = 1.0


async def show_loads(
    settings: Settings, screen: Screen, worker_pid: Callable[[], int | None]
) -> None:
    """Show them until cancelled; `worker_pid` is asked anew each time, as it may be restarted."""
    engine = make_engine(settings, "up", pool_size=1)

    def read() -> Worker | None:
        pid = worker_pid()
        if pid is None:
            return None
        try:
            with Session(engine) as session:
                return workers.find(session, pid)
        except SQLAlchemyError:
            return None  # away for a moment, and whoever needs it more says so

    try:
        while True:
            await asyncio.sleep(POLL_SECONDS)
            worker = await asyncio.to_thread(read)
            if worker is None or worker.engine_status != "starting":
                continue
            model = worker.current_model
            with screen.step(f"Loading {model}", f"{model} is loaded") as step:
                while worker is None or (worker.engine_status, worker.current_model) == (
                    "starting",
                    model,
                ):
                    await asyncio.sleep(POLL_SECONDS)
                    worker = await asyncio.to_thread(read)
                if worker.engine_status != "ready":
                    step.fail(f"{model} is not loaded")
    finally:
        engine.dispose()
