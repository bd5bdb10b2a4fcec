"""The header Idempotency-Key: the same request, sent again with it, does nothing twice."""

from __future__ import annotations

from flask import request

from app.core.errors import Invalid

LONGEST_KEY = 255


def read_key(in_body: str | None = None) -> str | None:
    """The request's key, where its body may give one, too. Raises Invalid."""
    key = request.headers.get("Idempotency-Key")
    if key is not None and not (1 <= len(key) <= LONGEST_KEY and key.isprintable()):
        raise Invalid(
            f"Idempotency-Key must be text of 1 to {LONGEST_KEY} characters.",
            param="Idempotency-Key",
        )
    if None not in (key, in_body) and key != in_body:
        raise Invalid(
            "The header Idempotency-Key and idempotency_key say different things.",
            param="idempotency_key",
        )
    return in_body if key is None else key
