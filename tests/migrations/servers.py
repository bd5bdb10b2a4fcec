"""The Postgres servers that a distribution's packages left here: other majors than the embedded."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.core.schema import OLDEST_POSTGRES
from tests.conftest import IN_MEMORY


def installed() -> list[str]:
    """The folders of their programs."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return [str(file.parent) for file in found if int(file.parts[-3]) >= OLDEST_POSTGRES]


@contextmanager
def running(programs: str) -> Iterator[str]:
    """A server for a while, and then no trace of it; gives the URL of one of its databases."""
    base = Path(tempfile.mkdtemp(prefix="stoker-", dir=IN_MEMORY or "/tmp"))
    base.chmod(0o711)
    data, run = base / "data", base / "run"
    for folder in (data, run):
        folder.mkdir()
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            os.chown(folder, nobody.pw_uid, nobody.pw_gid)
    control = [f"{programs}/pg_ctl", "-D", str(data), "-w", "-s"]
    options = f"-k {run} -c listen_addresses= -c fsync=off -c shared_buffers=32MB"
    try:
        _run([f"{programs}/initdb", "-D", str(data), "-U", "postgres", "-A", "trust", "-E", "UTF8"])
        _run([*control, "-l", str(run / "log"), "-o", options, "start"])
        yield f"postgresql://postgres@/postgres?host={run}"
        _run([*control, "-m", "immediate", "stop"])
    finally:
        shutil.rmtree(base)


def _run(command: list[str]) -> None:
    """As somebody else than root, whom Postgres refuses."""
    user = "nobody" if os.geteuid() == 0 else None
    subprocess.run(
        command,
        cwd="/",
        env={"LC_ALL": "C"},
        stdout=subprocess.DEVNULL,
        check=True,
        user=user,
        group=None if user is None else pwd.getpwnam(user).pw_gid,
    )
