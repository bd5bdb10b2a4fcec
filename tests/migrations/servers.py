"""Postgres servers of several majors to migrate: the embedded one, and those installed here."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.core import embedded
from app.core.schema import OLDEST_POSTGRES

EMBEDDED = "embedded"


def names() -> list[str]:
    """`embedded`, and the folders of programs that a distribution's packages left."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    fit = [file.parent for file in found if int(file.parts[-3]) >= OLDEST_POSTGRES]
    return [EMBEDDED, *map(str, fit)]


@contextmanager
def running(name: str) -> Iterator[str]:
    """A server for a while, and then no trace of it; gives the URL of one of its databases."""
    base = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
    base.chmod(0o711)
    try:
        if name == EMBEDDED:
            yield embedded.start(base, ("fsync=off",))
            embedded.stop(base)
        else:
            with _installed(Path(name), base) as url:
                yield url
    finally:
        shutil.rmtree(base)


@contextmanager
def _installed(programs: Path, base: Path) -> Iterator[str]:
    as_user = _unprivileged()
    for folder in ("data", "run"):
        (base / folder).mkdir()
        os.chown(base / folder, as_user.get("user", -1), as_user.get("group", -1))
    common = {"cwd": base, "env": {"LC_ALL": "C"}, "check": True, **as_user}
    data, log = str(base / "data"), str(base / "run" / "log")
    initdb = [programs / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "-N"]
    subprocess.run(initdb, stdout=subprocess.DEVNULL, **common)
    options = f"-k {base / 'run'} -c listen_addresses= -c fsync=off -c shared_buffers=32MB"
    control = [programs / "pg_ctl", "-D", data, "-w", "-s", "-l", log]
    subprocess.run([*control, "-o", options, "start"], **common)
    try:
        yield f"postgresql://postgres@/postgres?host={base / 'run'}"
    finally:
        subprocess.run([*control, "-m", "fast", "stop"], **common)


def _unprivileged() -> dict[str, int]:
    """Postgres refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid}
