"""Uploads on a real server: streamed to disk, bounded in memory, refused early when too large."""

from __future__ import annotations

import hashlib
import http.client
import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil
import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.core import files
from app.core.models import File
from app.core.settings import Settings
from tests.conftest import LiveServer, wait_until

BOUNDARY = b"stoker-test-boundary"
LINES = 1_000_000
LINE_BYTES = 210
_HEAD = b"".join(
    b'--%b\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n' % (BOUNDARY, name, value)
    for name, value in ((b"purpose", b"batch"),)
) + (
    b'--%b\r\nContent-Disposition: form-data; name="file"; filename="big.jsonl"\r\n'
    b"Content-Type: application/octet-stream\r\n\r\n" % BOUNDARY
)
_TAIL = b"\r\n--%b--\r\n" % BOUNDARY


def line(number: int) -> bytes:
    """One request of exactly LINE_BYTES bytes."""
    text = (
        b'{"custom_id":"r-%07d","method":"POST","url":"/v1/chat/completions","body":{"model":"tiny",'
        b'"messages":[{"role":"user","content":"Say the number %07d in words, and nothing else."}]}}'
    )
    return (text % (number, number)).ljust(LINE_BYTES - 1) + b"\n"


def blocks(lines: int) -> Iterator[bytes]:
    for start in range(0, lines, 1000):
        yield b"".join(line(number) for number in range(start, min(start + 1000, lines)))


def peak_memory(server: LiveServer) -> int:
    """The most that any of the server's processes has held so far, in bytes."""
    processes = [psutil.Process(server.process.pid)]
    processes += processes[0].children(recursive=True)
    peaks = []
    for process in processes:
        status = Path(f"/proc/{process.pid}/status").read_text()
        peaks += [int(row.split()[1]) for row in status.splitlines() if row.startswith("VmHWM")]
    return max(peaks) * 1024


def headers(key: str) -> dict[str, str]:
    return {
        "Authorization": f"Bearer {key}",
        "Content-Type": f"multipart/form-data; boundary={BOUNDARY.decode()}",
    }


def parts_left(settings: Settings) -> list[str]:
    folder = settings.files_path
    return sorted(file.name for file in folder.iterdir()) if folder.is_dir() else []


def test_a_million_lines_pass_through_a_small_server_byte_for_byte(
    live_server: LiveServer, api_key: str, settings: Settings
) -> None:
    size = LINES * LINE_BYTES
    digest = hashlib.sha256()

    def form() -> Iterator[bytes]:
        yield _HEAD
        for block in blocks(LINES):
            digest.update(block)
            yield block
        yield _TAIL

    length = len(_HEAD) + size + len(_TAIL)
    with httpx.Client(base_url=live_server.api_url, timeout=120) as client:
        answer = client.post(
            "/files",
            content=form(),
            headers={**headers(api_key), "Content-Length": str(length)},
        )
        assert answer.status_code == 200, answer.text
        file = answer.json()
        assert file["bytes"] == size >= 200_000_000
        back = hashlib.sha256()
        path = f"/files/{file['id']}/content"
        with client.stream("GET", path, headers=headers(api_key)) as content:
            for block in content.iter_bytes():
                back.update(block)
    assert back.digest() == digest.digest()
    assert peak_memory(live_server) < 200 * 1024**2
    assert parts_left(settings) == [file["id"]]


def test_an_upload_without_an_announced_length_is_taken_too(
    live_server: LiveServer, api_key: str
) -> None:
    content = b"".join(blocks(5000))
    answer = httpx.post(
        live_server.api_url + "/files",
        content=iter(
            [_HEAD, *(content[at : at + 999] for at in range(0, len(content), 999)), _TAIL]
        ),
        headers=headers(api_key),
        timeout=60,
    )
    assert answer.status_code == 200, answer.text
    assert answer.json()["bytes"] == len(content)


def test_an_announced_size_beyond_the_limit_is_refused_before_the_body_is_sent(
    start_server: Callable[..., LiveServer], api_key: str, settings: Settings
) -> None:
    server = start_server(STOKER_MAX_UPLOAD_BYTES="1000000")
    address = urlsplit(server.url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=30)
    connection.putrequest("POST", "/v1/files")
    for name, value in headers(api_key).items():
        connection.putheader(name, value)
    connection.putheader("Content-Length", "5000000000")
    connection.endheaders()
    answer = connection.getresponse()
    error = json.loads(answer.read())["error"]
    connection.close()
    assert answer.status == 413
    assert error["param"] == "file"
    assert "1,000,000" in error["message"]
    assert parts_left(settings) == []


@pytest.mark.parametrize("is_announced", [True, False])
def test_a_client_that_sends_too_much_reads_why_it_was_refused(
    start_server: Callable[..., LiveServer], api_key: str, settings: Settings, is_announced: bool
) -> None:
    server = start_server(STOKER_MAX_UPLOAD_BYTES="1000000")
    content = b"".join(blocks(20_000))
    form = _HEAD + content + _TAIL
    announced = {"Content-Length": str(len(form))} if is_announced else {}
    answer = httpx.post(
        server.api_url + "/files",
        content=iter([form[at : at + 65536] for at in range(0, len(form), 65536)]),
        headers={**headers(api_key), **announced},
        timeout=60,
    )
    assert answer.status_code == 413
    assert parts_left(settings) == []


def test_a_broken_off_upload_leaves_nothing_behind(
    live_server: LiveServer, api_key: str, settings: Settings, session: Session
) -> None:
    begin_upload(live_server, api_key, settings).close()
    wait_until(lambda: not parts_left(settings), "the draft is removed")
    assert session.scalar(select(func.count()).select_from(File)) == 0


def test_what_a_killed_server_leaves_is_removed_and_what_a_live_one_writes_is_not(
    start_server: Callable[..., LiveServer], api_key: str, settings: Settings, session: Session
) -> None:
    killed, live = start_server(), start_server()
    first = begin_upload(killed, api_key, settings)
    second = begin_upload(live, api_key, settings, drafts=2)
    for process in psutil.Process(killed.process.pid).children(recursive=True):
        process.kill()
    killed.process.kill()
    killed.process.wait()
    wait_until(lambda: files.remove_leftovers(session, settings) == 1, "one draft is abandoned")
    assert len(parts_left(settings)) == 1
    second.sendall(b"x\n" + _TAIL)
    assert b" 200 OK" in second.recv(1000)
    second.close()
    first.close()


def test_a_full_disk_is_said_and_not_a_fault(
    start_server: Callable[..., LiveServer], api_key: str
) -> None:
    server = start_server(STOKER_MIN_FREE_DISK_BYTES=str(2**60))
    form = _HEAD + b"{}\n" + _TAIL
    answer = httpx.post(
        server.api_url + "/files", content=form, headers=headers(api_key), timeout=60
    )
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "disk_full"
    assert int(answer.headers["Retry-After"]) > 0


def test_uploads_at_once_do_not_mix(live_server: LiveServer, api_key: str) -> None:
    contents = [bytes([65 + number]) * (3_000_000 + number) for number in range(6)]
    back: dict[int, bytes] = {}

    def upload(number: int) -> None:
        with httpx.Client(base_url=live_server.api_url, timeout=60) as client:
            form = _HEAD + contents[number] + _TAIL
            file = client.post("/files", content=form, headers=headers(api_key)).json()
            back[number] = client.get(
                f"/files/{file['id']}/content", headers=headers(api_key)
            ).content

    threads = [threading.Thread(target=upload, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [back[number] == contents[number] for number in range(6)] == [True] * 6


def begin_upload(
    server: LiveServer, api_key: str, settings: Settings, drafts: int = 1
) -> socket.socket:
    """Send the first half of an upload; return its connection."""
    address = urlsplit(server.url)
    half = b"x" * 500_000 + b"\n"
    length = len(_HEAD) + 2 + len(half) + len(_TAIL)
    head = [f"POST /v1/files HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Length: {length}\r\n"]
    head += [f"{name}: {value}\r\n" for name, value in headers(api_key).items()]
    connection = socket.create_connection((address.hostname or "", address.port or 0), timeout=30)
    connection.sendall("".join(head).encode() + b"\r\n" + _HEAD + half)
    wait_until(lambda: len(parts_left(settings)) == drafts, "the upload has begun")
    return connection
