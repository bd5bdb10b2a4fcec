"""A thousand viewers of logs on the one process that streams: how late lines come, what it takes.

    python -m benchmarks.stream [--viewers 1000] [--jobs 100] [--seconds 20] [--pause 1.0]

A writer logs a line of every job each `pause` seconds, in one call as a worker does; each line says
when it was written. The viewers are a process of their own. Prints `figure WHAT VALUE`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

import aiohttp
import numpy as np
import psutil
import psycopg

from app.core import jobs
from benchmarks.house import ROOT, House, free_port, open_house

_OPENING_AT_ONCE = 50


async def view(url: str, key: str, job_ids: Sequence[int], viewers: int) -> dict[str, Any]:
    """Be the viewers, until all streams have ended."""
    opening = asyncio.Semaphore(_OPENING_AT_ONCE)
    is_open = 0
    delays: list[float] = []
    lines: list[int] = []

    async def watch(client: aiohttp.ClientSession, job_id: int) -> None:
        nonlocal is_open
        await opening.acquire()
        async with client.get(f"{url}/api/jobs/{job_id}/logs/stream") as answer:
            assert answer.status == 200, await answer.text()
            seen = 0
            is_counted = False
            async for line in answer.content:
                if not is_counted:  # the head of the stream is here
                    is_counted = True
                    opening.release()
                    is_open += 1
                    if is_open == viewers:
                        print("open", flush=True)
                if line.startswith(b"data: ") and b'"message"' in line:
                    now = time.time()
                    written_at = json.loads(line[6:])["message"].rpartition(" ")[2]
                    delays.append(now - float(written_at))
                    seen += 1
            lines.append(seen)

    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=None)
    headers = {"Authorization": f"Bearer {key}"}
    async with aiohttp.ClientSession(
        connector=connector, timeout=timeout, headers=headers
    ) as client:
        await asyncio.gather(
            *(watch(client, job_ids[number % len(job_ids)]) for number in range(viewers))
        )
    return {
        "lines": lines,
        "p50": float(np.percentile(delays, 50)),
        "p95": float(np.percentile(delays, 95)),
        "max": max(delays),
    }


def write(
    connection: psycopg.Connection[Any], job_ids: Sequence[int], seconds: float, pause: float
) -> int:
    """Log lines for a while; returns how many of each job."""
    written = 0
    ends_at = time.monotonic() + seconds
    while time.monotonic() < ends_at:
        begun = time.monotonic()
        lines = [
            {
                "at": "now",
                "job": job_id,
                "number": 1,
                "level": "info",
                "message": f"line {written} of what a worker has to say, at {time.time()}",
            }
            for job_id in job_ids
        ]
        connection.execute("SELECT stoker_log(%s)", [json.dumps(lines)])
        written += 1
        time.sleep(max(0.0, pause - (time.monotonic() - begun)))
    return written


def make_jobs(house: House, connection: psycopg.Connection[Any], count: int) -> list[int]:
    """Jobs that run."""
    with house.session() as session:
        made = [jobs.defer(session, "export", {}, queue="tasks") for _ in range(count)]
        session.commit()
    connection.execute("UPDATE procrastinate_jobs SET status = 'doing'")
    return made


def measure(house: House, arguments: argparse.Namespace) -> None:
    """Once."""
    house.start("streams", "-m", "gunicorn", "-c", "deploy/gunicorn_streams.py", "wsgi:app")
    house.await_port(house.settings.stream_port)
    master = psutil.Process(house.processes["streams"].pid)
    (web,) = master.children()
    with psycopg.connect(house.settings.database_url, autocommit=True) as connection:
        job_ids = make_jobs(house, connection, arguments.jobs)
        url = f"http://127.0.0.1:{house.settings.stream_port}"
        asked = {"url": url, "key": house.key, "job_ids": job_ids, "viewers": arguments.viewers}
        client = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.stream", "--view", json.dumps(asked)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        assert client.stdout is not None
        begun = time.monotonic()
        assert client.stdout.readline().strip() == "open", "the viewers did not get in"
        opened = time.monotonic() - begun
        cpu = sum(web.cpu_times()[:2])
        begun = time.monotonic()
        written = write(connection, job_ids, arguments.seconds, arguments.pause)
        cpu = (sum(web.cpu_times()[:2]) - cpu) / (time.monotonic() - begun)
        memory = web.memory_info().rss / 2**20
        rows = connection.execute(
            "SELECT application_name, count(*) FROM pg_stat_activity"
            " WHERE application_name IN ('stoker changes', 'stoker web') GROUP BY 1"
        ).fetchall()
        used = dict(rows)
        connection.execute("UPDATE procrastinate_jobs SET status = 'succeeded'")
        found = json.loads(client.stdout.read())
        assert client.wait(60) == 0
    whole = found["lines"].count(written)
    print(f"figure stream_viewers {arguments.viewers}")
    print(f"figure stream_jobs {arguments.jobs}")
    print(f"figure stream_lines_delivered {sum(found['lines'])}")
    print(f"figure stream_viewers_with_every_line {whole}")
    print(f"figure stream_opening_seconds {opened:.1f}")
    print(f"figure stream_delay_p50_seconds {found['p50']:.3f}")
    print(f"figure stream_delay_p95_seconds {found['p95']:.3f}")
    print(f"figure stream_delay_max_seconds {found['max']:.3f}")
    print(f"figure stream_web_memory_mib {memory:.0f}")
    print(f"figure stream_web_cpu_cores {cpu:.2f}")
    print(f"figure stream_reading_connections {used.get('stoker changes', 0)}")
    print(f"figure stream_pooled_connections {used.get('stoker web', 0)}")


def main() -> None:
    """Measure once."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--viewers", type=int, default=1000)
    parser.add_argument("--jobs", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--pause", type=float, default=1.0)
    parser.add_argument("--view", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.view:
        print(json.dumps(asyncio.run(view(**json.loads(arguments.view)))))
        return
    with open_house("", stream_port=free_port(), stream_user_limit=4096) as house:
        measure(house, arguments)


if __name__ == "__main__":
    main()
