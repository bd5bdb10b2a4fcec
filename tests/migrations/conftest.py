"""A new database for each test, on each major of Postgres that is here."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from psycopg import conninfo, sql

from tests.migrations import servers

Connection = psycopg.Connection[Any]
_numbers = itertools.count(1)


@pytest.fixture(scope="session", params=["embedded", *servers.installed()])
def server(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param == "embedded":
        yield request.getfixturevalue("postgres")
    else:
        with servers.running(request.param) as url:
            yield url


@pytest.fixture
def new_database(server: str) -> Iterator[Callable[[], str]]:
    """Makes an empty database and gives its URL."""
    made: list[str] = []
    host = conninfo.conninfo_to_dict(server)["host"]
    with psycopg.connect(server, autocommit=True) as connection:

        def make() -> str:
            made.append(f"migrated_{next(_numbers)}")
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(made[-1])))
            return f"postgresql://postgres@/{made[-1]}?host={host}"

        yield make
        for name in made:
            connection.execute(sql.SQL("DROP DATABASE {} (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def url(new_database: Callable[[], str]) -> str:
    return new_database()


@pytest.fixture
def db(url: str) -> Iterator[Connection]:
    with psycopg.connect(url, autocommit=True) as connection:
        yield connection
