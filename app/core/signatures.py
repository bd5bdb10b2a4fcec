"""Signing secrets and signatures after Standard Webhooks (https://www.standardwebhooks.com).

The official clients' `webhooks.unwrap` and `webhooks.verify_signature` read them.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import time
from collections.abc import Sequence

PREFIX = "whsec_"

_SECRET_BYTES = 32


def new_secret() -> str:
    """A secret that nobody has seen yet."""
    return PREFIX + base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()


def key(secret: str) -> bytes:
    """The bytes that sign: what follows `whsec_` is base64, any other text is its own bytes.

    Raises ValueError when it is not base64, or empty.
    """
    if not secret.startswith(PREFIX):
        return secret.encode()
    decoded = base64.b64decode(secret.removeprefix(PREFIX))
    if not decoded:
        raise ValueError("an empty key signs nothing")
    return decoded


def headers(
    delivery_id: str, payload: str, signing: Sequence[str], now: float | None = None
) -> dict[str, str]:
    """Stamped and signed for one try: a receiver takes a stamp for five minutes only.

    Each secret of `signing` has its own signature, so that either fits while one follows the other.
    Raises as `key`.
    """
    timestamp = int(time.time() if now is None else now)
    found = {
        "content-type": "application/json",
        "webhook-id": delivery_id,
        "webhook-timestamp": str(timestamp),
    }
    if signing:
        signed = f"{delivery_id}.{timestamp}.{payload}".encode()
        found["webhook-signature"] = " ".join(_signature(secret, signed) for secret in signing)
    return found


def _signature(secret: str, signed: bytes) -> str:
    digest = hmac.digest(key(secret), signed, hashlib.sha256)
    return f"v1,{base64.b64encode(digest).decode()}"
