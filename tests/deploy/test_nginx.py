"""Stoker behind nginx, as deploy/nginx.conf sets it up."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.core import jobs, sessions, users
from app.core.settings import Settings
from tests.conftest import wait_until
from tests.deploy.conftest import HOST, Proxy

BOUNDARY = "a-boundary"


@contextlib.contextmanager
def connect(proxy: Proxy) -> Iterator[socket.socket]:
    """A TLS connection to nginx, which checks its certificate."""
    with (
        socket.create_connection(("127.0.0.1", proxy.https_port), timeout=30) as plain,
        proxy.trust.wrap_socket(plain, server_hostname=HOST) as secure,
    ):
        yield secure


def send_head(connection: socket.socket, proxy: Proxy, request: str, **headers: str) -> None:
    """The request line and the headers."""
    lines = [f"{request} HTTP/1.1", f"Host: {proxy.authority}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    connection.sendall("\r\n".join([*lines, "", ""]).encode())


def receive(connection: socket.socket) -> http.client.HTTPResponse:
    """The answer, its body still to be read."""
    response = http.client.HTTPResponse(connection)
    response.begin()
    return response


def test_plain_http_is_sent_to_https(proxy: Proxy) -> None:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", proxy.http_port)) as client:
        client.request("GET", "/history?model=a", headers={"Host": HOST})
        answer = client.getresponse()
        assert answer.status == 308
        assert answer.getheader("Location") == f"https://{HOST}/history?model=a"


def test_an_upload_reaches_stoker_while_it_is_still_being_sent(
    proxy: Proxy, settings: Settings, api_key: str
) -> None:
    content = b"".join(b'{"n": %d}\n' % n for n in range(200_000))
    head = (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="x.jsonl"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    ).encode()
    body = head + content + f"\r\n--{BOUNDARY}--\r\n".encode()
    half = len(body) // 2
    with connect(proxy) as connection:
        send_head(
            connection,
            proxy,
            "POST /v1/files",
            Authorization=f"Bearer {api_key}",
            Content_Type=f"multipart/form-data; boundary={BOUNDARY}",
            Content_Length=str(len(body)),
            Connection="close",
        )
        connection.sendall(body[:half])

        def has_arrived() -> bool:
            drafts = Path(settings.files_path).glob("*.part")
            return any(draft.stat().st_size > half // 2 for draft in drafts)

        wait_until(has_arrived, "the first half is on Stoker's disk")
        connection.sendall(body[half:])
        answer = receive(connection)
        described = json.loads(answer.read())
    assert answer.status == 200, described
    assert described["bytes"] == len(content)
    assert (settings.files_path / described["id"]).read_bytes() == content


def test_an_upload_without_a_key_is_refused_before_its_body_is_sent(proxy: Proxy) -> None:
    with connect(proxy) as connection:
        send_head(
            connection,
            proxy,
            "POST /v1/files",
            Content_Type=f"multipart/form-data; boundary={BOUNDARY}",
            Content_Length=str(10**9),
        )
        answer = receive(connection)
        assert answer.status == 401
        assert json.loads(answer.read())["error"]["code"] == "missing_api_key"


def test_a_live_page_hears_of_a_change_at_once(proxy: Proxy, session: Session) -> None:
    token = sessions.create_sign_in_link(session, users.ensure_admin(session), 5)
    cookie = sessions.consume_sign_in_link(session, token, session_days=1)
    session.commit()
    with connect(proxy) as connection:
        send_head(connection, proxy, "GET /changes", Cookie=f"__Host-session={cookie}")
        answer = receive(connection)
        assert answer.status == 200
        assert answer.getheader("Content-Type", "").startswith("text/event-stream")
        assert read_event(answer) == "changed"  # whatever was before
        for _ in range(2):
            jobs.announce(session, "batch", "batch_1")
            session.commit()
            assert read_event(answer) == "changed"


def listeners(session: Session) -> list[int]:
    """The change feeds that listen in this database."""
    return list(
        session.scalars(
            text(
                "SELECT pid FROM pg_stat_activity"
                " WHERE datname = current_database() AND application_name = 'stoker changes'"
            )
        )
    )


@pytest.mark.parametrize(
    "path",
    [
        "/api/jobs/{}/stream",
        "/api/jobs/{}/logs/stream",
        "/api/v1/jobs/stream/{}",
    ],
)
def test_what_becomes_of_a_job_is_told_at_once(
    proxy: Proxy, session: Session, api_key: str, path: str
) -> None:
    job_id = jobs.defer(session, "export", {}, queue="tasks")
    session.commit()
    with connect(proxy) as connection:
        head = f"GET {path.format(job_id)}"
        send_head(connection, proxy, head, Authorization=f"Bearer {api_key}")
        answer = receive(connection)
        assert answer.status == 200
        if "logs" in path:
            log = [{"at": "now", "job": job_id, "level": "info", "message": "a line"}]
            session.execute(text("SELECT stoker_log(:lines)"), {"lines": json.dumps(log)})
            session.commit()
        while not answer.readline().startswith(b"data: "):
            pass
        jobs.cancel_waiting(session, job_id)
        session.commit()
        while not answer.readline().startswith(b"event: end"):
            pass
        assert json.loads(answer.readline().removeprefix(b"data: "))["status"] == "cancelled"


def test_what_stays_open_holds_no_thread_of_the_web_process(
    proxy: Proxy, settings: Settings, session: Session, api_key: str
) -> None:
    job_id = jobs.defer(session, "export", {}, queue="tasks")
    session.commit()
    before = len(listeners(session))
    with contextlib.ExitStack() as opened:
        for number in range(settings.web_threads + 4):
            connection = opened.enter_context(connect(proxy))
            what = "poll?timeout=60" if number % 4 == 0 else "stream"
            head = f"GET /api/jobs/{job_id}/{what}"
            send_head(connection, proxy, head, Authorization=f"Bearer {api_key}")
            if what == "stream":
                assert receive(connection).status == 200
        session.rollback()
        assert len(listeners(session)) <= max(before, 1)
        with connect(proxy) as connection:
            send_head(connection, proxy, "GET /health", Connection="close")
            assert receive(connection).status == 200
        jobs.cancel_waiting(session, job_id)
        session.commit()


def test_clients_that_are_slow_on_purpose_hold_no_thread_of_the_web_process(
    proxy: Proxy, settings: Settings, api_key: str
) -> None:
    with contextlib.ExitStack() as opened:
        for number in range(settings.web_threads + 8):
            connection = opened.enter_context(connect(proxy))
            if number % 2:
                connection.sendall(b"GET /v1/queue HTTP/1.1\r\nHost: ")
            else:
                key = f"Bearer {api_key}"
                send_head(
                    connection, proxy, "POST /v1/batches", Authorization=key, Content_Length="99"
                )
                connection.sendall(b"{")
        with connect(proxy) as connection:
            send_head(connection, proxy, "GET /health", Connection="close")
            assert receive(connection).status == 200


def read_event(answer: http.client.HTTPResponse) -> str:
    """The name of the stream's next event; the stream itself stays open."""
    while line := answer.readline():
        if line.startswith(b"event: "):
            event = line.removeprefix(b"event: ").strip().decode()
            while answer.readline().strip():
                pass
            return event
    raise AssertionError("the stream has ended")


def test_signing_in_works_behind_https_and_pages_name_the_outer_address(
    proxy: Proxy, session: Session
) -> None:
    token = sessions.create_sign_in_link(session, users.ensure_admin(session), 5)
    cookie = sessions.consume_sign_in_link(session, token, session_days=1)
    session.commit()
    with connect(proxy) as connection:
        send_head(connection, proxy, "GET /", Cookie=f"__Host-session={cookie}", Connection="close")
        answer = receive(connection)
        page = answer.read().decode()
    assert answer.status == 200
    assert answer.getheader("Strict-Transport-Security")
    assert f"https://{proxy.authority}/v1" in page


def test_without_the_process_that_streams_the_web_process_does(
    proxy: Proxy, session: Session, api_key: str
) -> None:
    job_id = jobs.defer(session, "export", {}, queue="tasks")
    session.commit()
    proxy.streams.stop()  # so this is the last test here
    with connect(proxy) as connection:
        head = f"GET /api/jobs/{job_id}/stream"
        send_head(connection, proxy, head, Authorization=f"Bearer {api_key}")
        assert receive(connection).status == 200
