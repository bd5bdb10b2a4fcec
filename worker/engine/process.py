"""One run of the engine's processes: spawned behind the guard, remembered, and ended whole."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from worker.engine.guard import clean

_PROGRAM = str(Path(sys.executable).resolve())
GUARD = Path(__file__).with_name("guard.py")
# The guard's own grace, and some time to collect what it killed.
STOP_SECONDS = 6.0
# A unix socket's path has at most 107 bytes, and vLLM adds 37 of its own to the folder's.
_LONGEST_FOLDER = 60


@dataclass(frozen=True)
class Footprint:
    """What a run leaves to be found by: its guard, the worker that started it, its folder."""

    boot_id: str
    guard_pid: int
    guard_started: int
    worker_pid: int
    worker_started: int
    program: str
    folder: str


class EngineProcess:
    """The guard's process and all below it.

    Start it in the thread that lives as long as the worker: the kernel ends the guard with the
    thread that made it.
    """

    def __init__(self, process: asyncio.subprocess.Process, footprint: Path, folder: Path) -> None:
        self._process = process
        self._footprint = footprint
        self._folder = folder

    @classmethod
    async def spawn(
        cls,
        command: list[str],
        environment: dict[str, str],
        *,
        working_folder: Path,
        folder: Path,
        run_path: Path,
        log: Path,
    ) -> EngineProcess:
        """Start the command in its own session; its output goes to the file `log`."""
        guard = [sys.executable, "-I", "-S", str(GUARD), str(os.getpid()), str(folder), "--"]
        with log.open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                *guard,
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=asyncio.subprocess.STDOUT,
                env=environment,
                cwd=working_folder,
                start_new_session=True,
            )
        path = run_path / f"engine-{process.pid}.json"
        footprint = Footprint(
            boot_id=_boot_id(),
            guard_pid=process.pid,
            guard_started=_started(process.pid) or 0,
            worker_pid=os.getpid(),
            worker_started=_started(os.getpid()) or 0,
            program=_PROGRAM,
            folder=str(folder),
        )
        path.write_text(json.dumps(asdict(footprint)))
        return cls(process, path, folder)

    @property
    def pid(self) -> int:
        """The guard's process id, which is also the family's session."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether the guard still runs; while it does, something of the engine may."""
        return self._process.returncode is None

    async def wait(self) -> int:
        """Wait until nothing is left; returns the exit code of the command."""
        code = await self._process.wait()
        if code < 0:  # the guard itself was killed: the kernel ended only the server below it
            await asyncio.to_thread(end_session, self.pid)
        return code

    async def end(self, *, at_once: bool = False) -> None:
        """End the whole family: within a short grace, or at once. Returns when it is gone."""
        if self.is_alive:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGQUIT if at_once else signal.SIGTERM)
            try:
                await asyncio.wait_for(self._process.wait(), STOP_SECONDS)
            except TimeoutError:
                await asyncio.to_thread(end_session, self.pid)
                await self._process.wait()
        self.forget()

    def forget(self) -> None:
        """Remove the run's folder and its footprint."""
        clean(self._folder)
        self._footprint.unlink(missing_ok=True)


def make_folder(run_path: Path) -> Path:
    """A private folder for one run's sockets and temporary files, with a short enough path."""
    run_path.mkdir(parents=True, exist_ok=True)
    is_short = len(os.fsencode(run_path)) <= _LONGEST_FOLDER - len("/engine-12345678")
    return Path(
        tempfile.mkdtemp(
            prefix="engine-" if is_short else "stoker-engine-", dir=run_path if is_short else None
        )
    )


def end_leftovers(run_path: Path) -> list[int]:
    """End what earlier runs left behind; returns the guards' process ids.

    A run is left over when the worker that started it is gone or is this very process. Another
    living worker's engine is not touched, nor any process that we did not start.
    """
    ended = []
    for path in run_path.glob("engine-*.json"):
        try:
            footprint = Footprint(**json.loads(path.read_text()))
        except (OSError, ValueError, TypeError):
            path.unlink(missing_ok=True)
            continue
        is_this_boot = footprint.boot_id == _boot_id()
        owner_lives = _started(footprint.worker_pid) == footprint.worker_started
        if is_this_boot and owner_lives and footprint.worker_pid != os.getpid():
            continue
        # A session's number is not given to another process while anyone is in the session, so
        # a leader with another start time means that nothing of ours is left.
        leader_started = _started(footprint.guard_pid)
        if is_this_boot and leader_started in (None, footprint.guard_started):
            end_session(footprint.guard_pid, footprint.program)
            ended.append(footprint.guard_pid)
        clean(Path(footprint.folder))
        path.unlink(missing_ok=True)
    return ended


def end_session(leader: int, program: str | None = None, give_up_seconds: float = 5.0) -> None:
    """Kill all processes of a session (of one program, when given) and what they started."""
    deadline = time.monotonic() + give_up_seconds
    while (family := _session(leader, program)) and time.monotonic() < deadline:
        for process in family:
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(family, timeout=0.2)


def _session(leader: int, program: str | None) -> list[psutil.Process]:
    found: dict[int, psutil.Process] = {}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if os.getsid(process.pid) != leader or process.status() == psutil.STATUS_ZOMBIE:
                continue
            if program is not None and process.exe() != program:
                continue
            found[process.pid] = process
            for child in process.children(recursive=True):
                found[child.pid] = child
    return list(found.values())


def _started(pid: int) -> int | None:
    """When a process began, in ticks since the boot; None when there is none (proc(5), field 22).

    With its id, this names a process for good; psutil's clock time may shift by a second.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return None
    return None if fields[0] == b"Z" else int(fields[19])


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
