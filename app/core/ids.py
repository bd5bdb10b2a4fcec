"""Public ids: a word that says what it is, and 128 random bits."""

from __future__ import annotations

import secrets


def new_id(prefix: str, separator: str = "_") -> str:
    """Like `batch_9f…`; files write `file-9f…`, as the OpenAI API does."""
    return f"{prefix}{separator}{secrets.token_hex(16)}"
