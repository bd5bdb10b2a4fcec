"""The clock's thread of the leading housekeeper: schedules fire when they are due."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime

import structlog
from sqlalchemy.exc import InterfaceError, OperationalError

from app.core import schedule_firings
from app.core.db import SessionFactory
from app.core.settings import Settings

log = structlog.get_logger("housekeeper")

# A new schedule is heard of within this time; a due one fires at its moment.
_LOOK_SECONDS = 1.0
_SHORTEST_SECONDS = 0.02
# Clocks that are set back by less are only being corrected.
_SET_BACK_SECONDS = 1.0
# One that can't be read (its time zone is gone, say) holds nobody up.
_FAULTY_SECONDS = 60.0


class Scheduling:
    """Fires from `start` to `stop`. `now` is the clock that people set, `elapsed` that nobody does."""

    def __init__(
        self,
        sessions: SessionFactory,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        elapsed: Callable[[], float] = time.monotonic,
        settings: Settings | None = None,
    ) -> None:
        self._settings = settings
        self._sessions = sessions
        self._now = now
        self._elapsed = elapsed
        self._began = elapsed()
        self._fired: dict[int, float] = {}
        self._faulty: dict[int, float] = {}
        self._drift: float | None = None
        self._is_stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="schedules", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Fire no more; what is being fired is fired."""
        self._is_stopping.set()
        self._thread.join()

    def _run(self) -> None:
        pause = 0.0
        while not self._is_stopping.wait(pause):
            try:
                pause = self.step()
            except Exception as fault:
                log.warning("schedules.failed", error=str(fault)[:500])
                pause = _LOOK_SECONDS

    def step(self) -> float:
        """Fire what is due. How many seconds nothing is to do."""
        self._follow_clock()
        elapsed, now = self._elapsed(), self._now()
        faulty = [name for name, until in self._faulty.items() if elapsed < until]
        with self._sessions() as session:
            due = schedule_firings.due_ids(session, now, without=faulty)
            following = schedule_firings.next_due_at(session, now)
        has_fired = False
        for schedule_id in due:
            if self._is_stopping.is_set():
                return 0.0
            has_fired = self._fire(schedule_id) or has_fired
        if has_fired:
            return _SHORTEST_SECONDS  # more may be due
        if following is None:
            return _LOOK_SECONDS
        return min(_LOOK_SECONDS, max(_SHORTEST_SECONDS, (following - now).total_seconds()))

    def _fire(self, schedule_id: int) -> bool:
        """Whether anything came of it; not when another process is at it."""
        silent_seconds = self._elapsed() - self._fired.get(schedule_id, self._began)
        try:
            with self._sessions() as session:
                done = schedule_firings.fire(
                    session, schedule_id, self._now(), silent_seconds, settings=self._settings
                )
                session.commit()
        except (OperationalError, InterfaceError):
            raise  # the database is away: all wait
        except Exception as fault:
            self._faulty[schedule_id] = self._elapsed() + _FAULTY_SECONDS
            log.warning("schedule.failed", schedule=schedule_id, error=str(fault)[:500])
            return False
        for firing in done:
            if firing.job_id is not None:
                self._fired[schedule_id] = self._elapsed()
            log.info(
                "schedule.fired" if firing.job_id is not None else "schedule.skipped",
                schedule=schedule_id,
                planned_at=firing.planned_at.isoformat(),
                job=firing.job_id,
                reason=firing.reason,
            )
        return bool(done)

    def _follow_clock(self) -> None:
        """Plan anew when the clock was set back, and when nobody knows whether it was."""
        drift = self._now().timestamp() - self._elapsed()
        if self._drift is None or drift < self._drift - _SET_BACK_SECONDS:
            with self._sessions() as session:
                moved = schedule_firings.plan_anew(session, self._now())
                session.commit()
            if moved:
                log.warning("schedules.planned_anew", schedules=moved)
        self._drift = drift
