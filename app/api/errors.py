"""Errors as programs get them: OpenAI's shape."""

from __future__ import annotations

from flask import Response, jsonify, request

from app.core.errors import StokerError

_API_PREFIXES = ("/v1", "/api", "/admin", "/platform/jobs/api", "/metrics")


def is_api_request() -> bool:
    """Whether a program asks, by its path; people's pages lie elsewhere."""
    return any(
        request.path == prefix or request.path.startswith(prefix + "/") for prefix in _API_PREFIXES
    )


def error_body(fault: StokerError) -> dict[str, dict[str, str | None]]:
    """The error object that the SDKs read."""
    return {
        "error": {
            "message": fault.message,
            "type": fault.error_type,
            "param": fault.param,
            "code": fault.code,
        }
    }


def json_error(fault: StokerError) -> Response:
    """The answer to a program. SDKs repeat a 409 unless told that it is of no use."""
    response = jsonify(error_body(fault))
    response.status_code = fault.http_status
    if fault.http_status == 409:
        response.headers["x-should-retry"] = "false"
    if fault.http_status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response
