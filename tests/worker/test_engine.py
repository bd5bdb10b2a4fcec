"""What an engine answers, with a fake one that refuses, is busy and closes connections when told to."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import orjson
import pytest

from app.core.settings import Settings
from tests.worker.engines import (
    CHAT,
    asked,
    chat,
    fake_spec,
    settings_in,
    tell,
)
from worker.engine import Engine, EngineBusy
from worker.engine.answers import openai_error


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_in(tmp_path / "var")


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
