"""Who gets in: every route is closed without credentials, and cookies can't be borrowed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import flask
import pytest
from flask import Flask
from flask.testing import FlaskClient
from flask_wtf.csrf import generate_csrf
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.core import keys, sessions, users
from tests.api.conftest import error_of

MakeClient = Callable[[str | None], FlaskClient]

API = ("/v1", "/api/", "/admin/", "/platform/jobs/api/", "/metrics")
OPEN = {"static", "operation.health", "operation.readyz", "sign_in.index", "sign_in.show"}
OPEN |= {"preferences.change", "sign_in.sign_in", "description.describe", "window.health"}
SAME_ORIGIN = {"Sec-Fetch-Site": "same-origin"}


def calls(app: Flask) -> Iterator[tuple[str, str, str]]:
    """Endpoint, method and an example path of every call that the application takes."""
    for rule in app.url_map.iter_rules():
        path = rule.rule
        for argument in rule.arguments:
            for written in (f"<{argument}>", f"<path:{argument}>", f"<int:{argument}>"):
                path = path.replace(written, "1")
            path = path.replace(f"<uuid:{argument}>", "00000000-0000-0000-0000-000000000001")
        assert "<" not in path
        for method in sorted(rule.methods or ()):
            yield rule.endpoint, method, path


def test_every_route_is_closed_without_credentials(app: Flask, make_client: MakeClient) -> None:
    nobody = make_client(None)
    for endpoint, method, path in calls(app):
        if endpoint in OPEN:
            continue
        answer = nobody.open(path, method=method)
        if path.startswith(API):
            assert answer.status_code == 401, (method, path)
            assert answer.headers["WWW-Authenticate"] == "Bearer"
        else:
            assert answer.status_code == 303, (method, path)
            assert answer.headers["Location"].startswith("/sign-in")


@pytest.mark.parametrize("path", ["/v1", "/v1/nothing", "/api/jobs", "/admin/worker/status"])
def test_what_is_not_there_is_closed_too(make_client: MakeClient, path: str) -> None:
    error = error_of(make_client(None).get(path), 401)
    assert error["type"] == "authentication_error"


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer ",
        "Bearer sk-stoker-",
        "Basic YTpi",
        "bearer x y",
        "Bearer \xe9",
        "x" * 4000,
    ],
)
def test_made_up_credentials_are_refused(make_client: MakeClient, header: str) -> None:
    client = make_client(None)
    error_of(client.get("/v1/models", headers={"Authorization": header}), 401)


def test_a_revoked_key_is_refused_at_once(client: FlaskClient, session: Session) -> None:
    assert client.get("/v1/models").status_code == 200
    keys.revoke(session, keys.list_keys(session)[0].id, "test")
    session.commit()
    error = error_of(client.get("/v1/models"), 401)
    assert error["code"] == "invalid_api_key"


def test_a_disabled_user_is_shut_out_at_once(client: FlaskClient, session: Session) -> None:
    users.disable(session, "admin", "test")
    session.commit()
    error_of(client.get("/v1/models"), 401)


def test_a_key_does_only_what_its_scopes_say(
    app: Flask, make_client: MakeClient, session: Session
) -> None:
    admin = users.ensure_admin(session)
    _, reader = keys.create(session, admin, "reader", ("read",))
    _, writer = keys.create(session, admin, "writer", ("submit",))
    session.commit()
    for endpoint, method, path in calls(app):
        if not endpoint.startswith("v1.") or method == "OPTIONS":
            continue
        needed = app.view_functions[endpoint].scope  # type: ignore[attr-defined]
        for key, scope in ((reader, "read"), (writer, "submit")):
            answer = make_client(key).open(path, method=method, buffered=True)
            assert (answer.status_code == 403) == (scope != needed), (method, path, scope)


def test_every_api_view_says_what_it_needs(app: Flask) -> None:
    for endpoint, view in app.view_functions.items():
        if endpoint.startswith("v1."):
            assert getattr(view, "scope", None) in users.SCOPES, endpoint


@pytest.fixture
def browser(make_client: MakeClient, app: Flask, session: Session) -> FlaskClient:
    """A signed-in browser."""
    token = sessions.create_sign_in_link(session, users.ensure_admin(session), 5)
    cookie = sessions.consume_sign_in_link(session, token, session_days=1)
    session.commit()
    client = make_client(None)
    client.set_cookie(app.config["STOKER_COOKIE_NAME"], cookie)
    return client


def form_token(app: Flask, browser: FlaskClient) -> str:
    """The token that a page of ours would have put into its forms."""
    secret = os.urandom(20).hex()
    with browser.session_transaction() as kept:
        kept["csrf_token"] = secret
    with app.test_request_context():
        flask.session["csrf_token"] = secret
        return str(generate_csrf())


def test_a_signed_in_browser_may_read_the_api(browser: FlaskClient) -> None:
    assert browser.get("/v1/models").status_code == 200


def test_a_signed_in_browser_changes_something_only_from_our_pages_and_with_their_token(
    app: Flask, browser: FlaskClient
) -> None:
    token = form_token(app, browser)
    path = "/v1/batches/batch_none/cancel"
    good = {**SAME_ORIGIN, "X-CSRFToken": token}
    assert browser.post(path, headers=good).status_code == 404
    by_origin = {"Origin": "http://localhost", "X-CSRFToken": token}
    assert browser.post(path, headers=by_origin).status_code == 404
    for refused in (
        {},
        SAME_ORIGIN,
        {"X-CSRFToken": token},
        {**good, "X-CSRFToken": "x" + token},
        {**good, "Sec-Fetch-Site": "cross-site"},
        {**good, "Sec-Fetch-Site": "same-site"},
        {**good, "Sec-Fetch-Site": "none"},
        {"X-CSRFToken": token, "Origin": "http://evil.example"},
        {"X-CSRFToken": token, "Origin": "null"},
        {"X-CSRFToken": token, "Origin": "http://localhost:81"},
        {**good, "Sec-Fetch-Site": "cross-site", "Origin": "http://localhost"},
    ):
        error = error_of(browser.post(path, headers=refused), 403)
        assert error["type"] == "permission_error"


def test_a_key_beside_a_cookie_is_what_counts(browser: FlaskClient) -> None:
    wrong = {"Authorization": "Bearer sk-wrong"}
    error_of(browser.get("/v1/models", headers=wrong), 401)


def test_a_key_needs_no_token_from_any_site(client: FlaskClient) -> None:
    headers = {"Sec-Fetch-Site": "cross-site", "Origin": "http://evil.example"}
    assert client.post("/v1/batches/batch_none/cancel", headers=headers).status_code == 404


def test_a_key_does_not_open_pages(client: FlaskClient) -> None:
    assert client.get("/history").status_code == 303


def test_a_signed_out_browser_is_shut_out_at_once(
    browser: FlaskClient, app: Flask, session: Session
) -> None:
    cookie = browser.get_cookie(app.config["STOKER_COOKIE_NAME"])
    assert cookie is not None
    sessions.end(session, cookie.value)
    session.commit()
    error_of(browser.get("/v1/models"), 401)
    assert browser.get("/history").status_code == 303


def test_htmx_is_sent_to_the_sign_in_page_as_a_whole(make_client: MakeClient) -> None:
    answer = make_client(None).get("/history", headers={"HX-Request": "true"})
    assert answer.status_code == 401
    assert answer.headers["HX-Redirect"] == "/sign-in"


def test_every_answer_has_security_headers_and_an_id(app: Flask, client: FlaskClient) -> None:
    for _, method, path in calls(app):
        if path == "/changes":
            continue
        answer = client.open(path, method=method, buffered=True)
        assert answer.headers["X-Content-Type-Options"] == "nosniff", path
        assert answer.headers["X-Frame-Options"] == "DENY"
        assert answer.headers["Referrer-Policy"] == "same-origin"
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["X-Request-Id"].startswith("req_")
        assert "Server" not in answer.headers or "Python" not in answer.headers["Server"]


@pytest.mark.parametrize(
    ("sent", "is_kept"),
    [("abc-1.2_3", True), ("x" * 129, False), ("a b", False), ("<script>", False), ("", False)],
)
def test_a_sane_request_id_is_kept(client: FlaskClient, sent: str, is_kept: bool) -> None:
    answer = client.get("/v1/models", headers={"X-Request-Id": sent})
    assert (answer.headers["X-Request-Id"] == sent) == is_kept


def test_the_key_is_not_in_the_log(
    capfd: pytest.CaptureFixture[str], client: FlaskClient, api_key: str
) -> None:
    client.get("/v1/models")
    client.get(f"/v1/files/{api_key}")
    said = "".join(capfd.readouterr())
    assert "/v1/models" in said
    assert api_key not in said


def test_the_audit_trail_names_the_key_that_did_it(
    client: FlaskClient, create: Callable[..., object], session: Session
) -> None:
    create()
    rows = session.execute(text("SELECT actor, action FROM audit_entry ORDER BY id")).all()
    assert ("admin (key 1)", "file.create") in [tuple(row) for row in rows]
    assert ("admin (key 1)", "batch.create") in [tuple(row) for row in rows]
