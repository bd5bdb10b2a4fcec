"""What all jobs are doing now, queue by queue: read once for all the pages that show some of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy.orm import Session

from app.core import tallies
from app.core.overview import Open
from app.core.stats import StatsCache, if_many
from app.core.tallies import Tallies, Tally


@dataclass(frozen=True)
class Standing:
    """All jobs by queue, of which every job has one, and by stored status."""

    by_queue: Tallies

    @property
    def by_status(self) -> dict[str, int]:
        """How many jobs there are of each stored status."""
        counts: Counter[str] = Counter()
        for status, tally in self._tallies():
            counts[status] += tally.jobs
        return dict(counts)

    @property
    def open(self) -> Open:
        """What has not ended."""
        counts = self.by_status
        later = sum(tally.later for status, tally in self._tallies() if status == "pending")
        return Open(
            running=counts.get("running", 0),
            waiting=counts.get("pending", 0) + counts.get("retrying", 0) - later,
            scheduled=later,
            oldest_at=tallies.oldest_due_at(tally for _, tally in self._tallies()),
        )

    def _tallies(self) -> Iterator[tuple[str, Tally]]:
        for by_status in self.by_queue.values():
            yield from by_status.items()


# Of many jobs each count costs some, and every page counts at every change.
_kept = StatsCache[Standing](
    patience=5.0, lasts=lambda standing: if_many(sum(standing.by_status.values()))
)


def read(session: Session, owner_name: str | None, told_at: float | None = None) -> Standing:
    """Of one user's or (None) all jobs; `told_at` as app.core.stats.StatsCache has it."""
    return _kept.get(
        (session.get_bind(), owner_name),
        lambda: Standing(tallies.count(session, "queue", owner_name=owner_name, with_waiting=True)),
        told_at,
    )
