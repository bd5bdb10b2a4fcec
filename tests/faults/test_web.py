"""A web process dies, viewers do not read: nothing is there in half or twice, nobody has to wait."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil
import psycopg
import pytest
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from app.core import files, jobs
from app.core.models import Batch, File
from app.core.settings import Settings
from tests.conftest import LiveServer, wait_until
from tests.worker.stack import Stack

pytestmark = pytest.mark.faults

EDGE = "edge"
HEAD = (
    f'--{EDGE}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
    f'--{EDGE}\r\nContent-Disposition: form-data; name="file"; filename="input.jsonl"\r\n'
    "Content-Type: application/octet-stream\r\n\r\n"
).encode()
LINE = json.dumps(
    {
        "custom_id": "a",
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {"model": "fake", "messages": [{"role": "user", "content": "Hello"}]},
    }
).encode()


def kill_child(server: LiveServer) -> None:
    """SIGKILL the process that serves; its master starts another."""
    (child,) = psutil.Process(server.process.pid).children()
    child.kill()
    child.wait(10)


@contextmanager
def half_an_upload(
    server: LiveServer, key: str, piece: bytes
) -> Iterator[http.client.HTTPConnection]:
    """A connection over which the first half of a file has been sent."""
    where = urlsplit(server.url)
    connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=30)
    connection.putrequest("POST", "/v1/files")
    connection.putheader("Authorization", f"Bearer {key}")
    connection.putheader("Content-Type", f"multipart/form-data; boundary={EDGE}")
    connection.putheader("Content-Length", str(len(HEAD) + 2 * len(piece)))
    connection.endheaders()
    connection.send(HEAD + piece)
    yield connection
    connection.close()


def test_a_web_process_killed_in_an_upload_leaves_no_half_file(
    live_server: LiveServer, api_key: str, settings: Settings, session: Session
) -> None:
    piece = b"x" * (1 << 20)

    def names() -> list[str]:
        return [path.suffix for path in settings.files_path.glob("*")]

    with half_an_upload(live_server, api_key, piece):
        wait_until(lambda: names() == [".part"], "the upload is on its way")
        kill_child(live_server)
    assert session.scalar(select(func.count()).select_from(File)) == 0
    with httpx.Client(headers={"Authorization": f"Bearer {api_key}"}) as client:
        answer = client.post(
            live_server.api_url + "/files",
            data={"purpose": "batch"},
            files={"file": ("input.jsonl", LINE + b"\n")},
            timeout=30,
        )
        assert answer.status_code == 200
        listed = client.get(live_server.api_url + "/files").json()["data"]
        assert [each["id"] for each in listed] == [answer.json()["id"]]
    # And the housekeeper takes the draft away.
    files.remove_leftovers(session, settings)
    session.commit()
    assert names() == [""]


def test_a_post_whose_process_was_killed_is_sent_again_and_makes_one_batch(
    live_server: LiveServer, api_key: str, session: Session, settings: Settings, tmp_path: Path
) -> None:
    Stack(settings, session, tmp_path).write_models(fake={})
    key = {"Authorization": f"Bearer {api_key}", "Idempotency-Key": "once"}
    with httpx.Client(headers=key, timeout=30) as client:
        file = client.post(
            live_server.api_url + "/files",
            data={"purpose": "batch"},
            files={"file": ("input.jsonl", LINE + b"\n")},
        ).json()
        body = {
            "input_file_id": file["id"],
            "endpoint": "/v1/chat/completions",
            "completion_window": "24h",
        }

        def post() -> httpx.Response:
            return client.post(live_server.api_url + "/batches", json=body)

        def post_in_vain() -> None:
            with pytest.raises(httpx.TransportError):
                post()

        # Where it can't get on: in its transaction, with the batch's row still to be written.
        with psycopg.connect(settings.database_url) as other:
            other.execute("LOCK TABLE batch IN EXCLUSIVE MODE")
            first = threading.Thread(target=post_in_vain)
            first.start()
            waiting = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            with psycopg.connect(settings.database_url, autocommit=True) as watcher:
                wait_until(lambda: watcher.execute(waiting).fetchone(), "it waits for the lock")
            kill_child(live_server)
            first.join(30)
        answers = [post(), post()]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].json()["id"] == answers[1].json()["id"]
    assert session.scalar(select(func.count()).select_from(Batch)) == 1
    assert session.scalar(text("SELECT count(*) FROM procrastinate_jobs")) == 1


def test_streams_that_nobody_reads_keep_nobody_waiting(
    start_server: Callable[..., LiveServer], api_key: str, session: Session, settings: Settings
) -> None:
    server = start_server(STOKER_WEB_THREADS="16", STOKER_STREAM_LIMIT="8")
    job_id = jobs.defer(session, "export", {}, queue="tasks")
    session.commit()
    where = urlsplit(server.url)
    request = (
        f"GET /api/jobs/{job_id}/logs/stream HTTP/1.1\r\nHost: x\r\n"
        f"Authorization: Bearer {api_key}\r\n\r\n"
    ).encode()
    with ExitStack() as readers:
        for _ in range(20):
            reader = socket.create_connection((where.hostname or "", where.port or 0), 10)
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            readers.enter_context(reader)
            reader.sendall(request)
        with psycopg.connect(settings.database_url, autocommit=True) as worker:
            line = {"job": job_id, "number": 1, "level": "info", "message": "x" * 8000}
            worker.execute(
                "SELECT stoker_log((SELECT jsonb_agg(%s::jsonb || jsonb_build_object('at', now()))"
                " FROM generate_series(1, 500)))",
                [json.dumps(line)],
            )
        key = {"Authorization": f"Bearer {api_key}"}
        for _ in range(5):
            answer = httpx.get(server.api_url + "/queue", headers=key, timeout=10)
            assert answer.status_code == 200
    # What was taken for those who have left is given back.
    with httpx.stream(
        "GET", server.url + f"/api/jobs/{job_id}/logs/stream", headers=key, timeout=10
    ) as answer:
        assert answer.status_code == 200
