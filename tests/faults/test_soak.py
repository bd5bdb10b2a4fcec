"""The soak, scaled down: the command itself, for twelve seconds."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.conftest import ROOT

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]


def test_a_short_soak_loses_and_doubles_nothing() -> None:
    scaled = ["--minutes", "0.2", "--jobs", "150", "--batches", "2", "--pause", "1", "4"]
    command = [sys.executable, "-m", "benchmarks.soak", *scaled, "--seed", "12"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = dict(line.rsplit(" ", 1) for line in done.stdout.splitlines())
    assert (lines["figure jobs"], lines["figure batches"]) == ("150", "2")
    assert lines["figure requests"] == "600"
    assert {value for name, value in lines.items() if name.startswith("check ")} == {"0"}
    faults = [name for name in lines if name.endswith(("killed", "stopped", "frozen", "_s"))]
    assert len(faults) >= 2, "hardly anything has happened to it"
