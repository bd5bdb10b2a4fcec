"""The task `import`: an uploaded export becomes history again."""

from __future__ import annotations

import logging

import psycopg

from app.core import files, imports, partitions
from app.core.tasks import Import
from worker.tasks.work import Result, Work, built_in

log = logging.getLogger(__name__)


@built_in("import", Import)
def import_(work: Work, asked: Import) -> Result:
    """Check the whole file, then add what is not there yet."""
    with work.session() as session:
        file = files.get(session, asked.file_id, None if work.sees_all else work.owner.id)
    path = files.path(work.settings, file.id)
    work.progress(0, None, f"Reading {file.filename}")
    found = imports.check(path, lambda rows: work.check())
    log.info("%s holds %d %s", file.filename, found.rows, found.what)

    def report(rows: int) -> None:
        work.check()
        work.progress(rows, found.rows, f"Importing {found.what}")

    since = imports.old_enough(found.oldest)
    if since is not None:
        with psycopg.connect(work.settings.database_url, autocommit=True) as connection:
            partitions.ensure(connection, since=since, tables=partitions.BY_MONTH)
    with work.session() as session:
        added, known = imports.write(session, path, found.what, report)
    work.progress(found.rows, found.rows, f"Imported {added} {found.what}")
    log.info("added %d %s, %d were there already", added, found.what, known)
    return {"what": found.what, "rows": found.rows, "added": added, "already_there": known}
