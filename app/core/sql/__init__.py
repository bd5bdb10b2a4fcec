"""Named SQL statements: `sql/<noun>.sql` holds them, each under a line `-- name: <what>`.

A line `-- include: <file>` stands for the text of `sql/<file>.sql`, which several share.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from sqlalchemy import TextClause, text

_NAME = re.compile(r"^-- name: (\w+)\s*$", re.MULTILINE)
_INCLUDE = re.compile(r"^-- include: (\w+)$", re.MULTILINE)


@cache
def statement(noun: str, name: str) -> TextClause:
    """The statement `name` of `sql/<noun>.sql`, with `:name` parameters. Raises KeyError."""
    return _statements(noun)[name]


@cache
def _statements(noun: str) -> dict[str, TextClause]:
    parts = _NAME.split(_INCLUDE.sub(lambda named: _read(named[1]), _read(noun)))
    return {name: text(body) for name, body in zip(parts[1::2], parts[2::2], strict=True)}


def _read(noun: str) -> str:
    return (Path(__file__).parent / f"{noun}.sql").read_text()
