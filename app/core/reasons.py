"""Reasons: what somebody says why something rests, for those who find it so."""

from __future__ import annotations

from app.core.errors import Invalid

LONGEST = 500


def read(words: str, *, is_line: bool = False) -> str:
    """A reason without blanks around it; with `is_line` nothing in it may break a line.

    Raises Invalid.
    """
    words = words.strip()
    if not 0 < len(words) <= LONGEST or "\0" in words or (is_line and not words.isprintable()):
        kind = "one line of" if is_line else "a text of"
        raise Invalid(f"The reason is {kind} 1 to {LONGEST} characters.", param="reason")
    return words
