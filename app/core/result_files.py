"""Files of results that are too large for the record: <job>-<attempt>.json in the data folder."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core.models import Attempt, Job
from app.core.settings import Settings

_NAME = re.compile(r"(\d{1,18})-\d+\.json")
# A result is in the record within moments of its file.
_YOUNG_SECONDS = 3600.0
_AT_ONCE = 1000


def names_of(session: Session, job: Job) -> list[str]:
    """The files that hold results of a job's attempts."""
    results = session.scalars(
        select(Attempt.result["name"].astext).where(
            Attempt.job_id == job.id,
            Attempt.job_created_at == job.created_at,
            Attempt.result["$stoker"].astext == "file",
        )
    )
    return [name for name in results if name is not None and _NAME.fullmatch(name)]


def remove(settings: Settings, names: Iterable[str]) -> None:
    """Remove files whose job's record is gone, after that was committed."""
    for name in names:
        (settings.results_path / name).unlink(missing_ok=True)


def remove_leftovers(session: Session, settings: Settings) -> int:
    """Remove files of jobs that are not in the record any more, and drafts. How many there were."""
    if not settings.results_path.is_dir():
        return 0
    newest = time.time() - _YOUNG_SECONDS
    removed = 0
    of_jobs: list[tuple[int, Path]] = []
    for entry in settings.results_path.iterdir():
        try:
            if entry.stat().st_mtime > newest:
                continue
        except FileNotFoundError:
            continue
        if match := _NAME.fullmatch(entry.name):
            of_jobs.append((int(match[1]), entry))
        elif entry.name.startswith("."):
            entry.unlink(missing_ok=True)
            removed += 1
    for begin in range(0, len(of_jobs), _AT_ONCE):
        some = of_jobs[begin : begin + _AT_ONCE]
        ids = {job_id for job_id, _ in some}
        known = set(session.scalars(select(Job.id).where(Job.id.in_(ids))))
        session.rollback()
        for job_id, path in some:
            if job_id not in known:
                path.unlink(missing_ok=True)
                removed += 1
    return removed
