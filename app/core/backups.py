"""Backups: dumps of the whole database by pg_dump, kept in the data folder, restored by pg_restore.

A dump is one consistent snapshot, whatever runs meanwhile. Passwords go to the programs by their
environment, never by their command line, which every user of the machine can read.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
from alembic.util import CommandError
from psycopg.conninfo import conninfo_to_dict

from app.core import embedded, schema
from app.core.embedded import programs
from app.core.errors import Conflict, Invalid, NotFound, StokerError, Unavailable
from app.core.settings import Settings

_NAME = re.compile(r"stoker-(\d{8}-\d{6})\.dump")
_MOMENT = "%Y%m%d-%H%M%S"
_POLL_SECONDS = 0.1

Check = Callable[[], None]


class BackupFailed(StokerError):
    """pg_dump or pg_restore ended with an error; the message is its first one."""


@dataclass(frozen=True)
class Backup:
    """One dump in the backup folder."""

    path: Path
    created_at: datetime

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def bytes(self) -> int:
        return self.path.stat().st_size

    @property
    def files_path(self) -> Path:
        """The archive of the files that belongs to it; made only where wanted."""
        return self.path.with_suffix(".files.tar")

    @property
    def has_files(self) -> bool:
        return self.files_path.exists()


def list_backups(settings: Settings) -> list[Backup]:
    """All backups in the folder, newest first."""
    if not settings.backups_path.is_dir():
        return []
    found = []
    for path in settings.backups_path.iterdir():
        match = _NAME.fullmatch(path.name)
        if match:
            moment = datetime.strptime(match[1], _MOMENT).replace(tzinfo=UTC)
            found.append(Backup(path, moment))
    return sorted(found, key=lambda backup: backup.name, reverse=True)


def create(
    settings: Settings,
    database_url: str,
    *,
    keep: int | None = None,
    with_files: bool = False,
    check: Check = lambda: None,
) -> tuple[Backup, list[str]]:
    """Make a backup and remove those beyond `keep`; returns it and the removed ones' names.

    `check` is called all the while and may raise to end it: then nothing is left behind. Raises
    BackupFailed, and Unavailable without a pg_dump that fits the server or without room.
    """
    program = program_for("pg_dump", database_url)
    folder = settings.backups_path
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    _remove_drafts(folder)
    backup = _next(folder)
    draft = _draft(backup.path)
    try:
        command = [str(program), "--format=custom", "--no-password", f"--file={draft}"]
        _run(command, database_url, check)
        draft.chmod(0o600)
        if with_files:
            _archive_files(settings.files_path, backup.files_path, check)
        _sync(draft)
        draft.rename(backup.path)
    except BaseException:
        draft.unlink(missing_ok=True)
        backup.files_path.unlink(missing_ok=True)
        raise
    return backup, _rotate(settings, keep or settings.backup_keep)


def _next(folder: Path) -> Backup:
    """A name that no backup has: they are told apart by their second."""
    while True:
        moment = datetime.now(UTC).replace(microsecond=0)
        path = folder / f"stoker-{moment.strftime(_MOMENT)}.dump"
        if not path.exists() and not _draft(path).exists():
            return Backup(path, moment)
        time.sleep(_POLL_SECONDS)


def _draft(path: Path) -> Path:
    return path.with_name(f"{path.name}.{os.getpid()}.part")


def _remove_drafts(folder: Path) -> None:
    """What killed processes left."""
    for path in folder.glob("*.part"):
        owner = path.name.removesuffix(".part").rpartition(".")[2]
        if not Path(f"/proc/{owner}").exists():
            path.unlink(missing_ok=True)
    for path in folder.glob("stoker-*.files.tar"):
        dump = path.name.removesuffix(".files.tar") + ".dump"
        # In this order: a draft becomes the dump.
        if not any(folder.glob(f"{dump}.*.part")) and not (folder / dump).exists():
            path.unlink(missing_ok=True)


def _rotate(settings: Settings, keep: int) -> list[str]:
    gone = list_backups(settings)[keep:]
    for backup in gone:
        backup.path.unlink(missing_ok=True)
        backup.files_path.unlink(missing_ok=True)
    return [backup.name for backup in gone]


def _archive_files(files: Path, archive: Path, check: Check) -> None:
    """Every file's bytes. They never change; one that is deleted meanwhile is left out."""
    with tarfile.open(archive, "w") as tar:
        archive.chmod(0o600)
        for path in sorted(files.iterdir()) if files.is_dir() else ():
            check()
            if not path.name.endswith(".part"):
                try:
                    tar.add(path, arcname=path.name, recursive=False)
                except FileNotFoundError:
                    continue


def find(settings: Settings, name: str) -> Backup:
    """A backup by its name in the folder or by its path. Raises NotFound."""
    for path in (Path(name), settings.backups_path / Path(name).name):
        if path.is_file():
            moment = datetime.fromtimestamp(path.stat().st_mtime, UTC)
            return Backup(path, moment)
    raise NotFound(f"There is no backup {name!r}: `flask backup list` shows them.", param="file")


def restore(settings: Settings, database_url: str, backup: Backup) -> None:
    """Load a backup into an empty database, bring its schema up to date, and put its files back.

    Nothing of it is there when it fails. Raises Conflict when the database is not empty,
    Invalid when the file is no backup, BackupFailed and Unavailable.
    """
    with psycopg.connect(database_url) as connection:
        table = connection.execute(
            "SELECT format('%s.%s', schemaname, tablename) FROM pg_tables"
            " WHERE schemaname NOT IN ('pg_catalog', 'information_schema') LIMIT 1"
        ).fetchone()
        name = connection.info.dbname
    if table is not None:
        raise Conflict(
            f"The database {name!r} is not empty (it has {table[0]}): make a new one, name it in "
            "DATABASE_URL, and restore into that."
        )
    program = program_for("pg_restore", database_url)
    with open(backup.path, "rb") as file:
        if file.read(5) != b"PGDMP":
            raise Invalid(f"{backup.path} is no backup of Stoker's.", param="file")
    command = [str(program), "--no-owner", "--no-privileges", "--single-transaction"]
    command += ["--exit-on-error", "--no-password", f"--dbname={name}", str(backup.path)]
    _run(command, database_url, lambda: None)
    if backup.has_files:
        settings.files_path.mkdir(parents=True, exist_ok=True)
        with tarfile.open(backup.files_path) as tar:
            tar.extractall(settings.files_path, filter="data")
    try:
        schema.upgrade(database_url)
    except (RuntimeError, CommandError) as fault:
        raise BackupFailed(
            f"The backup is restored, but its schema can't be brought to this version's: {fault}"
        ) from fault


def program_for(name: str, database_url: str) -> Path:
    """The pg_dump or pg_restore that fits the server: of its own version, or the next newer one.

    Raises Unavailable that names the versions when there is none.
    """
    with psycopg.connect(database_url) as connection:
        server = connection.info.server_version // 10_000
    found = {_major(path): path for path in _candidates(name)}
    fit = [major for major in sorted(found) if major >= server]
    if fit:
        return found[fit[0]]
    if not found:
        raise Unavailable(
            f"There is no {name} here: install PostgreSQL {server}'s client programs on PATH."
        )
    there = ", ".join(f"{path} is {major}" for major, path in sorted(found.items()))
    raise Unavailable(
        f"The server is PostgreSQL {server}, which {name} of an older version can't read "
        f"({there}): install PostgreSQL {server}'s client programs on PATH."
    )


def _candidates(name: str) -> Iterator[Path]:
    try:
        packaged = programs.packaged() / name
        if packaged.exists():
            yield packaged
    except embedded.EmbeddedError:
        pass
    on_path = shutil.which(name)
    if on_path:
        yield Path(on_path)


def _major(program: Path) -> int:
    try:
        said = subprocess.run([str(program), "--version"], capture_output=True, text=True).stdout
    except OSError:
        return 0
    match = re.search(r"\) (\d+)", said)
    return int(match[1]) if match else 0


def connection_environment(database_url: str) -> dict[str, str]:
    """libpq's variables for a URL, on top of the present environment without its own."""
    parts: dict[str, Any] = conninfo_to_dict(database_url)
    variables = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    for key, variable in _VARIABLES.items():
        if parts.get(key) is not None:
            variables[variable] = str(parts[key])
    return variables


_VARIABLES = {
    "host": "PGHOST",
    "hostaddr": "PGHOSTADDR",
    "port": "PGPORT",
    "dbname": "PGDATABASE",
    "user": "PGUSER",
    "password": "PGPASSWORD",
    "passfile": "PGPASSFILE",
    "options": "PGOPTIONS",
    "sslmode": "PGSSLMODE",
    "sslrootcert": "PGSSLROOTCERT",
    "sslcert": "PGSSLCERT",
    "sslkey": "PGSSLKEY",
    "channel_binding": "PGCHANNELBINDING",
    "target_session_attrs": "PGTARGETSESSIONATTRS",
    "connect_timeout": "PGCONNECT_TIMEOUT",
}


def _run(command: list[str], database_url: str, check: Check) -> None:
    """Run one of Postgres's programs. Raises BackupFailed with its first error."""
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**connection_environment(database_url), "LC_ALL": "C"},
    ) as process:
        said = b""
        try:
            while True:
                try:
                    said += process.communicate(timeout=_POLL_SECONDS)[1]
                    break
                except subprocess.TimeoutExpired:
                    check()
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        lines = said.decode("utf-8", "replace").splitlines()
        errors = [line for line in lines if "error:" in line] or lines or ["it gave no reason"]
        raise BackupFailed(
            f"{Path(command[0]).name} failed: {errors[0].partition('error: ')[2] or errors[0]}"
        )


def _sync(path: Path) -> None:
    with open(path, "rb") as file:
        os.fsync(file.fileno())
