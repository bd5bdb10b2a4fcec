"""A batch's run where timing decides: its turn ends early, an engine dies, the database is away."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import psycopg
import pytest
from psycopg import errors
from psycopg_pool import PoolTimeout
from sqlalchemy.exc import OperationalError

from worker import window as windows
from worker.outages import is_outage
from worker.run import BatchRun
from worker.window import Narrowing, Window


class Turns:
    """Another model than the batch's is loaded."""

    def __init__(self, active: str) -> None:
        self.active = active
        self.is_stopping = False
        self.runs: set[object] = set()


class Writer:
    """Knows only whether it was closed."""

    is_closed = False

    async def close(self) -> None:
        self.is_closed = True


def run_of(turns: Turns, writer: Writer) -> BatchRun:
    unused: Any = None
    return BatchRun(
        cast(Any, SimpleNamespace(id="batch_1", number=1, priority=0, model="mine")),
        cast(Any, SimpleNamespace(has_next=True, has_alone=False)),
        turns=cast(Any, turns),
        writer=cast(Any, writer),
        reader=unused,
        patience=unused,
        look=unused,
        begin=unused,
        suspects=unused,
        job_log=unused,
    )


@pytest.mark.parametrize(("active", "is_stopping"), [("another", False), ("mine", True)])
def test_a_batch_whose_turn_has_ended_asks_nobody(active: str, is_stopping: bool) -> None:
    turns, writer = Turns(active), Writer()
    turns.is_stopping = is_stopping
    assert asyncio.run(run_of(turns, writer).run()) == "yield"
    assert writer.is_closed
    assert turns.runs == set()


def test_the_window_is_one_requests_alone_once_the_others_have_left() -> None:
    async def scene() -> list[str]:
        window, said = Window(2), []
        await window.acquire((0, 1))

        async def alone() -> None:
            async with window.exclusive():
                said.append(f"alone with {window.in_use}")

        async def next_one() -> None:
            await window.acquire((0, 1))
            said.append("next")
            window.release()

        waiting = [asyncio.create_task(alone())]
        await asyncio.sleep(0)
        waiting.append(asyncio.create_task(next_one()))
        await asyncio.sleep(0.01)
        window.release()
        await asyncio.gather(*waiting)
        return said

    assert asyncio.run(scene()) == ["alone with 0", "next"]


def test_a_window_that_grows_lets_more_in_at_once() -> None:
    async def scene() -> int:
        window = Window(1)
        waiting = [asyncio.create_task(window.acquire((0, n))) for n in range(3)]
        await asyncio.sleep(0)
        assert window.in_use == 1
        window.resize(3)
        await asyncio.gather(*waiting)
        return window.in_use

    assert asyncio.run(scene()) == 3


def test_fewer_requests_are_sent_for_an_hour_after_memory_ran_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 1000.0
    monkeypatch.setattr(windows, "time", SimpleNamespace(monotonic=lambda: now))
    narrowing = Narrowing()
    assert (narrowing.limit("mine", 8), narrowing.has_passed()) == (8, False)
    narrowing.begin("mine", 2)
    now += 3599
    assert (narrowing.limit("mine", 8), narrowing.limit("other", 8)) == (2, 8)
    assert not narrowing.has_passed()
    now += 1
    assert (narrowing.has_passed(), narrowing.has_passed()) == (True, False)
    assert narrowing.limit("mine", 8) == 8


def test_a_cancelled_wait_costs_no_slot() -> None:
    async def scene() -> int:
        window = Window(1)
        await window.acquire((0, 1))
        waiting = asyncio.create_task(window.acquire((0, 2)))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        window.release()
        return window.in_use

    assert asyncio.run(scene()) == 0


def test_the_better_ranked_batch_gets_the_slot() -> None:
    async def scene() -> list[str]:
        window, said = Window(1), []
        await window.acquire((0, 1))

        async def ask(rank: tuple[int, int], name: str) -> None:
            await window.acquire(rank)
            said.append(name)
            window.release()

        tasks = [asyncio.create_task(ask((0, 2), "later"))]
        await asyncio.sleep(0)
        tasks.append(asyncio.create_task(ask((-1, 9), "urgent")))
        await asyncio.sleep(0)
        window.release()
        await asyncio.gather(*tasks)
        return said

    assert asyncio.run(scene()) == ["urgent", "later"]


@pytest.mark.parametrize(
    ("fault", "passes"),
    [
        (psycopg.OperationalError("server closed the connection unexpectedly"), True),
        (errors.AdminShutdown(), True),
        (errors.TooManyConnections(), True),
        (errors.DiskFull(), True),
        (PoolTimeout(), True),
        (OperationalError("", {}, errors.CannotConnectNow()), True),
        (errors.QueryCanceled(), False),
        (errors.OutOfMemory(), False),
        (OperationalError("", {}, errors.QueryCanceled()), False),
        (errors.UniqueViolation(), False),
        (ValueError(), False),
    ],
)
def test_only_what_passes_by_itself_is_waited_for(fault: Exception, passes: bool) -> None:
    assert is_outage(fault) is passes
