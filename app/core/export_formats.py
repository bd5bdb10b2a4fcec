"""The formats of tables to be saved: rows as CSV, as JSON with one row a line, or as lines of JSON."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection, Generator, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson

from app.core import json_text

VERSION = 1
# What holds any JSON value, and is JSON in a CSV cell, too.
JSON_COLUMNS = {"arguments", "result", "details"}

# What spreadsheets take for a formula; the wide signs are read like the narrow ones.
_FORMULA = re.compile("'*[=+\\-@\t\r\n＝＋－＠]")

Row = Sequence[Any]
Parts = Iterable[Sequence[Row]]


def pieces(
    parts: Parts, what: str, columns: Sequence[str], form: str
) -> Generator[bytes, None, int]:
    """An export in `csv`, `json` or `ndjson`, part by part; returns how many rows there were."""
    match form:
        case "csv":
            return csv_lines(parts, columns, JSON_COLUMNS)
        case "json":
            return _json_lines(parts, what, columns)
    return _ndjson(parts, columns)


def csv_lines(
    parts: Parts, columns: Sequence[str], json_columns: Collection[str] = ()
) -> Generator[bytes, None, int]:
    """CSV in which no cell is a formula; returns how many rows there were.

    What is not None is JSON in `json_columns`, elsewhere only what is no text, number or time.
    """
    page = io.StringIO(newline="")
    writer = csv.writer(page)
    writer.writerow(columns)
    rows = 0
    for part in parts:
        writer.writerows(
            [
                cell(_json(value) if column in json_columns else value)
                for column, value in zip(columns, row, strict=True)
            ]
            for row in part
        )
        rows += len(part)
        yield _emptied(page)
    yield _emptied(page)
    return rows


def _json(value: Any) -> str | None:
    return None if value is None else json_text.write(value).decode()


def _emptied(page: io.StringIO) -> bytes:
    text = page.getvalue().encode()
    page.seek(0)
    page.truncate()
    return text


def cell(value: Any) -> str | int | float | None:
    """A CSV cell that no spreadsheet takes for a formula: such a text gets an apostrophe in front.

    What already begins with apostrophes before such a sign gets one more, so that `plain` brings
    back exactly what there was. Numbers stay numbers.
    """
    match value:
        case None | float():
            return value
        case bool():
            return "true" if value else "false"
        case int():
            return value
        case datetime():
            return value.isoformat()
        case str():
            words = value
        case _:
            words = json_text.write(value).decode()
    return "'" + words if _FORMULA.match(words) else words


def plain(words: str) -> str:
    """What `cell` was given."""
    return words[1:] if words.startswith("'") and _FORMULA.match(words) else words


def _json_lines(parts: Parts, what: str, columns: Sequence[str]) -> Generator[bytes, None, int]:
    head = {
        "kind": "stoker.export",
        "version": VERSION,
        "what": what,
        "exported_at": datetime.now(UTC),
    }
    yield orjson.dumps(head)[:-1] + b',"items":'
    rows = yield from _items(parts, columns)
    yield b',"count":%d}\n' % rows
    return rows


def json_array(parts: Parts, columns: Sequence[str]) -> Generator[bytes, None, int]:
    """A JSON array with an object a line; returns how many rows there were."""
    rows = yield from _items(parts, columns)
    yield b"\n"
    return rows


def _items(parts: Parts, columns: Sequence[str]) -> Generator[bytes, None, int]:
    yield b"["
    rows = 0
    for part in parts:
        if part:
            yield (b",\n" if rows else b"\n") + b",\n".join(_lines(part, columns))
        rows += len(part)
    yield b"\n]"
    return rows


def _ndjson(parts: Parts, columns: Sequence[str]) -> Generator[bytes, None, int]:
    rows = 0
    for part in parts:
        yield b"".join(line + b"\n" for line in _lines(part, columns))
        rows += len(part)
    return rows


def _lines(part: Sequence[Row], columns: Sequence[str]) -> Iterator[bytes]:
    for row in part:
        yield json_text.write(dict(zip(columns, row, strict=True)))
