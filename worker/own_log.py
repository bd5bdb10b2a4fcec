"""What the worker prints, kept in a file besides: the log that GET /admin/worker-logs/content reads."""

from __future__ import annotations

import logging
import os
import re
import threading
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import TextIO, cast

import structlog

from app.core import worker_log
from app.core.settings import Settings

log = structlog.get_logger("own_log")

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def doubled(stream: TextIO, settings: Settings) -> TextIO:
    """`stream`, written through line by line into the log file as well.

    Where that can't be written, it is the stream alone: the worker works all the same.
    """
    try:
        settings.logs_path.mkdir(parents=True, exist_ok=True)
        file = _File(settings)
    except OSError as fault:
        log.warning("own_log.not_kept", error=str(fault))
        return stream
    return cast(TextIO, _Both(stream, file))


class _File(RotatingFileHandler):
    """Rotated by size; others may write into it, rotate it or take it away."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(
            worker_log.path(settings),
            maxBytes=worker_log.FILE_BYTES,
            backupCount=worker_log.KEPT_FILES,
            encoding="utf-8",
            errors="backslashreplace",
        )

    def line(self, text: str) -> None:
        """Append one line."""
        self.handle(logging.makeLogRecord({"msg": text}))

    def emit(self, record: logging.LogRecord) -> None:
        try:
            if self.stream is not None and not _lies_at(self.stream, self.baseFilename):
                self.stream.close()
                self.stream = self._open()
        except OSError:
            return
        super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """A full disk is no reason to print tracebacks; the line is on standard error."""


def _lies_at(stream: TextIO, path: str) -> bool:
    try:
        return os.path.samestat(Path(path).stat(), os.fstat(stream.fileno()))
    except OSError:
        return False


class _Both:
    """A stream and the file; closing it closes the file alone."""

    def __init__(self, stream: TextIO, file: _File) -> None:
        self._stream = stream
        self._file = file
        self._unended = threading.local()

    def write(self, text: str) -> int:
        self._stream.write(text)
        *lines, rest = (getattr(self._unended, "text", "") + text).split("\n")
        self._unended.text = rest
        for line in lines:
            self._file.line(_COLOUR.sub("", line))
        return len(text)

    def close(self) -> None:
        self._file.close()

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)
