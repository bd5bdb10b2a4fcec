"""Events of jobs: whoever asked for them hears of each job that has ended, once.

The triggers that record a job's end stay as they are: the housekeeper looks at what has ended.
"""

from __future__ import annotations

from sqlalchemy.orm import Session

from app.core import listening, scans
from app.core.sql import statement
from app.core.users import OPERATING_ROLES
from app.core.webhooks import make_delivery

_SCAN = "job_events"
_AT_ONCE = 500
_LONGEST_ERROR = 1000


def scan(session: Session) -> int:
    """Tell of the jobs that have ended since the last scan; commits. How many events it made."""
    window = scans.next_window(session, _SCAN)
    told = 0
    if window is not None:
        asked = {**window, "operating": list(OPERATING_ROLES)}
        ended = session.execute(
            statement("job_events", "ended"), asked, execution_options={"yield_per": _AT_ONCE}
        )
        for rows in ended.partitions():
            for row in rows:
                data = {
                    "id": str(row.job_id),
                    "job_type": row.task,
                    "queue": row.queue,
                    "status": row.status,
                }
                if row.status == "failed":
                    error = (row.error_message or "")[:_LONGEST_ERROR]
                    data |= {"error_type": row.error_type, "error_message": error or None}
                session.add(
                    make_delivery(
                        f"job.{row.status}",
                        data,
                        row.url,
                        owner_id=row.owner_id,
                        endpoint_id=row.endpoint_id,
                    )
                )
            session.flush()
            session.expunge_all()
            told += len(rows)
    if told:
        listening.tell(session, "delivery")
    session.commit()
    return told
