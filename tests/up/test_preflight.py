"""What is told in one sentence before anything starts."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from app.cli.up import preflight
from app.cli.up.preflight import UpError

ROOT = Path(__file__).parents[2]


def up(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command until it says why it can't start."""
    return subprocess.run(
        [sys.executable, "-m", "app.cli.up", *arguments],
        cwd=ROOT,
        env={**os.environ, "STOKER_CONFIG": os.devnull, **environment},
        capture_output=True,
        text=True,
    )


def test_a_taken_port_is_named_with_the_remedy(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        ran = up("--port", str(port), "--var", str(tmp_path / "var"))
    assert ran.returncode == 2
    assert len(ran.stderr.splitlines()) == 1
    assert f"Port {port} of 127.0.0.1" in ran.stderr
    assert "PORT=" in ran.stderr
    assert not list((tmp_path / "var").iterdir())


def test_a_second_start_on_the_same_data_folder_is_refused(tmp_path: Path) -> None:
    with preflight.data_folder(tmp_path):
        ran = up("--var", str(tmp_path))
    assert ran.returncode == 2
    assert ran.stderr.startswith(f"Stoker runs already on the data folder {tmp_path}:")
    assert len(ran.stderr.splitlines()) == 1


def test_a_wrong_setting_is_named(tmp_path: Path) -> None:
    ran = up("--var", str(tmp_path), STOKER_WEB_THREADS="many")
    assert ran.returncode == 2
    assert len(ran.stderr.splitlines()) == 1
    assert "STOKER_WEB_THREADS" in ran.stderr


def test_a_missing_models_file_is_named(tmp_path: Path) -> None:
    ran = up("--var", str(tmp_path), "--models-file", str(tmp_path / "none.toml"))
    assert ran.returncode == 2
    assert f"{tmp_path / 'none.toml'} does not exist" in ran.stderr


def test_no_embedded_server_needs_a_database_url(tmp_path: Path) -> None:
    ran = up("--var", str(tmp_path), "--no-embedded")
    assert ran.returncode == 2
    assert "DATABASE_URL" in ran.stderr


def test_a_full_disk_is_told_with_what_is_needed(tmp_path: Path) -> None:
    with pytest.raises(UpError, match="Not enough disk space") as raised:
        preflight.check_disk(tmp_path, 2**60)
    assert raised.value.exit_code == 2


def test_a_data_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "var").write_text("")
    with (
        pytest.raises(UpError, match="can't be used"),
        preflight.data_folder(tmp_path / "var"),
    ):
        pass


def test_a_new_data_folder_can_be_passed_and_not_read_by_others(tmp_path: Path) -> None:
    with preflight.data_folder(tmp_path / "deep" / "var"):
        assert (tmp_path / "deep" / "var").stat().st_mode & 0o777 == 0o711
