"""The courier: a thread of the leading housekeeper that delivers webhooks and e-mails, many at a time."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import structlog
from sqlalchemy.orm import Session

from app.core import deliveries
from app.core.db import SessionFactory
from app.core.deliveries import Due, Outcome
from app.core.settings import Settings
from worker import mail
from worker.posting import post

T = TypeVar("T")
log = structlog.get_logger(__name__)

_POLL_SECONDS = 0.5
_MOST_OPEN = 64
# A host with so many tries open gets no more; at one claim it can get as many again.
_MOST_OPEN_PER_HOST = 8
_LEAVE_SECONDS = 1.0


class Courier:
    """Delivers from `start` to `stop`. No transaction is open while a receiver thinks."""

    def __init__(self, settings: Settings, sessions: SessionFactory) -> None:
        self._settings = settings
        self._sessions = sessions
        self._database = ThreadPoolExecutor(2, "webhooks")
        self._mails = ThreadPoolExecutor(_MOST_OPEN_PER_HOST, "mails")
        self._open: dict[asyncio.Task[None], Due] = {}
        self._is_stopping = threading.Event()
        self._woken: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._run()), name="courier", daemon=True
        )

    def start(self) -> None:
        """Begin to deliver, with what another courier may have left half done."""
        self._thread.start()

    def stop(self) -> None:
        """Let tries end that are about to; the others go back and are made again by the next."""
        self._is_stopping.set()
        if self._loop is not None and self._woken is not None:
            try:
                self._loop.call_soon_threadsafe(self._woken.set)
            except RuntimeError:  # it has just ended by itself
                pass
        self._thread.join()
        self._database.shutdown()
        self._mails.shutdown(wait=False, cancel_futures=True)

    async def _run(self) -> None:
        self._woken = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        # Looking names up blocks a thread each.
        self._loop.set_default_executor(ThreadPoolExecutor(_MOST_OPEN // 2, "names"))
        await self._safely(self._in_database(deliveries.release))
        while not self._is_stopping.is_set():
            while not self._is_stopping.is_set() and await self._safely(self._claim()):
                pass
            try:
                await asyncio.wait_for(self._woken.wait(), _POLL_SECONDS)
            except TimeoutError:
                pass
            self._woken.clear()
        await self._leave()

    async def _claim(self) -> bool:
        """Begin tries that are due. Whether there may be more."""
        limit = min(_MOST_OPEN - len(self._open), _MOST_OPEN_PER_HOST)
        if limit <= 0:
            return False
        counts = Counter(due.host for due in self._open.values())
        busy = [host for host, count in counts.items() if count >= _MOST_OPEN_PER_HOST]
        claimed = await self._in_database(lambda session: deliveries.claim(session, limit, busy))
        for due in claimed:
            task = asyncio.create_task(self._deliver(due))
            self._open[task] = due
            task.add_done_callback(self._ended)
        return len(claimed) == limit

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._open[task]
        if self._woken is not None:
            self._woken.set()

    async def _deliver(self, due: Due) -> None:
        began = time.monotonic()
        outcome = await self._try(due)
        seconds = time.monotonic() - began
        # If this fails, the claim lapses and the receiver hears the same event again.
        await self._safely(
            self._in_database(
                lambda session: deliveries.record(
                    session, due, outcome, self._settings, seconds=seconds
                )
            )
        )
        log.info(
            "webhook.tried",
            delivery=due.id,
            batch=due.batch_id,
            told=due.type,
            host=due.host,
            try_number=due.tries + 1,
            error=outcome.error,
        )

    async def _try(self, due: Due) -> Outcome:
        try:
            if mail.is_address(due.url):
                return await self._mail(due)
            try:
                headers = due.headers()
            except ValueError:
                return Outcome(error="the webhook's secret can't be read", is_hopeless=True)
            return await post(
                due.url,
                headers,
                due.payload.encode(),
                timeout_seconds=due.timeout_seconds,
                private_hosts=self._settings.webhook_hosts,
            )
        except Exception as fault:  # a fault of ours must not be tried for ever
            log.exception("webhook.fault", delivery=due.id)
            return Outcome(error=f"failed: {type(fault).__name__}")

    async def _mail(self, due: Due) -> Outcome:
        """The talk with the mail server blocks a thread, which is left alone when it takes too long."""
        send = asyncio.get_running_loop().run_in_executor(
            self._mails, mail.send, self._settings, due.url, due.payload
        )
        try:
            return await asyncio.wait_for(send, due.timeout_seconds)
        except TimeoutError:
            return Outcome(error=f"no answer within {due.timeout_seconds:g} s")

    async def _leave(self) -> None:
        open_ = dict(self._open)
        if not open_:
            return
        _, late = await asyncio.wait(open_, timeout=_LEAVE_SECONDS)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        broken_off = [open_[task] for task in late if task.cancelled()]
        if broken_off:
            await self._safely(
                self._in_database(lambda session: deliveries.give_back(session, broken_off))
            )

    async def _in_database(self, work: Callable[[Session], T]) -> T:
        def run() -> T:
            with self._sessions() as session:
                return work(session)

        return await asyncio.get_running_loop().run_in_executor(self._database, run)

    async def _safely(self, work: Awaitable[T]) -> T | None:
        """What fails is logged, and tried again at its time."""
        try:
            return await work
        except Exception as fault:
            log.warning("webhooks.failed", error=str(fault).partition("\n")[0][:200])
            return None
