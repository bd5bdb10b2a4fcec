"""A file of a million requests: uploaded, validated, begun. The engine is a fake one.

    python -m benchmarks.upload [--lines 1000000] [--mebibytes 200]

Prints the peak memory of each process (its high-water mark), lines/s of validation and the time
from create to the first result. The fake engine answers at once, so that the figures are ours.
"""

from __future__ import annotations

import argparse
import http.client
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
from sqlalchemy import select

from app.core import batches, logs, queue
from app.core.models import Attempt, Batch
from benchmarks.house import ROOT, House, open_house

MODEL = "fake"
_PIECE = 1024 * 1024


def write_file(path: Path, lines: int, size: int) -> None:
    """A file of about `size` bytes."""
    body = {"model": MODEL, "messages": [{"role": "user", "content": ""}], "max_tokens": 8}
    request: dict[str, Any] = {
        "custom_id": "request-0000000",
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": body,
    }
    bare = len(json.dumps(request)) + 1
    fill = max(size // lines - bare - 16, 0)
    with path.open("w") as file:
        for n in range(lines):
            request["custom_id"] = f"request-{n:07}"
            body["messages"] = [{"role": "user", "content": f"Question {n:07} " + "x" * fill}]
            file.write(json.dumps(request) + "\n")


def upload(house: House, path: Path) -> tuple[str, float]:
    """Send the file as the SDKs do, piece by piece; returns its id and the seconds it took."""
    edge = "edge-of-the-form"
    head = (
        f'--{edge}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
        f'--{edge}\r\nContent-Disposition: form-data; name="file"; filename="input.jsonl"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    ).encode()
    tail = f"\r\n--{edge}--\r\n".encode()

    def pieces() -> Iterator[bytes]:
        yield head
        with path.open("rb") as file:
            while piece := file.read(_PIECE):
                yield piece
        yield tail

    connection = http.client.HTTPConnection("127.0.0.1", house.settings.port, timeout=600)
    begun = time.monotonic()
    connection.request(
        "POST",
        "/v1/files",
        body=pieces(),
        headers={
            "Authorization": f"Bearer {house.key}",
            "Content-Type": f"multipart/form-data; boundary={edge}",
            "Content-Length": str(len(head) + path.stat().st_size + len(tail)),
        },
    )
    answer = connection.getresponse()
    content = json.loads(answer.read())
    assert answer.status == 200, content
    return content["id"], time.monotonic() - begun


def wait_for_engine(house: House) -> None:
    """The worker has started and its engine is loaded, as on a server that runs."""
    with house.session() as session:
        while True:
            worker = queue.live_worker(session)
            if worker is not None and worker.engine_status == "ready":
                return
            session.rollback()
            time.sleep(0.2)


def peaks(root: psutil.Process, skip: str | None = None) -> dict[str, int]:
    """The most memory (MiB) that each process below `root` has held, without the engine's."""
    found = {}
    for process in [root, *root.children(recursive=True)]:
        try:
            if skip is not None and any(skip in word for word in process.cmdline()):
                continue
            status = Path(f"/proc/{process.pid}/status").read_text()
        except (OSError, psutil.Error):
            continue
        peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
        found[str(process.pid)] = int(peak.split()[1]) // 1024
    return found


def measure(house: House, lines: int, size: int, folder: Path) -> None:
    path = folder / "input.jsonl"
    write_file(path, lines, size)
    size = path.stat().st_size
    file_id, seconds = upload(house, path)
    web = peaks(psutil.Process(house.processes["web"].pid))
    print(
        f"upload: {size / 1e6:.0f} MB, {lines} lines in {seconds:.1f} s, {size / seconds / 1e6:.0f} MB/s"
    )
    client = house.client()
    same = True
    with path.open("rb") as file, client.files.with_streaming_response.content(file_id) as answer:
        for piece in answer.iter_bytes(_PIECE):
            same = same and piece == file.read(len(piece))
        same = same and not file.read(1)
    print(f"content comes back byte for byte: {same}")
    wait_for_engine(house)
    batch = client.batches.create(
        input_file_id=file_id, endpoint="/v1/chat/completions", completion_window="24h"
    )
    with house.session() as session:
        while True:
            row = batches.get(session, batch.id, None)
            assert row.status in ("validating", "in_progress"), (row.status, row.errors)
            assert house.processes["worker"].poll() is None, "the worker has ended"
            if row.first_result_at is not None:
                break
            session.rollback()
            time.sleep(0.2)
        begun = session.scalar(
            select(Attempt.started_at).where(Attempt.job_id == row.job_id).order_by(Attempt.number)
        )
        report(row, begun, lines)
        log = logs.read_text(session, row)
    print(log, end="")
    worker = peaks(psutil.Process(house.processes["worker"].pid), "fake_engine")
    client.batches.cancel(batch.id)
    web |= peaks(psutil.Process(house.processes["web"].pid))
    print(f"peak memory of the web's processes, MiB: {sorted(web.values())}")
    print(f"peak memory of the worker and its helpers, MiB: {sorted(worker.values())}")


def report(batch: Batch, begun: Any, lines: int) -> None:
    assert batch.validated_at is not None
    assert batch.first_result_at is not None
    seconds = (batch.validated_at - begun).total_seconds()
    first = (batch.first_result_at - batch.created_at).total_seconds()
    print(f"validation: {seconds:.1f} s, {lines / seconds:.0f} lines/s")
    print(f"create to first result: {first:.1f} s")


def main() -> None:
    """Measure once."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--mebibytes", type=int, default=200)
    arguments = parser.parse_args()
    engine = [sys.executable, str(ROOT / "tests" / "fake_engine.py"), "--uds", "{socket}"]
    models = f'[models.{MODEL}]\npath = "."\ncommand = {json.dumps(engine)}\nwindow = 64\n'
    with tempfile.TemporaryDirectory() as scratch, open_house(models) as house:
        house.start_web()
        house.start("worker", "-m", "worker")
        measure(house, arguments.lines, arguments.mebibytes * 2**20, Path(scratch))


if __name__ == "__main__":
    main()
