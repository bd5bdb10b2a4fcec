"""nginx with a site that we ship, as a packaged one would run it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.conftest import ROOT, wait_until

NGINX = shutil.which("nginx") or "/usr/sbin/nginx"

# What a packaged nginx brings around our file, with its folders moved below the test's.
_AROUND = """\
{user}
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/stoker.conf;
}}
"""


def write_configuration(folder: Path, shipped: str, changes: Mapping[str, str]) -> None:
    """Write the file of that name in deploy/, changed: each key stands in it once."""
    text = (ROOT / "deploy" / shipped).read_text()
    for theirs, ours in changes.items():
        assert text.count(theirs) == 1, f"deploy/{shipped} should say {theirs!r} once"
        text = text.replace(theirs, ours)
    (folder / "stoker.conf").write_text(text)
    # As root its workers would become another user, who can't enter the test's folder.
    user = "user root;" if os.geteuid() == 0 else ""
    (folder / "nginx.conf").write_text(_AROUND.format(folder=folder, user=user))


@contextmanager
def running_nginx(folder: Path, port: int) -> Iterator[None]:
    """nginx with the configuration in this folder, from when it listens on the port to the block's end."""
    assert Path(NGINX).exists(), "nginx is missing: run `make nginx`, or put nginx on PATH."
    command = [NGINX, "-c", str(folder / "nginx.conf"), "-g", "daemon off;", "-e", "stderr"]
    checked = subprocess.run([*command, "-t"], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr
    with open(folder / "nginx.log", "wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        wait_until(lambda: process.poll() is not None or _listens(port), "nginx listens")
        assert process.poll() is None, (folder / "nginx.log").read_text()
        yield
    finally:
        process.terminate()
        process.wait(60)


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
        return True
    except OSError:
        return False
