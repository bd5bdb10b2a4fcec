"""What must be so before anything starts; each fault is one sentence with its remedy."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

# The demonstration model (twice while it is made), a new Postgres folder and its first WAL files.
FIRST_START_BYTES = 1024**3
LATER_START_BYTES = 128 * 1024**2
PATIENCE_SECONDS = 1.0


class UpError(Exception):
    """`flask up` can't go on; the message is one sentence."""

    def __init__(self, sentence: str, exit_code: int = 2) -> None:
        super().__init__(sentence)
        self.exit_code = exit_code


@contextlib.contextmanager
def data_folder(var: Path) -> Iterator[None]:
    """Hold the data folder for this process alone; by a lock on itself, so none is left behind.

    A folder that is made here lets others pass (not look in), for Postgres' unprivileged user.
    """
    try:
        if not var.exists():
            var.mkdir(parents=True)
            var.chmod(0o711)
        folder = os.open(var, os.O_RDONLY | os.O_DIRECTORY)
        if not os.access(var, os.W_OK | os.X_OK):
            raise PermissionError(13, "Permission denied")
    except OSError as fault:
        raise UpError(
            f"The data folder {var} can't be used ({fault.strerror}): choose another with VAR= or "
            "--var."
        ) from fault
    try:
        _patiently(lambda: fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB))
    except BlockingIOError as fault:
        os.close(folder)
        raise UpError(
            f"Stoker runs already on the data folder {var}: stop it, or choose another with VAR= "
            "or --var (and another port)."
        ) from fault
    try:
        yield
    finally:
        os.close(folder)


def is_running(var: Path) -> bool:
    """Whether a `flask up` holds this data folder now."""
    try:
        folder = os.open(var, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return False
    try:
        fcntl.flock(folder, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(folder)
    return False


def check_port(host: str, port: int) -> None:
    """Raises UpError when the port can't be listened on."""
    try:
        _patiently(lambda: _listen(host, port))
    except OSError as fault:
        if isinstance(fault, socket.gaierror):
            raise UpError(f"The host name {host} can't be resolved: set STOKER_HOST.") from fault
        raise UpError(
            f"Port {port} of {host} can't be listened on ({fault.strerror}): another program may "
            "have it, choose another with PORT= or --port."
        ) from fault


def _listen(host: str, port: int) -> None:
    address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, kind, _, _, name = address[0]
    with socket.socket(family, kind) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(name)
        probe.listen(1)


def _patiently(attempt: Callable[[], None]) -> None:
    """What a killed predecessor had is free a moment later."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return attempt()
        except OSError:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.05)


def check_disk(var: Path, needed: int) -> None:
    """Raises UpError when less than that many bytes are free."""
    free = shutil.disk_usage(var).free
    if free < needed:
        raise UpError(
            f"Not enough disk space: the data folder {var} has {free // 1024**2} MB free and this "
            f"start needs {needed // 1024**2} MB."
        )
