"""The heart: a thread that says the process lives, also while its loop is busy or draining."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from uuid import UUID

import structlog

from app.core import workers
from app.core.db import SessionFactory
from app.core.workers import Pulse

log = structlog.get_logger(__name__)


class Heart:
    """Beats every `seconds`, and at once when `quicken` is called."""

    def __init__(
        self, sessions: SessionFactory, pulse: Callable[[], Pulse], seconds: float
    ) -> None:
        self._sessions = sessions
        self._pulse = pulse
        self._seconds = seconds
        self._wake = threading.Event()
        self._is_stopping = False
        self._thread = threading.Thread(target=self._run, name="heart", daemon=True)

    def start(self) -> None:
        """Begin to beat."""
        self._thread.start()

    def quicken(self) -> None:
        """Beat now: something has changed."""
        self._wake.set()

    def stop(self, worker_id: UUID) -> None:
        """Stop, and say goodbye."""
        self._is_stopping = True
        self._wake.set()
        self._thread.join(timeout=5)
        with contextlib.suppress(Exception), self._sessions() as session:
            workers.say_goodbye(session, worker_id)

    def _run(self) -> None:
        while not self._is_stopping:
            try:
                with self._sessions() as session:
                    workers.beat(session, self._pulse())
            except Exception as fault:
                log.warning("heart.missed_a_beat", error=str(fault)[:200])
            self._wake.wait(self._seconds)
            self._wake.clear()
