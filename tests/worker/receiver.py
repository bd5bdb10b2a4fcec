"""Somebody's server that webhooks are sent to, on the loopback interface."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import openai


@dataclass(frozen=True)
class Heard:
    """One request that came."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def event(self) -> Any:
        """What it says."""
        return json.loads(self.body)

    def unwrap(self, secret: str) -> Any:
        """As the official client reads it. Raises when the signature is wrong."""
        client = openai.OpenAI(api_key="none", webhook_secret=secret)
        with client:
            return client.webhooks.unwrap(self.body, self.headers)


@dataclass
class Receiver:
    """Keeps what it hears; `answer` says with which status, headers and body it replies."""

    port: int = 0
    heard: list[Heard] = field(default_factory=list)
    answer: Callable[[Heard], tuple[int, dict[str, str], bytes]] = lambda _: (200, {}, b"ok")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook?token=hidden"

    @property
    def events(self) -> list[str]:
        """The types of what it heard, in order."""
        return [heard.event["type"] for heard in self.heard]


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Who asks may hang up."""


@contextmanager
def receive(context: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    """A receiver that lasts as long as the block."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["content-length"])
            headers = {name.lower(): value for name, value in self.headers.items()}
            heard = Heard(self.path, headers, self.rfile.read(length))
            receiver.heard.append(heard)
            status, headers, body = receiver.answer(heard)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Tests print nothing."""

    server = _Server(("127.0.0.1", 0), Handler)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    receiver.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
