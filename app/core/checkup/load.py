"""The database as it runs: connections, room, old transactions, dead rows."""

from __future__ import annotations

from pathlib import Path

import psycopg

from app.core.checkup.findings import Finding, Patient, check, failed, ok, size, warning
from app.core.checkup.installation import room
from app.core.sql import statement

# What a process may hold besides its pool: worker/__main__.py, worker/housekeeper.py and what they
# start. The worker: its pool, the queue's, a listener for each of three queue workers, two helpers.
WORKER_CONNECTIONS = 12 + 4 + 3 + 2
# The housekeeper: its pool, the queue's, the lead, upkeep, retention.
HOUSEKEEPER_CONNECTIONS = 8 + 2 + 1 + 1 + 1
# A web process: the reader of changes and the reader of streams.
_READERS = 2

_OLD_MINUTES = 5
_MANY_DEAD = 20_000


@check("connections", needs="schema")
def check_connections(patient: Patient) -> Finding:
    """The server has a connection for everybody who may ask for one at once."""
    settings = patient.settings
    counts = dict(
        patient.rows("SELECT kind, count(*) FROM worker WHERE stopped_at IS NULL GROUP BY kind")
    )
    web = settings.pool_size + _READERS
    needed = (
        (settings.web_workers + 1) * web  # one more: the process that only streams
        + max(1, counts.get("worker", 0)) * WORKER_CONNECTIONS
        + max(1, counts.get("housekeeper", 0)) * HOUSEKEEPER_CONNECTIONS
    )
    offered, used = patient.rows(
        "SELECT (SELECT sum(setting::int * CASE name WHEN 'max_connections' THEN 1 ELSE -1 END)"
        "   FROM pg_settings WHERE name IN"
        "   ('max_connections', 'superuser_reserved_connections', 'reserved_connections')),"
        " (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend')"
    )[0]
    limits = patient.rows(
        "SELECT rolconnlimit FROM pg_roles WHERE rolname = current_user AND rolconnlimit >= 0"
        " UNION ALL"
        " SELECT datconnlimit FROM pg_database WHERE datname = current_database()"
        " AND datconnlimit >= 0"
    )
    least = min([int(offered), *(int(limit) for (limit,) in limits)])
    said = f"Stoker may need {needed} and {least} are offered ({used} are in use)"
    remedy = (
        "Raise max_connections (or the limit of the role or database), or lower STOKER_POOL_SIZE or "
        "STOKER_WEB_WORKERS."
    )
    if needed > least:
        return failed(f"{said}.", remedy)
    if used > 0.9 * offered:
        return warning(f"{said}: the server is nearly full.", remedy)
    return ok(f"{said}.")


@check("database room", needs="database")
def check_room(patient: Patient) -> Finding:
    """How large the database is, and, where that can be seen, how much room its disk has."""
    large = size(patient.ask("SELECT pg_database_size(current_database())"))
    what = f"the database, which has {large}"
    try:
        folder = Path(patient.ask("SHOW data_directory"))
        is_here = patient.driver.info.host.startswith("/") and folder.exists()
        found = room(folder, what, patient.settings.min_free_disk_bytes) if is_here else None
    except (psycopg.errors.InsufficientPrivilege, OSError):
        found = None
    return found or ok(f"The database has {large}; its disk can't be seen from here.")


@check("transactions", needs="database")
def check_transactions(patient: Patient) -> Finding:
    """No transaction is open for so long that dead rows pile up behind it."""
    old = patient.rows(statement("transactions", "oldest").text)
    if old and old[0][3] > 60 * _OLD_MINUTES:
        whose, which, _, seconds, ending = old[0]
        return warning(
            f"One is open for {seconds / 60:.0f} minutes ({whose}, {which}): vacuum can't remove what "
            "was deleted since, and the queue becomes slow.",
            f"If it is forgotten, and no backup, end it: `{ending}`.",
        )
    blind = patient.ask("SELECT NOT pg_has_role('pg_read_all_stats', 'USAGE')")
    note = " (of the sessions that this role may see)" if blind else ""
    return ok(f"None is open for more than {_OLD_MINUTES} minutes{note}.")


@check("dead rows", needs="database")
def check_dead_rows(patient: Patient) -> Finding:
    """Vacuum keeps up with the queue's tables."""
    rows = patient.rows(
        "SELECT relname, n_dead_tup, n_live_tup FROM pg_stat_user_tables"
        " WHERE relid IN (to_regclass('procrastinate_jobs'), to_regclass('procrastinate_events'),"
        "   to_regclass('procrastinate_workers'), to_regclass('procrastinate_periodic_defers'))"
        " ORDER BY n_dead_tup DESC"
    )
    for table, dead, alive in rows:
        if dead > _MANY_DEAD and dead > 0.2 * alive:
            return warning(
                f"{table} has {dead:,} dead rows beside {alive:,} live ones.",
                f"Look at the check “transactions”; then run `VACUUM {table};`.",
            )
    return ok(f"{sum(dead for _, dead, _ in rows):,} in the queue's tables, which is few.")
