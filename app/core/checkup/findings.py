"""What a check finds, and the list of all checks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import psycopg

from app.core.settings import Settings

Status = Literal["ok", "warning", "failed"]
Needs = Literal["nothing", "database", "schema"]


@dataclass(frozen=True)
class Finding:
    """A word, what was found, and, unless all is well, what to do about it."""

    status: Status
    said: str
    remedy: str | None = None


@dataclass(frozen=True)
class Patient:
    """What is looked at; `connection` is in autocommit, and there for checks that need it."""

    settings: Settings
    database_url: str
    connection: psycopg.Connection[Any] | None = None

    @property
    def driver(self) -> psycopg.Connection[Any]:
        """The connection."""
        assert self.connection is not None
        return self.connection

    def rows(self, query: str, *parameters: object) -> list[tuple[Any, ...]]:
        """What the database answers."""
        return self.driver.execute(query.encode(), parameters or None).fetchall()

    def ask(self, query: str, *parameters: object) -> Any:
        """The answer's first value; None without a row."""
        found = self.rows(query, *parameters)
        return found[0][0] if found else None


@dataclass(frozen=True)
class Check:
    """A function that finds something, with its name."""

    name: str
    needs: Needs
    make: Callable[[Patient], Finding]


CHECKS: list[Check] = []


def check(
    name: str, needs: Needs = "nothing"
) -> Callable[[Callable[[Patient], Finding]], Callable[[Patient], Finding]]:
    """Register a check."""

    def register(make: Callable[[Patient], Finding]) -> Callable[[Patient], Finding]:
        CHECKS.append(Check(name, needs, make))
        return make

    return register


def ok(said: str) -> Finding:
    """All is well."""
    return Finding("ok", said)


def warning(said: str, remedy: str) -> Finding:
    """It works, and may not for long."""
    return Finding("warning", said, remedy)


def failed(said: str, remedy: str) -> Finding:
    """It does not work."""
    return Finding("failed", said, remedy)


def some(names: Sequence[str], most: int = 5) -> str:
    """The names, or the first of them and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def size(count: float) -> str:
    """Bytes for people."""
    if count < 1024**3:
        return f"{count / 1024**2:,.0f} MB"
    return f"{count / 1024**3:,.1f} GB"
