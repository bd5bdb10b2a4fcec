"""A shop in processes of its own, on a database of its own, and what its record should say."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg

from tests.conftest import wait_until

EXAMPLE = Path(__file__).with_name("example")

# The queue's words in the record's.
STATUSES = {
    "todo": ("pending", "retrying"),
    "doing": ("running",),
    "succeeded": ("completed",),
    "failed": ("failed",),
    "cancelled": ("cancelled",),
    "aborted": ("cancelled",),
}


class Shop:
    """The processes of the example app; what it needs is on its own path."""

    def __init__(
        self, url: str, folder: Path, *, app: str = "shop", path: tuple[Path, ...] = ()
    ) -> None:
        self.url = url
        self._app = f"{app}.app"
        self._folder = folder
        self._environment = {
            "PATH": os.environ["PATH"],
            "SHOP_DATABASE": url,
            "PYTHONPATH": os.pathsep.join(map(str, (EXAMPLE, *path))),
        }
        self._started: list[subprocess.Popen[bytes]] = []

    def make_schema(self) -> None:
        self._run("-m", "procrastinate", f"--app={self._app}", "schema", "--apply")

    def defer(self, jobs: int) -> None:
        self._run(str(EXAMPLE / "shop.py"), str(jobs), "0")

    def start_deferring(self, jobs: int, delay_seconds: float) -> subprocess.Popen[bytes]:
        return self._start(str(EXAMPLE / "shop.py"), str(jobs), str(delay_seconds))

    def start_worker(self, delete_jobs: str = "never") -> subprocess.Popen[bytes]:
        words = ("worker", "--concurrency=4", f"--delete-jobs={delete_jobs}")
        return self._start("-m", "procrastinate", f"--app={self._app}", *words)

    def log(self) -> str:
        return (self._folder / "shop.log").read_text()

    def stop(self, *processes: subprocess.Popen[bytes]) -> None:
        for process in processes or tuple(self._started):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in processes or tuple(self._started):
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _run(self, *words: str) -> None:
        ended = self._start(*words)
        assert ended.wait(120) == 0, self.log()

    def _start(self, *words: str) -> subprocess.Popen[bytes]:
        with open(self._folder / "shop.log", "ab") as log:
            process = subprocess.Popen(
                [sys.executable, *words],
                cwd=self._folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self._started.append(process)
        return process


def drain(db: psycopg.Connection[Any]) -> None:
    """Wait until nothing of the shop's own waits or runs (its periodic jobs go on)."""
    wait_until(
        lambda: (
            db.execute(
                "SELECT NOT EXISTS (SELECT FROM procrastinate_jobs"
                " WHERE status IN ('todo', 'doing') AND task_name <> 'tick')"
            ).fetchone()
            == (True,)
        ),
        "the shop's jobs have ended",
    )


def differences(db: psycopg.Connection[Any], *, ends_are_said: bool = False) -> list[Any]:
    """Where queue and record say different things of a job, an attempt or an argument.

    `ends_are_said`: an attempt may have ended while its job is still to.
    """
    found: list[Any] = []
    with db.transaction():
        db.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        recorded = {
            row[0]: row[1:]
            for row in db.execute("SELECT id, status, task, arguments, attempts FROM job")
        }
        queued = db.execute(
            "SELECT id, status::text, task_name, args, (SELECT count(*) FROM procrastinate_events"
            " AS event WHERE event.job_id = job.id AND type = 'started') FROM procrastinate_jobs AS job"
        ).fetchall()
        tried = {
            row[0]: row[1:]
            for row in db.execute(
                "SELECT job_id, count(*), count(*) FILTER (WHERE outcome IS NULL) FROM attempt"
                " GROUP BY job_id"
            )
        }
        twice = db.execute("SELECT id FROM job GROUP BY id HAVING count(*) > 1").fetchall()
    found += [("recorded twice", *row) for row in twice]
    for id, status, task, args, started in queued:
        if id not in recorded:
            found.append(("not recorded", id, task))
            continue
        said = recorded[id]
        if said[0] not in STATUSES[status] or said[1:3] != (task, args):
            found.append(("different", id, (status, task, args), said))
        open_attempts = {int(status == "doing"), 0} if ends_are_said else {int(status == "doing")}
        tries, open_tries = tried.get(id, (0, 0))
        if tries != started or open_tries not in open_attempts:
            found.append(("attempts", id, status, started, tried.get(id)))
    there = {row[0] for row in queued}
    found += [
        ("open, but gone from the queue", id, said)
        for id, said in recorded.items()
        if id not in there and said[0] in ("pending", "retrying", "running")
    ]
    return found
