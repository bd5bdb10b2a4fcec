"""The archive: finished rows leave Procrastinate's tables, whose record is in ours.

With millions of finished rows in the queue its clean-up, its pruning of workers and its listings take
seconds. They leave a page at a time, each in a transaction of its own, and never wait for a lock.
"""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.core import adoption
from app.core.db import driver_connection
from app.core.settings import Settings
from app.core.sql import statement
from app.core.tasks import TASKS

# Of a worker that is alive the row is refreshed every few seconds.
_DEAD_SECONDS = 3600.0
_PAGES_AT_ONCE = 100

Pause = Callable[[], bool]


def never() -> bool:
    """The pause of those who neither wait nor can be stopped."""
    return False


class Archive:
    """Walks the queue's table page by page; each run goes on where the last one ended."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._after = 0

    def run(self, session: Session, pause: Pause = never, *, pages: int = _PAGES_AT_ONCE) -> int:
        """Let finished rows leave, up to the table's end; commits. How many left.

        `pause` is called after each page that had any; true ends the run.
        """
        if not adoption.may_change_queue(driver_connection(session)):
            session.rollback()
            return 0
        with_foreign = self._may_take_foreign(session)
        is_adopted = adoption.is_adopted(driver_connection(session))
        session.rollback()
        left = 0
        for _ in range(pages):
            until = session.execute(
                statement("archive", "page_end"),
                {"after": self._after, "limit": self._settings.archive_rows},
            ).scalar_one()
            if until is None:
                session.rollback()
                self._after = 0
                break
            # The record has them; the trigger on deletions need not look.
            session.execute(select(func.set_config("stoker.is_moving", "on", True)))
            gone: int = session.execute(  # type: ignore[attr-defined]
                statement("archive", "leave"),
                {
                    "after": self._after,
                    "until": until,
                    "age_seconds": self._settings.archive_after_seconds,
                    "tasks": list(TASKS),
                    "is_any_task": with_foreign,
                    "is_adopted": is_adopted,
                },
            ).rowcount
            session.commit()
            self._after = until
            left += gone
            if gone and pause():
                break
        return left

    def _may_take_foreign(self, session: Session) -> bool:
        connection = driver_connection(session)
        if adoption.is_adopted(connection):
            return adoption.may_archive(connection)
        return self._settings.archive_foreign


def release_workers(session: Session, pause: Pause = never, *, limit: int = 2000) -> int:
    """Let ended jobs go of their workers, then remove workers that no job names; commits.

    Only in a queue of our own: another app's rows are its own business. How many workers went.
    """
    if adoption.is_adopted(driver_connection(session)):
        session.rollback()
        return 0
    while session.execute(statement("archive", "release"), {"limit": limit}).rowcount:  # type: ignore[attr-defined]
        session.commit()
        if pause():
            return 0
    gone: int = session.execute(  # type: ignore[attr-defined]
        statement("archive", "remove_workers"), {"silent_seconds": _DEAD_SECONDS}
    ).rowcount
    session.commit()
    return gone
