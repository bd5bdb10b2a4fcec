"""Keeps children alive, gives up on one that can't live, and ends them all."""

from __future__ import annotations

import asyncio
import time
from collections import deque

from app.cli.up.children import Child, PostgresServer, Write

DEATHS_LIMIT = 5
DEATHS_SECONDS = 60.0
STOP_SECONDS = 8.0
KILL_SECONDS = 0.5
POSTGRES_STOP_SECONDS = 1.0


class ChildFailed(Exception):
    """A child died too often; the message says which, how, and its last words."""


class Supervisor:
    """Restarts a child that dies, later each time; five deaths in a minute are the end."""

    def __init__(self, write: Write, backoff_seconds: float = 0.5) -> None:
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._write = write
        self._backoff_seconds = backoff_seconds
        self._children: dict[Child, asyncio.Task[None] | None] = {}

    async def start(self, child: Child) -> None:
        """Start it and keep it alive from now on."""
        await child.start()
        self._children[child] = asyncio.create_task(self._keep_alive(child))

    async def run(self, child: Child) -> str:
        """Run it once until it ends, dead or alive; says how it ended."""
        await child.start()
        self._children[child] = None
        how = await child.wait()
        del self._children[child]
        return how

    async def stop(self) -> None:
        """End all children within ten seconds: they are asked, and then made to."""
        for watch in self._children.values():
            if watch is not None:
                watch.cancel()
        programs = [child for child in self._children if not isinstance(child, PostgresServer)]
        ends = [asyncio.ensure_future(child.wait()) for child in programs if child.pid]
        for child in programs:
            child.terminate()
        if ends:
            _, late = await asyncio.wait(ends, timeout=STOP_SECONDS)
            if late:
                for child in programs:
                    child.kill()
                await asyncio.wait(late, timeout=KILL_SECONDS)
        for child in self._children:
            if isinstance(child, PostgresServer):
                await child.stop(POSTGRES_STOP_SECONDS)
        self._children.clear()

    async def _keep_alive(self, child: Child) -> None:
        deaths: deque[float] = deque()
        how = await child.wait()
        while True:
            deaths.append(time.monotonic())
            while deaths[0] < deaths[-1] - DEATHS_SECONDS:
                deaths.popleft()
            if len(deaths) >= DEATHS_LIMIT:
                break
            delay = self._backoff_seconds * 2 ** (len(deaths) - 1)
            self._write("up", f"{child.name} {how}; it is started again in {delay:g} s")
            await asyncio.sleep(delay)
            try:
                await child.start()
            except Exception as fault:  # Whatever it is, it counts as a death.
                how = f"could not be started: {fault}"
            else:
                how = await child.wait()
        said = "".join(f"\n    {line}" for line in child.last_lines)
        if not self.failed.done():
            self.failed.set_exception(
                ChildFailed(
                    f"{child.name} {how}, for the {DEATHS_LIMIT}th time within a minute."
                    + (f" Its last lines:{said}" if said else "")
                )
            )
