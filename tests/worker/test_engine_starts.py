"""How an engine starts, or says why it does not, with a fake one that fails when told to."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from app.core.engines import ModelSpec
from app.core.settings import Settings
from tests.worker.engines import (
    CHAT,
    all_gone,
    chat,
    fake_spec,
    family_of,
    settings_in,
    tell,
)
from worker.engine import Engine, EngineError, memory
from worker.engine.logfile import reason
from worker.engine.memory import needed_bytes


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_in(tmp_path / "var")


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
