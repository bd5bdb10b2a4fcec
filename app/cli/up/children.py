"""What the supervisor keeps alive: programs whose lines it relays, and the Postgres server."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from app.core import embedded

TETHER = Path(__file__).with_name("tether.py")
ROOT = Path(__file__).parents[3]
POLL_SECONDS = 0.05
LAST_LINES = 12
LONGEST_LINE_BYTES = 64 * 1024

Write = Callable[[str, str], None]


class Child(Protocol):
    """Something that runs until it dies or is stopped."""

    name: str
    last_lines: deque[str]

    @property
    def pid(self) -> int | None: ...
    async def start(self) -> None: ...
    async def wait(self) -> str:
        """Wait until it has ended; says how."""
        ...

    def terminate(self) -> None: ...
    def kill(self) -> None: ...


class Program:
    """A command in a process group of its own that dies with this process.

    It is to be started from the main thread: the kernel's parent is the thread, not the process.
    """

    def __init__(
        self, name: str, command: Sequence[str], environment: Mapping[str, str], write: Write
    ) -> None:
        self.name = name
        self.last_lines: deque[str] = deque(maxlen=LAST_LINES)
        self._command = list(command)
        self._environment = dict(environment)
        self._write = write
        self._process: subprocess.Popen[bytes] | None = None
        self._unended = b""

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    async def start(self) -> None:
        tether = [sys.executable, "-I", "-S", str(TETHER), str(os.getpid())]
        self._process = subprocess.Popen(  # noqa: ASYNC220
            [*tether, *self._command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=self._environment,
            cwd=ROOT,
            start_new_session=True,
            bufsize=0,
        )
        assert self._process.stdout is not None
        output = self._process.stdout.fileno()
        os.set_blocking(output, False)
        asyncio.get_running_loop().add_reader(output, self._read, output)

    async def wait(self) -> str:
        process = self._process
        assert process is not None
        assert process.stdout is not None
        while process.poll() is None:
            await asyncio.sleep(POLL_SECONDS)
        self._signal_group(signal.SIGKILL)
        # What it said last is in the pipe; what others still hold it open for is not awaited.
        output = process.stdout.fileno()
        self._read(output)
        asyncio.get_running_loop().remove_reader(output)
        process.stdout.close()
        if self._unended:
            self._take_line(self._unended)
            self._unended = b""
        self._process, code = None, process.returncode
        if code < 0:
            return f"was killed by {signal.Signals(-code).name}"
        return f"ended with exit code {code}"

    def terminate(self) -> None:
        if self._process and self._process.poll() is None:
            self._process.terminate()

    def kill(self) -> None:
        self._signal_group(signal.SIGKILL)

    def _signal_group(self, number: int) -> None:
        if self._process:
            try:
                os.killpg(self._process.pid, number)
            except (ProcessLookupError, PermissionError):
                pass

    def _read(self, output: int) -> None:
        while True:
            try:
                read = os.read(output, LONGEST_LINE_BYTES)
            except BlockingIOError:
                return
            if not read:
                asyncio.get_running_loop().remove_reader(output)
                return
            *lines, self._unended = (self._unended + read).split(b"\n")
            if len(self._unended) > LONGEST_LINE_BYTES:
                lines.append(self._unended)
                self._unended = b""
            for line in lines:
                self._take_line(line)

    def _take_line(self, line: bytes) -> None:
        text = line.decode("utf-8", "replace").rstrip("\r")
        self.last_lines.append(text)
        self._write(self.name, text)


class PostgresServer:
    """The embedded server: outlives a killed supervisor, and is stopped by one that ends."""

    name = "postgres"

    def __init__(self, base: Path) -> None:
        self.last_lines: deque[str] = deque(maxlen=LAST_LINES)
        self.base = base
        self.url = embedded.url(base)

    @property
    def pid(self) -> int | None:
        return embedded.pid(self.base)

    async def start(self) -> None:
        self.url = await asyncio.to_thread(embedded.start, self.base)

    async def wait(self) -> str:
        while embedded.is_running(self.base):
            await asyncio.sleep(10 * POLL_SECONDS)
        return "has ended"

    async def stop(self, timeout_seconds: float) -> None:
        await asyncio.to_thread(embedded.stop, self.base, "fast", timeout_seconds)

    def terminate(self) -> None: ...
    def kill(self) -> None: ...
