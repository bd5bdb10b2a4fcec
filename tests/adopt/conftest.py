"""A shop with a database of its own, and `flask adopt` for it."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import Result
from procrastinate.schema import SchemaManager
from psycopg import conninfo, sql

from app.core.settings import load_settings
from app.factory import create_app
from tests.adopt.shops import Shop

Connection = psycopg.Connection[Any]
Flask = Callable[..., Result]


@pytest.fixture
def url(postgres: str) -> Iterator[str]:
    """An empty database."""
    name = f"shop_{secrets.token_hex(4)}"
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        yield f"postgresql://postgres@/{name}?host={conninfo.conninfo_to_dict(postgres)['host']}"
        connection.execute(sql.SQL("DROP DATABASE {} (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def db(url: str) -> Iterator[Connection]:
    with psycopg.connect(url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def queue(db: Connection) -> Connection:
    """The database with Procrastinate's tables, as any app of its newest version has them."""
    db.execute(SchemaManager.get_schema())
    return db


@pytest.fixture
def shop(url: str, tmp_path: Path) -> Iterator[Shop]:
    shop = Shop(url, tmp_path)
    yield shop
    shop.stop()


@pytest.fixture
def flask(url: str, tmp_path: Path) -> Flask:
    """Runs a command: `flask("adopt", "--dry-run")`; as another role by `as_role`."""

    def run(*words: str, as_role: str = "postgres") -> Result:
        here = url.replace("postgres@", f"{as_role}@", 1)
        app = create_app(load_settings(database_url=here, var=tmp_path / "var"))
        try:
            return app.test_cli_runner().invoke(args=list(words))
        finally:
            with app.app_context():
                app.extensions["sqlalchemy"].engine.dispose()

    return run


def catalogue(connection: Connection) -> list[str]:
    """All that is in the database, one line for each thing."""
    statement = Path(__file__).with_name("catalogue.sql").read_text()
    return [line for (line,) in connection.execute(statement.encode())]
