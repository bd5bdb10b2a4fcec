"""A whole Stoker of the benchmark's own: database, web, worker, housekeeper in a temporary folder."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import openai
from sqlalchemy.orm import Session

from app.core import embedded, keys, schema, users
from app.core.db import make_engine
from app.core.settings import Settings, load_settings

ROOT = Path(__file__).resolve().parents[1]
# A client that asks more often takes measurable time of two cores from the engine.
POLL_SECONDS = 0.5


@dataclass
class House:
    """What a benchmark needs of it."""

    settings: Settings
    key: str
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.settings.port}"

    def client(self) -> openai.OpenAI:
        """The real client."""
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key=self.key)

    def session(self) -> Session:
        """A session on the benchmark's database."""
        return Session(make_engine(self.settings, "benchmark"), expire_on_commit=False)

    def start(self, name: str, *command: str, **environment: str) -> subprocess.Popen[bytes]:
        """Start a process; its output goes to a file in the data folder."""
        log = (self.settings.var_path / f"{name}.log").open("ab")
        process = subprocess.Popen(
            [sys.executable, *command],
            cwd=ROOT,
            env={**_environment(self.settings), **environment},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        log.close()
        self.processes[name] = process
        return process

    def start_web(self) -> None:
        """Start the web server and wait until it answers."""
        self.start("web", "-m", "gunicorn", "-c", "deploy/gunicorn.py", "wsgi:app")
        self.await_port(self.settings.port)

    def await_port(self, port: int) -> None:
        """Wait until something listens there."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with (
                contextlib.suppress(OSError),
                socket.create_connection(("127.0.0.1", port), 1),
            ):
                return
            time.sleep(0.1)
        raise RuntimeError("the web server does not answer")

    def stop(self) -> None:
        """End everything."""
        for process in self.processes.values():
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self.processes.values():
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


def free_port() -> int:
    """A port that nobody listens on right now."""
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _environment(settings: Settings) -> dict[str, str]:
    own = {"DATABASE_URL": settings.database_url, "STOKER_CONFIG": os.devnull}
    for name in settings.model_fields_set - {"database_url"}:
        own[f"STOKER_{name.upper()}"] = str(getattr(settings, name))
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("STOKER_") and name != "PYTHONDONTWRITEBYTECODE"
    }
    return {**inherited, **own}


@contextlib.contextmanager
def open_house(models: str, *, keep: Path | None = None, **settings: object) -> Iterator[House]:
    """A house with this models.toml; all of it is gone afterwards, unless it is in `keep`."""
    # A benchmark that is told to end must not leave its house behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    if keep is None:
        base = Path(tempfile.mkdtemp(prefix="stoker-benchmark-"))
    else:
        base = keep
        base.mkdir(parents=True, exist_ok=True)
    base.chmod(0o711)
    url = embedded.start(base)
    house: House | None = None
    try:
        var = base / "var"
        var.mkdir(exist_ok=True)
        (var / "models.toml").write_text(models)
        schema.upgrade(url)
        port = free_port()
        own = load_settings(
            var=var, database_url=url, port=port, secret_key=secrets.token_hex(32), **settings
        )
        with Session(make_engine(own, "benchmark")) as session:
            _, key = keys.create(session, users.ensure_admin(session), "benchmark")
            session.commit()
        house = House(own, key)
        yield house
    except BaseException:
        if house is not None:
            for log in sorted(house.settings.var_path.glob("*.log")):
                print(f"--- {log.name}\n{log.read_text()[-3000:]}", file=sys.stderr)
        raise
    finally:
        if house is not None:
            house.stop()
        home = embedded.home(base)
        if keep is None:
            embedded.stop(base, "immediate")
            shutil.rmtree(home, ignore_errors=True)
            shutil.rmtree(base, ignore_errors=True)
        else:
            embedded.stop(base)
