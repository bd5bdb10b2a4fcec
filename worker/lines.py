"""Lines of a batch's file: found, read and checked one by one, each fault named with its line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

import orjson

from app.core.batches import ENDPOINTS

# Of one file; a hundred say enough.
ERROR_LIMIT = 100
CUSTOM_ID_LIMIT = 512
_SURELY_SHALLOW = 200
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Limits:
    """The settings that validation needs, in a form that travels to another process."""

    max_requests: int
    max_tokens: int
    max_line_bytes: int


class LineError(Exception):
    """What is wrong with a line; `line` counts from 1, None speaks of the whole file."""

    def __init__(
        self, code: str, message: str, line: int | None = None, param: str | None = None
    ) -> None:
        # All four: what it was made of is what it is made of again in another process.
        super().__init__(code, message, line, param)
        self.code = code
        self.message = message
        self.line = line
        self.param = param

    def __str__(self) -> str:
        return self.message

    def as_dict(self) -> dict[str, Any]:
        return {
            "code": self.code,
            "line": self.line,
            "message": self.message,
            "param": self.param,
        }


def read_lines(file: BinaryIO, max_line_bytes: int) -> Iterator[tuple[int, int, bytes]]:
    """Each line as (number from 1, position, bytes without its line end).

    A byte order mark, CRLF and blank lines at the end of the file are accepted. A line longer than
    `max_line_bytes` comes out cut, one byte over the limit.
    """
    position = 0
    number = 0
    blanks: list[tuple[int, int, bytes]] = []
    if file.peek(3)[:3] == _BOM:  # type: ignore[attr-defined]
        position = len(file.read(3))
    while raw := file.readline(max_line_bytes + 2):
        number += 1
        start = position
        position += len(raw)
        line = raw.rstrip(b"\r\n")
        if not raw.endswith(b"\n"):
            while (rest := file.readline(1024 * 1024)) and not rest.endswith(b"\n"):
                position += len(rest)
            position += len(rest)
        if not line.strip():
            if len(blanks) < ERROR_LIMIT:
                blanks.append((number, start, b""))
            continue
        yield from blanks
        blanks.clear()
        yield number, start, line


class LineCheck:
    """Checks one line after the other; the first one's model binds the rest."""

    def __init__(
        self, endpoint: str, models: Mapping[str, tuple[str, ...]], limits: Limits
    ) -> None:
        self.endpoint = endpoint
        self.models = models
        self.limits = limits
        self.model: str | None = None

    def read(self, number: int, line: bytes) -> tuple[str, dict[str, Any]]:
        """The line's custom_id and body. Raises LineError."""
        if len(line) > self.limits.max_line_bytes:
            raise LineError(
                "line_too_long",
                f"This line is longer than {self.limits.max_line_bytes} bytes.",
                number,
            )
        try:
            request = orjson.loads(line)
        except orjson.JSONDecodeError:
            raise LineError(
                "invalid_json_line", "This line is not parseable as valid JSON.", number
            ) from None
        if not isinstance(request, dict):
            raise LineError("invalid_request", "This line is not a JSON object.", number)
        if _is_too_deep(line, request):
            raise LineError(
                "invalid_request", "This line's lists and objects are nested too deeply.", number
            )
        custom_id = self._custom_id(number, request)
        self._check_address(number, request)
        return custom_id, self._body(number, request)

    def _custom_id(self, number: int, request: dict[str, Any]) -> str:
        custom_id = request.get("custom_id")
        if custom_id is None:
            raise _missing(number, "custom_id")
        if not isinstance(custom_id, str) or not 0 < len(custom_id) <= CUSTOM_ID_LIMIT:
            raise LineError(
                "invalid_request",
                f"custom_id must be a text of 1 to {CUSTOM_ID_LIMIT} characters.",
                number,
                "custom_id",
            )
        if "\0" in custom_id:
            raise LineError(
                "invalid_request",
                "custom_id must not hold a NUL character.",
                number,
                "custom_id",
            )
        return custom_id

    def _check_address(self, number: int, request: dict[str, Any]) -> None:
        method = request.get("method")
        if method is None:
            raise _missing(number, "method")
        if method != "POST":
            raise LineError("invalid_request", "method must be POST.", number, "method")
        url = request.get("url")
        if url is None:
            raise _missing(number, "url")
        if url not in ENDPOINTS:
            raise LineError(
                "invalid_url",
                f"url must be one of {', '.join(ENDPOINTS)}.",
                number,
                "url",
            )
        if url != self.endpoint:
            raise LineError(
                "url_mismatch",
                f"The URL provided for this request does not match the batch endpoint "
                f"{self.endpoint}.",
                number,
                "url",
            )

    def _body(self, number: int, request: dict[str, Any]) -> dict[str, Any]:
        body = request.get("body")
        if body is None:
            raise _missing(number, "body")
        if not isinstance(body, dict):
            raise LineError("invalid_request", "body must be a JSON object.", number, "body")
        model = body.get("model")
        if model is None:
            raise _missing(number, "body.model")
        if not isinstance(model, str) or model not in self.models:
            raise LineError(
                "model_not_found",
                f"This server has no model {str(model)[:200]!r}.",
                number,
                "body.model",
            )
        if self.model is None:
            self.model = model
        if model != self.model:
            raise LineError(
                "model_mismatch",
                f"All requests of a batch use one model; the first one's is {self.model!r}.",
                number,
                "body.model",
            )
        if self.endpoint not in self.models[model]:
            raise LineError(
                "invalid_url",
                f"The model {model!r} does not serve {self.endpoint}.",
                number,
                "url",
            )
        if body.get("stream"):
            raise LineError(
                "streaming_unsupported",
                "A batch's answers can't be streamed; leave `stream` out.",
                number,
                "body.stream",
            )
        return body


def _is_too_deep(line: bytes, request: dict[str, Any]) -> bool:
    """Whether the request could be read but not be written again (254 levels)."""
    if line.count(b"[") + line.count(b"{") < _SURELY_SHALLOW:
        return False
    try:
        orjson.dumps(request)
    except TypeError:
        return True
    return False


def _missing(number: int, param: str) -> LineError:
    return LineError(
        "missing_required_parameter",
        f"Missing required parameter: {param}.",
        number,
        param,
    )
