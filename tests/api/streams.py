"""Reading Server-Sent Events in a test, and jobs that something happens to."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import psycopg
from flask.testing import FlaskClient


@dataclass(frozen=True)
class Event:
    """One event; a comment has the name `comment`."""

    name: str
    data: Any = None
    id: int | None = None


def parse(pieces: Iterator[bytes]) -> Iterator[Event]:
    """The events of a stream, as the HTML standard reads them."""
    fields: dict[str, str] = {}
    rest = b""
    for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            if line.startswith(b":"):
                yield Event("comment")
            elif line:
                name, _, value = line.decode().partition(":")
                fields[name] = value.removeprefix(" ")
            elif "data" in fields:
                event_id = int(fields["id"]) if "id" in fields else None
                yield Event(fields.get("event", "message"), json.loads(fields["data"]), event_id)
                fields = {}
            else:
                fields = {}


class Stream:
    """A stream that is read in the background."""

    def __init__(self, pieces: Iterator[bytes], close: Callable[[], None]) -> None:
        self._pieces = pieces
        self._close = close
        self._events: queue.Queue[Event | None] = queue.Queue()
        self._is_left = False
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        try:
            for event in parse(self._pieces):
                self._events.put(event)
                if self._is_left:
                    break
        finally:
            self._close()
            self._events.put(None)

    def next(self, *, with_comments: bool = False, seconds: float = 30) -> Event | None:
        """The next event; None at the end."""
        while True:
            event = self._events.get(timeout=seconds)
            if event is None or with_comments or event.name != "comment":
                return event

    def rest(self) -> list[Event]:
        """All events until the end."""
        return list(iter(self.next, None))

    def is_silent(self, seconds: float) -> bool:
        """Whether nothing comes for a while."""
        try:
            return self.next(seconds=seconds) is None
        except queue.Empty:
            return True

    def leave(self) -> None:
        """Read no more; the connection closes with the next thing that comes."""
        self._is_left = True


def open_stream(client: FlaskClient, path: str, **headers: str) -> Stream:
    """A stream of the application in this process."""
    answer = client.get(path, headers=headers, buffered=False)
    assert answer.status_code == 200, answer.text
    assert answer.mimetype == "text/event-stream"
    return Stream(iter(answer.response), answer.close)


def log(
    connection: psycopg.Connection[Any], job_id: int, *messages: str, level: str = "info"
) -> None:
    """Log lines, as a worker does."""
    lines = [
        {"at": "now", "job": job_id, "number": 1, "level": level, "message": message}
        for message in messages
    ]
    connection.execute("SELECT stoker_log(%s)", [json.dumps(lines)])


def move(connection: psycopg.Connection[Any], job_id: int, status: str) -> None:
    """Give a job another status in the queue's own table; the record follows."""
    connection.execute("UPDATE procrastinate_jobs SET status = %s WHERE id = %s", [status, job_id])
