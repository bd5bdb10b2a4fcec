"""The task `backup`: a dump of the database, and of the files where wanted."""

from __future__ import annotations

import logging

from app.core import backups
from app.core.tasks import Backup
from worker.tasks.work import Result, Work, built_in

log = logging.getLogger(__name__)


@built_in("backup", Backup)
def backup(work: Work, asked: Backup) -> Result:
    """Dump, then remove the oldest backups; the result names the new one."""
    work.progress(0, None, "Dumping the database")
    made, removed = backups.create(
        work.settings,
        work.settings.database_url,
        keep=asked.keep,
        with_files=asked.with_files,
        check=work.check,
    )
    log.info("wrote %s (%d bytes)", made.name, made.bytes)
    for name in removed:
        log.info("removed %s", name)
    work.progress(1, 1, f"Wrote {made.name}")
    return {
        "name": made.name,
        "bytes": made.bytes,
        "has_files": made.has_files,
        "removed": removed,
    }
