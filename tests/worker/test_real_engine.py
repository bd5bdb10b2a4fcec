"""Real vLLM on the tiny model: that what we believe of it holds."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import orjson
import psutil
import pytest

from app.core.engines import ModelSpec
from app.core.settings import Settings
from tests import tiny_model
from tests.worker.engines import (
    TESTS,
    all_gone,
    family_of,
    folders_of,
    is_running,
    no_litter,
    settings_in,
)
from worker.engine import Engine, EngineError, EngineGone, openai_error

pytestmark = [pytest.mark.engine, pytest.mark.timeout(400)]

CHAT = "/v1/chat/completions"
Result = TypeVar("Result")


def body(**fields: Any) -> bytes:
    messages = [{"role": "user", "content": "Say something."}]
    return orjson.dumps({"model": "tiny", "messages": messages, "max_tokens": 8, **fields})


# Sixty answers of 900 tokens: even the tiny model needs many seconds for them.
LONG = body(max_tokens=900, ignore_eos=True, n=60)


def called(processes: list[psutil.Process]) -> str:
    return " ".join(process.name() for process in processes)


@dataclass
class Served:
    """One engine for all tests of this module, in an event loop that lasts as long."""

    runner: asyncio.Runner
    engine: Engine
    settings: Settings
    spec: ModelSpec

    def run(self, story: Coroutine[Any, Any, Result]) -> Result:
        return self.runner.run(story)

    def family(self) -> list[psutil.Process]:
        return family_of(self.settings.run_path)


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> ModelSpec:
    folder = tiny_model.build(tmp_path_factory.mktemp("tiny"))
    return ModelSpec(name="tiny", registry_folder=folder, path=str(folder), flags=tiny_model.FLAGS)


@pytest.fixture(scope="module")
def served(spec: ModelSpec, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    settings = settings_in(tmp_path_factory.mktemp("var"), engine_start_seconds=200.0)
    with asyncio.Runner() as runner:
        engine = Engine(settings)
        served = Served(runner, engine, settings, spec)
        try:
            runner.run(engine.start(spec))
            yield served
        finally:
            family = served.family()
            folders = folders_of(settings.run_path)
            runner.run(engine.stop())
        assert not [process for process in family if is_running(process)]
        assert list(settings.run_path.iterdir()) == []
        assert no_litter(folders)


def test_a_chat_is_answered_under_our_request_id(served: Served) -> None:
    answer = served.run(served.engine.ask(CHAT, body(), "batch_req_7"))
    assert answer.is_success
    content = orjson.loads(answer.body)
    assert content["id"] == "chatcmpl-batch_req_7"
    assert content["model"] == "tiny"
    assert content["usage"]["completion_tokens"] <= 8
    assert served.engine.version
    assert "--enforce-eager" in served.engine.flags


def test_a_completion_and_a_response_are_answered(served: Served) -> None:
    asked = orjson.dumps({"model": "tiny", "prompt": "Once", "max_tokens": 4})
    answer = served.run(served.engine.ask("/v1/completions", asked, "r1"))
    assert orjson.loads(answer.body)["choices"][0]["finish_reason"]
    asked = orjson.dumps({"model": "tiny", "input": "Once", "max_output_tokens": 4})
    answer = served.run(served.engine.ask("/v1/responses", asked, "r2"))
    assert orjson.loads(answer.body)["usage"]["output_tokens"] <= 4


def test_a_repeated_prompt_is_counted_as_cached(served: Served) -> None:
    messages = [{"role": "user", "content": "The same long words again and again. " * 8}]
    for number in range(2):
        answer = served.run(served.engine.ask(CHAT, body(messages=messages), f"c{number}"))
    details = orjson.loads(answer.body)["usage"]["prompt_tokens_details"]
    assert details["cached_tokens"] > 0
    assert served.run(served.engine.metrics())["prefix_cache_hits"] > 0


def test_a_wrong_temperature_is_refused_in_openais_words(served: Served) -> None:
    answer = served.run(served.engine.ask(CHAT, body(temperature=-3), "r"))
    assert answer.status_code == 400
    error = openai_error(answer.status_code, answer.body)
    assert error["type"] == "invalid_request_error"
    assert "temperature" in error["message"]
    assert error["code"] is None


def test_an_unknown_model_is_refused_in_openais_words(served: Served) -> None:
    answer = served.run(served.engine.ask(CHAT, body(model="other"), "r"))
    assert answer.status_code == 404
    assert openai_error(answer.status_code, answer.body)["code"] == "model_not_found"


def test_a_cancelled_request_leaves_the_engine(served: Served) -> None:
    async def story() -> None:
        task = asyncio.create_task(served.engine.ask(CHAT, LONG, "long"))
        while not (await served.engine.metrics())["running"]:
            assert not task.done()
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        while (await served.engine.metrics())["running"] != 0:
            await asyncio.sleep(0.01)

    served.run(story())


@pytest.mark.faults
def test_a_killed_core_is_noticed_and_the_next_start_answers_again(
    served: Served, spec: ModelSpec
) -> None:
    async def story() -> None:
        engine, family = served.engine, served.family()
        assert "EngineCore" in called(family)
        asks = [asyncio.create_task(engine.ask(CHAT, LONG, f"k{number}")) for number in range(4)]
        while not (await engine.metrics())["running"]:
            await asyncio.sleep(0.01)
        core = next(process for process in family if "EngineCore" in process.name())
        os.kill(core.pid, signal.SIGKILL)
        async with asyncio.timeout(60):
            outcomes = await asyncio.gather(*asks, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [EngineGone] * len(asks)
        assert (engine.status, engine.deaths) == ("failed", 1)
        await engine.start(spec)
        assert not [process for process in family if is_running(process)]
        assert (await engine.ask(CHAT, body(), "again")).is_success

    served.run(story())


@pytest.mark.faults
def test_nothing_lives_on_when_the_worker_is_killed(
    served: Served, spec: ModelSpec, tmp_path: Path
) -> None:
    served.run(served.engine.stop())  # there is room for one engine
    holder = subprocess.Popen(
        [
            sys.executable,
            str(Path(__file__).with_name("hold_engine.py")),
            str(tmp_path),
            spec.model_dump_json(),
        ],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(TESTS.parent)},
    )
    assert holder.stdout is not None
    with holder, holder.stdout:
        assert holder.stdout.readline() == b"ready\n"
        family = family_of(tmp_path / "run")
        assert "EngineCore" in called(family)
        folders = folders_of(tmp_path / "run")
        holder.kill()
        all_gone(family)
        assert len(folders) == 1
        assert no_litter(folders)


def test_a_wrong_flag_is_named(tmp_path: Path, spec: ModelSpec) -> None:
    wrong = spec.model_copy(update={"flags": ("--no-such-flag",)})
    with pytest.raises(EngineError, match=r"unrecognized arguments: --no-such-flag"):
        asyncio.run(Engine(settings_in(tmp_path, engine_start_seconds=200.0)).start(wrong))
