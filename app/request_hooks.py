"""What every request gets: an id, security headers on its answer, and one log line."""

from __future__ import annotations

import re
import secrets
import time

import structlog
from flask import Flask, Response, g, request

from app.extensions import current_settings

_SANE_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")

_CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "font-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)

_HEADERS = {
    "Content-Security-Policy": _CONTENT_SECURITY_POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}

_QUIET = ("static", "operation.health", "operation.readyz")

_log = structlog.get_logger("web")


def register(app: Flask) -> None:
    """Attach the hooks; before all others, so that every refusal has an id too."""
    app.before_request(_begin)
    app.after_request(_finish)


def _begin() -> None:
    asked = request.headers.get("X-Request-Id", "")
    g.request_id = asked if _SANE_ID.fullmatch(asked) else f"req_{secrets.token_hex(16)}"
    g.began = time.monotonic()
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(request_id=g.request_id)


def _finish(response: Response) -> Response:
    response.headers["X-Request-Id"] = g.request_id
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    if request.endpoint != "static":
        if response.headers.get("Cache-Control", "no-cache") == "no-cache":  # as a sent file has it
            response.headers["Cache-Control"] = "no-store"
        if response.mimetype == "text/html":
            # One address gives a page or a part of it.
            response.vary.update(("HX-Request", "HX-Request-Type", "HX-Target"))
    if current_settings().secure_cookies:
        response.headers.setdefault("Strict-Transport-Security", "max-age=31536000")
    _log_line(response)
    return response


def _log_line(response: Response) -> None:
    if request.endpoint in _QUIET and response.status_code < 400:
        return
    actor = g.get("actor")
    _log.log(
        40 if response.status_code >= 500 else 20,
        "request",
        method=request.method,
        path=request.path,
        status=response.status_code,
        milliseconds=round((time.monotonic() - g.began) * 1000, 1),
        actor=actor.label if actor else None,
    )
