"""The window: how many requests are in the engine at once, shared by the batches that run."""

from __future__ import annotations

import asyncio
import heapq
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count

Rank = tuple[int, int]

# For how long fewer requests are sent at once after the engine's memory ran out.
_NARROW_SECONDS = 3600.0


class Narrowing:
    """How many requests of a model may be in flight since its engine's memory ran out."""

    def __init__(self) -> None:
        self._model: str | None = None
        self._size = 0
        self._since = 0.0

    def begin(self, model: str, size: int) -> None:
        """From now on so many, for an hour."""
        self._model, self._size, self._since = model, size, time.monotonic()

    def limit(self, model: str, size: int) -> int:
        """How many of the `size` that the model would have otherwise."""
        return min(size, self._size) if model == self._model else size

    def has_passed(self) -> bool:
        """Whether the hour is over; said once."""
        if self._model is None or time.monotonic() - self._since < _NARROW_SECONDS:
            return False
        self._model = None
        return True


class Window:
    """Slots that go to the best-ranked batch first (smaller rank = sooner), then in order asked.

    So a batch enters only what the ones before it leave free: while the last requests of one
    drain, the next one fills the engine.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.in_use = 0
        self._order = count()
        self._waiting: list[tuple[Rank, int, asyncio.Future[None]]] = []
        self._is_exclusive = False
        self._emptied = asyncio.Event()
        self._alone = asyncio.Lock()

    @property
    def is_full(self) -> bool:
        return self.in_use >= self.size

    def resize(self, size: int) -> None:
        """From now on so many; who has a slot keeps it."""
        self.size = size
        self._grant()

    async def acquire(self, rank: Rank) -> None:
        """Wait for a slot."""
        slot: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (rank, next(self._order), slot))
        self._grant()
        try:
            await slot
        except asyncio.CancelledError:
            if slot.done() and not slot.cancelled():
                self.release()
            slot.cancel()
            raise

    def release(self) -> None:
        """Give a slot back."""
        self.in_use -= 1
        if self.in_use == 0:
            self._emptied.set()
        self._grant()

    def _grant(self) -> None:
        while self._waiting and not self.is_full and not self._is_exclusive:
            _, _, slot = heapq.heappop(self._waiting)
            if not slot.done():
                self.in_use += 1
                slot.set_result(None)

    @asynccontextmanager
    async def exclusive(self) -> AsyncIterator[None]:
        """The engine for one request alone, once everything else has left it."""
        async with self._alone:
            self._is_exclusive = True
            try:
                while self.in_use:
                    self._emptied.clear()
                    await self._emptied.wait()
                yield
            finally:
                self._is_exclusive = False
                self._grant()
