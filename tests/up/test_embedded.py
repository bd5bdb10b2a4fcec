"""The embedded Postgres server: one per folder, whoever starts it and however it ended."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from app.core import embedded
from app.core.embedded import EmbeddedError, programs
from tests.conftest import wait_until

PR_CAPBSET_DROP, CAP_SETGID, CAP_SETUID = 24, 6, 7

SMALL = ("fsync=off", "shared_buffers=16MB", "max_connections=20", "max_wal_size=64MB")


def ask(url: str, question: str) -> object:
    with psycopg.connect(url) as connection:
        row = connection.execute(question).fetchone()  # type: ignore[call-overload]
        return row[0]


def write(url: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")


def test_a_started_server_answers_on_a_unix_socket_alone(folder: Path) -> None:
    url = embedded.start(folder, SMALL)
    assert ask(url, "SELECT current_database()") == "stoker"
    assert ask(url, "SHOW listen_addresses") == ""
    assert ask(url, "SHOW jit") == "off"
    assert ask(url, "SHOW shared_buffers") == "16MB"
    assert url == embedded.url(folder)


def test_a_server_counts_its_statements(folder: Path) -> None:
    """The library of the package is found, wherever its build has it, and the extension works."""
    url = embedded.start(folder, SMALL)
    assert ask(url, "SHOW shared_preload_libraries") == "pg_stat_statements"
    with psycopg.connect(url) as connection:
        connection.execute("CREATE EXTENSION pg_stat_statements")
        counted = connection.execute("SELECT count(*) > 0 FROM pg_stat_statements").fetchone()
    assert counted == (True,)


def test_a_second_start_finds_the_running_server(folder: Path) -> None:
    first = embedded.start(folder, SMALL)
    server = embedded.pid(folder)
    assert embedded.start(folder) == first
    assert embedded.pid(folder) == server


def test_starters_at_the_same_moment_get_one_server(folder: Path) -> None:
    program = "import sys; from pathlib import Path; from app.core import embedded; " + (
        f"print(embedded.start(Path(sys.argv[1]), {SMALL!r}), embedded.pid(Path(sys.argv[1])))"
    )
    starters = [
        subprocess.Popen([sys.executable, "-c", program, str(folder)], stdout=subprocess.PIPE)
        for _ in range(4)
    ]
    said = {starter.communicate()[0] for starter in starters}
    assert [starter.returncode for starter in starters] == [0, 0, 0, 0]
    assert len(said) == 1


def test_a_stopped_server_keeps_its_data_and_leaves_no_process_or_socket(folder: Path) -> None:
    url = embedded.start(folder, SMALL)
    write(url)
    server = embedded.pid(folder)
    embedded.stop(folder)
    assert not embedded.is_running(folder)
    assert not Path(f"/proc/{server}/cmdline").exists()
    assert not list((folder / "run").iterdir())
    assert not list(folder.rglob("*lock*"))
    assert ask(embedded.start(folder, SMALL), "SELECT answer FROM kept") == 42


def test_a_stop_waits_for_a_server_that_has_only_removed_its_pid_file(folder: Path) -> None:
    embedded.start(folder, SMALL)
    server = embedded.pid(folder)
    assert server is not None
    os.kill(server, signal.SIGINT)
    (embedded.home(folder) / "data" / "postmaster.pid").unlink(missing_ok=True)
    embedded.stop(folder)
    assert not Path(f"/proc/{server}").exists()


def test_a_killed_server_starts_again_with_its_data(folder: Path) -> None:
    url = embedded.start(folder, SMALL)
    write(url)
    server = embedded.pid(folder)
    assert server is not None
    with psycopg.connect(url):  # A session that is still ending when the server starts anew.
        os.kill(server, signal.SIGKILL)
        wait_until(lambda: not embedded.is_running(folder), "the server is dead")
        assert embedded.start(folder, SMALL) == url
    assert embedded.pid(folder) != server
    assert ask(url, "SELECT answer FROM kept") == 42


def test_a_restart_is_a_new_server_on_the_same_url(folder: Path) -> None:
    url = embedded.start(folder, SMALL)
    server = embedded.pid(folder)
    assert embedded.restart(folder, "immediate", SMALL) == url
    assert embedded.pid(folder) != server
    assert ask(url, "SELECT 1") == 1


def test_an_unrelated_process_with_the_old_pid_does_not_block_the_start(folder: Path) -> None:
    embedded.start(folder, SMALL)
    embedded.restart(folder, "kill", SMALL)
    embedded.stop(folder, "kill")
    file = folder / "data" / "postmaster.pid"
    file.write_text(file.read_text().replace(file.read_text().split()[0], str(os.getppid()), 1))
    assert ask(embedded.start(folder, SMALL), "SELECT 1") == 1


def test_data_of_another_major_version_is_refused_with_the_remedy(folder: Path) -> None:
    (folder / "data").mkdir()
    (folder / "data" / "PG_VERSION").write_text("16\n")
    with pytest.raises(EmbeddedError, match=r"PostgreSQL 16 .* brings 18: .*pg_dump .*pg_restore"):
        embedded.start(folder)


def test_an_unfinished_first_start_is_begun_again(folder: Path) -> None:
    (folder / "data.unfinished").mkdir()
    (folder / "data.unfinished" / "PG_VERSION").write_text("18\n")
    assert ask(embedded.start(folder, SMALL), "SELECT 1") == 1


def test_a_path_too_long_for_a_socket_gets_a_short_one(folder: Path) -> None:
    base = folder / ("deep" * 25)
    url = embedded.start(base, SMALL)
    assert ask(url, "SELECT 1") == 1
    assert (base / "data").is_dir()
    place = Path(url.partition("host=")[2])
    assert place.is_dir()
    embedded.stop(base)
    assert not place.exists()


@pytest.mark.usefixtures("as_root")
def test_a_folder_closed_to_others_stays_closed_and_the_data_go_elsewhere(folder: Path) -> None:
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    base = closed / "var"
    home = embedded.home(base)
    try:
        assert ask(embedded.start(base, SMALL), "SELECT 1") == 1
        assert home == embedded.home(base) != base
        assert closed.stat().st_mode & 0o777 == 0o700
        assert not (base / "data").exists()
    finally:
        embedded.stop(base, "immediate")
        shutil.rmtree(home)


@pytest.mark.usefixtures("as_root")
def test_programs_that_only_root_can_reach_are_copied(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = folder / "home" / "site"
    shutil.copytree(programs.packaged().parents[2] / programs.PARTS[0], site / programs.PARTS[0])
    shutil.copytree(programs.packaged().parents[2] / programs.PARTS[1], site / programs.PARTS[1])
    (folder / "home").chmod(0o700)
    monkeypatch.setattr(programs, "packaged", lambda: site / programs.BIN)
    assert ask(embedded.start(folder, SMALL), "SELECT 1") == 1
    assert embedded.program_folder(folder).is_relative_to(folder)
    assert (folder / "home").stat().st_mode & 0o777 == 0o700


@pytest.mark.usefixtures("as_root")
def test_root_that_may_not_become_another_user_is_told_so(folder: Path) -> None:
    program = (
        "import ctypes, os, sys\n"
        f"for capability in {CAP_SETGID}, {CAP_SETUID}:\n"
        f"    ctypes.CDLL(None).prctl({PR_CAPBSET_DROP}, capability, 0, 0, 0)\n"
        "start = 'from pathlib import Path; from app.core import embedded; import sys;'\n"
        "start += 'embedded.start(Path(sys.argv[1]))'\n"
        "os.execv(sys.executable, [sys.executable, '-c', start, sys.argv[1]])\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program, str(folder)], capture_output=True, text=True
    )
    assert "root may not become another user" in ran.stderr
    assert "set DATABASE_URL" in ran.stderr
