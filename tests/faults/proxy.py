"""Stands between Stoker and Postgres: swallows the answer to a COMMIT, or cuts everything off."""

from __future__ import annotations

import contextlib
import shutil
import socket
import tempfile
import threading
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit, urlunsplit

SOCKET = ".s.PGSQL.5432"
COMMIT = b"COMMIT\0"


class Proxy:
    """A socket of its own that leads to the server's; `url` is the database through it."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._server = parse_qs(parts.query)["host"][0] + "/" + SOCKET
        self._folder = Path(tempfile.mkdtemp(prefix="stoker-proxy-"))
        self.url = urlunsplit(parts._replace(query=f"host={quote(str(self._folder))}"))
        # Every so many COMMITs one is carried out, and its answer lost with the connection.
        self.lose_every = 0
        self.commits = 0
        self.lost = 0
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._listener: socket.socket | None = None
        self.come_back()

    def come_back(self) -> None:
        """Take connections."""
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(self._folder / SOCKET))
        listener.listen(64)
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def go_away(self) -> None:
        """Take none, and cut those that there are."""
        assert self._listener is not None
        (self._folder / SOCKET).unlink()
        # Closing alone would leave the thread in accept.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            for end in self._open:
                _cut(end)

    def close(self) -> None:
        """Clear away."""
        if (self._folder / SOCKET).exists():
            self.go_away()
        shutil.rmtree(self._folder)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            server.connect(self._server)
            link = _Link(self, client, server)
            with self._lock:
                self._open |= {client, server}
            threading.Thread(target=link.to_server, daemon=True).start()
            threading.Thread(target=link.to_client, daemon=True).start()

    def is_to_be_lost(self) -> bool:
        """Whether the answer to the COMMIT that has just come is to be swallowed."""
        with self._lock:
            self.commits += 1
            is_lost = bool(self.lose_every) and self.commits % self.lose_every == 0
            self.lost += is_lost
            return is_lost

    def forget(self, *ends: socket.socket) -> None:
        """A connection is over."""
        with self._lock:
            self._open -= set(ends)
        for end in ends:
            _cut(end)


class _Link:
    """One connection, in both directions."""

    def __init__(self, proxy: Proxy, client: socket.socket, server: socket.socket) -> None:
        self._proxy = proxy
        self._client = client
        self._server = server
        self._is_swallowing = False

    def to_server(self) -> None:
        with contextlib.suppress(OSError):
            while data := self._client.recv(65536):
                if data.endswith(COMMIT) and self._proxy.is_to_be_lost():
                    self._is_swallowing = True
                self._server.sendall(data)
        self._proxy.forget(self._client, self._server)

    def to_client(self) -> None:
        with contextlib.suppress(OSError):
            while data := self._server.recv(65536):
                if self._is_swallowing:
                    break  # it has been carried out: the server answers
                self._client.sendall(data)
        self._proxy.forget(self._client, self._server)


def _cut(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()
