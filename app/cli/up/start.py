"""What starts after what, and what a start shows."""

from __future__ import annotations

import asyncio
import errno
import importlib
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg

from app.cli.screen import Screen
from app.cli.up import first_batch, models, preflight
from app.cli.up.children import PostgresServer, Program
from app.cli.up.client import Client
from app.cli.up.preflight import UpError
from app.cli.up.supervisor import Supervisor
from app.core import embedded
from app.core.engines import RegistryError, load_registry
from app.core.settings import Settings

if TYPE_CHECKING:
    from app.cli.up.access import Access

COMMANDS = {
    "web": ("-m", "gunicorn", "-c", "deploy/gunicorn.py", "wsgi:app"),
    "worker": ("-m", "worker"),
    "housekeeper": ("-m", "worker.housekeeper"),
}
WEB_SECONDS = 60.0
POLL_SECONDS = 0.05
ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104


class Start:
    """One run of `flask up`."""

    def __init__(self, settings: Settings, screen: Screen, *, is_once: bool) -> None:
        self._settings = settings
        self._screen = screen
        self._is_once = is_once
        self._supervisor = Supervisor(screen.log)
        host = ANYWHERE.get(settings.host, settings.host)
        self._base_url = f"http://{host}:{settings.port}"

    async def run(self) -> int:
        """Until a signal, the end of --once's batch, or a fault; everything is stopped then.

        Returns the exit code. Raises UpError, ChildFailed, EmbeddedError.
        """
        work = asyncio.create_task(self._work())
        ticking = asyncio.create_task(self._tick())
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, work.cancel)
        try:
            ends: set[asyncio.Future[Any]] = {work, self._supervisor.failed}
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if self._supervisor.failed.done():
                self._supervisor.failed.result()
            return work.result()
        except asyncio.CancelledError:
            return 1 if self._is_once else 0
        finally:
            work.cancel()
            ticking.cancel()
            with self._screen.step("Stopping", "Stopped"):
                await self._supervisor.stop()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(1)
            self._screen.tick()

    async def _work(self) -> int:
        building = asyncio.create_task(self._prepare_models())
        try:
            await self._start_postgres()
            await self._migrate()
            await self._start_web()
            is_adopted, hindrance = await asyncio.to_thread(_adoption, self._settings.database_url)
            if is_adopted and self._is_once:
                raise UpError("The queue is another app's (flask adopt): no batch is sent into it.")
            way_in = await asyncio.to_thread(_grant, self._settings, self._base_url)
            client = Client(self._base_url, way_in.api_key)
            batch = None
            if self._is_once or (not is_adopted and await self._is_first(client)):
                await building
                batch = await first_batch.submit(client, self._settings.models_path)
            else:
                self._show(way_in)
                await building
        finally:
            building.cancel()
        if hindrance is not None:
            self._screen.line(f"The queue is another app's, and no worker is started: {hindrance}.")
            await self._start_child("housekeeper")
            await asyncio.Event().wait()
        worker = await self._start_child("worker")
        await self._start_child("housekeeper")
        is_answered = True
        if batch is not None:
            batch = await first_batch.watch(client, batch, self._screen)
            is_answered = await first_batch.show_answers(client, batch, self._screen)
            self._show(way_in)
        if self._is_once:
            return 0 if is_answered else 1
        await _show_loads(self._settings, self._screen, lambda: worker.pid)
        return 0

    async def _is_first(self, client: Client) -> bool:
        """Whether a first batch is to be sent: there was none, and a model can answer it."""
        registry = self._settings.models_path
        if registry.exists() and not first_batch.can_answer(registry):
            self._screen.line(f"No model in {registry} chats, so no first batch is sent.")
            return False
        return not await first_batch.has_any(client)

    async def _start_postgres(self) -> None:
        """The embedded server, unless DATABASE_URL names another."""
        server = PostgresServer(self._settings.var_path / "postgres")
        given = self._settings.database_url
        if not given or given == server.url:
            with self._screen.step("Starting Postgres", "Postgres runs"):
                # Meanwhile, what the next step will import.
                await asyncio.gather(
                    self._supervisor.start(server),
                    asyncio.to_thread(importlib.import_module, "app.core.schema"),
                )
            home = embedded.home(server.base)
            if home != server.base:
                self._screen.line(
                    f"  Its data are in {home}, as its user can't enter the data folder."
                )
            self._settings = self._settings.model_copy(update={"database_url": server.url})

    async def _start_web(self) -> None:
        """First and alone, so that the page is there soon."""
        with self._screen.step("Starting the web server", f"The page answers at {self._base_url}/"):
            await self._start_child("web")
            deadline = time.monotonic() + WEB_SECONDS
            client = Client(self._base_url)
            while not await asyncio.to_thread(client.is_up):
                if time.monotonic() > deadline:
                    raise UpError(f"The web server does not answer within {WEB_SECONDS:.0f} s.", 1)
                await asyncio.sleep(POLL_SECONDS)

    async def _migrate(self) -> None:
        if await asyncio.to_thread(_is_current, self._settings.database_url):
            return
        with self._screen.step("Bringing the database up to date", "The database is up to date"):
            await self._run("migrate", "-m", "flask", "--app", "wsgi", "db", "upgrade")

    async def _prepare_models(self) -> None:
        """The demonstration models, unless the operator names others."""
        settings = self._settings
        if settings.models_file is not None:
            return
        models.write_registry(settings.var_path)
        models.link_embedding_model(settings.var_path)
        if models.is_wanted(settings.var_path) and not models.is_built(settings.var_path):
            with self._screen.step("Building the demonstration model", "The model is built"):
                await self._run("model", *models.build_arguments(settings.var_path))

    async def _run(self, name: str, *arguments: str) -> None:
        program = self._program(name, arguments)
        how = await self._supervisor.run(program)
        if how != "ended with exit code 0":
            said = next((line for line in reversed(program.last_lines) if line.strip()), "")
            if any(os.strerror(errno.ENOSPC) in line for line in program.last_lines):
                said = "the disk is full, make room and start again."
            raise UpError(f"The step “{name}” {how}: {said}", 1)

    async def _start_child(self, name: str) -> Program:
        program = self._program(name, COMMANDS[name])
        await self._supervisor.start(program)
        return program

    def _program(self, name: str, arguments: tuple[str, ...]) -> Program:
        settings = self._settings
        config = Path(os.environ.get("STOKER_CONFIG", "stoker.toml"))
        environment = {
            **os.environ,
            "DATABASE_URL": settings.database_url,
            # The children run in the checkout; the file that was read may be another.
            "STOKER_CONFIG": str(config.resolve() if config.exists() else os.devnull),
            "STOKER_VAR": str(settings.var_path),
            "STOKER_HOST": settings.host,
            "STOKER_PORT": str(settings.port),
            "STOKER_MODELS_FILE": str(settings.models_path),
            "PYTHONUNBUFFERED": "1",
        }
        # The engine's imports take a minute without it.
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        if name == "web" and "log_level" not in settings.model_fields_set:
            environment["STOKER_LOG_LEVEL"] = "warning"  # A line for each request hides the rest.
        return Program(name, [sys.executable, *arguments], environment, self._screen.log)

    def _show(self, way_in: Access) -> None:
        minutes = self._settings.sign_in_link_minutes
        self._screen.line()
        self._screen.line(f"Sign in (once, within {minutes:g} minutes):")
        self._screen.line(f"  {way_in.sign_in_link}", "bold cyan")
        self._screen.line(f"For programs (also in {self._settings.var_path / 'env'}):")
        for line in way_in.exports:
            self._screen.line(f"  {line}")
        if not self._is_once:
            self._screen.line("Ctrl-C stops everything.")
        self._screen.line()


def check(settings: Settings) -> None:
    """What can be told before anything starts; the data folder is this process's by then.

    Raises UpError.
    """
    if settings.models_file is not None and not settings.models_path.exists():
        raise UpError(f"The models file {settings.models_path} does not exist.")
    try:
        load_registry(settings.models_path)
    except RegistryError as fault:
        raise UpError(fault.message) from fault
    preflight.check_port(settings.host, settings.port)
    is_first = settings.models_file is None and not models.is_built(settings.var_path)
    preflight.check_disk(
        settings.var_path,
        preflight.FIRST_START_BYTES if is_first else preflight.LATER_START_BYTES,
    )


def _grant(settings: Settings, base_url: str) -> Access:
    """Once the page is up: what this imports would have held it up."""
    from app.cli.up.access import grant

    return grant(settings, base_url)


async def _show_loads(
    settings: Settings, screen: Screen, worker_pid: Callable[[], int | None]
) -> None:
    """As `_grant`."""
    from app.cli.up.loading import show_loads

    await show_loads(settings, screen, worker_pid)


def _adoption(database_url: str) -> tuple[bool, str | None]:
    """Whether the queue is another app's, and what then keeps a worker of ours from it."""
    from app.core import adoption, tasks

    with psycopg.connect(database_url, connect_timeout=10) as connection:
        return (
            adoption.is_adopted(connection),
            adoption.hindrance(connection, tasks.WORKER_QUEUES),
        )


def _is_current(database_url: str) -> bool:
    from app.core import schema

    try:
        with psycopg.connect(database_url, connect_timeout=10) as connection:
            return schema.is_current(connection)
    except psycopg.OperationalError as fault:
        words = " ".join(str(fault).split())
        raise UpError(f"The Postgres of DATABASE_URL can't be used: {words}") from fault
