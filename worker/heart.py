"""The heart: a thread that says the process lives, also while its loop is busy or draining."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from uuid import UUID

import structlog
from sqlalchemy.orm import Session

from app.core import samples, workers
from app.core.db import SessionFactory
from app.core.workers import Pulse
from worker.samples import Sampler

log = structlog.get_logger(__name__)


class Heart:
    """Beats every `seconds`, and at once when `quicken` is called.

    With a sampler it is also written down, now and then, how busy the machine was.
    """

    def __init__(
        self,
        sessions: SessionFactory,
        pulse: Callable[[], Pulse],
        seconds: float,
        sampler: Sampler | None = None,
    ) -> None:
        self._sessions = sessions
        self._pulse = pulse
        self._seconds = seconds
        self._sampler = sampler
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
                pulse = self._pulse()
                with self._sessions() as session:
                    workers.beat(session, pulse)
                    self._sample(session, pulse)
            except Exception as fault:
                log.warning("heart.missed_a_beat", error=str(fault)[:200])
            self._wake.wait(self._seconds)
            self._wake.clear()

    def _sample(self, session: Session, pulse: Pulse) -> None:
        if self._sampler is not None and (told := self._sampler.take(pulse)) is not None:
            samples.keep(session, pulse.id, socket.gethostname(), pulse.current_model, told)
