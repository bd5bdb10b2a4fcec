"""Log lines on standard error: text for a person, or JSON for a machine; never a secret."""

from __future__ import annotations

import logging
import re
import sys
from typing import Any

import structlog

from app.core.settings import Settings

_SECRET = re.compile(r"sk-stoker-[A-Za-z0-9]+|whsec_[A-Za-z0-9+/=]+|(?<=Bearer )\S+")
_SECRET_NAMES = {"authorization", "cookie", "password", "secret", "token", "api_key"}


def configure_logging(settings: Settings) -> None:
    """Set up structlog for this process."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        hide_secrets,
    ]
    renderer: Any
    if settings.log_format == "json":
        renderer = structlog.processors.JSONRenderer()
    else:
        renderer = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping()[settings.log_level.upper()]
        ),
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),  # whatever it is by then
        cache_logger_on_first_use=False,
    )


def hide_secrets(
    logger: Any, method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Replace keys, signing secrets and passwords by asterisks, wherever they stand in a line."""
    for name, value in event.items():
        if name.lower() in _SECRET_NAMES:
            event[name] = "***"
        elif isinstance(value, str):
            event[name] = _SECRET.sub("***", value)
    return event
