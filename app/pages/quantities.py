"""Amounts as people write them in a form: `30 min`, `1 h 5 min`, `50 %`, `10 GB`, `3 jobs`."""

from __future__ import annotations

import re

_SECONDS = {"s": 1, "sec": 1, "second": 1, "m": 60, "min": 60, "minute": 60, "h": 3600}
_SECONDS |= {"hour": 3600, "d": 86400, "day": 86400}
_BYTES = {name: 1024**power for power, name in enumerate(("b", "kb", "mb", "gb", "tb"))}
_BYTES |= {name: 1024**power for power, name in enumerate(("byte", "kib", "mib", "gib", "tib"))}

UNITS: dict[str, tuple[dict[str, float], float, str]] = {
    "seconds": ({**_SECONDS}, 1.0, "a time like 90 s, 30 min or 1 h 30 min"),
    "bytes": ({**_BYTES}, 1.0, "a size like 500 MB or 10 GB"),
    # A bare number is a percentage too: nobody means half a percent by 0.5.
    "share": ({"%": 0.01}, 0.01, "a share like 50 %"),
    "jobs": ({"job": 1}, 1.0, "a number like 5"),
    "runs": ({"run": 1}, 1.0, "a number like 5"),
}
_LONGEST = 60
_PART = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([a-z%]*)\s*", re.IGNORECASE)


def read(text: str, unit: str) -> float:
    """An amount in its unit (one of UNITS). Raises ValueError that says what it should look like."""
    sizes, bare, words = UNITS[unit]
    fault = ValueError(f"This must be {words}.")
    text = text.strip().replace(",", "")
    if not text or len(text) > _LONGEST:
        raise fault
    total, place = 0.0, 0
    while place < len(text):
        part = _PART.match(text, place)
        if part is None:
            raise fault
        name = part[2].lower()
        size = bare if not name and part.end() == len(text) and place == 0 else sizes.get(name)
        size = size or sizes.get(name.removesuffix("s"))
        if size is None:
            raise fault
        total += float(part[1]) * size
        place = part.end()
    return total
