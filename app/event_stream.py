"""Answers that stay open: Server-Sent Events, as the HTML standard has them."""

from __future__ import annotations

import random
import select
import socket
from collections.abc import Callable, Iterator

from flask import Response, request

COMMENT_SECONDS = 15.0
COMMENT = b": still here\n\n"

_UNACKNOWLEDGED_SECONDS = 30  # then a reader that takes nothing more counts as gone


class Reader:
    """The connection of whoever reads the stream."""

    def __init__(self) -> None:
        self._socket: socket.socket | None = request.environ.get(
            "gunicorn.socket"
        ) or request.environ.get("werkzeug.socket")

    def has_left(self) -> bool:
        """Whether it closed the connection: its place is free then, not at the next comment."""
        if self._socket is None:
            return False
        try:
            poll = select.poll()  # select itself knows no descriptor beyond 1024
            poll.register(self._socket, select.POLLIN)
            return bool(poll.poll(0)) and not self._socket.recv(1, socket.MSG_PEEK)
        except OSError:
            return True

    def is_not_waited_for(self) -> None:
        """Have the kernel end the connection when the reader takes nothing for a while."""
        if self._socket is None:
            return
        try:
            milliseconds = _UNACKNOWLEDGED_SECONDS * 1000
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
        except OSError:
            pass  # a unix socket


def respond(events: Iterator[bytes], close: Callable[[], None], reader: Reader) -> Response:
    """The stream; `close` is called at its end, however it ends, and may be called twice."""
    reader.is_not_waited_for()
    response = Response(events, mimetype="text/event-stream")
    response.headers["X-Accel-Buffering"] = "no"
    response.call_on_close(close)
    return response


def event(data: bytes, *, name: str | None = None, event_id: int | None = None) -> bytes:
    """One event; `data` is JSON, so it has no line break."""
    head = b"" if name is None else b"event: %s\n" % name.encode()
    if event_id is not None:
        head += b"id: %d\n" % event_id
    return b"%sdata: %s\n\n" % (head, data)


def reconnection() -> bytes:
    """When to connect anew after a loss; not all viewers at once."""
    return b"retry: %d\n\n" % random.randint(1000, 4000)  # noqa: S311 - nothing secret
