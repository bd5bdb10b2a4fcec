"""Standard `logging` of the code that runs in an attempt becomes the attempt's log lines."""

from __future__ import annotations

import json
import logging
from typing import Any

from .attempt import Attempt, attempt_here

LEVEL = logging.INFO
_MESSAGE_BYTES = 8192
_CONTEXT_BYTES = 16_384

_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}
_get = attempt_here.get


class Capture(logging.Handler):
    """On the root logger. Without the lock that handlers have: what it does is atomic."""

    def handle(self, record: logging.LogRecord) -> bool:
        """Keep the record, or count it as dropped: that must cost nearly nothing."""
        attempt = _get()
        if attempt is not None:
            if record.created < attempt.closed_until:
                attempt.dropped += 1
            elif attempt.has_room_at(record.created):
                self._keep(attempt, record)
            else:
                attempt.dropped += 1
        if record.levelno >= logging.WARNING:
            _print_as_before(record)
        return True

    def _keep(self, attempt: Attempt, record: logging.LogRecord) -> None:
        try:
            context = {
                name: _plain(_ids(value) if _is_deferral(record, name) else value)
                for name, value in record.__dict__.items()
                if name not in _STANDARD
            }
            if record.exc_info and record.exc_info[0] is not None:
                text = record.exc_text or _formatter.formatException(record.exc_info)
                context["exception"] = text[-_CONTEXT_BYTES:]
            attempt.log(
                record.levelname.lower(),
                cut(record.getMessage(), _MESSAGE_BYTES),
                context,
                logger=record.name,
                at=record.created,
            )
        except Exception:
            self.handleError(record)


def _is_deferral(record: logging.LogRecord, name: str) -> bool:
    """Whether it is what Procrastinate tells of jobs that the attempt defers: all of each, over and over."""
    return name == "jobs" and record.name == "procrastinate.jobs"


def _ids(jobs: Any) -> Any:
    return [each["id"] for each in jobs]


_formatter = logging.Formatter()


def cut(text: str, size: int) -> str:
    """The text, of at most so many bytes of UTF-8, and an ellipsis where something is missing."""
    if len(text) * 4 <= size:
        return text
    encoded = text.encode("utf-8", "replace")
    if len(encoded) <= size:
        return text
    return encoded[: size - 3].decode("utf-8", "ignore") + "…"


def _plain(value: Any) -> Any:
    """The value as it is now, as JSON can say it."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, str):
        return cut(value, _CONTEXT_BYTES)
    try:
        text = json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return cut(repr(value), _CONTEXT_BYTES)
    return json.loads(text) if len(text) <= _CONTEXT_BYTES else cut(text, _CONTEXT_BYTES)


class _AsBefore(logging.Filter):
    """Lets a handler see what it would have seen if the root's level had not been lowered."""

    def __init__(self, level: int) -> None:
        super().__init__()
        self._level = level

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno >= self._level:
            return True
        logger: logging.Logger | None = logging.getLogger(record.name)
        while logger is not None and logger is not logging.root:
            if logger.level:
                return record.levelno >= logger.level
            logger = logger.parent
        return False


def _print_as_before(record: logging.LogRecord) -> None:
    """Where no handler was set up, Python prints warnings; with ours it would not any more."""
    last = logging.lastResort
    if last is None or _other_handlers(record.name) or record.levelno < last.level:
        return
    last.handle(record)


def _other_handlers(name: str) -> bool:
    logger: logging.Logger | None = logging.getLogger(name)
    while logger is not None:
        if any(not isinstance(handler, Capture) for handler in logger.handlers):
            return True
        logger = logger.parent if logger.propagate else None
    return False


_capture = Capture(LEVEL)
_users = 0
_undo: list[tuple[logging.Handler, logging.Filter]] = []
_root_level = logging.NOTSET


def begin() -> None:
    """Capture from now on. The root's level is lowered for it; no other handler prints more."""
    global _users, _root_level
    _users += 1
    if _users > 1:
        return
    root = logging.getLogger()
    _root_level = root.level
    if root.level > LEVEL:
        as_before = _AsBefore(root.level)
        loggers = [root, *map(logging.getLogger, list(logging.root.manager.loggerDict))]
        for handler in {handler for logger in loggers for handler in logger.handlers}:
            handler.addFilter(as_before)
            _undo.append((handler, as_before))
        root.setLevel(LEVEL)
    root.addHandler(_capture)


def end() -> None:
    """The opposite of `begin`, once it was called as often."""
    global _users
    _users -= 1
    if _users > 0:
        return
    root = logging.getLogger()
    root.removeHandler(_capture)
    if _undo:
        root.setLevel(_root_level)
    while _undo:
        handler, as_before = _undo.pop()
        handler.removeFilter(as_before)
