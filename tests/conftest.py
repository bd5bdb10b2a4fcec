"""What all tests share: a real Postgres, a fresh database for each test, the app, a live server.

The server is started once. Each test that asks for a database gets its own copy of a migrated
template, so that tests neither see nor wait for each other.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from app.core import embedded, keys, schema, users
from app.core.db import make_engine
from app.core.settings import Settings, load_settings
from app.extensions import db
from app.factory import create_app

ROOT = Path(__file__).resolve().parents[1]

# Nothing here has to survive a power cut.
_FAST = (
    "fsync=off",
    "synchronous_commit=off",
    "full_page_writes=off",
    "shared_buffers=128MB",
    "max_connections=200",
    "max_wal_size=256MB",
)
_MEMORY = Path("/dev/shm")
# Folders with files that take minutes. What begins last should be short, or one process works on alone.
_FIRST = ("up", "faults", "worker", "pages")
# Where the servers keep their data (None: the usual place). To copy a database takes some disks 20 times as long.
IN_MEMORY = _MEMORY if _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free > 4 * 1024**3 else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long ones first. A folder's files stay together: those of the pages share a server and a browser."""
    places = {ROOT / "tests" / folder: place for place, folder in enumerate(_FIRST)}
    items.sort(key=lambda item: places.get(item.path.parent, len(places)))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What a test logged goes from process to process, and may hold what is no text."""
    report = yield
    report.sections = [
        (name, text.encode("utf-8", "backslashreplace").decode()) for name, text in report.sections
    ]
    return report


@pytest.fixture(autouse=True)
def _push_request_context() -> None:
    """Replaces pytest-flask's: one context around all of a test's requests would share their g."""


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A developer's settings are not the tests'."""
    for name in list(os.environ):
        if name.startswith("STOKER_") or name == "DATABASE_URL":
            monkeypatch.delenv(name)
    monkeypatch.setenv("STOKER_CONFIG", os.devnull)


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a Postgres server that lasts as long as the test run."""
    # Not below pytest's own folder: that is closed to the user that the server runs as.
    base = Path(tempfile.mkdtemp(prefix="stoker-", dir=IN_MEMORY))
    base.chmod(0o711)
    home = embedded.home(base)
    try:
        yield embedded.start(base, _FAST)
    finally:
        embedded.stop(base, "immediate")
        shutil.rmtree(home, ignore_errors=True)
        shutil.rmtree(base, ignore_errors=True)


@pytest.fixture(scope="session")
def template_database(postgres: str) -> str:
    """The name of a migrated, empty database."""
    name = "stoker_template"
    _execute(postgres, f"CREATE DATABASE {name}")
    schema.upgrade(_database_url(postgres, name))
    return name


@pytest.fixture
def database_url(postgres: str, template_database: str) -> Iterator[str]:
    """A migrated database of the test's own."""
    with new_database(postgres, template_database) as url:
        yield url


@contextmanager
def new_database(postgres: str, template_database: str) -> Iterator[str]:
    """The URL of a migrated database that lasts as long as the block."""
    name = f"test_{secrets.token_hex(6)}"
    # Copied as files: a third of the time, as nothing goes through the log.
    _execute(postgres, f"CREATE DATABASE {name} TEMPLATE {template_database} STRATEGY file_copy")
    yield _database_url(postgres, name)
    _execute(postgres, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def settings(tmp_path: Path, database_url: str) -> Settings:
    """Settings with the test's own data folder and database."""
    return load_settings(var=tmp_path / "var", database_url=database_url, min_free_disk_bytes=0)


@pytest.fixture
def engine(settings: Settings) -> Iterator[Engine]:
    """SQLAlchemy's engine on the test's database."""
    engine = make_engine(settings, "test")
    yield engine
    engine.dispose()


@pytest.fixture
def session(engine: Engine) -> Iterator[Session]:
    """A session of the test's own; it sees what others commit, once it begins anew."""
    with Session(engine, expire_on_commit=False) as session:
        yield session


@pytest.fixture
def app(settings: Settings) -> Iterator[Flask]:
    """The web application, in this process."""
    app = create_app(settings)
    app.testing = False  # faults become answers, as they do for users
    yield app
    with app.app_context():
        db.session.remove()
        db.engine.dispose()


@pytest.fixture
def api_key(session: Session) -> str:
    """The administrator's key, with all scopes."""
    _, plain = keys.create(session, users.ensure_admin(session), "test")
    session.commit()
    return plain


@pytest.fixture
def make_client(app: Flask) -> Callable[[str | None], FlaskClient]:
    """Makes clients that send a key with every request, or none."""

    def make(key: str | None) -> FlaskClient:
        client = app.test_client()
        if key is not None:
            client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {key}"
        return client

    return make


@pytest.fixture
def client(make_client: Callable[[str | None], FlaskClient], api_key: str) -> FlaskClient:
    """A client with the administrator's key."""
    return make_client(api_key)


@dataclass
class LiveServer:
    """A real web server in processes of its own."""

    url: str
    process: subprocess.Popen[bytes]
    environment: dict[str, str]

    @property
    def api_url(self) -> str:
        """What an SDK takes as its base URL."""
        return self.url + "/v1"

    def stop(self) -> None:
        """End it, as an operator would."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def process_environment(settings: Settings, port: int | None = None) -> dict[str, str]:
    """The environment that gives a process of ours these settings."""
    own = {
        "DATABASE_URL": settings.database_url,
        "STOKER_CONFIG": os.devnull,
        "PYTHONUNBUFFERED": "1",
    }
    for name in settings.model_fields_set - {"database_url", "port"}:
        own[f"STOKER_{name.upper()}"] = str(getattr(settings, name))
    own["STOKER_PORT"] = str(port or settings.port)
    return {**os.environ, **own}


@pytest.fixture
def start_server(settings: Settings, tmp_path: Path) -> Iterator[Callable[..., LiveServer]]:
    """Starts web servers on the test's database: `start_server(STOKER_WEB_WORKERS="2")`."""
    with ExitStack() as started:
        yield lambda **environment: started.enter_context(serve(settings, tmp_path, **environment))


@contextmanager
def serve(
    settings: Settings, log_folder: Path, config: str = "gunicorn.py", **environment: str
) -> Iterator[LiveServer]:
    """A web server that lasts as long as the block; `config` names its file in deploy/."""
    port = free_port()
    own = {**process_environment(settings, port), "STOKER_STREAM_PORT": str(port)}
    variables = {**own, **environment}
    with open(log_folder / f"web-{port}.log", "wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", "-c", f"deploy/{config}", "wsgi:app"],
            cwd=ROOT,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    server = LiveServer(f"http://127.0.0.1:{port}", process, variables)
    try:
        wait_until(
            lambda: process.poll() is not None or _answers(server.url + "/health"),
            "the web server answers",
        )
        assert process.poll() is None, Path(log.name).read_text()
        yield server
    finally:
        server.stop()


@pytest.fixture
def live_server(start_server: Callable[..., LiveServer]) -> LiveServer:
    """A web server on a free port of the loopback interface."""
    return start_server()


def free_port() -> int:
    """A port that nobody listens on right now.

    It lies below those that the system gives to whoever connects: none of these takes it before
    the server does that it is for.
    """
    while True:
        port = 20_000 + secrets.randbelow(12_000)
        with closing(socket.socket()) as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def wait_until(is_so: Callable[[], object], what: str, seconds: float = 120.0) -> None:
    """Wait for something to become true; the limit only bounds a test that fails."""
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        time.sleep(0.02)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except OSError:
        return False


def _execute(url: str, statement: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement)  # type: ignore[call-overload]


def _database_url(server_url: str, name: str) -> str:
    return urlunsplit(urlsplit(server_url)._replace(path=f"/{name}"))
