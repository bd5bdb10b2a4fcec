"""Addresses of our own pages, as somebody gives them to be kept."""

from __future__ import annotations

from urllib.parse import urlsplit

from flask import current_app
from werkzeug.exceptions import HTTPException

from app.core.errors import Invalid
from app.extensions import current_settings
from app.pages.navigation import ENTRIES


def read_address(given: str) -> str:
    """A path and query of one of our pages, without the prefix. Raises Invalid."""
    refusal = Invalid(
        "address must be a page of Stoker, such as /jobs?status=failed.", param="address"
    )
    try:
        parts = urlsplit(given)
    except ValueError:
        raise refusal from None
    path = parts.path.removeprefix(current_settings().url_prefix) or "/"
    if parts.scheme or parts.netloc or not given.startswith("/") or path.startswith("//"):
        raise refusal
    if "\\" in given or any(ord(sign) < 32 for sign in given):
        raise refusal
    try:
        endpoint, _ = current_app.url_map.bind("").match(path, method="GET")
    except HTTPException:
        raise refusal from None
    pages = {name for entry in ENTRIES for name in (entry.endpoint.partition(".")[0], *entry.also)}
    if endpoint.partition(".")[0] not in pages:
        raise refusal
    return f"{path}?{parts.query}" if parts.query else path
