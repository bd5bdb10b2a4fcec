"""The worker's own log: what it printed, in a few files of bounded size, read from their end.

The worker writes them (worker/own_log.py) besides its standard error, which goes to the terminal of
`flask up` or to the journal and can't be read from there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from app.core.settings import Settings

FILE_BYTES = 4 * 1024**2
KEPT_FILES = 3

_BLOCK_BYTES = 64 * 1024
_ERROR = re.compile(r"\[(?:error|critical) *\]|\"level\": ?\"(?:error|critical)\"")
_WARNING = re.compile(r"\[warning *\]|\"level\": ?\"warning\"")


@dataclass(frozen=True)
class Tail:
    """The log's last lines, oldest first; `total_lines` counts all that are kept."""

    lines: list[str]
    total_lines: int

    @property
    def error_count(self) -> int:
        """How many of the lines say an error."""
        return sum(_ERROR.search(line) is not None for line in self.lines)

    @property
    def warning_count(self) -> int:
        """How many of the lines say a warning."""
        return sum(_WARNING.search(line) is not None for line in self.lines)


def path(settings: Settings) -> Path:
    """The file that is written now; older ones end in .1, .2, …"""
    return settings.logs_path / "worker.log"


def tail(settings: Settings, count: int) -> Tail:
    """The last `count` lines of the worker whose data folder this is; none when there was none."""
    current = path(settings)
    files = [current, *(current.with_name(f"{current.name}.{n}") for n in range(1, KEPT_FILES + 1))]
    lines: list[str] = []
    for file in files:
        if len(lines) < count:
            lines = _last_lines(file, count - len(lines)) + lines
    return Tail(lines, sum(map(_count_lines, files)))


def _last_lines(file: Path, count: int) -> list[str]:
    """From its end, block by block, as far as they are needed."""
    try:
        with file.open("rb") as source:
            begin = source.seek(0, 2)
            text = b""
            while begin > 0 and text.count(b"\n") <= count:
                size = min(_BLOCK_BYTES, begin)
                begin = source.seek(begin - size)
                text = source.read(size) + text
    except OSError:
        return []
    # Not splitlines: other signs that end a line somewhere else are letters here.
    lines = text.removesuffix(b"\n").split(b"\n") if text else []
    return [line.decode("utf-8", "replace") for line in lines[-count:]]


def _count_lines(file: Path) -> int:
    return sum(block.count(b"\n") for block in _blocks(file))


def _blocks(file: Path) -> Iterator[bytes]:
    try:
        with file.open("rb") as source:
            while block := source.read(_BLOCK_BYTES):
                yield block
    except OSError:
        return
