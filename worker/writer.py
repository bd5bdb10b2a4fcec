"""Writes results as they come: at most so many rows, or so long, at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

from worker.outages import Patience

Row = TypeVar("Row")


class Writer(Generic[Row]):
    """Gathers rows and hands them to `write` in a thread; an outage delays them, it loses none.

    `write` commits; what it raises besides an outage ends the writer and comes out of `close`,
    `failed` is set then.
    """

    def __init__(
        self,
        write: Callable[[list[Row]], None],
        patience: Patience,
        *,
        rows: int,
        seconds: float,
        limit: int,
    ) -> None:
        self._write = write
        self._patience = patience
        self._rows = rows
        self._seconds = seconds
        self._limit = limit
        self._buffer: list[Row] = []
        self._filled = asyncio.Event()
        self._begun = asyncio.Event()
        self._drained = asyncio.Event()
        self._drained.set()
        self._is_closing = False
        self.failed = asyncio.Event()
        self._task = asyncio.create_task(self._run())

    def add(self, row: Row) -> None:
        """Take a row; it is written soon."""
        self._buffer.append(row)
        self._begun.set()
        if len(self._buffer) >= self._rows:
            self._filled.set()
        if len(self._buffer) >= self._limit:
            self._drained.clear()

    async def room(self) -> None:
        """Wait while too much is unwritten: an outage must not fill the memory."""
        await self._drained.wait()

    async def close(self) -> None:
        """Write what is left. Raises what `write` raised."""
        self._is_closing = True
        self._begun.set()
        self._filled.set()
        await self._task

    async def _run(self) -> None:
        try:
            while self._buffer or not self._is_closing:
                await self._begun.wait()
                if not self._is_closing:
                    try:
                        await asyncio.wait_for(self._filled.wait(), self._seconds)
                    except TimeoutError:
                        pass
                await self._flush()
        except BaseException:
            self.failed.set()
            self._drained.set()
            raise

    async def _flush(self) -> None:
        rows, self._buffer = self._buffer[: self._rows], self._buffer[self._rows :]
        if len(self._buffer) < self._rows and not self._is_closing:
            self._filled.clear()
        if not self._buffer and not self._is_closing:
            self._begun.clear()
        if len(self._buffer) < self._limit:
            self._drained.set()
        if rows:
            await self._patience.outlast(lambda: self._write(rows), f"write {len(rows)} rows")
