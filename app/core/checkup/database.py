"""The database as it is made: version, schema, triggers, indexes, privileges, clock."""

from __future__ import annotations

import re
import time
from datetime import datetime

from procrastinate.schema import SchemaManager

from app.core import adoption, queue_schema, record, schema
from app.core.checkup.findings import Finding, Patient, check, failed, ok, some, warning
from app.core.models import Base

_UPGRADE = "Run `flask db upgrade`."
_MUCH_OFF_SECONDS = 15.0
_OFF_SECONDS = 2.0


@check("postgres", needs="database")
def check_postgres(patient: Patient) -> Finding:
    """The server is new enough."""
    try:
        schema.check_server(patient.driver)
    except schema.SchemaError as fault:
        return failed(str(fault), "Upgrade the server, or use the embedded one.")
    return ok(f"PostgreSQL {patient.ask('SHOW server_version')}.")


@check("schema", needs="database")
def check_schema(patient: Patient) -> Finding:
    """Stoker's tables and Procrastinate's are of this version."""
    home = patient.ask(
        "SELECT to_regclass(quote_ident(current_schema()) || '.alembic_version') IS NOT NULL"
    )
    if not home:
        return failed("The database has no Stoker tables yet.", _UPGRADE)
    versions = [str(row[0]) for row in patient.rows("SELECT version_num FROM alembic_version")]
    if versions != [schema.head()]:
        return failed(
            f"The schema is at {some(versions) or 'nothing'}, and this version needs {schema.head()}.",
            _UPGRADE,
        )
    if adoption.is_adopted(patient.driver):
        return ok(f"At {schema.head()}; the queue is another app's (flask adopt).")
    unknown = queue_schema.unknown(patient.driver)
    if unknown:
        return failed(
            f"The database has had Procrastinate's migration {unknown[-1]}, which is not known here.",
            "Install the Procrastinate that wrote it, or a newer one.",
        )
    missing = queue_schema.missing(patient.driver)
    if missing:
        return failed(f"Procrastinate's migrations {some(missing)} are missing.", _UPGRADE)
    return ok(f"At {schema.head()}, with Procrastinate's {queue_schema.files()[-1]}.")


@check("record", needs="schema")
def check_record(patient: Patient) -> Finding:
    """The triggers that record every job are there, and of this version."""
    if record.is_current(patient.driver):
        return ok("The triggers that record every job are in place.")
    is_adopted = adoption.is_adopted(patient.driver)
    return failed(
        "The triggers that record every job are missing, switched off or of another version: what "
        "happens to jobs is not recorded.",
        "Run `flask adopt`." if is_adopted else _UPGRADE,
    )


@check("indexes", needs="schema")
def check_indexes(patient: Patient) -> Finding:
    """Every index is there and valid."""
    invalid = [
        str(row[0])
        for row in patient.rows(
            "SELECT index.relname FROM pg_index"
            " JOIN pg_class AS index ON index.oid = indexrelid"
            " WHERE NOT indisvalid AND index.relnamespace IN"
            " (SELECT relnamespace FROM pg_class WHERE oid IN"
            "   (to_regclass('worker'), to_regclass('procrastinate_jobs')))"
            # One that is being built this moment is not valid yet, either.
            " AND indexrelid NOT IN (SELECT index_relid FROM pg_stat_progress_create_index)"
            " ORDER BY 1"
        )
    ]
    if invalid:
        return failed(
            f"Broken-off builds left {some(invalid)}, which no query uses and every write keeps up.",
            f'Run `REINDEX INDEX CONCURRENTLY "{invalid[0]}"` for each, or drop it and run `flask db '
            "upgrade`.",
        )
    wanted = _own_indexes()
    if not adoption.is_adopted(patient.driver):
        wanted += [*_queue_indexes(), *queue_schema.INDEXES]
    missing = [
        str(row[0])
        for row in patient.rows(
            "SELECT name FROM unnest(%s::text[]) AS name"
            " WHERE to_regclass(quote_ident(name)) IS NULL",
            wanted,
        )
    ]
    if missing:
        return failed(
            f"These are missing: {some(missing)}.",
            "Make them again as migrations/ or Procrastinate's schema.sql have them, with CREATE INDEX "
            "CONCURRENTLY.",
        )
    return ok(f"All {len(wanted)} are there and valid.")


def _own_indexes() -> list[str]:
    tables = Base.metadata.tables.values()
    return sorted(
        str(index.name)
        for table in tables
        if not table.name.startswith("procrastinate_")
        for index in table.indexes
    )


def _queue_indexes() -> list[str]:
    """Those of the installed Procrastinate."""
    return re.findall(r"CREATE (?:UNIQUE )?INDEX (\w+)", SchemaManager.get_schema())


@check("privileges", needs="schema")
def check_privileges(patient: Patient) -> Finding:
    """The role may read and write the tables, and make what has to be made in time."""
    role = patient.ask("SELECT quote_ident(current_user)")
    tables = [name for name in Base.metadata.tables if not name.startswith("procrastinate_")]
    lacking = patient.rows(_LACKING, tables, ["SELECT", "INSERT", "UPDATE", "DELETE"])
    is_adopted = adoption.is_adopted(patient.driver)
    rights = ["SELECT"] if is_adopted else ["SELECT", "INSERT", "UPDATE", "DELETE"]
    lacking += patient.rows(_LACKING, ["procrastinate_jobs", "procrastinate_events"], rights)
    if lacking:
        shown = [f"{right} on {table}" for table, right in lacking]
        table, right = lacking[0]
        return failed(
            f"The role {role} lacks {some(shown)}.",
            f"Let the tables' owner grant it: `GRANT {right} ON {table} TO {role};`, and so on.",
        )
    is_maker = patient.ask(
        "SELECT has_schema_privilege(relnamespace, 'CREATE') AND pg_has_role(relowner, 'USAGE')"
        " FROM pg_class WHERE oid = to_regclass('job_transition')"
    )
    if not is_maker:
        return failed(
            f"The role {role} can't make next month's partitions of the record.",
            f"Let it own Stoker's tables, with CREATE on their schema: `GRANT owner TO {role};`.",
        )
    return ok(f"The role {role} may do all that Stoker does.")


_LACKING = (
    "SELECT name, needed FROM unnest(%s::text[]) AS name CROSS JOIN unnest(%s::text[]) AS needed"
    " WHERE to_regclass(quote_ident(name)) IS NOT NULL"
    " AND NOT has_table_privilege(to_regclass(quote_ident(name))::oid, needed) ORDER BY 1, 2"
)


@check("clock", needs="database")
def check_clock(patient: Patient) -> Finding:
    """The database's clock and this machine's agree; the zones are told."""
    before = time.time()
    theirs = float(patient.ask("SELECT date_part('epoch', clock_timestamp())"))
    after = time.time()
    # It was read at some moment in between.
    off = max(0.0, before - theirs, theirs - after)
    zone = patient.ask("SHOW timezone")
    zones = f"time zones: {zone} there, {datetime.now().astimezone().tzname()} here"
    if off < _OFF_SECONDS:
        return ok(
            f"The database's clock and this machine's agree; {zones} (Stoker reckons in UTC)."
        )
    said = f"The database's clock and this machine's differ by {off:.0f} s; {zones}."
    remedy = "Let both be set by NTP (`timedatectl set-ntp true`)."
    return (failed if off > _MUCH_OFF_SECONDS else warning)(said, remedy)
