"""Reading what `app.core.exports` wrote: rows with their line numbers, as a stream, from any format."""

from __future__ import annotations

import csv
import io
import json
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import orjson

from app.core import json_text
from app.core.errors import Invalid
from app.core.export_formats import JSON_COLUMNS, VERSION, plain

_LONGEST_LINE = 10 * 1024**2
_HEAD = re.compile(rb'\{"kind":"stoker\.export".*"items":\[\s*')


@dataclass(frozen=True)
class Line:
    """One row of the file, and where it stands."""

    number: int
    values: dict[str, Any] | None
    fault: str = ""


class ExportReader:
    """A file of any of the three formats as rows with line numbers, read as a stream.

    Raises Invalid when it is none of them.
    """

    def __init__(self, path: Path) -> None:
        self.what = ""
        self.told: int | None = None
        self._open: list[Any] = []
        self._file: IO[bytes] = open(path, "rb")  # noqa: SIM115 - closed by __exit__
        self._open.append(self._file)
        try:
            self._begin()
        except BaseException:
            self._close()
            raise

    def __enter__(self) -> ExportReader:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def _close(self) -> None:
        for each in reversed(self._open):
            each.close()

    def _begin(self) -> None:
        if self._file.read(4) == b"PK\x03\x04":
            try:
                archive = zipfile.ZipFile(self._file)
            except zipfile.BadZipFile as fault:
                raise Invalid(f"The ZIP file is damaged: {fault}.", param="file_id") from None
            self._open.append(archive)
            names = [name for name in archive.namelist() if name.endswith((".json", ".csv"))]
            if not names:
                raise Invalid("The ZIP file has no export in it.", param="file_id")
            # Both hold the same; JSON says more plainly what it means.
            entry = archive.open(sorted(names, key=lambda name: not name.endswith(".json"))[0])
            self._open.append(entry)
            self._file = entry
        else:
            self._file.seek(0)
        first = self._file.readline(_LONGEST_LINE)
        if first.lstrip().startswith(b"{"):
            self._begin_json(first)
        else:
            self._begin_csv(first)

    def _begin_json(self, first: bytes) -> None:
        if not _HEAD.fullmatch(first):
            raise Invalid("line 1: this JSON is no export of Stoker's.", param="file_id")
        head = orjson.loads(first.rstrip() + b"]}")
        if head.get("version") != VERSION:
            raise Invalid(
                f"The export has version {head.get('version')}; this is version {VERSION}.",
                param="file_id",
            )
        self.what = str(head.get("what"))
        self.lines = self._json_lines

    def _json_lines(self) -> Iterator[Line]:
        number = 1
        while line := self._file.readline(_LONGEST_LINE):
            number += 1
            words = line.strip()
            if words.startswith(b"]"):
                self.told = _told(words)
                return
            yield _json_line(number, words.removesuffix(b","))
        yield Line(number + 1, None, "the file ends in the middle")

    def _begin_csv(self, first: bytes) -> None:
        try:
            columns = next(csv.reader([first.decode("utf-8-sig")]), [])
        except (UnicodeDecodeError, csv.Error):
            raise Invalid("The file is neither CSV nor JSON nor ZIP.", param="file_id") from None
        if "fingerprint" in columns:
            self.what = "events"
        elif {"task", "queue"} <= set(columns):
            self.what = "jobs"
        elif "custom_id" in columns:
            self.what = "results"
        else:
            raise Invalid("line 1: these are not the columns of an export.", param="file_id")
        self._columns = columns
        self.lines = self._csv_lines

    def _csv_lines(self) -> Iterator[Line]:
        csv.field_size_limit(_LONGEST_LINE)
        text = io.TextIOWrapper(self._file, "utf-8", newline="")
        reader = csv.reader(text, strict=True)
        try:
            while True:
                number = reader.line_num + 2
                try:
                    row = next(reader)
                except StopIteration:
                    return
                except (csv.Error, UnicodeDecodeError) as fault:
                    yield Line(number, None, str(fault))
                    return
                if row:
                    yield _csv_line(number, self._columns, row)
        finally:
            text.detach()  # the file is closed by who opened it

    lines: Callable[[], Iterable[Line]]


def _told(words: bytes) -> int | None:
    match = re.fullmatch(rb'\],"count":(\d{1,18})\}', words)
    return int(match[1]) if match else None


def _json_line(number: int, words: bytes) -> Line:
    try:
        values = json_text.read(words)
    except json.JSONDecodeError as fault:
        return Line(number, None, f"not valid JSON ({fault.msg})")
    if not isinstance(values, dict):
        return Line(number, None, "not an object")
    return Line(number, values)


def _csv_line(number: int, columns: list[str], row: list[str]) -> Line:
    if len(row) != len(columns):
        return Line(number, None, f"it has {len(row)} cells, the first line {len(columns)}")
    values: dict[str, Any] = {}
    for column, words in zip(columns, row, strict=True):
        if words == "":
            continue  # as it was left out
        value: Any = plain(words)
        if column in JSON_COLUMNS:
            try:
                value = json_text.read(value)
            except json.JSONDecodeError as fault:
                return Line(number, None, f"{column}: not valid JSON ({fault.msg})")
        values[column] = value
    return Line(number, values)
