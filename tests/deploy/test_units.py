"""The systemd units start what there is, with settings that there are."""

from __future__ import annotations

import configparser
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from app.core.settings import load_settings
from tests.conftest import ROOT

FOLDER = ROOT / "deploy" / "systemd"
SERVICES = sorted(FOLDER.glob("*.service"))


def read(path: Path) -> configparser.ConfigParser:
    """A unit's sections; a key that stands twice keeps its last value."""
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read(path)
    return unit


@pytest.mark.parametrize("path", SERVICES, ids=lambda path: path.name)
def test_a_service_runs_a_module_of_ours_as_its_own_user(path: Path) -> None:
    service = read(path)["Service"]
    words = service["ExecStart"].split()
    assert words[:2] == ["/srv/stoker/.venv/bin/python", "-m"]
    found = subprocess.run([sys.executable, "-c", f"import {words[2].split('.')[0]}"], cwd=ROOT)
    assert found.returncode == 0
    assert service["User"] == service["Group"] == "stoker"
    assert service["WorkingDirectory"] == "/srv/stoker"
    for file in re.findall(r"deploy/\S+", service["ExecStart"]):
        assert (ROOT / file).exists()


def test_the_services_are_those_that_flask_up_starts() -> None:
    from app.cli.up.start import COMMANDS

    started = {" ".join(read(path)["Service"]["ExecStart"].split()[1:]) for path in SERVICES}
    assert {" ".join(command) for command in COMMANDS.values()} <= started


def test_the_worker_gets_the_time_that_it_takes_to_stop() -> None:
    service = read(FOLDER / "stoker-worker.service")["Service"]
    assert service["KillMode"] == "mixed"  # else its engine would be ended before it is drained
    assert float(service["TimeoutStopSec"]) >= load_settings().worker_drain_seconds + 30


def test_the_settings_of_the_example_can_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for line in (FOLDER / "stoker.env.example").read_text().splitlines():
        if not line.startswith("#"):
            monkeypatch.setenv(*line.split("=", 1))
    settings = load_settings()
    assert settings.secure_cookies
    assert str(settings.var) == "/var/lib/stoker"


def test_systemd_finds_no_fault_with_the_units(tmp_path: Path) -> None:
    program = shutil.which("systemd-analyze")
    if program is None:
        return  # a machine without systemd; the tests above say what can be said there
    for path in FOLDER.iterdir():
        text = path.read_text().replace("/srv/stoker/.venv/bin/python", sys.executable)
        text = re.sub(r"^(User|Group)=.*$", r"\1=root", text, flags=re.M)
        (tmp_path / path.name).write_text(text.replace("/srv/stoker", str(ROOT)))
    units = [
        f"./{path.name}" for path in FOLDER.iterdir() if path.suffix in (".service", ".target")
    ]
    checked = subprocess.run(
        [program, "verify", *units],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "SYSTEMD_LOG_LEVEL": "warning"},
    )
    assert checked.returncode == 0, checked.stderr
    assert not re.search(r"stoker-\w+\.service:", checked.stderr), checked.stderr
