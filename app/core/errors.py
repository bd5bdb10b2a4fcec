"""Every refusal the domain can make; the API and the pages translate them once, at their edge."""

from __future__ import annotations


class StokerError(Exception):
    """A refusal with the HTTP status, OpenAI error type and code that tell a client what to do.

    `message` is one sentence for a person; `param` names the offending field or parameter.
    """

    http_status = 500
    error_type = "server_error"

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after_seconds: int | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.code = code
        self.retry_after_seconds = retry_after_seconds


class Invalid(StokerError):
    """What was sent can't be read."""

    http_status = 400
    error_type = "invalid_request_error"


class Unauthenticated(StokerError):
    """No credentials, or none that we know."""

    http_status = 401
    error_type = "authentication_error"


class Forbidden(StokerError):
    """Known, but not allowed."""

    http_status = 403
    error_type = "permission_error"


class NotFound(StokerError):
    """Absent, or somebody else's."""

    http_status = 404
    error_type = "not_found_error"


class Conflict(StokerError):
    """Not possible in the object's present status."""

    http_status = 409
    error_type = "conflict_error"


class TooLarge(StokerError):
    """More bytes than the server takes."""

    http_status = 413
    error_type = "invalid_request_error"


class Refused(StokerError):
    """Understood and refused."""

    http_status = 422
    error_type = "invalid_request_error"


class LimitReached(StokerError):
    """A limit's use is up; `retry_after_seconds` says when to come back."""

    http_status = 429
    error_type = "rate_limit_error"


class Unavailable(StokerError):
    """Postgres, the disk or the engine is away for now."""

    http_status = 503
    error_type = "service_unavailable_error"
