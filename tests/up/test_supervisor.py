"""The supervisor, with small programs in the place of ours."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from app.cli.up.children import TETHER
from tests.conftest import wait_until
from tests.worker.engines import is_running

SLEEPER = "import time; print('ready', flush=True); time.sleep(600)"
# Ignores the polite request, and has a process of its own beside it.
STUBBORN = (
    "import signal, subprocess, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
    "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']); "
    "print('ready', flush=True); time.sleep(600)"
)
DYING = "import sys; print('out of cheese', flush=True); sys.exit(3)"

DRIVER = """
import asyncio, os, signal, sys
from app.cli.up import supervisor
from app.cli.up.children import Program
from app.cli.up.supervisor import ChildFailed, Supervisor

supervisor.STOP_SECONDS = 1.0

async def main():
    watched = Supervisor(lambda name, text: print(f"{name} | {text}", flush=True), 0.02)
    ended = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.cancel)
    for number, code in enumerate(sys.argv[1:]):
        child = Program(f"child{number}", [sys.executable, "-c", code], os.environ, watched._write)
        await watched.start(child)
    try:
        await asyncio.wait({ended, watched.failed}, return_when=asyncio.FIRST_COMPLETED)
        if watched.failed.done():
            watched.failed.result()
    finally:
        await watched.stop()

try:
    asyncio.run(main())
except ChildFailed as fault:
    print(fault)
    sys.exit(1)
"""


class Supervised:
    """A supervisor in a process of its own."""

    def __init__(self, log: Path, *codes: str) -> None:
        self._log = log
        with open(log, "wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-c", DRIVER, *codes], stdout=output, stderr=subprocess.STDOUT
            )

    @property
    def said(self) -> str:
        return self._log.read_text()

    def family(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def wait_for(self, text: str, times: int = 1) -> None:
        wait_until(lambda: self.said.count(text) >= times, f"{text!r} in {self.said!r}")


Start = Callable[..., Supervised]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[Supervised] = []

    def start(*codes: str) -> Supervised:
        started.append(Supervised(tmp_path / f"log{len(started)}", *codes))
        return started[-1]

    yield start
    for supervised in started:
        if supervised.process.poll() is None:
            supervised.process.kill()
            supervised.process.wait()


def are_gone(family: list[psutil.Process]) -> bool:
    return not any(map(is_running, family))


def test_a_killed_child_is_started_again_with_one_line(start: Start) -> None:
    supervised = start(SLEEPER)
    supervised.wait_for("child0 | ready")
    (child,) = supervised.family()
    child.kill()
    supervised.wait_for("child0 | ready", times=2)
    lines = [line for line in supervised.said.splitlines() if line.startswith("up |")]
    assert lines == ["up | child0 was killed by SIGKILL; it is started again in 0.02 s"]


def test_five_deaths_in_a_minute_end_everything_with_the_reason(start: Start) -> None:
    supervised = start(SLEEPER, DYING)
    supervised.wait_for("child0 | ready")
    assert supervised.process.wait(60) == 1
    assert supervised.said.count("it is started again") == 4
    last = supervised.said.partition("for the 5th time within a minute.")
    assert last[0].endswith("child1 ended with exit code 3, ")
    assert "out of cheese" in last[2]


def test_a_command_that_does_not_exist_is_named() -> None:
    ran = subprocess.run(
        [sys.executable, TETHER, str(os.getpid()), "/no/such"], capture_output=True, text=True
    )
    assert ran.returncode == 1
    assert ran.stderr == "/no/such can't be started: No such file or directory\n"


def test_sigterm_leaves_no_process(start: Start) -> None:
    supervised = start(SLEEPER, STUBBORN)
    supervised.wait_for("| ready", times=2)
    family = supervised.family()
    assert len(family) == 3
    supervised.process.terminate()
    assert supervised.process.wait(60) == 0 or "CancelledError" in supervised.said
    assert are_gone(family)


def test_a_killed_supervisor_takes_its_children_along(start: Start) -> None:
    supervised = start(SLEEPER, SLEEPER)
    supervised.wait_for("| ready", times=2)
    family = supervised.family()
    assert len(family) == 2
    os.kill(supervised.process.pid, signal.SIGKILL)
    supervised.process.wait()
    wait_until(lambda: are_gone(family), "the children end")


def test_a_child_that_floods_its_output_is_relayed_whole(start: Start) -> None:
    code = "print('x' * 300_000 + 'end', flush=True); import time; time.sleep(600)"
    supervised = start(code)
    supervised.wait_for("end\n")
    assert supervised.said.count("x") >= 300_000
