"""When something is away, clients are told when to come back; nobody sees a stack trace."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import Engine, text

from app.core.settings import Settings, load_settings
from app.extensions import db
from app.factory import create_app
from tests.api.conftest import error_of

ROUTES = ["/v1/files", "/v1/batches", "/v1/batches/b", "/v1/queue", "/v1/jobs/history"]
ROUTES += ["/api/jobs", "/api/jobs/types", "/api/jobs/search", "/api/jobs/1", "/api/jobs/1/logs"]


@contextmanager
def app_with(settings: Settings, **changes: object) -> Iterator[Flask]:
    values = {name: getattr(settings, name) for name in settings.model_fields_set}
    app = create_app(load_settings(**{**values, **changes}))
    yield app
    with app.app_context():
        db.session.remove()
        db.engine.dispose()


@pytest.mark.parametrize("path", ROUTES)
def test_without_a_database_the_api_answers_503_and_when_to_come_back(
    settings: Settings, api_key: str, path: str
) -> None:
    with app_with(settings, database_url="postgresql://postgres@127.0.0.1:9/none") as app:
        answer = app.test_client().get(path, headers={"Authorization": f"Bearer {api_key}"})
        error = error_of(answer, 503)
        assert int(answer.headers["Retry-After"]) > 0
        assert error["type"] == "service_unavailable_error"
        assert "127.0.0.1" not in error["message"]


def test_without_a_database_the_process_is_healthy_and_not_ready(settings: Settings) -> None:
    with app_with(settings, database_url="postgresql://postgres@127.0.0.1:9/none") as app:
        client = app.test_client()
        assert client.get("/health").status_code == 200
        assert client.get("/healthz").status_code == 200
        answer = client.get("/readyz")
        assert answer.status_code == 503
        assert answer.json["checks"] == {"database": False, "schema": False, "worker": False}


def test_without_a_database_a_page_says_so(settings: Settings) -> None:
    with app_with(settings, database_url="postgresql://postgres@127.0.0.1:9/none") as app:
        client = app.test_client()
        client.set_cookie(app.config["STOKER_COOKIE_NAME"], "something")
        answer = client.get("/history")
        assert answer.status_code == 503
        assert int(answer.headers["Retry-After"]) > 0
        assert "can&#39;t be reached" in answer.text


def test_without_a_named_database_the_answer_says_what_to_set(settings: Settings) -> None:
    with app_with(settings, database_url="") as app:
        key = "sk-stoker-" + "a" * 43 + "0nQNvG"
        answer = app.test_client().get("/v1/queue", headers={"Authorization": f"Bearer {key}"})
        assert answer.status_code in (401, 503)
        result = app.test_cli_runner().invoke(args=["users", "list"])
        assert result.exit_code == 1
        assert result.stderr.count("\n") == 1
        assert "DATABASE_URL" in result.stderr


def test_a_slow_query_ends_as_a_503(settings: Settings, engine: Engine, api_key: str) -> None:
    with app_with(settings, page_timeout_seconds=2) as app, engine.begin() as other:
        other.execute(text("LOCK TABLE batch IN ACCESS EXCLUSIVE MODE"))
        client = app.test_client()
        answer = client.get("/v1/batches", headers={"Authorization": f"Bearer {api_key}"})
        error = error_of(answer, 503)
        assert "too long" in error["message"]
        assert "Retry-After" in answer.headers
        files = client.get("/v1/files", headers={"Authorization": f"Bearer {api_key}"})
        assert files.status_code == 200


def test_a_restarted_database_is_found_again(
    client: FlaskClient, engine: Engine, database_url: str
) -> None:
    assert client.get("/v1/files").status_code == 200
    with engine.begin() as other:
        other.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        )
    assert client.get("/v1/files").status_code == 200


def test_an_older_schema_is_said_with_the_remedy(client: FlaskClient, engine: Engine) -> None:
    with engine.begin() as other:
        other.execute(text("DROP TABLE file CASCADE"))
    error = error_of(client.get("/v1/files"), 503)
    assert "flask db upgrade" in error["message"]


def test_a_fault_of_ours_shows_no_stack_trace(
    capfd: pytest.CaptureFixture[str], app: Flask, client: FlaskClient
) -> None:
    app.view_functions["v1.queue.show"] = broken = lambda: 1 / 0
    broken.scope = "read"  # type: ignore[attr-defined]
    answer = client.get("/v1/queue")
    error = error_of(answer, 500)
    assert error["type"] == "server_error"
    assert "ZeroDivision" not in answer.text
    said = capfd.readouterr().err
    assert "ZeroDivisionError" in said
    assert answer.headers["X-Request-Id"] in said


def test_readiness_needs_a_live_worker(client: FlaskClient, engine: Engine) -> None:
    assert client.get("/readyz").json["checks"] == {
        "database": True,
        "schema": True,
        "worker": False,
    }
    insert = text(
        "INSERT INTO worker (id, kind, name, host, pid, status, last_heartbeat_at)"
        " VALUES (gen_random_uuid(), 'worker', 'w', 'h', 1, 'idle', now())"
    )
    with engine.begin() as other:
        other.execute(insert)
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json["status"]) == (200, "ready")
    with engine.begin() as other:
        other.execute(text("UPDATE worker SET last_heartbeat_at = now() - interval '1 hour'"))
    assert client.get("/readyz").status_code == 503


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/nothing", 404),
        ("GET", "/v1/files/../../etc/passwd", 404),
        ("GET", "/v1/files/%2e%2e%2fsecret_key", 404),
        ("GET", "/v1/files/%00", 400),
        ("GET", "/v1/batches/%ff%fe", 404),
        ("GET", "/v1/models/nobody/nothing", 404),
        ("PUT", "/v1/files", 405),
        ("DELETE", "/v1/batches", 405),
        ("POST", "/v1/models", 405),
    ],
)
def test_what_is_not_there_is_refused_in_openais_shape(
    client: FlaskClient, method: str, path: str, status: int
) -> None:
    answer = client.open(path, method=method)
    error_of(answer, status)
    assert ("Allow" in answer.headers) == (status == 405)
