"""What the engine answered, and its errors in the words of OpenAI's API."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TypedDict

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    429: "rate_limit_error",
}
# What vLLM says of requests that were lost with the engine: they are not answered.
_DEATH_MARKS = (b"EngineDeadError", b"EngineCore encountered an issue")
# PyTorch's words for a GPU, for a CPU, and C++'s own.
_OUT_OF_MEMORY = re.compile(
    rb"(?:CUDA|HIP|XPU)(?: error:)? out of memory|OutOfMemoryError|can't allocate memory|std::bad_alloc"
)


@dataclass(frozen=True, slots=True)
class Answer:
    """One request's answer: the HTTP status and the body as it came."""

    status_code: int
    body: bytes

    @property
    def is_success(self) -> bool:
        """Whether the request got what it asked for."""
        return 200 <= self.status_code < 300

    @property
    def ran_out_of_memory(self) -> bool:
        """Whether the engine failed the request because its memory ran out."""
        return self.status_code >= 500 and tells_of_memory(self.body)


class OpenAIError(TypedDict):
    """The object under "error" in OpenAI's error bodies."""

    message: str
    type: str
    param: str | None
    code: str | None


def tells_of_death(body: bytes) -> bool:
    """Whether an error body says that the engine died under the request."""
    return any(mark in body for mark in _DEATH_MARKS)


def tells_of_memory(text: bytes) -> bool:
    """Whether what an engine says tells that its memory ran out."""
    return _OUT_OF_MEMORY.search(text) is not None


def openai_error(status: int, body: bytes) -> OpenAIError:
    """Turn an engine's error body into OpenAI's error object (the value under "error").

    vLLM's type is a class name and its code the HTTP status; OpenAI's type is a lower-case phrase
    and its code a short word or null.
    """
    content = _error_object(body)
    message = content.get("message")
    if not isinstance(message, str) or not message:
        message = f"The engine answered {status}."
    param, code = content.get("param"), content.get("code")
    return {
        "message": message,
        "type": _TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error"),
        "param": param if isinstance(param, str) else None,
        "code": code if isinstance(code, str) and not code.isdecimal() else _code(status, message),
    }


def _code(status: int, message: str) -> str | None:
    if status == 404:
        return "model_not_found"
    if "maximum context length" in message or "maximum model length" in message:
        return "context_length_exceeded"
    return None


def _error_object(body: bytes) -> dict[str, object]:
    """The error as a dict, whichever of the known shapes it came in."""
    try:
        content = json.loads(body)
    except ValueError:
        return {"message": body[:500].decode("utf-8", "replace").strip()}
    if not isinstance(content, dict):
        return {}
    error = content.get("error", content)
    if isinstance(error, str):
        return {"message": error}
    if not isinstance(error, dict):
        return {}
    detail = error.get("detail")
    if "message" not in error and detail:
        return {"message": detail if isinstance(detail, str) else json.dumps(detail)}
    return error
