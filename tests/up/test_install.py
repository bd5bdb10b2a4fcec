"""Installing with make: what it says when it can't, and that it does nothing twice."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

from app.cli.up import install

ROOT = Path(__file__).parents[2]
EMPTY_LOCK = "# nothing\n"


def make(
    folder: Path, *arguments: str, path: str | None = None
) -> subprocess.CompletedProcess[str]:
    """make in a folder that has the Makefile, the installer and an empty lock file."""
    folder.mkdir(exist_ok=True)
    (folder / "app" / "cli" / "up").mkdir(parents=True, exist_ok=True)
    shutil.copy(ROOT / "Makefile", folder)
    shutil.copy(ROOT / "app" / "cli" / "up" / "install.py", folder / "app" / "cli" / "up")
    for name in ("requirements-cpu.lock", "requirements-torch-cpu.lock"):
        if not (folder / name).exists():
            (folder / name).write_text(EMPTY_LOCK)
    make = shutil.which("make")
    assert make is not None
    environment = {**os.environ, "PATH": path or os.environ["PATH"]}
    for name in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS"):
        environment.pop(name, None)
    return subprocess.run(
        [make, *arguments], cwd=folder, env=environment, capture_output=True, text=True
    )


def test_an_old_python_is_refused_with_one_sentence(tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    old = programs / "python3"
    old.write_text('#!/bin/sh\n[ "$1" = -V ] && echo "Python 3.9.2" && exit 0\nexit 1\n')
    old.chmod(0o755)
    for tool in ("sh", "tail", "uname"):
        (programs / tool).symlink_to(shutil.which(tool) or f"/bin/{tool}")
    ran = make(tmp_path / "checkout", ".venv/.installed-cpu", "EXTRA=cpu", path=str(programs))
    assert ran.returncode != 0
    sentences = [line for line in ran.stderr.splitlines() if not line.startswith("make")]
    assert sentences == [
        "Stoker needs Python 3.11 to 3.14 and found Python 3.9.2: install one, or name it: "
        "make PYTHON=/path/to/python3"
    ]


def test_what_is_installed_is_not_installed_again(tmp_path: Path) -> None:
    stamp = tmp_path / ".venv" / ".installed-cpu"
    stamp.parent.mkdir()
    stamp.write_text(f"cpu {hashlib.sha256(2 * EMPTY_LOCK.encode()).hexdigest()}\n")
    os.utime(stamp, (0, 0))  # As after a fresh checkout of the same lock file.
    ran = make(tmp_path, ".venv/.installed-cpu", "EXTRA=cpu")
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")
    assert not (tmp_path / ".venv" / "bin").exists()
    again = make(tmp_path, ".venv/.installed-cpu", "EXTRA=cpu")
    assert "up to date" in again.stdout


def test_another_torch_than_the_locked_one_is_refused(tmp_path: Path) -> None:
    major, minor = sys.version_info[:2]
    tags = f"cp{major}{minor}-cp{major}{minor}-manylinux_2_28_{platform.machine()}"
    (tmp_path / f"torch-2.13.0+cpu-{tags}.whl").write_bytes(b"something else")
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed"]
    command += ["--no-deps", "--no-index", "--find-links", str(tmp_path), "--require-hashes"]
    command += ["-r", str(ROOT / "requirements-torch-cpu.lock")]
    environment = {name: value for name, value in os.environ.items() if name[:4] != "PIP_"}
    environment["PIP_CONFIG_FILE"] = os.devnull
    ran = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert ran.returncode != 0
    said = install.sentence(ran.stdout + ran.stderr, tmp_path)
    assert said.startswith("A package is not the one that its lock file names"), ran.stderr


def test_no_network_is_told_in_one_sentence(tmp_path: Path) -> None:
    said = "WARNING: Retrying after connection broken by 'NewConnectionError(...)'\nERROR: No match"
    assert install.sentence(said, tmp_path).startswith("No network:")


def test_a_full_disk_is_told_in_one_sentence(tmp_path: Path) -> None:
    said = "ERROR: Could not install packages due to an OSError: No space left on device"
    assert install.sentence(said, tmp_path).startswith("The disk is full:")


def test_any_other_fault_is_pips_last_error(tmp_path: Path) -> None:
    said = "Collecting a\nERROR: first\nERROR: hashes do not match\n"
    assert "hashes do not match" in install.sentence(said, tmp_path)
