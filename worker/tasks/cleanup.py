"""The task `cleanup`: the retention's run, as a job that says how far it is."""

from __future__ import annotations

import logging
import time

from app.core import retention
from app.core.retention import Outcome
from app.core.retention_rules import RULES
from app.core.tasks import Cleanup
from worker.tasks.work import Result, Stopped, Work, built_in

log = logging.getLogger(__name__)

_SECONDS_BETWEEN_REPORTS = 0.5


@built_in("cleanup", Cleanup)
def cleanup(work: Work, asked: Cleanup) -> Result:
    """Remove what is past its time, or only count it; the result says how many rows of each table."""
    order = list(RULES)
    said_at = 0.0

    def tell(outcome: Outcome) -> None:
        nonlocal said_at
        if time.monotonic() - said_at >= _SECONDS_BETWEEN_REPORTS:
            said_at = time.monotonic()
            rows = f"{outcome.table}: {outcome.rows_removed} rows"
            work.progress(order.index(outcome.table), len(order), rows)

    def is_stopping(seconds: float) -> bool:
        time.sleep(seconds)
        try:
            work.check()
        except Stopped:
            return True
        return False

    done = retention.run(work.settings, is_dry=asked.dry_run, is_stopping=is_stopping, tell=tell)
    work.check()  # what is left is the next attempt's
    for outcome in done:
        if outcome.error is not None:
            log.warning("%s: %s", outcome.table, outcome.error)
        elif outcome.rows_removed or outcome.partitions_dropped:
            log.info(
                "%s: %d rows, %d partitions, from before %s%s",
                outcome.table,
                outcome.rows_removed,
                outcome.partitions_dropped,
                f"{outcome.before:%Y-%m-%d %H:%M}",
                " (dry run)" if asked.dry_run else "",
            )
    rows = sum(outcome.rows_removed for outcome in done)
    work.progress(
        len(order), len(order), f"{'Would remove' if asked.dry_run else 'Removed'} {rows} rows"
    )
    return {
        "dry_run": asked.dry_run,
        "rows": rows,
        "tables": {outcome.table: outcome.rows_removed for outcome in done},
        "errors": {outcome.table: outcome.error for outcome in done if outcome.error},
    }
