"""Engines that somebody else runs."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.core.engines import ModelSpec
from app.core.settings import Settings
from tests.conftest import free_port
from tests.worker.engines import (
    CHAT,
    TESTS,
    chat,
    settings_in,
)
from worker.engine import Engine, EngineError, EngineGone
from worker.engine.connection import Connection


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_in(tmp_path / "var")


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
