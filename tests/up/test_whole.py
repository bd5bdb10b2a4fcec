"""`flask up` on an empty data folder, with everything real: Postgres, web, worker and vLLM."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from app.cli.up import models
from app.core import embedded
from tests.conftest import free_port, wait_until

ROOT = Path(__file__).parents[2]


class Instance:
    """One data folder and port, started and ended as often as a test likes."""

    def __init__(self, var: Path) -> None:
        self.var = var
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None
        self.log = var.with_name("log")

    def start(self, *arguments: str, **more: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "app.cli.up", *arguments]
        command += ["--port", str(self.port), "--var", str(self.var)]
        environment = {**os.environ, "STOKER_CONFIG": os.devnull, **more}
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT
            )
        return self.process

    @property
    def said(self) -> str:
        return self.log.read_text()

    def status_of(self, path: str) -> int:
        """0 when nobody answers."""
        try:
            with urllib.request.urlopen(self.url + path, timeout=5) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as refused:
            refused.close()
            return refused.code
        except OSError:
            return 0

    def wait_for(self, text: str) -> None:
        wait_until(lambda: text in self.said, f"{text!r} in {self.said}")

    def family(self) -> list[psutil.Process]:
        """Every process that works on this data folder, whoever its parent is."""
        return [
            process
            for process in psutil.process_iter()
            if process.pid != os.getpid() and _is_of(process, str(self.var))
        ]


def _is_of(process: psutil.Process, var: str) -> bool:
    try:
        return process.environ().get("STOKER_VAR") == var or var in process.cmdline()
    except psutil.Error:
        return False


@pytest.fixture
def instance(folder: Path, request: pytest.FixtureRequest) -> Iterator[Instance]:
    """An empty data folder; the built model is kept from test run to test run."""
    instance = Instance(folder / "var")
    assert request.config.cache is not None
    kept = request.config.cache.mkdir("models") / models.CHAT_MODEL
    used = instance.var / "models" / models.CHAT_MODEL
    if kept.is_dir():
        used.parent.mkdir(parents=True)
        instance.var.chmod(0o711)
        used.symlink_to(kept)
    yield instance
    if instance.process is not None and instance.process.poll() is None:
        instance.process.kill()
        instance.process.wait()
    embedded.stop(instance.var / "postgres", "immediate")
    if used.is_dir() and not used.is_symlink():
        shutil.move(used, kept)


@pytest.mark.engine
def test_an_empty_data_folder_becomes_a_server_that_answered_a_batch(instance: Instance) -> None:
    assert instance.start("--once").wait(280) == 0, instance.said
    assert "32 of 32 requests answered, 0 failed" in instance.said
    assert "Why is the sky blue during the day?" in instance.said
    assert f"{instance.url}/sign-in/" in instance.said
    assert f"export OPENAI_BASE_URL={instance.url}/v1" in instance.said
    kept = instance.var / "env"
    assert kept.stat().st_mode & 0o777 == 0o600
    assert "export OPENAI_API_KEY=sk-" in kept.read_text()
    assert "export DATABASE_URL=" in kept.read_text()
    assert instance.family() == []
    assert not list((instance.var / "postgres" / "run").iterdir())


@pytest.mark.faults
def test_a_killed_start_leaves_only_postgres_and_the_next_one_takes_it_over(
    instance: Instance,
) -> None:
    # With no models of its own to serve, nothing but the engine is missing.
    registry = instance.var.with_name("models.toml")
    registry.write_text('[models.far]\nurl = "http://127.0.0.1:9"\n')
    arguments = ("--models-file", str(registry))
    killed = instance.start(*arguments)
    instance.wait_for("worker.started")
    server = embedded.pid(instance.var / "postgres")
    key = (instance.var / "env").read_text()
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    wait_until(lambda: all("postgres" in found.name() for found in instance.family()), "all ended")
    assert server is not None
    assert embedded.pid(instance.var / "postgres") == server

    # As in a shell that has read the `env` file.
    instance.start(*arguments, DATABASE_URL=embedded.url(instance.var / "postgres"))
    instance.wait_for("/sign-in/")
    assert instance.status_of("/health") == 200
    assert instance.status_of("/v1/models") == 401
    assert (instance.var / "env").read_text() == key
    os.kill(server, signal.SIGKILL)
    instance.wait_for("postgres has ended; it is started again")
    assert instance.process is not None
    instance.process.terminate()
    assert instance.process.wait(60) == 0
    assert instance.family() == []


def test_a_named_postgres_and_other_models_need_no_embedded_ones(
    instance: Instance, database_url: str
) -> None:
    registry = instance.var.with_name("models.toml")
    registry.write_text('[models.far]\nurl = "http://127.0.0.1:9"\n')
    process = instance.start(
        "--no-embedded", "--models-file", str(registry), DATABASE_URL=database_url
    )
    instance.wait_for("worker.started")
    assert instance.status_of("/health") == 200
    assert not (instance.var / "postgres").exists()
    assert not (instance.var / "models.toml").exists()
    assert f"export DATABASE_URL='{database_url}'" in (instance.var / "env").read_text()
    process.terminate()
    assert process.wait(60) == 0


def test_a_later_start_shows_how_long_the_model_takes_to_load(
    instance: Instance, database_url: str
) -> None:
    registry = instance.var.with_name("models.toml")
    engine = [sys.executable, str(ROOT / "tests" / "fake_engine.py"), "--uds", "{socket}"]
    registry.write_text(
        '[models.slow]\npath = "."\nendpoints = ["/v1/embeddings"]\n'
        f'env = {{ FAKE_START_DELAY = "3" }}\ncommand = {json.dumps(engine)}\n'
    )
    process = instance.start(
        "--no-embedded", "--models-file", str(registry), DATABASE_URL=database_url
    )
    instance.wait_for("Loading slow …")
    instance.wait_for("✓ slow is loaded (")
    process.terminate()
    assert process.wait(60) == 0


def test_a_postgres_that_is_away_is_told_in_one_sentence(instance: Instance) -> None:
    away = "postgresql://nobody@127.0.0.1:9/none"
    assert instance.start("--no-embedded", DATABASE_URL=away).wait(60) == 2
    assert "The Postgres of DATABASE_URL can't be used" in instance.said
    assert "Traceback" not in instance.said
