"""Connections to Postgres: engines with time-outs that end a wait instead of hiding it."""

from __future__ import annotations

from typing import Any

import psycopg
from sqlalchemy import Engine, create_engine
from sqlalchemy.orm import Session, sessionmaker

from app.core.settings import Settings

SessionFactory = sessionmaker[Session]

# A half-open connection is noticed within about 15 s instead of hours.
_KEEPALIVE = {
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 5,
    "tcp_user_timeout": 15_000,
}


def sqlalchemy_url(database_url: str) -> str:
    """The URL with SQLAlchemy's name of the psycopg 3 driver."""
    return "postgresql+psycopg://" + database_url.split("://", 1)[1]


def connect_args(name: str, statement_timeout_seconds: float | None = None) -> dict[str, Any]:
    """libpq parameters of every connection; `name` shows in pg_stat_activity."""
    options = ["-c jit=off", "-c timezone=UTC"]
    if statement_timeout_seconds is not None:
        options.append(f"-c statement_timeout={int(statement_timeout_seconds * 1000)}")
    return {**_KEEPALIVE, "application_name": f"stoker {name}", "options": " ".join(options)}


def engine_options(
    name: str, *, pool_size: int, statement_timeout_seconds: float | None = None
) -> dict[str, Any]:
    """Keyword arguments of `create_engine` (and of Flask-SQLAlchemy's engine options)."""
    return {
        "pool_size": pool_size,
        "max_overflow": 0,
        "pool_timeout": 5,
        "pool_pre_ping": True,
        "connect_args": connect_args(name, statement_timeout_seconds),
    }


def make_engine(
    settings: Settings,
    name: str,
    *,
    pool_size: int = 5,
    statement_timeout_seconds: float | None = None,
) -> Engine:
    """An engine of its own for a process that is not the web."""
    return create_engine(
        sqlalchemy_url(settings.database_url),
        **engine_options(
            name, pool_size=pool_size, statement_timeout_seconds=statement_timeout_seconds
        ),
    )


def driver_connection(session: Session) -> psycopg.Connection[Any]:
    """The session's psycopg connection: for COPY, and to defer jobs in the same transaction."""
    connection = session.connection().connection.driver_connection
    assert isinstance(connection, psycopg.Connection)
    return connection
