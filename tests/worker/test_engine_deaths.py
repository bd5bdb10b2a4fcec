"""An engine that crashes, freezes or is stopped: noticed, ended with all of its family, never an answer."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from app.core.engines import ModelSpec
from app.core.settings import Settings
from tests.worker.engines import (
    CHAT,
    TESTS,
    all_gone,
    asked,
    chat,
    died,
    eventually,
    fake_spec,
    family_of,
    is_running,
    settings_in,
    tell,
)
from worker.engine import Engine, EngineGone
from worker.engine.answers import Answer, tells_of_memory


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_in(tmp_path / "var")


@pytest.fixture
def held(settings: Settings, tmp_path: Path) -> Iterator[Callable[[ModelSpec], Any]]:
    """Starts a process that holds an engine, like a worker, and can be killed."""
    started: list[subprocess.Popen[str]] = []

    def hold(spec: ModelSpec) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [
                sys.executable,
                str(Path(__file__).with_name("hold_engine.py")),
                str(settings.var_path),
                spec.model_dump_json(),
            ],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(TESTS.parent)},
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    yield hold
    for process in started:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def test_a_crash_is_noticed_at_once_and_is_no_answer(settings: Settings, tmp_path: Path) -> None:
    log = tmp_path / "asked"

    async def story(engine: Engine) -> None:
        slow = asyncio.create_task(engine.ask(CHAT, chat("SLOW 60"), "slow"))
        while "slow" not in asked(log):
            await asyncio.sleep(0.01)
        with pytest.raises(EngineGone, match="exit code 1"):
            await engine.ask(CHAT, chat("CRASH"), "crash")
        with pytest.raises(EngineGone, match="exit code 1"):
            await slow
        with pytest.raises(EngineGone):
            await engine.ask(CHAT, chat("hello"), "late")
        assert (engine.status, engine.deaths) == ("failed", 1)
        await engine.start(spec)
        assert (await engine.ask(CHAT, chat("hello"), "again")).is_success
        assert (engine.status, engine.deaths) == ("ready", 1)

    spec = fake_spec(tmp_path, FAKE_LOG=str(log))
    tell(settings, spec, story)
    assert asked(log) == ["slow", "crash", "again"]


@pytest.mark.parametrize(
    ("said", "is_memory"),
    [
        (b"torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.", True),
        (b"RuntimeError: CUDA error: out of memory", True),
        (b"DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.", True),
        (b"terminate called after throwing an instance of 'std::bad_alloc'", True),
        (b"Lower gpu_memory_utilization if you run out of memory.", False),
        (b"EngineDeadError", False),
    ],
)
def test_an_engine_says_that_its_memory_ran_out(said: bytes, is_memory: bool) -> None:
    assert tells_of_memory(said) is is_memory
    assert Answer(500, said).ran_out_of_memory is is_memory
    assert not Answer(400, said).ran_out_of_memory


def test_a_stop_is_no_death(settings: Settings, tmp_path: Path) -> None:
    async def story(engine: Engine) -> None:
        slow = asyncio.create_task(engine.ask(CHAT, chat("SLOW 60"), "slow"))
        await asyncio.sleep(0.1)
        await engine.stop()
        with pytest.raises(EngineGone):
            await slow
        assert (engine.status, engine.deaths) == ("stopped", 0)

    tell(settings, fake_spec(tmp_path), story)


def test_no_process_of_a_family_that_ignores_sigterm_outlives_a_stop(
    settings: Settings, tmp_path: Path
) -> None:
    marks: list[psutil.Process] = []

    async def story(engine: Engine) -> None:
        guard = family_of(settings.run_path)[0]
        eventually(lambda: len(psutil.Process(guard.pid).children(recursive=True)) == 3)
        marks.extend(guard.children(recursive=True))

    tell(settings, fake_spec(tmp_path, FAKE_FAMILY="1"), story)
    assert not [process for process in marks if is_running(process)]


def test_a_killed_server_takes_its_family_along(
    settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def story(engine: Engine) -> None:
        guard = family_of(settings.run_path)[0]
        server = guard.children()[0]
        eventually(lambda: len(guard.children(recursive=True)) == 3)
        family = guard.children(recursive=True)
        os.kill(server.pid, signal.SIGKILL)
        await died(engine)
        assert "exit code 137" in caplog.text
        all_gone(family)

    tell(settings, fake_spec(tmp_path, FAKE_FAMILY="1"), story)


def test_a_killed_guard_takes_the_server_along_and_the_next_start_the_rest(
    settings: Settings, tmp_path: Path
) -> None:
    async def story(engine: Engine) -> None:
        guard = family_of(settings.run_path)[0]
        eventually(lambda: len(guard.children(recursive=True)) == 3)
        family = [p for p in family_of(settings.run_path) if p != guard]
        guard.kill()
        await died(engine)
        await engine.start(spec)
        assert not [process for process in family if is_running(process)]
        assert (await engine.ask(CHAT, chat("hello"), "again")).is_success

    spec = fake_spec(tmp_path, FAKE_FAMILY="1")
    tell(settings, spec, story)


def test_nothing_lives_on_when_the_worker_is_killed(
    settings: Settings, tmp_path: Path, held: Callable[[ModelSpec], Any]
) -> None:
    worker = held(fake_spec(tmp_path, FAKE_FAMILY="1"))
    guard = family_of(settings.run_path)[0]
    eventually(lambda: len(guard.children(recursive=True)) == 3)
    family = [guard, *guard.children(recursive=True)]
    worker.kill()
    all_gone(family)


def test_a_start_ends_what_a_killed_worker_and_guard_left(
    settings: Settings, tmp_path: Path, held: Callable[[ModelSpec], Any]
) -> None:
    worker = held(fake_spec(tmp_path, FAKE_FAMILY="1"))
    guard = family_of(settings.run_path)[0]
    eventually(lambda: len(guard.children(recursive=True)) == 3)
    left = [p for p in family_of(settings.run_path) if p.pid != guard.pid]
    guard.kill()
    worker.kill()
    worker.wait()
    eventually(lambda: sum(map(is_running, left)) == 1)

    async def story(engine: Engine) -> None:
        all_gone(left)

    tell(settings, fake_spec(tmp_path), story)


def test_a_start_leaves_another_living_workers_engine_alone(
    settings: Settings, tmp_path: Path, held: Callable[[ModelSpec], Any]
) -> None:
    held(fake_spec(tmp_path))
    theirs = family_of(settings.run_path)
    engine = Engine(settings)

    async def whole() -> None:
        await engine.start(fake_spec(tmp_path))
        await engine.stop()

    asyncio.run(whole())
    assert len(theirs) == 2
    assert all(map(is_running, theirs))


def test_an_engine_that_makes_no_tokens_is_ended(tmp_path: Path) -> None:
    async def story(engine: Engine) -> None:
        assert (await engine.ask(CHAT, chat("hello"), "r1")).is_success
        with pytest.raises(EngineGone, match="makes no tokens"):
            await engine.ask(CHAT, chat("hello"), "r2")
        assert (engine.status, engine.deaths) == ("failed", 1)

    settings = settings_in(tmp_path / "var", engine_stall_seconds=2.0)
    tell(settings, fake_spec(tmp_path, FAKE_FREEZE="2"), story)


def test_a_stopped_server_process_is_noticed_with_and_without_requests(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def story(engine: Engine) -> None:
        for has_request in (True, False):
            guard = family_of(settings.run_path)[0]
            server = next(p for p in family_of(settings.run_path) if p.pid != guard.pid)
            task = asyncio.create_task(engine.ask(CHAT, chat("SLOW 60"), "r"))
            await asyncio.sleep(0.1)
            if not has_request:
                task.cancel()
            os.kill(server.pid, signal.SIGSTOP)
            await died(engine)
            assert "does not answer" in caplog.text
            caplog.clear()
            with pytest.raises((EngineGone, asyncio.CancelledError)):
                await task
            await asyncio.to_thread(all_gone, [server])  # its end needs this loop
            await engine.start(spec)

    settings = settings_in(tmp_path / "var", engine_stall_seconds=1.0)
    spec = fake_spec(tmp_path)
    tell(settings, spec, story)


def test_an_engine_that_only_works_slowly_is_left_alone(tmp_path: Path) -> None:
    async def story(engine: Engine) -> None:
        # Together they take longer than it may stall, and no one of them does by far.
        asks = [engine.ask(CHAT, chat(f"SLOW {0.8 * n:.1f}"), f"r{n}") for n in range(1, 6)]
        assert all(answer.is_success for answer in await asyncio.gather(*asks))
        assert engine.deaths == 0

    settings = settings_in(tmp_path / "var", engine_stall_seconds=3.0)
    tell(settings, fake_spec(tmp_path), story)
