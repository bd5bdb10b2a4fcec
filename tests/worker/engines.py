"""What the engine's tests share: models that the fake engine or real vLLM serve, and processes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import psutil

from app.core.engines import ModelSpec
from app.core.settings import Settings

TESTS = Path(__file__).resolve().parents[1]


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
    """The guard and everything in the engine's session, as its footprint in `folder` names it."""
    found = []
    for path in folder.glob("engine-*.json"):
        leader = orjson.loads(path.read_bytes())["guard_pid"]
        for process in psutil.process_iter():
            try:
                if os.getsid(process.pid) == leader:
                    found.append(process)
            except (OSError, psutil.Error):
                continue
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
