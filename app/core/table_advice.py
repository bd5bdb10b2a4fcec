"""What about the tables deserves attention, in plain words, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from app.core.partitions import BY_MONTH, at
from app.core.retention_runs import Run
from app.core.settings import Settings
from app.core.table_health import Health, Part, Table

# Autovacuum comes at a fifth of the rows and some; from here on it is behind.
_DEAD_SHARE = 0.35
_DEAD_ROWS = 20_000
_UNKNOWN_ROWS = 10_000
_LONG_SECONDS = 1800.0
# Vacuum begins to freeze at 200 millions by itself; the server stops at 2,000 millions.
_OLD_AGE = 1_000_000_000
_FREE_SHARE = 0.1
# Finished jobs leave the queue within a minute or so.
_QUEUE_ROWS = 200_000
_QUIET = timedelta(hours=50)
_MOST = 5


@dataclass(frozen=True)
class Advice:
    """One matter: what is so, what it means and what to do; `command` is SQL for the server."""

    kind: str
    title: str
    words: str
    command: str = ""
    is_bad: bool = False


def find(health: Health, settings: Settings, last: Run | None) -> list[Advice]:
    """The worst first; none when all is well."""
    now = datetime.now(UTC)
    found = [
        *_disk(health, settings),
        *_transactions(health),
        *_partitions(health, now),
        *_dead(health),
        *_unknown(health),
        *_queue(health),
        *_clean_up(last, now),
    ]
    return sorted(found, key=lambda each: not each.is_bad)


def _disk(health: Health, settings: Settings) -> Iterator[Advice]:
    is_bad = health.free_bytes < settings.min_free_disk_bytes
    if is_bad or health.free_bytes < health.disk_bytes * _FREE_SHARE:
        yield Advice(
            "disk",
            "The disk is full" if is_bad else "The disk is nearly full",
            f"{health.free_bytes / 2**30:.1f} GiB of {health.disk_bytes / 2**30:.0f} GiB are free in the "
            "data folder. Keep less: shorten the days below and clean up, or delete old backups.",
            is_bad=is_bad,
        )


def _transactions(health: Health) -> Iterator[Advice]:
    oldest = health.oldest
    if oldest is not None and oldest.seconds >= _LONG_SECONDS:
        yield Advice(
            "transaction",
            f"A transaction has been open for {oldest.seconds / 3600:.1f} hours",
            f"It is of {oldest.whose} ({oldest.which}). Vacuum removes nothing that was deleted since it "
            "began, so tables grow and the queue becomes slow. Let it finish, or end it:",
            oldest.ending,
            is_bad=True,
        )
    if health.transaction_age >= _OLD_AGE:
        yield Advice(
            "age",
            f"Transaction numbers are used up by {health.transaction_age / 2**31:.0%}",
            "Vacuum has frozen nothing for long, and at 100 % the server stops taking changes. End what "
            "keeps it from it (an old transaction, a replication slot), then:",
            "VACUUM (FREEZE);",
            is_bad=True,
        )


def _partitions(health: Health, now: datetime) -> Iterator[Advice]:
    by_name = {table.name: table for table in health.tables}
    following = at("job", at("job", now).end)
    job = by_name.get("job")
    if job is not None and following.name not in {part.name for part in job.parts}:
        yield Advice(
            "partition",
            "The next month has no partition yet",
            "The housekeeper makes partitions two months ahead: see whether one is running on the Queue "
            "page. Jobs of that month would go to the default partition, which is never dropped whole.",
            is_bad=True,
        )
    for name in BY_MONTH:
        table = by_name.get(name)
        if table is not None and table.in_default > _UNKNOWN_ROWS:
            yield Advice(
                "default",
                f"{name}_default holds about {table.in_default:,} rows",
                "They are of months that had no partition when they came. They are removed row by row when "
                "their time is over, which is slower than dropping a month; nothing is lost.",
            )


def _dead(health: Health) -> Iterator[Advice]:
    behind = [
        part
        for part in _parts(health.tables)
        if part.dead_rows >= _DEAD_ROWS and part.dead_share >= _DEAD_SHARE
    ]
    for part in sorted(behind, key=lambda part: -part.dead_rows)[:_MOST]:
        yield Advice(
            "dead",
            f"{part.dead_share:.0%} of {part.name} are dead rows",
            f"About {part.dead_rows:,} rows were deleted or replaced and still take room: autovacuum is "
            "behind, or an open transaction holds it up. It is safe to run, and blocks nobody:",
            f"VACUUM (ANALYZE) {part.name};",
        )


def _unknown(health: Health) -> Iterator[Advice]:
    unknown = [
        part
        for part in _parts(health.tables)
        if part.analyzed_at is None and max(part.rows, part.changed_rows) >= _UNKNOWN_ROWS
    ]
    for part in sorted(unknown, key=lambda part: -part.rows)[:_MOST]:
        yield Advice(
            "statistics",
            f"{part.name} was never analyzed",
            "The server plans its queries blindly, and may choose slow ways. It takes seconds:",
            f"ANALYZE {part.name};",
        )


def _queue(health: Health) -> Iterator[Advice]:
    for table in health.tables:
        if table.name == "procrastinate_jobs" and table.rows >= _QUEUE_ROWS:
            yield Advice(
                "queue",
                f"The queue's own table has about {table.rows:,} rows",
                "Finished jobs leave it within minutes while a housekeeper runs. If far fewer wait, see "
                "whether one is running; that many wait is no fault of the table.",
            )


def _clean_up(last: Run | None, now: datetime) -> Iterator[Advice]:
    if last is None:
        return
    if last.errors:
        table, error = next(iter(last.errors.items()))
        yield Advice(
            "clean_up",
            f"The last clean-up left {table} unfinished",
            f"It said: {error[:200]}. What it removed is removed; the next run goes on from there.",
        )
    if now - last.started_at > _QUIET:
        yield Advice(
            "clean_up",
            "No clean-up for two days",
            "The leading housekeeper runs it once a day: see whether one is running on the Queue page.",
        )


def _parts(tables: Iterable[Table]) -> Iterator[Part]:
    for table in tables:
        yield from table.parts
