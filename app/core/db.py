"""Connections to Postgres: engines with time-outs that end a wait instead of hiding it."""

from __future__ import annotations

from typing import Any

import psycopg
from sqlalchemy import Engine, create_engine
from sqlalchemy.orm import Session, sessionmaker

from app.core import silence
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
_POOL: dict[str, Any] = {"max_overflow": 0, "pool_pre_ping": True}

# For a connection in the web, new or from the pool (libpq knows no shorter time than 2 s).
_WEB_WAIT_SECONDS = 2
# What the server may take beyond its own time-out to say so.
_GRACE_SECONDS = 2.0


def sqlalchemy_url(database_url: str) -> str:
    """The URL with SQLAlchemy's name of the psycopg 3 driver."""
    return "postgresql+psycopg://" + database_url.split("://", 1)[1]


def connect_args(name: str, statement_timeout_seconds: float | None = None) -> dict[str, Any]:
    """libpq parameters of every connection; `name` shows in pg_stat_activity."""
    options = ["-c jit=off", "-c timezone=UTC"]
    if statement_timeout_seconds is not None:
        options.append(f"-c statement_timeout={int(statement_timeout_seconds * 1000)}")
    return {**_KEEPALIVE, "application_name": f"stoker {name}", "options": " ".join(options)}


def connect(database_url: str, name: str, *, autocommit: bool = False) -> silence.WatchedConnection:
    """A connection of its own, without a pool."""
    return silence.WatchedConnection.connect(
        database_url, autocommit=autocommit, **connect_args(name)
    )


def web_options(
    database_url: str, *, pool_size: int, statement_timeout_seconds: float
) -> dict[str, Any]:
    """Flask-SQLAlchemy's engine options: whoever waits for a page is told soon that it won't come."""
    arguments = connect_args("web", statement_timeout_seconds)
    connection = silence.impatient(statement_timeout_seconds + _GRACE_SECONDS)
    return {
        **_POOL,
        "pool_size": pool_size,
        "pool_timeout": _WEB_WAIT_SECONDS,
        "creator": lambda: connection.connect(
            database_url, **{**arguments, "connect_timeout": _WEB_WAIT_SECONDS}
        ),
    }


def make_engine(settings: Settings, name: str, *, pool_size: int = 5) -> Engine:
    """An engine of its own for a process that is not the web."""
    return create_engine(
        sqlalchemy_url(settings.database_url),
        **_POOL,
        pool_size=pool_size,
        pool_timeout=5,
        creator=lambda: connect(settings.database_url, name),
    )


def driver_connection(session: Session) -> psycopg.Connection[Any]:
    """The session's psycopg connection: for COPY, and to defer jobs in the same transaction."""
    connection = session.connection().connection.driver_connection
    assert isinstance(connection, psycopg.Connection)
    return connection
