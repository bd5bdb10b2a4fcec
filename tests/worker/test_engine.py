"""The engine's surroundings, with a fake engine that crashes, freezes and refuses when told to."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import psutil
import pytest

from app.core.engines import ModelSpec
from app.core.settings import Settings
from tests.conftest import free_port
from tests.worker.engines import (
    TESTS,
    all_gone,
    chat,
    eventually,
    fake_spec,
    family_of,
    folders_of,
    is_running,
    no_litter,
    settings_in,
)
from worker.engine import Engine, EngineBusy, EngineError, EngineGone, memory
from worker.engine.answers import Answer, openai_error, tells_of_memory
from worker.engine.connection import Connection
from worker.engine.logfile import reason
from worker.engine.memory import needed_bytes

CHAT = "/v1/chat/completions"
Story = Callable[[Engine], Awaitable[None]]


def tell(settings: Settings, spec: ModelSpec, story: Story) -> Engine:
    """Start the engine, do as the story says, stop it; nothing of it may be left then."""
    engine = Engine(settings)

    async def whole() -> None:
        try:
            await engine.start(spec)
            await story(engine)
        finally:
            family, folders = family_of(settings.run_path), folders_of(settings.run_path)
            await engine.stop()
            assert not [process for process in family if is_running(process)]
            assert list(settings.run_path.iterdir()) == []
            assert no_litter(folders)

    asyncio.run(whole())
    return engine


async def died(engine: Engine) -> None:
    """Wait until the engine's death is noticed."""
    async with asyncio.timeout(60):
        while engine.status != "failed":
            await asyncio.sleep(0.01)


def asked(path: Path) -> list[str]:
    return path.read_text().split() if path.exists() else []


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


# Answers


def test_a_request_is_answered_with_status_and_body(settings: Settings, tmp_path: Path) -> None:
    async def story(engine: Engine) -> None:
        assert engine.status == "ready"
        assert engine.version == "0.0.fake"
        answer = await engine.ask(CHAT, chat("hello there"), "batch_req_1")
        assert answer.is_success
        assert orjson.loads(answer.body)["id"] == "chatcmpl-batch_req_1"
        figures = await engine.metrics()
        assert (figures["prompt_tokens"], figures["generation_tokens"]) == (2, 4)
        assert (figures["finished"], figures["kv_cache_usage"]) == (1, 0.25)

    assert tell(settings, fake_spec(tmp_path), story).status == "stopped"


def test_a_refused_request_is_an_answer_in_openai_words(settings: Settings, tmp_path: Path) -> None:
    async def story(engine: Engine) -> None:
        answer = await engine.ask(CHAT, chat("STATUS 400"), "r")
        assert answer.status_code == 400
        assert openai_error(answer.status_code, answer.body) == {
            "message": "The fake engine was told to answer 400.",
            "type": "invalid_request_error",
            "param": None,
            "code": None,
        }
        answer = await engine.ask(CHAT, chat("STATUS 500"), "s")
        assert openai_error(answer.status_code, answer.body)["type"] == "server_error"

    tell(settings, fake_spec(tmp_path), story)


def test_an_overloaded_engine_is_busy_and_answers_later(settings: Settings, tmp_path: Path) -> None:
    async def story(engine: Engine) -> None:
        for status in (503, 429):
            with pytest.raises(EngineBusy):
                await engine.ask(CHAT, chat(f"STATUS {status} once"), f"r{status}")
            assert (await engine.ask(CHAT, chat(f"STATUS {status} once"), f"r{status}")).is_success
        assert engine.deaths == 0

    tell(settings, fake_spec(tmp_path), story)


def test_a_request_may_take_no_longer_than_it_is_given(settings: Settings, tmp_path: Path) -> None:
    async def story(engine: Engine) -> None:
        with pytest.raises(TimeoutError):
            await engine.ask(CHAT, chat("SLOW 60"), "r", 0.1)
        assert engine.status == "ready"

    tell(settings, fake_spec(tmp_path), story)


def test_cancelling_makes_the_engine_drop_the_request(settings: Settings, tmp_path: Path) -> None:
    async def running(engine: Engine, count: int) -> None:
        while (await engine.metrics())["running"] != count:
            await asyncio.sleep(0.01)

    async def story(engine: Engine) -> None:
        task = asyncio.create_task(engine.ask(CHAT, chat("SLOW 60"), "r"))
        await running(engine, 1)
        assert engine.in_flight == 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert engine.in_flight == 0

    tell(settings, fake_spec(tmp_path), story)


def test_a_lost_connection_to_a_living_engine_is_asked_again_at_once(
    settings: Settings, tmp_path: Path
) -> None:
    log = tmp_path / "asked"

    async def story(engine: Engine) -> None:
        assert (await engine.ask(CHAT, chat("HANGUP once"), "r")).is_success
        assert engine.deaths == 0

    tell(settings, fake_spec(tmp_path, FAKE_LOG=str(log)), story)
    assert asked(log) == ["r", "r"]


def test_idle_connections_that_the_engine_closed_cost_no_request(
    settings: Settings, tmp_path: Path
) -> None:
    log = tmp_path / "asked"

    async def story(engine: Engine) -> None:
        for number in range(3):
            assert (await engine.ask(CHAT, chat("hello"), f"r{number}")).is_success
            await asyncio.sleep(0.15)

    tell(settings, fake_spec(tmp_path, FAKE_LOG=str(log), FAKE_KEEP_ALIVE="0.1"), story)
    assert asked(log) == ["r0", "r1", "r2"]


# Starts


@pytest.mark.parametrize(
    ("log", "said"),
    [
        (
            "(Worker pid=7) ERROR 11-22 02:10:00 [x.py:1] Traceback (most recent call last):\n"
            "(Worker pid=7) ERROR 11-22 02:10:00 [x.py:1]   File 'a', line 1, in b\n"
            "(Worker pid=7) ERROR 11-22 02:10:00 [x.py:1] ValueError: Available memory is less.\n"
            "(EngineCore pid=6) Exception: WorkerProc initialization failed due to an exception\n"
            "(APIServer pid=5) RuntimeError: Engine core initialization failed. See root cause\n",
            "Available memory is less.",
        ),
        ("usage: serve.py\nserve.py: error: unrecognized arguments: --x\n", "unrecognized"),
        (
            "(APIServer pid=5) pydantic_core.ValidationError: 1 validation error for ModelConfig\n"
            "  Value error, No model here. [type=value_error, input_value=1]\n    For further\n",
            "No model here.",
        ),
        ("something\nlast words\n\n", "last words"),
        ("", "it wrote nothing"),
    ],
)
def test_a_failed_start_is_explained_by_its_first_cause(
    tmp_path: Path, log: str, said: str
) -> None:
    path = tmp_path / "log"
    path.write_text(log)
    assert reason(path).startswith(said)


def test_an_engine_that_cannot_start_says_why(settings: Settings, tmp_path: Path) -> None:
    engine = Engine(settings)
    spec = fake_spec(tmp_path, FAKE_START_ERROR="ValueError: no room for the KV cache")
    with pytest.raises(EngineError, match=r"engine of fake ended.*: no room for the KV cache"):
        asyncio.run(engine.start(spec))
    assert engine.status == "failed"
    assert list(settings.run_path.iterdir()) == []


def test_an_engine_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    settings = settings_in(tmp_path / "var", engine_start_seconds=0.3)
    engine = Engine(settings)
    with pytest.raises(EngineError, match=r"not ready within 0\.3 s"):
        asyncio.run(engine.start(fake_spec(tmp_path, FAKE_START_DELAY="60")))
    assert list(settings.run_path.iterdir()) == []


def test_a_start_can_be_stopped(settings: Settings, tmp_path: Path) -> None:
    async def story() -> None:
        engine = Engine(settings)
        start = asyncio.create_task(engine.start(fake_spec(tmp_path, FAKE_START_DELAY="60")))
        while not (family := family_of(settings.run_path)):
            await asyncio.sleep(0.01)
        await engine.stop()
        assert engine.status == "stopped"
        with pytest.raises(EngineError, match="stopped while it started"):
            await start
        all_gone(family)

    asyncio.run(story())


def test_a_missing_folder_is_named_before_vllm_is_asked(settings: Settings, tmp_path: Path) -> None:
    spec = ModelSpec(name="m", registry_folder=tmp_path, path="/nowhere/model")
    with pytest.raises(EngineError, match="The model m has no folder /nowhere/model"):
        asyncio.run(Engine(settings).start(spec))


def test_a_model_too_large_for_the_memory_is_refused_with_both_sizes(
    settings: Settings, tmp_path: Path
) -> None:
    spec = fake_spec(tmp_path).model_copy(update={"memory_bytes": 10**15})
    engine = Engine(settings)
    engine.memory_wait_seconds = 0
    with pytest.raises(EngineError, match=r"needs 1000000\.0 GB of memory, \d+\.\d GB are free"):
        asyncio.run(engine.start(spec))


def test_an_engine_says_what_it_lacks_only_as_long_as_that_is_true(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = fake_spec(tmp_path).model_copy(update={"memory_bytes": 2 * 10**9})
    free = 10**9
    monkeypatch.setattr(memory, "_free", lambda *_: (free, 10**10))
    engine = Engine(settings)
    engine.memory_wait_seconds = 0
    assert engine.shortage() is None

    with pytest.raises(EngineError):
        asyncio.run(engine.start(spec))

    said = f"The model {spec.name} needs 2.0 GB of memory, 1.0 GB are free."
    assert engine.shortage() == (spec.name, said)
    free = 3 * 10**9
    assert engine.shortage() is None


def test_the_memory_a_model_needs_follows_its_files_and_flags(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(bytes(1000))

    def needed(*flags: str, on_cpu: bool = True, **env: str) -> int:
        spec = ModelSpec(
            name="m", registry_folder=tmp_path, path=str(tmp_path), flags=flags, env=env
        )
        return needed_bytes(spec, on_cpu, 10**11)

    bare = needed()
    assert needed("--kv-cache-memory-bytes=1G") - bare == 2**30
    assert needed("--kv-cache-memory-bytes", "5000") - bare == 5000
    assert needed(VLLM_CPU_KVCACHE_SPACE="2") - bare == 2**31
    assert needed("--gpu-memory-utilization=0.5", on_cpu=False) == 5 * 10**10


def test_a_deep_data_folder_does_not_make_the_socket_path_too_long(tmp_path: Path) -> None:
    async def story(engine: Engine) -> None:
        assert (await engine.ask(CHAT, chat("hello"), "r")).is_success

    tell(settings_in(tmp_path / ("d" * 90) / "var"), fake_spec(tmp_path), story)


# Deaths


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


# Freezes


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


# External engines


def external(server: subprocess.Popen[bytes], tmp_path: Path, port: int) -> ModelSpec:
    assert server.poll() is None
    return ModelSpec(name="fake", registry_folder=tmp_path, url=f"http://127.0.0.1:{port}")


@pytest.fixture
def serve() -> Iterator[Callable[[int], subprocess.Popen[bytes]]]:
    started = []

    def start(port: int) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, str(TESTS / "fake_engine.py"), "--port", str(port)]
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_an_external_engine_is_waited_for_asked_and_not_stopped(
    settings: Settings,
    tmp_path: Path,
    serve: Callable[[int], subprocess.Popen[bytes]],
) -> None:
    port = free_port()
    server = serve(port)

    async def story() -> None:
        engine = Engine(settings)
        spec = external(server, tmp_path, port)
        await engine.start(spec)
        assert engine.version == "0.0.fake"
        assert engine.flags == []
        assert (await engine.ask(CHAT, chat("hello"), "r")).is_success
        await engine.stop()
        assert server.poll() is None
        await engine.start(spec)
        server.kill()
        server.wait()
        with pytest.raises(EngineGone):
            await engine.ask(CHAT, chat("hello"), "r")
        assert engine.deaths == 1
        serve(port)
        await engine.start(spec)
        assert (await engine.ask(CHAT, chat("hello"), "r")).is_success
        await engine.stop()

    asyncio.run(story())


def test_an_external_engines_missing_key_is_named(settings: Settings, tmp_path: Path) -> None:
    spec = ModelSpec(
        name="m", registry_folder=tmp_path, url="http://127.0.0.1:9", api_key_env="ABSENT_KEY"
    )
    with pytest.raises(EngineError, match="ABSENT_KEY, which is not set"):
        asyncio.run(Engine(settings).start(spec))


def test_an_external_engines_key_goes_along(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SOME_KEY", "secret")
    spec = ModelSpec(name="m", registry_folder=tmp_path, url="http://x", api_key_env="SOME_KEY")

    async def headers() -> str:
        connection = Connection(spec, None)
        try:
            return connection._session.headers["Authorization"]
        finally:
            await connection.close()

    assert asyncio.run(headers()) == "Bearer secret"


# Errors


@pytest.mark.parametrize(
    ("status", "body", "kind", "code"),
    [
        (404, {"error": {"message": "The model `x` does not exist.", "code": 404}}, "invalid_request_error", "model_not_found"),
        (400, {"error": {"message": "This model's maximum context length is 8."}}, "invalid_request_error", "context_length_exceeded"),
        (422, {"detail": [{"loc": ["body"]}]}, "invalid_request_error", None),
        (401, {"error": "Unauthorized"}, "authentication_error", None),
        (500, {"error": {"message": "boom", "code": 500, "type": "X"}}, "server_error", None),
    ],
)  # fmt: skip
def test_errors_speak_openais_words(
    status: int, body: dict[str, Any], kind: str, code: str | None
) -> None:
    error = openai_error(status, orjson.dumps(body))
    assert (error["type"], error["code"]) == (kind, code)
    assert error["message"]


def test_an_error_that_is_no_json_keeps_its_text() -> None:
    assert openai_error(502, b"Bad Gateway")["message"] == "Bad Gateway"
    assert openai_error(502, b"")["message"] == "The engine answered 502."
