"""What the machines did in a page's window, kept a while where reading it is dear."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy.orm import Session

from app.core import samples
from app.core.samples import Machine
from app.core.stats import StatsCache
from app.pages.window import DATES, Window

# A month of a machine takes 0.3 s, and whoever looks asks again at each change.
_SHORT = timedelta(days=2)
_kept = StatsCache[list[Machine]](patience=20.0)


def read(session: Session, window: Window) -> list[Machine]:
    """The same for all who look at that window; of a long one up to 30 s old."""
    since, until = window.since, window.until
    if until - since <= _SHORT:
        return samples.read(session, since, until)
    bounds = (since, until) if window.range == DATES else ()
    return _kept.get(
        (session.get_bind(), window.range, *bounds), lambda: samples.read(session, since, until)
    )
