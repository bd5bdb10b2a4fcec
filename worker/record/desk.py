"""What a worker has to say to the record: gathered, and written in the background."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import socket
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from procrastinate.worker import Worker

from . import capture
from .attempt import Attempt, Line
from .usage import memory_bytes

log = logging.getLogger("stoker")

TICK_SECONDS = 0.25
PROGRESS_SECONDS = 1.0
DROPPED_SECONDS = 10.0
_ROWS = 500
# An outage of the database must not fill the memory.
_MOST_LINES_UNWRITTEN = 50_000
_MOST_ENDS_UNWRITTEN = 20_000
# Where the record was not there, or did not answer: how long until it is asked again.
_AGAIN_SECONDS = 30.0
_LAST_SECONDS = 5.0

# The schema of the functions is that of the triggers on the jobs that this worker runs.
_FIND = """
SELECT quote_ident(nspname) AS place FROM pg_trigger
JOIN pg_proc ON pg_proc.oid = tgfoid JOIN pg_namespace ON pg_namespace.oid = pronamespace
WHERE tgrelid = to_regclass('procrastinate_jobs') AND tgname = 'stoker_changed' AND tgenabled <> 'D'
UNION ALL SELECT NULL LIMIT 1
"""


class Desk:
    """One worker's. All of it runs in the worker's event loop, but for what adds log lines."""

    def __init__(
        self,
        worker: Worker,
        *,
        wait_seconds: float | None,
        worker_id: UUID | None,
        name: str,
        on_close: Callable[[], object],
    ) -> None:
        self.worker = worker
        self._on_close = on_close
        self._wait_seconds = wait_seconds
        self._worker_id = worker_id
        self._warned_at = -_AGAIN_SECONDS
        self._name = name
        self._place: str | None = None
        self._asked_at = -_AGAIN_SECONDS
        self._is_told = False
        self._failed_at = -_AGAIN_SECONDS
        self._registered: int | None = None
        self.lines: deque[Line] = deque(maxlen=_MOST_LINES_UNWRITTEN)
        self.active: set[Attempt] = set()
        self._uses: deque[dict[str, Any]] = deque(maxlen=_MOST_ENDS_UNWRITTEN)
        self._ends: deque[dict[str, Any]] = deque(maxlen=_MOST_ENDS_UNWRITTEN)
        self._said_dropped_at = time.monotonic()
        self._waiting: set[asyncio.Task[Any]] = set()
        self._flushing = asyncio.Lock()
        self._registering = asyncio.Lock()
        self._finding = asyncio.Lock()
        self._awake = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None

    async def is_open(self) -> bool:
        """Whether the record is installed where this worker's jobs are."""
        if self._place is None:
            # Jobs that begin together wait for the one that asks.
            async with self._finding:
                if self._place is None and time.monotonic() - self._asked_at >= _AGAIN_SECONDS:
                    await self._find()
                    self._asked_at = time.monotonic()
            if self._place is None:
                return False
        self._begin()
        if self.worker.worker_id != self._registered:
            try:
                await self._wait(self.register())
            except Exception as fault:
                self._warn("the record does not know this worker", fault)
        return True

    async def _find(self) -> None:
        try:
            row = await self._wait(self.worker.app.connector.execute_query_one_async(_FIND))
        except Exception as fault:
            self._warn("the record can't be found", fault)
            return
        self._place = row["place"]
        if self._place is None and not self._is_told:
            self._is_told = True
            log.warning(
                "Stoker's record is not installed in this database: only Procrastinate's own tables "
                "know of these jobs (flask adopt installs it)"
            )

    def _begin(self) -> None:
        """See that the background task runs."""
        self._awake.set()
        if self._keeper is None or self._keeper.done():
            self._keeper = asyncio.create_task(self._keep(), name="stoker record")
            capture.begin()
            self._end_with_worker()

    def _end_with_worker(self) -> None:
        """Procrastinate has no hook for a worker's end; the pool is closed right after it."""
        shutdown = getattr(self.worker, "_shutdown", None)
        if shutdown is None or hasattr(shutdown, "is_stokers"):
            return

        async def shut_down(*args: Any, **options: Any) -> Any:
            try:
                return await shutdown(*args, **options)
            finally:
                await self.close()

        shut_down.is_stokers = True  # type: ignore[attr-defined]
        self.worker._shutdown = shut_down  # type: ignore[method-assign]

    async def close(self) -> None:
        """Write what is left, if the database lets us."""
        keeper, self._keeper = self._keeper, None
        if keeper is None:
            return
        keeper.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await keeper
        capture.end()
        self._on_close()
        try:
            await asyncio.wait_for(self._end_all(), _LAST_SECONDS)
        except Exception as fault:
            # The worker's end is not the record's business.
            self._warn("the last of the record can't be written", fault)

    async def _end_all(self) -> None:
        if self._waiting:
            await asyncio.wait(self._waiting)
        await self.flush()

    async def _keep(self) -> None:
        while True:
            await self._awake.wait()
            await asyncio.sleep(TICK_SECONDS)
            if not (self.active or self.lines or self._uses or self._ends):
                self._awake.clear()
            try:
                await self.flush()
            except Exception as fault:
                self._warn("the record can't be written", fault)

    async def claim(self, attempt: Attempt) -> UUID | None:
        """The token of the attempt. None: it is not open, the job was taken away."""
        row = await self._ask(
            "SELECT (SELECT token FROM {place}.stoker_claim(%(job)s, %(number)s)) AS token",
            job=attempt.job_id,
            number=attempt.number,
        )
        return None if row["token"] is None else UUID(str(row["token"]))

    def add_use(self, attempt: Attempt) -> None:
        """A plain success: all there is to say is what it used, and there is no hurry."""
        self._uses.append({"job": attempt.job_id, "number": attempt.number, **attempt.usage()})

    async def end(self, entry: dict[str, Any]) -> bool:
        """Say at once how an attempt ended. False: it had been closed by another, as something else.

        What can't be said in time is said later, and True is returned.
        """
        if time.monotonic() - self._failed_at < _AGAIN_SECONDS and self._wait_seconds is not None:
            self._ends.append(entry)
            return True
        task = asyncio.ensure_future(self._say_end([entry]))
        self._waiting.add(task)
        task.add_done_callback(self._waiting.discard)
        try:
            return int(await self._wait(asyncio.shield(task))) > 0
        except asyncio.CancelledError:
            # The job has ended, and so it stands in the record: too late to abort it.
            if (this := asyncio.current_task()) is not None:
                this.uncancel()
        except TimeoutError:
            # It goes on, and is not said twice by that: only the job does not wait for it.
            self._failed_at = time.monotonic()
            self._warn("the record did not answer in time")
        except Exception as fault:
            self._failed_at = time.monotonic()
            if self._passes(fault):
                self._ends.append(entry)
            self._warn("the end of a job can't be recorded", fault)
        return True

    async def _wait(self, work: Any) -> Any:
        return await asyncio.wait_for(work, self._wait_seconds)

    async def flush(self) -> None:
        """Write what there is. Raises what the connector raises; what was not written stays."""
        async with self._flushing:
            if self._place is None:
                for unwritten in (self.lines, self._uses, self._ends):
                    unwritten.clear()
                return
            await self.register()
            memory = memory_bytes()
            for attempt in self.active:
                attempt.sample(memory)
            self._say_dropped()
            await self._write_lines()
            await self._write_steps()
            await self._write(self._uses, "SELECT {place}.stoker_use(%(rows)s::jsonb) AS written")
            await self._write(self._ends, "SELECT {place}.stoker_end(%(rows)s::jsonb) AS written")

    async def register(self) -> None:
        """Say who this worker is, once for each row that Procrastinate gives it."""
        async with self._registering:
            queue_worker = self.worker.worker_id
            if queue_worker is None or queue_worker == self._registered:
                return
            tasks = self.worker.app.tasks.items()
            limits = {name: most for name, task in tasks if (most := _most(task))}
            await self._ask(
                "SELECT {place}.stoker_register(%(id)s, %(worker)s::uuid, %(name)s, %(host)s,"
                " %(pid)s, %(limits)s::jsonb)::text AS done",
                id=queue_worker,
                worker=None if self._worker_id is None else str(self._worker_id),
                name=self._name
                or f"{self.worker.worker_name}@{socket.gethostname()}:{os.getpid()}",
                host=socket.gethostname(),
                pid=os.getpid(),
                limits=_json(limits),
            )
            self._registered = queue_worker

    def _say_dropped(self) -> None:
        now = time.monotonic()
        if now - self._said_dropped_at >= DROPPED_SECONDS:
            self._said_dropped_at = now
            for attempt in self.active:
                attempt.say_dropped()

    async def _write_lines(self) -> None:
        while self.lines:
            lines = [self.lines.popleft() for _ in range(min(_ROWS, len(self.lines)))]
            rows = [
                {**line, "at": datetime.fromtimestamp(line["at"], UTC).isoformat()}
                for line in lines
            ]
            try:
                await self._ask(
                    "SELECT {place}.stoker_log(%(rows)s::jsonb) AS written", rows=_json(rows)
                )
            except BaseException as fault:
                if self._passes(fault):
                    self.lines.extendleft(reversed(lines))
                raise

    async def _write_steps(self) -> None:
        taken = {
            attempt: step
            for attempt in self.active
            if (step := attempt.take_step_if_due(PROGRESS_SECONDS))
        }
        if not taken:
            return
        steps = [
            {"job": attempt.job_id, "number": attempt.number, **step}
            for attempt, step in taken.items()
        ]
        try:
            await self._ask(
                "SELECT {place}.stoker_progress(%(rows)s::jsonb) AS written", rows=_json(steps)
            )
        except BaseException:
            # How far it is comes again by itself, what it did before does not.
            for attempt, step in taken.items():
                attempt.milestones.is_new |= "milestones" in step
            raise

    async def _write(self, entries: deque[dict[str, Any]], query: str) -> None:
        # No more than there is now: what comes meanwhile would be written in tiny portions.
        left = len(entries)
        while left > 0 and entries:
            rows = [entries.popleft() for _ in range(min(_ROWS, left, len(entries)))]
            left -= len(rows)
            try:
                await self._ask(query, rows=_json(rows))
            except BaseException as fault:
                if self._passes(fault):
                    entries.extendleft(reversed(rows))
                raise

    async def _say_end(self, entries: list[dict[str, Any]]) -> int:
        row = await self._ask(
            "SELECT {place}.stoker_end(%(rows)s::jsonb) AS written", rows=_json(entries)
        )
        return int(row["written"])

    async def _ask(self, query: str, **values: Any) -> dict[str, Any]:
        """One of the record's functions, by a row with one column."""
        text = query.format(place=self._place)
        row = await self.worker.app.connector.execute_query_one_async(text, **values)
        return dict(row)

    def _passes(self, fault: BaseException) -> bool:
        """Whether the same may be written later: the database is away, or we were interrupted."""
        names = {base.__name__ for base in type(fault.__cause__ or fault).__mro__}
        if names & {"UndefinedFunction", "InvalidSchemaName", "UndefinedTable"}:
            self._place = None  # taken out; asked for again some time later
            self._asked_at = time.monotonic()
            self._registered = None
        kinds = {"OperationalError", "InterfaceError", "CancelledError", "TimeoutError", "OSError"}
        return bool(names & kinds)

    def _warn(self, text: str, fault: BaseException | None = None) -> None:
        """Say it once in a while: a task must not drown in what is not its fault."""
        now = time.monotonic()
        if now - self._warned_at >= _AGAIN_SECONDS:
            self._warned_at = now
            log.warning("%s%s", text, "" if fault is None else f": {_words(fault)}")


def _words(fault: BaseException) -> str:
    """The database's own words in one line; Procrastinate's error around them has none."""
    cause = fault.__cause__ or fault
    return " ".join(str(cause).split()) or type(cause).__name__


def _most(task: Any) -> int | None:
    """How often a task is tried at most, where its retry strategy says so."""
    most = getattr(getattr(task, "retry_strategy", None), "max_attempts", None)
    return most + 1 if isinstance(most, int) and most > 0 else None


def _json(value: Any) -> str:
    """JSON as Postgres takes it: no NUL, no half of a surrogate pair."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text.replace("\\u0000", "\\ufffd").encode("utf-8", "replace").decode()
