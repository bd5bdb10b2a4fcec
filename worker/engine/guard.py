"""Starts one command and makes sure that nothing of it outlives the guard or the guard's parent.

    python guard.py PARENT_PID FOLDER -- command …

vLLM is a family of processes (server, EngineCore, workers), and when one of them is killed the
others live on and hold the memory. The guard is their session's leader and the subreaper of all
that are orphaned, so it finds every one of them, whatever session it has moved to. It ends them
all when the command ends, on SIGTERM or SIGINT (after a short grace), on SIGQUIT (at once), and
when its parent dies. Then it removes the folder and the shared memory named after it. It imports
the standard library only: it has to be there before anything else.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import sys
import time
from pathlib import Path

GRACE_SECONDS = 2.0
GIVE_UP_SECONDS = 30.0
STOPPED_EXIT_CODE = 143

_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_SIGNALS = {signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGCHLD}


def main(arguments: list[str]) -> int:
    """Guard the command; returns its exit code, 128 + n when signal n ended it."""
    parent, folder, separator, command = int(arguments[0]), *arguments[1:3], arguments[3:]
    if separator != "--" or not command:
        raise SystemExit("usage: guard.py PARENT_PID FOLDER -- command …")
    libc = ctypes.CDLL(None, use_errno=True)
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1)
    if os.getppid() != parent:  # it died before the line above took effect
        return STOPPED_EXIT_CODE
    child = _start(libc, command)
    code = _watch(child, parent)
    _end_everything()
    clean(Path(folder))
    return code


def clean(folder: Path) -> None:
    """Remove a run's folder, and the shared memory that serve.py had named after it."""
    shutil.rmtree(folder, ignore_errors=True)
    for pattern in (f"{folder.name}-*", f"sem.{folder.name}-*"):
        for left in _SHARED_MEMORY.glob(pattern):
            left.unlink(missing_ok=True)


def _start(libc: ctypes.CDLL, command: list[str]) -> int:
    me = os.getpid()
    child = os.fork()
    if child:
        return child
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != me:
        os._exit(STOPPED_EXIT_CODE)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        os.execvp(command[0], command)
    except OSError as fault:
        print(f"{command[0]}: {fault.strerror}", file=sys.stderr, flush=True)
        os._exit(127)


def _watch(child: int, parent: int) -> int:
    """Wait until the command ends by itself or has to."""
    while True:
        received = signal.sigwait(_SIGNALS)
        if received != signal.SIGCHLD:
            at_once = received == signal.SIGQUIT or os.getppid() != parent
            return _end_child(child, 0.0 if at_once else GRACE_SECONDS)
        code = _reap(child)
        if code is not None:
            return code


def _end_child(child: int, grace_seconds: float) -> int:
    """Ask the command to end; what is left after the grace is killed by the caller."""
    deadline = time.monotonic() + grace_seconds
    if grace_seconds:
        os.kill(child, signal.SIGTERM)
    while (left := deadline - time.monotonic()) > 0:
        received = signal.sigtimedwait({signal.SIGCHLD, signal.SIGQUIT}, left)
        if received is not None and received.si_signo == signal.SIGQUIT:
            break
        code = _reap(child)
        if code is not None:
            return code
    return STOPPED_EXIT_CODE


def _reap(child: int) -> int | None:
    """Collect the dead, ours and the orphans; the command's exit code if it is among them."""
    code = None
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return code
        if pid == 0:
            return code
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            code = 128 - code if code < 0 else code


def _end_everything() -> None:
    """Kill every descendant and wait for it; a subreaper inherits even those that moved away."""
    started = time.monotonic()
    while time.monotonic() - started < GIVE_UP_SECONDS:
        family = _family()
        if not family:
            return
        for pid in family:
            _kill(pid)
        _reap(0)
        signal.sigtimedwait({signal.SIGCHLD}, 0.02)


def _family() -> list[int]:
    """All living descendants, and whoever else is in our session."""
    parents: dict[int, int] = {}
    members = set()
    me = os.getpid()
    leads = os.getsid(0) == me
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            fields = (entry / "stat").read_bytes().rpartition(b")")[2].split()
        except OSError:
            continue
        parents[int(entry.name)] = int(fields[1])
        if leads and int(fields[3]) == me:
            members.add(int(entry.name))
    found = {me}
    grown = True
    while grown:
        children = {pid for pid, parent in parents.items() if parent in found} - found
        found |= children
        grown = bool(children)
    return sorted((found | members) - {me})


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
