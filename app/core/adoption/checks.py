"""What `flask adopt` looks at before it changes anything, and what keeps it from beginning."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from importlib import resources
from typing import Any

import psycopg
from psycopg import sql
from sqlalchemy import Connection

from app.core import adoption, schema
from app.core.models import Base
from app.core.sql import statement

Driver = psycopg.Connection[Any]

# Of Procrastinate's tables; those that a 3.x does not have yet are not asked for.
_NEEDED = {
    "procrastinate_jobs": ("SELECT", "TRIGGER"),
    "procrastinate_events": ("SELECT",),
    "procrastinate_periodic_defers": ("SELECT",),
    "procrastinate_workers": ("SELECT",),
}
VIEWS = ("batch_jobs", "background_jobs", "job_executions", "job_statistics")


class Refused(schema.SchemaError):
    """The database can't be adopted, or can't be now; the message says what to do about it."""


@dataclass(frozen=True)
class Sight:
    """What is there: the schemas, the queue's version, and how much past it has."""

    home: str
    queue_schema: str
    queue_migration: str
    jobs: int
    last_job_id: int | None
    oldest_at: datetime | None
    is_adopted: bool
    tables: list[str] = field(default_factory=list)


def look(connection: Connection, driver: Driver) -> Sight:
    """Raises Refused, naming everything that is missing at once."""
    schema.check_server(driver)
    queue_schema = _queue_schema(driver)
    home = _home(driver)
    is_adopted = adoption.is_adopted(driver)
    if not is_adopted:
        _refuse_ours(driver, home)
    _refuse_without_rights(driver, home, queue_schema)
    if not is_adopted:
        _refuse_taken_names(driver, home, queue_schema)
    past = connection.execute(statement("adoption", "past")).one()
    return Sight(
        home=home,
        queue_schema=queue_schema,
        queue_migration=_queue_migration(driver),
        jobs=past.jobs,
        last_job_id=past.last_job_id,
        oldest_at=past.oldest_at,
        is_adopted=is_adopted,
        tables=_tables(),
    )


def _tables() -> list[str]:
    return [*sorted(Base.metadata.tables), "alembic_version"]


def _role(driver: Driver) -> str:
    return str(_scalar(driver, "SELECT quote_ident(current_user)"))


def _home(driver: Driver) -> str:
    """The schema that our tables would be in."""
    home = _scalar(driver, "SELECT current_schema()")
    if home is None:
        raise Refused(
            "No schema of the role's search_path exists. Let the database's owner make one:\n"
            + _own_schema(_role(driver), "public")
        )
    return str(home)


def _own_schema(role: str, queue_schema: str) -> str:
    return (
        f"  CREATE SCHEMA stoker AUTHORIZATION {role};\n"
        f"  ALTER ROLE {role} SET search_path = stoker, {queue_schema};"
    )


def _queue_schema(driver: Driver) -> str:
    """Where Procrastinate's tables are; they must be found by their plain names."""
    found = _scalar(
        driver,
        "SELECT quote_ident(nspname) FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace"
        " WHERE pg_class.oid = to_regclass('procrastinate_jobs')",
    )
    if found is not None:
        return str(found)
    elsewhere = driver.execute(
        "SELECT quote_ident(nspname), has_schema_privilege(nspname, 'USAGE')"
        " FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace"
        " WHERE relname = 'procrastinate_jobs' AND relkind = 'r' ORDER BY 1"
    ).fetchone()
    role = _role(driver)
    if elsewhere is None:
        raise Refused(
            "This database has no Procrastinate tables: name the app's own database by DATABASE_URL. "
            "(For a queue of Stoker's own, `flask db upgrade` makes them.)"
        )
    name, is_usable = elsewhere
    if not is_usable:
        raise Refused(
            f"The role {role} may not look into the schema of Procrastinate's tables. "
            f"Let its owner grant it:\n  GRANT USAGE ON SCHEMA {name} TO {role};"
        )
    raise Refused(
        f"Procrastinate's tables are in the schema {name}, which is not on the search_path of the role "
        f"{role}:\n  ALTER ROLE {role} SET search_path = stoker, {name};"
    )


def _queue_migration(driver: Driver) -> str:
    """The newest of Procrastinate's migrations that the database has had."""
    probes = resources.files("app.core") / "sql" / "procrastinate_applied.sql"
    found = sorted(name for (name,) in driver.execute(probes.read_text("utf-8").encode()))
    if not found:
        raise Refused(
            "This database holds the tables of a Procrastinate older than 3.0: upgrade that app to "
            "Procrastinate 3.0 and apply its migrations first."
        )
    return str(found[-1])


def _refuse_ours(driver: Driver, home: str) -> None:
    if _exists(driver, home, "procrastinate_migration"):
        raise Refused(
            "The queue of this database is Stoker's own (`flask db upgrade` made it or took it over), "
            "and its jobs are recorded: there is nothing to adopt."
        )


def _refuse_without_rights(driver: Driver, home: str, queue_schema: str) -> None:
    role = _role(driver)
    grants = []
    if not _scalar(driver, "SELECT has_schema_privilege(%s, 'USAGE')", home):
        grants.append(f"GRANT USAGE ON SCHEMA {_quoted(driver, home)} TO {role};")
    is_creating = bool(_scalar(driver, "SELECT has_schema_privilege(%s, 'CREATE')", home))
    for table, rights in _NEEDED.items():
        if _scalar(driver, "SELECT to_regclass(%s)", table) is None:
            continue
        missing = [
            right
            for right in rights
            if not _scalar(driver, "SELECT has_table_privilege(%s, %s)", table, right)
        ]
        if missing:
            grants.append(f"GRANT {', '.join(missing)} ON {queue_schema}.{table} TO {role};")
    if is_creating and not grants:
        return
    lines = []
    if not is_creating:
        lines.append(
            f"The role {role} may not make tables in the schema {home}. Give it a schema of its own:\n"
            f"{_own_schema(role, queue_schema)}"
        )
        if home != queue_schema:
            lines[-1] += (
                f"\nor let it:\n  GRANT CREATE ON SCHEMA {_quoted(driver, home)} TO {role};"
            )
    if grants:
        lines.append(
            f"The role {role} lacks rights that the owner of Procrastinate's tables can grant:\n"
            + "\n".join(f"  {grant}" for grant in grants)
        )
    raise Refused("\n".join(lines))


def _refuse_taken_names(driver: Driver, home: str, queue_schema: str) -> None:
    taken = [name for name in (*_tables(), *VIEWS) if _exists(driver, home, name)]
    if taken:
        raise Refused(taken_names(driver, home, queue_schema, taken))


def taken_names(driver: Driver, home: str, queue_schema: str, taken: list[str]) -> str:
    """The sentence for names of ours that another program has."""
    return (
        f"The schema {home} has {', '.join(taken)} already, and not from Stoker. Give Stoker a schema of "
        f"its own, and run this again:\n{_own_schema(_role(driver), queue_schema)}"
    )


def _exists(driver: Driver, home: str, name: str) -> bool:
    return (
        _scalar(
            driver,
            "SELECT 1 FROM pg_class WHERE relname = %s AND relnamespace ="
            " (SELECT oid FROM pg_namespace WHERE nspname = %s)",
            name,
            home,
        )
        is not None
    )


def _quoted(driver: Driver, name: str) -> str:
    return sql.Identifier(name).as_string(driver)


def _scalar(driver: Driver, query: str, *parameters: str) -> Any:
    row = driver.execute(query.encode(), parameters or None).fetchone()
    return None if row is None else row[0]
