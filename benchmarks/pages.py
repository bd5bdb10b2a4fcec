"""How fast pages and their parts come over a long history, what they weigh, and what viewers cost.

    python -m benchmarks.pages [--jobs 10000000] [--repeats 40] [--keep FOLDER] [--viewers 20]
        [--seconds 60] [--changes 2]

Over the history of benchmarks.history_scale (the same, with the same `--keep`), with a batch for every
hundred jobs beside it. Prints for each page
`median whole PAGE MS`, `p95 whole PAGE MS` and `weight PAGE KIB` (the page with all it loads, gzipped),
and the same times for each part that refreshes itself. Then so many viewers have pages open, told by
the stream and asking as static/live.js does, while jobs start and end; `figure pages_…` says what the
database used for it.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import http.client
import statistics
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import psycopg

from app.core import sessions, users
from benchmarks import history_rows
from benchmarks.history_house import open_history
from benchmarks.house import House

_WARM_UPS = 3
_PACE_SECONDS = 1.0
_JOBS_A_BATCH = 100
_AS_PART = {"HX-Request": "true", "HX-Request-Type": "partial"}

# What is looked at; {job} is a job that has ended.
PAGES = {
    "overview": "/",
    "overview of 30 d": "/?range=30d",
    "overview of a type": "/?type=export",
    "timeline of 1 h": "/timeline?range=1h",
    "timeline of 24 h": "/timeline",
    "jobs": "/jobs",
    "jobs that failed": "/jobs?status=failed",
    "jobs searched": "/jobs?q=memory",
    "job": "/jobs/{job}",
    "queue": "/queue",
    "failures": "/failures",
    "failures of 30 d": "/failures?range=30d",
    "history": "/history",
    "tasks": "/tasks",
}
# What the viewers have open.
_VIEWED = ("overview", "jobs", "queue", "failures", "timeline of 1 h")


class _Parts(HTMLParser):
    """What a page loads, and the parts of it that refresh themselves."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.live: dict[str, str] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        said = dict(attrs)
        address = said.get("src") if tag in ("script", "img") else None
        if tag == "link" and said.get("rel") in ("stylesheet", "icon"):
            address = said.get("href")
        if address and address.startswith("/"):
            self.loaded.append(address)
        if "data-live" in said and (path := said.get("hx-get")):
            self.live[said.get("id") or tag] = path


@dataclass(frozen=True)
class Reader:
    """A signed-in browser's requests, on one connection."""

    connection: http.client.HTTPConnection
    cookie: str

    def get(self, path: str, **headers: str) -> bytes:
        """The body. Raises RuntimeError for anything but 200."""
        self.connection.request("GET", path, headers={"Cookie": self.cookie, **headers})
        answer = self.connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{path}: {answer.status} {body[:300]!r}")
        return body

    def times(self, path: str, repeats: int, **headers: str) -> list[float]:
        """Milliseconds of each, warm."""
        times = []
        for _ in range(_WARM_UPS + repeats):
            began = time.perf_counter()
            self.get(path, **headers)
            times.append(1000 * (time.perf_counter() - began))
        return times[_WARM_UPS:]


def sign_in(house: House) -> str:
    """The cookie of the administrator's browser."""
    with house.session() as session:
        user = users.ensure_admin(session)
        link = sessions.create_sign_in_link(session, user, 10)
        token = sessions.consume_sign_in_link(session, link, session_days=1)
        session.commit()
    return f"stoker_session_{house.settings.port}={token}"


def measure(reader: Reader, name: str, path: str, repeats: int) -> None:
    """One page and its parts."""
    page = reader.get(path)
    parts = _Parts()
    parts.feed(page.decode())
    weight = sum(
        len(gzip.compress(body, 6))
        for body in (page, *(reader.get(each) for each in dict.fromkeys(parts.loaded)))
    )
    _say(f"whole {name}", reader.times(path, repeats))
    print(f"weight {name} {weight / 1024:.0f}", flush=True)
    for part, address in parts.live.items():
        _say(f"part {name} #{part}", reader.times(address, repeats, **_AS_PART))


def _say(what: str, times: list[float]) -> None:
    print(f"median {what} {statistics.median(times):.1f}")
    print(f"p95 {what} {statistics.quantiles(times, n=20)[-1]:.1f}", flush=True)


async def view(house: House, cookie: str, paths: list[str], seconds: float) -> int:
    """Have pages open for a while; how many parts were fetched."""
    fetched = 0
    ends_at = time.monotonic() + seconds

    async def watch(client: aiohttp.ClientSession, path: str) -> None:
        nonlocal fetched
        async with client.get(f"{house.url}{path}") as answer:
            parts = _Parts()
            parts.feed(await answer.text())
        tags: dict[str, str] = {}
        async with client.get(f"{house.url}/changes") as stream:
            assert stream.status == 200, stream.status
            while time.monotonic() < ends_at:
                line = await asyncio.wait_for(stream.content.readline(), 30)
                if line != b"event: changed\n":
                    continue
                told = (await stream.content.readline()).decode().removeprefix("data:").strip()
                began = time.monotonic()
                for address in parts.live.values():
                    headers = {**_AS_PART, "Stoker-Told-At": told}
                    if address in tags:
                        headers["If-None-Match"] = tags[address]
                    async with client.get(f"{house.url}{address}", headers=headers) as answer:
                        await answer.read()
                        assert answer.status in (200, 304), answer.status
                        tags[address] = answer.headers.get("ETag", "")
                        fetched += 1
                await asyncio.sleep(max(0.0, _PACE_SECONDS - (time.monotonic() - began)))

    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, headers={"Cookie": cookie}) as client:
        await asyncio.gather(*(watch(client, path) for path in paths))
    return fetched


def _change(url: str, per_second: float, stop: threading.Event) -> None:
    """Let jobs start and end."""
    with psycopg.connect(url, autocommit=True) as connection:
        while not stop.wait(1 / per_second):
            (job,) = connection.execute(
                "INSERT INTO procrastinate_jobs (task_name, queue_name, args)"
                " VALUES ('export', 'watched', '{}') RETURNING id"
            ).fetchone() or (0,)
            for status in ("doing", "succeeded"):
                connection.execute(
                    "UPDATE procrastinate_jobs SET status = %s WHERE id = %s", [status, job]
                )


def _database_seconds(house: House) -> float:
    """Seconds of a core that the processes of the database have used, those that ended too."""
    with psycopg.connect(house.settings.database_url) as connection:
        (backend,) = connection.execute("SELECT pg_backend_pid()").fetchone() or (0,)
        server = psutil.Process(backend).parent()
        assert server is not None
        return sum(_seconds(process) for process in (server, *server.children()))


def _seconds(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    # Of the server itself also what its ended children used.
    return float(times.user + times.system + times.children_user + times.children_system)


def _used(house: House, seconds: float, changes: float, viewers: list[str], cookie: str) -> Any:
    stop = threading.Event()
    changing = threading.Thread(target=_change, args=(house.settings.database_url, changes, stop))
    changing.start()
    before = _database_seconds(house)
    began = time.monotonic()
    fetched = asyncio.run(view(house, cookie, viewers, seconds)) if viewers else 0
    time.sleep(max(0.0, seconds - (time.monotonic() - began)))
    used = (_database_seconds(house) - before) / (time.monotonic() - began)
    stop.set()
    changing.join()
    return used, fetched


def measure_viewers(house: House, cookie: str, paths: Iterator[str], asked: Any) -> None:
    """What the database uses with the viewers, and without them for the same changes."""
    viewers = [next(paths) for _ in range(asked.viewers)]
    alone, _ = _used(house, asked.seconds, asked.changes, [], cookie)
    watched, fetched = _used(house, asked.seconds, asked.changes, viewers, cookie)
    print(f"figure pages_viewers {asked.viewers}")
    print(f"figure pages_changes_per_second {asked.changes:.1f}")
    print(f"figure pages_parts_fetched_per_second {fetched / asked.seconds:.1f}")
    print(f"figure pages_database_cores_without {alone:.3f}")
    print(f"figure pages_database_cores_for_viewers {watched - alone:.3f}", flush=True)


def ensure_batches(house: House, count: int) -> None:
    """One batch for so many jobs, once."""
    written = house.settings.var_path / "written-batches"
    if written.exists():
        return
    with house.session() as session:
        owner_id = users.ensure_admin(session).id
        session.commit()
    with psycopg.connect(house.settings.database_url, autocommit=True) as connection:
        history_rows.write_batches(connection, count, owner_id)
    written.touch()


def _ended_job(house: House) -> int:
    with psycopg.connect(house.settings.database_url) as connection:
        row = connection.execute(
            "SELECT id FROM job WHERE status = 'failed' ORDER BY created_at DESC LIMIT 1"
        ).fetchone()
        assert row is not None
        return int(row[0])


def _in_turn(pages: dict[str, str]) -> Iterator[str]:
    while True:
        yield from (pages[name] for name in _VIEWED)


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--jobs", type=int, default=10_000_000)
    parser.add_argument("--repeats", type=int, default=40)
    parser.add_argument("--keep", type=Path, help="where the history stays for the next run")
    parser.add_argument("--viewers", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--changes", type=float, default=2.0, help="jobs that run, a second")
    asked = parser.parse_args()
    # A place for every viewer's stream; those of the run before may not have ended yet.
    places = {"stream_limit": 2 * asked.viewers, "web_threads": 32 + 2 * asked.viewers}
    with open_history(asked.jobs, asked.keep, **places) as house:
        ensure_batches(house, asked.jobs // _JOBS_A_BATCH)
        print(f"{asked.jobs:,} jobs")
        cookie = sign_in(house)
        connection = http.client.HTTPConnection("127.0.0.1", house.settings.port, timeout=600)
        reader = Reader(connection, cookie)
        pages = {name: path.format(job=_ended_job(house)) for name, path in PAGES.items()}
        for name, path in pages.items():
            measure(reader, name, path, asked.repeats)
        connection.close()
        if asked.viewers:
            measure_viewers(house, cookie, _in_turn(pages), asked)


if __name__ == "__main__":
    main()
