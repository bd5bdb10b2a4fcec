"""What the engine's tests share: models that the fake engine or real vLLM serve, and processes."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import orjson
import psutil

from app.core.engines import ModelSpec
from app.core.settings import Settings
from worker.engine import Engine

TESTS = Path(__file__).resolve().parents[1]
CHAT = "/v1/chat/completions"

Story = Callable[[Engine], Awaitable[None]]


def fake_spec(tmp_path: Path, **env: str) -> ModelSpec:
    """A model that the fake engine serves; `env` tells it how to misbehave."""
    return ModelSpec(
        name="fake",
        registry_folder=tmp_path,
        path="fake",
        command=("python", str(TESTS / "fake_engine.py"), "--uds", "{socket}"),
        env=env,
    )


def settings_in(folder: Path, **others: Any) -> Settings:
    """Settings with their data folder there."""
    return Settings(var=folder, **{"engine_start_seconds": 120.0, **others})


def chat(text: str, **others: Any) -> bytes:
    """The body of a chat request."""
    messages = [{"role": "user", "content": text}]
    return orjson.dumps({"model": "fake", "messages": messages, **others})


def family_of(folder: Path) -> list[psutil.Process]:
    """The guard, and after it everything in the engine's session, as its footprint in `folder` names it.

    It is first by its own number: when the system's numbers begin anew, it is not the lowest.
    """
    found = []
    for path in folder.glob("engine-*.json"):
        leader = orjson.loads(path.read_bytes())["guard_pid"]
        for process in psutil.process_iter():
            try:
                if os.getsid(process.pid) == leader:
                    found.append(process)
            except (OSError, psutil.Error):
                continue
        found.sort(key=lambda process: process.pid != leader)
    return found


def folders_of(run_path: Path) -> list[Path]:
    """Where the runs that have a footprint keep their sockets; shared memory is named after it."""
    found = [orjson.loads(path.read_bytes()) for path in run_path.glob("engine-*.json")]
    return [Path(footprint["folder"]) for footprint in found]


def no_litter(folders: list[Path]) -> bool:
    """Whether nothing of these runs is left, on disk or in shared memory."""
    return not any(
        folder.exists() or list(Path("/dev/shm").glob(f"*{folder.name}*")) for folder in folders
    )


def is_running(process: psutil.Process) -> bool:
    """Whether it lives; a zombie does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def eventually(claim: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait until the claim holds; the limit only bounds a test that fails."""
    deadline = time.monotonic() + seconds
    while not claim():
        assert time.monotonic() < deadline, "it did not become so in time"
        time.sleep(0.02)


def all_gone(processes: list[psutil.Process], seconds: float = 60.0) -> None:
    """Wait until none of them lives."""
    eventually(lambda: not any(is_running(process) for process in processes), seconds)


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
