"""gunicorn's settings, from Stoker's own: `gunicorn -c deploy/gunicorn.py wsgi:app`.

Bodies are limited by the application, which knows uploads from other requests, not here.
"""

import ctypes
import gc
import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from app.core.settings import SettingsError, load_settings

try:
    _settings = load_settings()
except SettingsError as fault:
    raise SystemExit(str(fault)) from None


def address(port: int) -> str:
    """Where to listen on a port."""
    host = f"[{_settings.host}]" if ":" in _settings.host else _settings.host
    return f"{host}:{port}"


bind = [address(_settings.port)]
workers = _settings.web_workers
worker_class = "gthread"
threads = _settings.web_threads
backlog = 512

# A gthread worker tells the master that it lives from its main loop, however long a request takes.
timeout = 60
graceful_timeout = 3
keepalive = 15

# The workers' heartbeat files: in memory where there is such a folder, as a busy disk would stop them.
_memory = "/dev/shm"  # noqa: S108
worker_tmp_dir = _memory if os.access(_memory, os.W_OK) else None
# It would leave a socket in the home folder.
control_socket_disable = True

accesslog = None
errorlog = "-"
loglevel = "warning" if _settings.log_level == "info" else _settings.log_level
proc_name = "stoker-web"


def post_worker_init(worker):  # type: ignore[no-untyped-def]
    """Once the application is loaded."""
    # What is loaded stays: looking through it for garbage would take 0.1 s of a request now and then.
    gc.collect()
    gc.freeze()
    _end_streams_at_stop(worker)


def _end_streams_at_stop(worker):  # type: ignore[no-untyped-def]
    """End the open page streams at SIGTERM: a graceful stop would wait for them in vain."""
    feed = worker.wsgi.extensions["changes"]
    stop = signal.getsignal(signal.SIGTERM)

    def end_streams_and_stop(*received):  # type: ignore[no-untyped-def]
        feed.end()
        stop(*received)

    signal.signal(signal.SIGTERM, end_streams_and_stop)
    signal.siginterrupt(signal.SIGTERM, False)


_PR_SET_PDEATHSIG = 1


def post_fork(server: object, worker: object) -> None:
    """A web process ends with its master: one that lived on would keep the port."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
