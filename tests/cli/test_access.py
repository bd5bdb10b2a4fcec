"""`flask users` and `flask keys`, as an operator types them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy.orm import Session

from app.cli.up.preflight import data_folder
from app.core import sessions, users
from app.core.settings import Settings
from tests.conftest import ROOT, process_environment

Run = Callable[..., Result]


@pytest.fixture
def run(app: Flask, session: Session) -> Run:
    users.ensure_admin(session)
    session.commit()
    return lambda *words: app.test_cli_runner().invoke(args=list(words))


def test_a_new_key_is_printed_once_and_opens_the_api(
    run: Run, make_client: Callable[[str | None], FlaskClient]
) -> None:
    made = run("keys", "create", "laptop")
    assert made.exit_code == 0
    plain = made.stdout.strip()
    assert make_client(plain).get("/v1/models").status_code == 200
    listed = run("keys", "list").stdout
    assert "laptop" in listed
    assert plain not in listed


def test_a_key_of_few_scopes_and_days(run: Run) -> None:
    made = json.loads(
        run("keys", "create", "ci", "--scope", "read", "--days", "2", "--json").stdout
    )
    assert sorted(made) == ["id", "key"]
    (key,) = json.loads(run("keys", "list", "--json").stdout)
    assert key["scopes"] == ["read"]
    assert key["expires_at"] is not None
    assert key["user"] == "admin"
    assert key["revoked_at"] is None


def test_a_revoked_key_is_refused(
    run: Run, make_client: Callable[[str | None], FlaskClient]
) -> None:
    made = json.loads(run("keys", "create", "laptop", "--json").stdout)
    assert run("keys", "revoke", str(made["id"])).exit_code == 0
    assert make_client(made["key"]).get("/v1/models").status_code == 401
    (key,) = json.loads(run("keys", "list", "--json").stdout)
    assert key["revoked_at"] is not None


def test_a_link_signs_in_once(run: Run, session: Session, settings: Settings) -> None:
    link = run("users", "link").stdout.strip()
    assert link.startswith(f"http://localhost:{settings.port}/sign-in/")
    assert sessions.consume_sign_in_link(session, link.rsplit("/", 1)[1], session_days=1)


def test_a_link_leads_to_the_port_that_a_running_start_was_given(
    run: Run, settings: Settings
) -> None:
    url = "http://127.0.0.1:4999"
    settings.var_path.mkdir(parents=True, exist_ok=True)
    (settings.var_path / "env").write_text(f"export OPENAI_BASE_URL={url}/v1\n")
    with data_folder(settings.var_path):
        assert run("users", "link").stdout.startswith(f"{url}/sign-in/")
    assert f":{settings.port}/sign-in/" in run("users", "link").stdout


def test_users_are_listed_and_disabled(run: Run) -> None:
    assert "admin" in run("users", "list").stdout
    assert run("users", "disable", "admin").exit_code == 0
    (user,) = json.loads(run("users", "list", "--json").stdout)
    assert user["disabled_at"] is not None


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("keys", "revoke", "99"), "There is no key 99."),
        (("users", "link", "nobody"), "There is no user 'nobody'."),
        (("users", "disable", "nobody"), "There is no user 'nobody'."),
        (("keys", "create", "x", "--user", "nobody"), "There is no user 'nobody'."),
    ],
)
def test_a_refusal_is_one_sentence(run: Run, words: tuple[str, ...], sentence: str) -> None:
    result = run(*words)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr == f"Error: {sentence}\n"


def flask(**environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "flask", "users", "list"],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_a_wrong_setting_stops_the_start_with_a_sentence_that_names_it(tmp_path: Path) -> None:
    wrong = flask(STOKER_VAR=str(tmp_path), STOKER_PORT="http")
    assert wrong.returncode == 1
    assert "STOKER_PORT" in wrong.stderr
    assert wrong.stderr.count("\n") == 1


def test_the_database_of_a_running_instance_is_found_by_its_env_file(
    settings: Settings, session: Session
) -> None:
    users.ensure_admin(session)
    session.commit()
    settings.var_path.mkdir(parents=True, exist_ok=True)
    (settings.var_path / "env").write_text(f"export DATABASE_URL='{settings.database_url}'\n")
    environment = {**process_environment(settings), "DATABASE_URL": ""}
    found = flask(**environment)
    assert found.returncode == 0, found.stderr
    assert "admin" in found.stdout


def test_a_short_secret_stops_the_start(tmp_path: Path) -> None:
    wrong = flask(STOKER_VAR=str(tmp_path), STOKER_SECRET_KEY="changeme")
    assert wrong.returncode == 1
    assert "STOKER_SECRET_KEY" in wrong.stderr
    assert wrong.stderr.count("\n") == 1


def test_a_data_folder_that_can_not_be_written_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    wrong = flask(STOKER_VAR=str(tmp_path / "file"))
    assert wrong.returncode == 1
    assert str(tmp_path / "file") in wrong.stderr
    assert wrong.stderr.count("\n") == 1


def test_a_viewer_is_made_may_sign_in_and_becomes_an_operator(run: Run) -> None:
    made = run("users", "create", "vic", "--role", "viewer")
    assert (made.exit_code, made.stdout) == (0, "vic is a new viewer.\n")
    assert "/sign-in/" in run("users", "link", "vic").stdout
    assert run("users", "role", "vic", "operator").stdout == "vic is an operator now.\n"
    roles = {
        each["name"]: each["role"] for each in json.loads(run("users", "list", "--json").stdout)
    }
    assert roles == {"admin": "admin", "vic": "operator"}
    made = json.loads(run("users", "create", "ann", "--json").stdout)
    assert (made["name"], made["role"]) == ("ann", "user")


def test_what_can_not_be_is_said_and_changes_nothing(run: Run) -> None:
    again = run("users", "create", "admin")
    assert again.exit_code == 1
    assert "There is a user 'admin' already." in again.stderr
    last = run("users", "role", "admin", "viewer")
    assert last.exit_code == 1
    assert "admin is the last administrator." in last.stderr
    assert run("users", "role", "nobody", "viewer").exit_code == 1
