"""Look-outs over the record: each looks once at what has ended since its last look."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.core.models.record import IncidentScan
from app.core.sql import statement

# At the first look, and after a long time without a housekeeper.
_LOOK_BACK = timedelta(hours=24)


def next_window(session: Session, name: str) -> dict[str, datetime] | None:
    """From when (`since`, exclusive) until when (`until`) to look now; None when there is nothing.

    It counts as seen when the session commits; another look of that name waits until then.
    """
    session.execute(insert(IncidentScan).values(name=name).on_conflict_do_nothing())
    last = session.scalars(
        select(IncidentScan)
        .where(IncidentScan.name == name)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).one()
    until: datetime = session.execute(statement("incidents", "horizon")).scalar_one()
    since = max(last.seen_until or until - _LOOK_BACK, until - _LOOK_BACK)
    if since >= until:
        return None
    last.seen_until = until
    return {"since": since, "until": until}
