"""The task `export`: rows become a file of the user who asked."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

from app.core import exports
from app.core.storage import Draft
from app.core.tasks import Export
from worker.tasks.work import Result, Work, built_in

log = logging.getLogger(__name__)


@built_in("export", Export)
def export(work: Work, asked: Export) -> Result:
    """Write what is asked for; the result names the file."""
    owner_name = None if work.sees_all else work.owner.name
    owner_id = None if work.sees_all else work.owner.id
    with work.session() as session, Draft(work.settings) as draft:
        session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
        selected = exports.find(session, asked, owner_name, owner_id)
        log.info("exporting %d %s as %s", selected.total, selected.what, asked.format)
        work.progress(0, selected.total, f"Exporting {selected.what}")

        def report(rows: int) -> None:
            work.check()
            work.progress(rows, selected.total)

        rows = exports.write(session, selected, asked.format, draft, report)
        work.check()
        session.rollback()
        now = datetime.now(UTC)
        name = f"{selected.what}-{now:%Y%m%d-%H%M%S}.{asked.format}"
        file = work.keep(session, draft, name, created_at=now)
        session.commit()
    work.progress(rows, rows, f"Exported {rows} {selected.what}")
    log.info("exported %d %s to %s (%d bytes)", rows, selected.what, file.id, file.bytes)
    return {
        "file_id": file.id,
        "filename": file.filename,
        "bytes": file.bytes,
        "rows": rows,
    }
