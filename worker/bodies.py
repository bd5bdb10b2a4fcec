"""Request bodies: read from the input file, refused or made fit for the engine."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import orjson

from worker import media

# Fields that would reach into the engine, are ignored there in silence, or need a server that keeps
# conversations. A request that has one fails by itself; the others of its batch go on.
_REFUSED = (
    "chat_template",
    "ec_transfer_params",
    "kv_transfer_params",
    "previous_response_id",
    "prompt_embeds",
    "session_id",
)
# Ours to say: the id that the engine logs, and its scheduling.
_OVERWRITTEN = ("request_id", "priority")
_LARGEST_N = 128


class RefusedRequest(Exception):
    """A request that the engine is never asked; `param` names the field."""

    def __init__(self, message: str, param: str) -> None:
        super().__init__(message)
        self.message = message
        self.param = param

    def body(self) -> bytes:
        """The answer that the engine would have given, in OpenAI's shape."""
        error = {
            "message": self.message,
            "type": "invalid_request_error",
            "param": self.param,
            "code": "unsupported_parameter",
        }
        return orjson.dumps({"error": error})


class BodyReader:
    """Reads request lines by position, so that only those in the window are in memory."""

    def __init__(self, path: Path, media_hosts: Collection[str]) -> None:
        self._file = os.open(path, os.O_RDONLY)
        self._media_hosts = frozenset(host.lower() for host in media_hosts)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        os.close(self._file)

    def read(self, position: int, length: int) -> bytes:
        """The body to send, as JSON. Raises RefusedRequest."""
        body = orjson.loads(os.pread(self._file, length, position))["body"]
        refuse(body, self._media_hosts)
        for name in _OVERWRITTEN:
            body.pop(name, None)
        return orjson.dumps(body)


def refuse(body: dict[str, Any], media_hosts: Collection[str]) -> None:
    """Raise RefusedRequest for what a batch can't honestly honour."""
    for name in _REFUSED:
        if body.get(name) is not None:
            raise RefusedRequest(f"`{name}` can't be used in a batch.", name)
    for name in body:
        if name.startswith("guided_"):
            raise RefusedRequest(
                f"`{name}` is no longer honoured; use `structured_outputs` or `response_format`.",
                name,
            )
    for name in ("background", "store"):
        if body.get(name):
            raise RefusedRequest(f"`{name}` can't be true in a batch.", name)
    n = body.get("n")
    if isinstance(n, int) and n > _LARGEST_N:
        raise RefusedRequest(f"`n` is at most {_LARGEST_N}.", "n")
    for place in media.forbidden_urls(body, media_hosts):
        raise RefusedRequest("URLs are not fetched; send the content as a data: URL.", place)
