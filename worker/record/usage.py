"""How much memory this process holds."""

from __future__ import annotations

import os
import time

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096
_FRESH_SECONDS = 0.1
_last: tuple[float, int] = (0.0, 0)


def memory_bytes() -> int:
    """The process's resident memory, at most a tenth of a second old; 0 where it can't be read.

    It is the whole process's: tasks that run beside each other in one worker share the figure.
    """
    global _last
    now = time.monotonic()
    if now - _last[0] > _FRESH_SECONDS:
        _last = (now, _read())
    return _last[1]


def _read() -> int:
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * _PAGE_BYTES
    except (OSError, ValueError, IndexError):
        pass
    try:
        import psutil

        return int(psutil.Process().memory_info().rss)
    except Exception:
        return 0
