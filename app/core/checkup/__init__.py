"""The check-up behind `flask doctor`: what may be wrong with an installation, and what to do about it.

Each check is a function that returns one finding; the modules below register theirs by noun, in the
order in which they are made.
"""

from __future__ import annotations

from collections.abc import Iterator

import psycopg

from app.core.checkup import database, installation, load, processes  # noqa: F401 - they register
from app.core.checkup.findings import CHECKS, Check, Finding, Patient, failed, ok
from app.core.db import connect_args
from app.core.settings import Settings

__all__ = ["CHECKS", "Finding", "examine"]


def examine(settings: Settings, database_url: str | None) -> Iterator[tuple[str, Finding]]:
    """Each check's name and finding, as they are made.

    What needs the database, or its tables, is left out where there is none; the check of that says
    so. Nothing is changed.
    """
    patient = Patient(settings, database_url or "")
    for check in CHECKS:
        if check.needs == "nothing":
            yield check.name, check.make(patient)
    finding, connection = _connect(patient)
    yield "database", finding
    if connection is None:
        return
    with connection:
        patient = Patient(settings, patient.database_url, connection)
        has_schema = patient.ask("SELECT to_regclass('worker') IS NOT NULL")
        for check in CHECKS:
            if check.needs == "database" or (check.needs == "schema" and has_schema):
                yield check.name, _made(check, patient)


def _connect(patient: Patient) -> tuple[Finding, psycopg.Connection[tuple[object, ...]] | None]:
    if not patient.database_url:
        return failed(
            "No database is named, so what needs one is not checked.",
            "Set DATABASE_URL, or start the embedded server with `flask up`.",
        ), None
    # Without our time zone: the database's own is a finding.
    arguments = {**connect_args("doctor"), "options": "-c statement_timeout=10000"}
    try:
        connection = psycopg.connect(patient.database_url, autocommit=True, **arguments)
    except psycopg.OperationalError as fault:
        why = " ".join(str(fault).split())
        return failed(
            f"The database can't be reached, so what needs it is not checked: {why}",
            "See that the server runs and that DATABASE_URL names it; `flask up` starts the embedded one.",
        ), None
    return ok(f"Reached {connection.info.dbname} as {connection.info.user}."), connection


def _made(check: Check, patient: Patient) -> Finding:
    try:
        return check.make(patient)
    except psycopg.Error as fault:
        why = fault.diag.message_primary or " ".join(str(fault).split())
        return failed(f"This could not be checked: {why}.", "See what the other checks say.")
