"""Everything below a path such as /stoker, where the host has other sites too."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


class Prefix:
    """Takes the prefix off the paths that it is asked for, and has every link that is made begin
    with it, by WSGI's SCRIPT_NAME.

    The prefix is a setting and not a header of the proxy's, so that no client can choose where
    links lead. A path without it is answered too: probes and programs on the machine itself need
    not know it, nor does it matter whether the proxy passes it on.
    """

    def __init__(self, application: WSGIApplication, prefix: str) -> None:
        self._application = application
        self._prefix = prefix

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if path == self._prefix or path.startswith(self._prefix + "/"):
            environ["PATH_INFO"] = path[len(self._prefix) :] or "/"
        environ["SCRIPT_NAME"] = self._prefix
        return self._application(environ, start_response)
