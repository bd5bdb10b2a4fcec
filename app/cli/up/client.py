"""Plain HTTP to our own API: what any client would send, without a client library."""

from __future__ import annotations

import json
import secrets
import urllib.error
import urllib.request
from typing import Any

TIMEOUT_SECONDS = 30.0
# Never through a proxy: the server is this machine.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class ApiError(Exception):
    """The API refused; the message is its own."""


class Client:
    """The server at `base_url`, asked with `api_key`."""

    def __init__(self, base_url: str, api_key: str = "") -> None:
        self._base_url = base_url
        self._api_key = api_key

    def is_up(self) -> bool:
        """Whether the web process answers."""
        try:
            self._ask("GET", "/health", timeout_seconds=2.0)
        except (OSError, ApiError):
            return False
        return True

    def get(self, path: str) -> Any:
        return json.loads(self._ask("GET", path))

    def get_lines(self, path: str) -> list[Any]:
        return [json.loads(line) for line in self._ask("GET", path).splitlines()]

    def post(self, path: str, body: object) -> Any:
        return json.loads(self._ask("POST", path, json.dumps(body).encode(), "application/json"))

    def upload(self, name: str, content: bytes) -> Any:
        """Upload a batch's input file (multipart/form-data, RFC 7578)."""
        boundary = secrets.token_hex(16)
        parts = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
            f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
            "Content-Type: application/jsonl\r\n\r\n"
        ).encode()
        body = parts + content + f"\r\n--{boundary}--\r\n".encode()
        kind = f"multipart/form-data; boundary={boundary}"
        return json.loads(self._ask("POST", "/v1/files", body, kind))

    def _ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        kind: str = "",
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> bytes:
        headers = {"Authorization": f"Bearer {self._api_key}"} if self._api_key else {}
        if kind:
            headers["Content-Type"] = kind
        request = urllib.request.Request(  # noqa: S310
            self._base_url + path, data=body, headers=headers, method=method
        )
        try:
            with _opener.open(request, timeout=timeout_seconds) as answer:
                read: bytes = answer.read()
                return read
        except urllib.error.HTTPError as fault:
            said = fault.read().decode("utf-8", "replace")
            try:
                said = json.loads(said)["error"]["message"]
            except (ValueError, KeyError, TypeError):
                pass
            raise ApiError(f"{method} {path}: {fault.code} {said}") from fault
