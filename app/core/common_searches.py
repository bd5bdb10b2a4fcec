"""Which searches more jobs meet than are counted, as was found lately: they need not be counted again."""

from __future__ import annotations

import threading
import time
from typing import Any

from sqlalchemy import Select
from sqlalchemy.orm import Session

# What so many jobs have stays common for a while, whatever is deleted meanwhile.
KNOWN_SECONDS = 60.0
_SIZE = 1024

_lock = threading.Lock()
_until: dict[object, float] = {}


def key(session: Session, keys: Select[Any], most: int) -> object:
    """Names a search for `keys` in one database that gives up after `most`."""
    compiled = keys.compile(dialect=session.get_bind().dialect)
    return session.get_bind(), most, str(compiled), str(compiled.params)


def is_known(search: object) -> bool:
    """Whether it was noted in the last KNOWN_SECONDS."""
    with _lock:
        return _until.get(search, 0.0) > time.monotonic()


def note(search: object) -> None:
    """That more jobs meet it than are counted."""
    with _lock:
        if len(_until) >= _SIZE:
            _until.clear()
        _until[search] = time.monotonic() + KNOWN_SECONDS
