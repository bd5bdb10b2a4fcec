"""Starting, finding and stopping the embedded server.

Starters take turns by a lock on the base folder itself, so that no lock file is left behind.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from app.core.embedded import place as places
from app.core.embedded import programs as binaries
from app.core.embedded.place import DATABASE, SOCKET, EmbeddedError, Place

CONF = (
    "listen_addresses=",
    "jit=off",
    "random_page_cost=1.1",
    "shared_buffers=256MB",
    "max_wal_size=4GB",
    "max_connections=100",
    "wal_compression=pglz",
)
# Fast: open transactions are rolled back. Immediate: as after a power cut.
SIGNALS = {"fast": signal.SIGINT, "immediate": signal.SIGQUIT, "kill": signal.SIGKILL}
LONGEST_LOG_BYTES = 16 * 1024**2

# A dead server that is our child stays a zombie until it is asked for.
_children: list[tuple[Path, subprocess.Popen[bytes]]] = []


def start(base: Path, conf: tuple[str, ...] = (), timeout_seconds: float = 60.0) -> str:
    """Start the server of this folder, or find it running; returns the URL of its database.

    `conf` are further settings, `name=value`; a running server keeps its own. Raises EmbeddedError.
    """
    with _turn(base):
        return _start(places.find(base), conf, timeout_seconds)


def stop(base: Path, mode: str = "fast", timeout_seconds: float = 30.0) -> None:
    """Stop the server of this folder, if it runs, and wait until it is gone.

    `mode` is `fast`, `immediate` or `kill`; a server that outlives the time-out is killed.
    """
    if base.is_dir():
        with _turn(base):
            _stop(places.find(base), mode, timeout_seconds)


def restart(base: Path, mode: str = "fast", conf: tuple[str, ...] = ()) -> str:
    """Stop and start with nobody else's start in between; returns the URL."""
    with _turn(base):
        place = places.find(base)
        _stop(place, mode, 30.0)
        return _start(place, conf, 60.0)


def pid(base: Path) -> int | None:
    """The server's process id, if it runs: cheap, and asks the server nothing."""
    return _postmaster(places.find(base))


def is_running(base: Path) -> bool:
    """Whether the server's process is there."""
    return pid(base) is not None


def url(base: Path) -> str:
    """The URL that the server of this folder has whenever it runs."""
    return places.find(base).url


def home(base: Path) -> Path:
    """Where the server's data lie: `base`, or a system folder if its user can't enter `base`."""
    return places.find(base).home


def data_major(base: Path) -> str | None:
    """The major version of the Postgres that made the data of this folder; None without data.

    Raises OSError when they can't be read.
    """
    data = places.find(base).data
    return (data / "PG_VERSION").read_text().strip() if data.exists() else None


def program_folder(base: Path) -> Path:
    """The folder of psql, pg_dump and the rest, where the server's user can run them."""
    return binaries.runnable(places.find(base))


@contextmanager
def _turn(base: Path) -> Iterator[None]:
    if not base.exists():
        base.mkdir(parents=True, exist_ok=True)
        base.chmod(0o711)  # Whatever the umask: the server's user must pass.
    folder = os.open(base, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _start(place: Place, conf: tuple[str, ...], timeout_seconds: float) -> str:
    deadline = time.monotonic() + timeout_seconds
    if _postmaster(place) is None:
        place.make_folders()
        folder = binaries.runnable(place)
        if place.data.exists():
            _refuse_other_major(place)
        else:
            _make_data(place, folder)
        _launch(place, folder, conf, deadline)
    while not _answers(place):
        if time.monotonic() > deadline:
            raise EmbeddedError(f"The embedded Postgres runs but does not answer: see {place.log}.")
        time.sleep(0.02)
    _create_database(place)
    return place.url


def _refuse_other_major(place: Place) -> None:
    try:
        had = (place.data / "PG_VERSION").read_text().strip()
    except OSError as fault:
        raise EmbeddedError(
            f"{place.data} can't be read ({fault.strerror}): start Stoker as the user who made it, "
            "or set DATABASE_URL."
        ) from fault
    if had != binaries.major():
        raise EmbeddedError(
            f"{place.data} was made by PostgreSQL {had} and this version of Stoker brings "
            f"{binaries.major()}: save it with the version of Stoker that made it (`pg_dump "
            f"--format=custom --file=stoker.dump {DATABASE}`), move the folder away, start this "
            f"version and load it (`pg_restore --clean --if-exists --dbname={DATABASE} "
            "stoker.dump`)."
        )


def _make_data(place: Place, folder: Path) -> None:
    """Under another name first: an initdb that was killed must not look like data."""
    unfinished = place.home / "data.unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    place.take(unfinished)
    command = [
        str(folder / "initdb"),
        "-D",
        str(unfinished),
        "-U",
        "postgres",
        "-A",
        "trust",
    ]
    command += [
        "-E",
        "UTF8",
        "--locale-provider=builtin",
        "--locale=C.UTF-8",
        "--no-sync",
    ]
    made = subprocess.run(
        command,
        capture_output=True,
        text=True,
        cwd=place.run,
        env=_environment(),
        **place.identity,
    )
    if made.returncode:
        lines = [line for line in made.stderr.splitlines() if "error" in line or "FATAL" in line]
        raise EmbeddedError(
            f"The embedded Postgres can't make its data in {place.home}: "
            f"{lines[0] if lines else 'initdb failed'}."
        )
    unfinished.rename(place.data)


def _launch(place: Place, folder: Path, conf: tuple[str, ...], deadline: float) -> None:
    """Start the process and wait until it answers; raises EmbeddedError with its last words."""
    command = [str(folder / "postgres"), "-D", str(place.data), "-k", str(place.run)]
    # One build of Postgres has its libraries in `lib`, another in a folder of their own below it.
    libraries = (folder.parent / "lib").glob("**/pg_stat_statements.so")
    preload = ("shared_preload_libraries=pg_stat_statements",) if any(libraries) else ()
    for setting in (*CONF, *preload, *conf):
        command += ["-c", setting]
    is_long = place.log.exists() and place.log.stat().st_size > LONGEST_LOG_BYTES
    with open(place.log, "wb" if is_long else "ab") as log:
        while True:
            _disown_stale_pids(place)
            begin = log.seek(0, os.SEEK_END)
            server = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd=place.run,
                env=_environment(),
                **place.identity,
            )
            _children.append((place.data, server))
            while server.poll() is None and time.monotonic() < deadline:
                if _answers(place):
                    return
                time.sleep(0.02)
            if server.poll() is None:
                server.kill()
                server.wait()
            said = place.log.read_bytes()[begin:].decode("utf-8", "replace")
            # The last sessions of a killed server may still be ending.
            if "pre-existing shared memory" not in said or time.monotonic() > deadline:
                break
            time.sleep(0.1)
    fatal = [line.partition("FATAL:")[2].strip() for line in said.splitlines() if "FATAL:" in line]
    raise EmbeddedError(
        f"The embedded Postgres does not start ({fatal[0] if fatal else 'it gives no reason'}): "
        f"see {place.log}."
    )


def _environment() -> dict[str, str]:
    """Without libpq's variables, which would send the programs elsewhere."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return {**kept, "LC_ALL": "C"}


def _answers(place: Place) -> bool:
    if not (place.run / SOCKET).exists():
        return False
    try:
        psycopg.connect(place.url, dbname="postgres", connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True


def _create_database(place: Place) -> None:
    with psycopg.connect(place.url, dbname="postgres", autocommit=True) as connection:
        found = connection.execute("SELECT FROM pg_database WHERE datname = %s", [DATABASE])
        if found.fetchone() is None:
            connection.execute(f'CREATE DATABASE "{DATABASE}"')


def _postmaster(place: Place) -> int | None:
    """The server's pid, if the pid file names a live process that is this very server."""
    for each in list(_children):
        if each[1].poll() is not None:
            _children.remove(each)
    try:
        number = int((place.data / "postmaster.pid").read_text().split()[0])
        command = Path(f"/proc/{number}/cmdline").read_bytes().split(b"\0")
    except (OSError, IndexError, ValueError):
        return None
    return number if os.fsencode(place.data) in command else None


def _disown_stale_pids(place: Place) -> None:
    """Let Postgres see that the pid in its lock files is not a server's.

    A zombie that nobody asks for, or another process that has the number in a new container, would
    block the start. Postgres takes its parent's pid for a stale one, and still makes its own check
    of shared memory by the file's other lines.
    """
    for file in (place.data / "postmaster.pid", place.run / f"{SOCKET}.lock"):
        if file.exists():
            _, newline, rest = file.read_text().partition("\n")
            file.write_text(f"{os.getpid()}{newline}{rest}")


def _collect(place: Place) -> None:
    """Wait for the server, where it is our child: it removes its pid file before it ends."""
    for data, child in list(_children):
        if data == place.data:
            try:
                child.wait(10.0)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def _stop(place: Place, mode: str, timeout_seconds: float) -> None:
    deadline = time.monotonic() + timeout_seconds
    sent = SIGNALS[mode]
    while (number := _postmaster(place)) is not None:
        os.kill(number, sent)
        while _postmaster(place) == number and time.monotonic() < deadline:
            time.sleep(0.02)
        sent, deadline = signal.SIGKILL, time.monotonic() + 10.0
    _collect(place)
    if place.run.parent != place.home:
        shutil.rmtree(place.run, ignore_errors=True)
