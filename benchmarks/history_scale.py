"""How fast lists, searches, statistics and overlaps are over a long history, through HTTP.

    python -m benchmarks.history_scale [--jobs 10000000] [--small 10000] [--repeats 40] [--no-small]
        [--keep FOLDER]

Makes a history of that many jobs over 90 days, starts the web server on it, and asks each route in
turn. Prints `least WHAT MS`, `median WHAT MS` and `p95 WHAT MS` for it, and with a small history
beside it `growth WHAT TIMES`: the large one's median over the small one's. With `--keep` the
histories stay in that folder, and the next run measures the same ones.
"""

from __future__ import annotations

import argparse
import http.client
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import text

from benchmarks import history_lists
from benchmarks.history_house import open_history
from benchmarks.house import House

_WARM_UPS = 3


@dataclass(frozen=True)
class Ask:
    """One request that is timed. `body` is sent as JSON."""

    what: str
    method: str
    path: str
    body: dict[str, Any] | None = None


def statistics_asks(house: House) -> list[Ask]:
    """Statistics, and overlaps of a window that holds 100,000 runs."""
    hours = _hours_of(house, 100_000)
    return [
        Ask("stats 24 h", "POST", "/api/stats", {"hours": 24}),
        Ask("stats 30 d", "POST", "/api/stats", {"hours": 720}),
        Ask("stats all", "GET", "/api/jobs/stats"),
        Ask("queue stats", "GET", "/api/v1/jobs/queue/stats"),
        Ask("platform counts", "GET", "/platform/jobs/api/jobs/"),
        Ask("overlaps of 100,000 runs", "POST", "/api/overlaps", {"hours": hours}),
    ]


def list_asks(house: House) -> list[Ask]:
    """Lists in every order, filtered and deep, and searches."""
    asked = [*history_lists.lists(house), *history_lists.searches(house)]
    return [Ask(each.what, "GET", each.path) for each in asked]


# What is asked: functions, as some have to look at the history first.
ASKS: list[Callable[[House], list[Ask]]] = [list_asks, statistics_asks]


def _hours_of(house: House, runs: int) -> float:
    """How many hours back that many runs (or all there are) go."""
    with house.session() as session:
        hours = session.scalar(
            text(
                "SELECT date_part('epoch', clock_timestamp() - min(ended_at)) / 3600 FROM"
                " (SELECT ended_at FROM attempt WHERE ended_at IS NOT NULL"
                "  ORDER BY ended_at DESC LIMIT :runs) AS latest"
            ),
            {"runs": runs},
        )
    return max(0.1, round(float(hours), 3))


def measure(house: House, ask: Ask, repeats: int) -> list[float]:
    """Milliseconds of each request, warm, on one connection that stays open."""
    connection = http.client.HTTPConnection("127.0.0.1", house.settings.port, timeout=600)
    headers = {"Authorization": f"Bearer {house.key}"}
    content = None
    if ask.body is not None:
        content = json.dumps(ask.body)
        headers["Content-Type"] = "application/json"
    times = []
    for number in range(_WARM_UPS + repeats):
        began = time.perf_counter()
        connection.request(ask.method, ask.path, content, headers)
        answer = connection.getresponse()
        received = answer.read()
        if number >= _WARM_UPS:
            times.append(1000 * (time.perf_counter() - began))
        if answer.status != 200:
            raise RuntimeError(f"{ask.what}: {answer.status} {received[:300]!r}")
    connection.close()
    return times


def run(jobs: int, repeats: int, keep: Path | None) -> dict[str, float]:
    """Measure over a history of `jobs`; the medians."""
    medians = {}
    with open_history(jobs, keep) as house:
        print(f"{jobs:,} jobs")
        for asks in ASKS:
            for ask in asks(house):
                times = measure(house, ask, repeats)
                medians[ask.what] = statistics.median(times)
                p95 = statistics.quantiles(times, n=20)[-1]
                print(f"least {ask.what} {min(times):.1f}")
                print(f"median {ask.what} {medians[ask.what]:.1f}")
                print(f"p95 {ask.what} {p95:.1f}", flush=True)
    return medians


def main() -> int:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=10_000_000)
    parser.add_argument("--small", type=int, default=10_000, help="the other history's size")
    parser.add_argument("--no-small", action="store_true", help="only the large history")
    parser.add_argument("--repeats", type=int, default=40)
    parser.add_argument("--keep", type=Path, help="where the histories stay for the next run")
    asked = parser.parse_args()
    small = {} if asked.no_small else run(asked.small, asked.repeats, asked.keep)
    large = run(asked.jobs, asked.repeats, asked.keep)
    for what, median in large.items():
        if what in small:
            print(f"growth {what} {median / small[what]:.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
