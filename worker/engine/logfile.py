"""The engine's output: a file per model, its last lines, and why a start failed."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
from collections.abc import Callable
from pathlib import Path

from worker.engine import answers

logger = logging.getLogger("stoker.engine")

KEPT = 3
_TAIL_BYTES = 64 * 1024
_FOLLOW_SECONDS = 0.5
_BURST_LINES = 50
# It may have a line to say of each request that it held, and a traceback of each of its processes.
_LAST_WORDS_BYTES = 1024 * 1024

_PREFIX = re.compile(
    r"^\(\w+(?:[-_ ]\w+)* pid=\d+\) ?|^(?:ERROR|WARNING|INFO) \d\d-\d\d [\d:]+ \[\S+\] "
)
_LEVEL = re.compile(r"\b(WARNING|ERROR|CRITICAL) \d\d-\d\d [\d:]+ \[")
_FAULT = re.compile(r"^(?:[\w.]+\.)?(\w*(?:Error|Exception|NotFound\w*)): (.+)")
_ARGUMENT = re.compile(r"^\S+\.py: error: (.+)")
_CONSEQUENCES = ("initialization failed", "root cause", "KeyboardInterrupt", "EngineDeadError")


def path_for(folder: Path, model: str) -> Path:
    """The log file of a model."""
    return folder / f"engine-{re.sub(r'[^A-Za-z0-9._-]+', '_', model)}.log"


def rotate(path: Path) -> None:
    """Set the previous start's output aside; the last few are kept."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for number in range(KEPT - 1, -1, -1):
        older = path.with_name(f"{path.name}.{number}") if number else path
        with contextlib.suppress(FileNotFoundError):
            older.replace(path.with_name(f"{path.name}.{number + 1}"))


def tail(path: Path, lines: int) -> list[str]:
    """The file's last lines; none when there is no file."""
    return _end(path, _TAIL_BYTES).decode("utf-8", "replace").splitlines()[-lines:]


def _end(path: Path, most: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - most))
            return file.read()
    except OSError:
        return b""


def tells_of_memory(path: Path) -> bool:
    """Whether the last it said is that its memory ran out."""
    return answers.tells_of_memory(_end(path, _LAST_WORDS_BYTES))


def reason(path: Path) -> str:
    """Why the engine ended, in its own words: its first error that is not another's consequence."""
    lines = [strip(line) for line in tail(path, 2000)]
    for position, line in enumerate(lines):
        argument = _ARGUMENT.match(line)
        if argument:
            return argument[1]
        if "validation error" in line:
            # pydantic: "1 validation error for X", perhaps a field, then the fault.
            details = next((later for later in lines[position + 1 :] if "Value error" in later), "")
            if details:
                return details.strip().removeprefix("Value error, ").partition(" [type=")[0]
        fault = _FAULT.match(line)
        if fault and not any(words in fault[2] for words in _CONSEQUENCES):
            return fault[2].strip()
    spoken = [line for line in lines if line.strip()]
    return spoken[-1].strip() if spoken else "it wrote nothing"


def strip(line: str) -> str:
    """A line without vLLM's process, level, time and place."""
    previous = None
    while line != previous:
        previous, line = line, _PREFIX.sub("", line)
    return line


async def follow(
    path: Path, is_ready: asyncio.Event, is_over: Callable[[], bool] = lambda: False
) -> None:
    """Pass the engine's warnings and errors on to our log as they come, until cancelled.

    The warnings of every start tell an operator nothing: until it is ready they are details. So is
    whatever it says of its end.
    """
    position = 0
    while True:
        await asyncio.sleep(_FOLLOW_SECONDS)
        try:
            with path.open("rb") as file:
                if file.seek(0, os.SEEK_END) < position:
                    position = 0  # truncated, as by logrotate
                file.seek(position)
                text = file.read(_TAIL_BYTES)
        except OSError:
            continue
        whole, newline, _ = text.rpartition(b"\n")
        position += len(whole) + len(newline)
        passed = 0
        for line in whole.decode("utf-8", "replace").splitlines():
            found = _LEVEL.search(line)
            message = strip(line)
            # A traceback's inner lines stay in the file.
            if not found or not message.strip() or message.startswith((" ", "Traceback")):
                continue
            passed += 1
            if passed > _BURST_LINES:
                break
            if is_over():
                logger.debug("%s", message)
            elif found[1] != "WARNING":
                logger.error("%s", message)
            else:
                logger.log(logging.WARNING if is_ready.is_set() else logging.DEBUG, "%s", message)
