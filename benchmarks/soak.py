"""An hour of jobs and batches while parts of Stoker are killed at random; nothing may be lost or doubled.

    python -m benchmarks.soak [--minutes 60] [--seed N] [--engine fake|real]

20,000 jobs and 20 batches an hour go through a Stoker of its own, evenly. Meanwhile, at times and in an order
that the seed decides, its worker is killed, stopped, or frozen for longer than it may be silent; its
housekeeper, web processes and engine are killed; and Postgres is restarted in its middle, for 1, 12 or 40
seconds. What dies is started again, as systemd would. At the end the database is asked what became of everything:
the lines `figure WHAT VALUE` say it, and the exit code is 1 if anything was lost or done twice.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from sqlalchemy import Engine, select, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from app.core import embedded, jobs, storage, tasks
from app.core.db import make_engine
from app.core.models import Batch
from benchmarks.house import ROOT, House, open_house
from benchmarks.soak_parts import TASK

JOBS_PER_HOUR = 20_000
BATCHES_PER_HOUR = 20
LINES = 300
_PIECE = 50
_PAUSE_SECONDS = 0.2
# What is not through so long after the last fault never will be.
_PATIENCE_SECONDS = 900.0
FAKE = [sys.executable, str(ROOT / "tests" / "fake_engine.py"), "--uds", "{socket}"]
PARTS = {
    "worker": ("-m", "benchmarks.soak_parts", "worker"),
    "housekeeper": ("-m", "benchmarks.soak_parts", "housekeeper"),
    "web": ("-m", "gunicorn", "-c", "deploy/gunicorn.py", "wsgi:app"),
}
# Silence that counts is short, so that an hour has many recoveries.
STALE_SECONDS = 6.0

CHECKS = {
    # what: a query whose answer must be 0
    "jobs_lost": f"SELECT :jobs - count(*) FROM job WHERE task = '{TASK}' AND status = 'completed'",
    "jobs_deferred_twice": "SELECT count(*) - count(DISTINCT arguments ->> 'number')"
    f" FROM job WHERE task = '{TASK}'",
    "jobs_ended_twice": "SELECT count(*) FROM (SELECT FROM job_transition WHERE to_status IN"
    " ('completed', 'failed', 'cancelled') GROUP BY job_id HAVING count(*) > 1) AS twice",
    "attempts_completed_twice": "SELECT count(*) FROM (SELECT FROM attempt WHERE"
    " outcome = 'completed' GROUP BY job_id HAVING count(*) > 1) AS twice",
    "wrong_results": f"SELECT count(*) FROM job WHERE task = '{TASK}'"
    " AND result -> 'number' IS DISTINCT FROM arguments -> 'number'",
    "attempts_open": "SELECT count(*) FROM attempt WHERE outcome IS NULL",
    "jobs_open": "SELECT count(*) FROM procrastinate_jobs WHERE status IN ('todo', 'doing')",
    "batches_lost": "SELECT :batches - count(*) FROM batch WHERE status = 'completed'",
    "batches_created_twice": "SELECT greatest(count(*) - :batches, 0) FROM batch",
    "requests_failed": "SELECT coalesce(sum(failed), 0) FROM batch",
    "requests_lost": "SELECT (SELECT coalesce(sum(total), 0) FROM batch)"
    " - (SELECT count(*) FROM result)",
    "requests_counted_wrong": "SELECT count(*) FROM batch WHERE completed + failed <>"
    " (SELECT count(*) FROM result WHERE result.batch_number = batch.number)",
}
FIGURES = {
    "jobs": f"SELECT count(*) FROM job WHERE task = '{TASK}'",
    "batches": "SELECT count(*) FROM batch",
    "requests": "SELECT count(*) FROM result",
    "attempts": "SELECT count(*) FROM attempt",
    "attempts_lost": "SELECT count(*) FROM attempt WHERE outcome = 'lost'",
    "workers": "SELECT count(*) FROM worker WHERE kind = 'worker'",
    "engine_deaths": "SELECT coalesce(sum(engine_deaths), 0) FROM batch",
    "seconds_until_tried_again_most": "SELECT coalesce(round(max(date_part('epoch',"
    " next.started_at - attempt.ended_at))::numeric, 1), 0) FROM attempt JOIN attempt AS next"
    " ON next.job_id = attempt.job_id AND next.number = attempt.number + 1"
    " WHERE attempt.outcome = 'lost'",
}


@dataclass
class Soak:
    """One run: what is alive, what was done to it."""

    house: House
    seed: int
    minutes: float
    jobs: int
    batches: int
    model: str
    pause_seconds: tuple[float, float]
    engine: Engine = field(init=False)
    faults: Counter[str] = field(default_factory=Counter)
    is_over: threading.Event = field(default_factory=threading.Event)
    trouble: list[BaseException] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.engine = make_engine(self.house.settings, "soak")

    @property
    def base(self) -> Path:
        """The server's folder."""
        return self.house.settings.var_path.parent

    # Keeping alive, and the opposite.

    def keep_alive(self) -> None:
        """Start what has died, as systemd would."""
        while not self.is_over.is_set():
            for name, command in PARTS.items():
                process = self.house.processes.get(name)
                if process is None or process.poll() is not None:
                    self.house.start(name, *command)
            self.is_over.wait(_PAUSE_SECONDS)

    def do_harm(self, until: float) -> None:
        """One fault after the other."""
        chance = random.Random(self.seed)
        harms: list[tuple[int, Callable[[random.Random], None]]] = [
            (4, self.kill_worker),
            (2, self.stop_worker),
            (1, self.freeze_worker),
            (2, self.kill_housekeeper),
            (2, self.kill_web),
            (2, self.kill_engine),
            (2, self.restart_postgres),
        ]
        while time.monotonic() < until:
            time.sleep(chance.uniform(*self.pause_seconds))
            (harm,) = chance.choices([each for _, each in harms], [weight for weight, _ in harms])
            with contextlib.suppress(psutil.NoSuchProcess):
                harm(chance)

    def kill_worker(self, _: random.Random) -> None:
        self._process("worker").kill()
        self.faults["worker_killed"] += 1

    def stop_worker(self, _: random.Random) -> None:
        self._process("worker").terminate()
        self.faults["worker_stopped"] += 1

    def freeze_worker(self, _: random.Random) -> None:
        process = self._process("worker")
        process.suspend()
        time.sleep(1.5 * STALE_SECONDS)
        process.resume()
        self.faults["worker_frozen"] += 1

    def kill_housekeeper(self, _: random.Random) -> None:
        self._process("housekeeper").kill()
        self.faults["housekeeper_killed"] += 1

    def kill_web(self, chance: random.Random) -> None:
        master = self._process("web")
        chance.choice([master, *master.children()]).kill()
        self.faults["web_killed"] += 1

    def kill_engine(self, chance: random.Random) -> None:
        found = [
            process
            for process in self._process("worker").children(recursive=True)
            if "--uds" in process.cmdline() or "EngineCore" in process.name()
        ]
        if found:
            chance.choice(found).kill()
            self.faults["engine_killed"] += 1

    def restart_postgres(self, chance: random.Random) -> None:
        # The long ones are for long runs.
        seconds = chance.choices([1, 12, 40], [6, 2, 1])[0] if self.minutes >= 3 else 1
        embedded.stop(self.base, chance.choice(["fast", "immediate"]))
        time.sleep(seconds)
        embedded.start(self.base)
        self.faults[f"postgres_away_{seconds}_s"] += 1

    def _process(self, name: str) -> psutil.Process:
        return psutil.Process(self.house.processes[name].pid)

    # The work.

    def defer(self, begun: float, seconds: float) -> None:
        """The jobs, evenly over the time."""
        for first in range(0, self.jobs, _PIECE):
            numbers = range(first, min(first + _PIECE, self.jobs))
            time.sleep(max(0.0, begun + seconds * first / self.jobs - time.monotonic()))
            self._outlast(lambda session, numbers=numbers: self._defer(session, numbers))

    def _defer(self, session: Session, numbers: range) -> None:
        # The answer to a COMMIT may have been lost: first look.
        query = text(
            "SELECT (arguments ->> 'number')::int FROM job"
            f" WHERE task = '{TASK}' AND (arguments ->> 'number')::int BETWEEN :first AND :last"
        )
        known = set(session.scalars(query, {"first": numbers[0], "last": numbers[-1]}))
        for number in set(numbers) - known:
            jobs.defer(session, TASK, {"number": number}, queue=tasks.QUEUE)
        session.commit()

    def submit(self, begun: float, seconds: float) -> None:
        """The batches, through the real client, which tries again by itself."""
        for number in range(self.batches):
            time.sleep(max(0.0, begun + seconds * number / self.batches - time.monotonic()))
            lines = [self._line(f"b{number}-{n}") for n in range(LINES)]
            content = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
            with self.house.client().with_options(max_retries=100) as client:
                file = client.files.create(file=("soak.jsonl", content), purpose="batch")
                client.batches.create(
                    input_file_id=file.id,
                    endpoint="/v1/chat/completions",
                    completion_window="24h",
                    extra_headers={"Idempotency-Key": f"soak-{self.seed}-{number}"},
                )

    def _line(self, custom_id: str) -> dict[str, object]:
        messages = [{"role": "user", "content": f"Say {custom_id}."}]
        body = {"model": self.model, "messages": messages, "max_tokens": 4}
        url = "/v1/chat/completions"
        return {"custom_id": custom_id, "method": "POST", "url": url, "body": body}

    def _outlast(self, work: Callable[[Session], object]) -> object:
        while True:
            try:
                with Session(self.engine) as session:
                    return work(session)
            except OperationalError:
                time.sleep(_PAUSE_SECONDS)

    # The run, and what came of it.

    def run(self) -> bool:
        """All of it; whether everything is there once."""
        begun = time.monotonic()
        until = begun + 60 * self.minutes
        work_seconds = 0.8 * 60 * self.minutes
        keeper = threading.Thread(target=self.keep_alive)
        keeper.start()
        try:
            self.house.await_port(self.house.settings.port)
            threads = [
                self._thread(self.defer, begun, work_seconds),
                self._thread(self.submit, begun, work_seconds),
            ]
            self.do_harm(until)
            for thread in threads:
                thread.join(_PATIENCE_SECONDS)
            self._await_end(time.monotonic() + _PATIENCE_SECONDS)
        finally:
            self.is_over.set()
            keeper.join()
        if self.trouble:
            raise self.trouble[0]
        return self._report(time.monotonic() - begun)

    def _thread(self, target: Callable[..., None], *given: float) -> threading.Thread:
        def run() -> None:
            try:
                target(*given)
            except BaseException as fault:
                self.trouble.append(fault)

        thread = threading.Thread(target=run)
        thread.start()
        return thread

    def _await_end(self, deadline: float) -> None:
        open_ = text(
            "SELECT (SELECT count(*) FROM job WHERE ended_at IS NULL)"
            " + (SELECT count(*) FROM batch"
            " WHERE status NOT IN ('completed', 'failed', 'expired', 'cancelled'))"
            " + (SELECT count(*) FROM attempt WHERE outcome IS NULL)"
        )
        while self._outlast(lambda session: session.scalar(open_)) and time.monotonic() < deadline:
            if self.trouble:
                return
            time.sleep(1)

    def _report(self, seconds: float) -> bool:
        given = {"jobs": self.jobs, "batches": self.batches}
        with Session(self.engine) as session:
            for what, query in FIGURES.items():
                print(f"figure {what} {session.scalar(text(query))}")
            for what, count in sorted(self.faults.items()):
                print(f"figure {what} {count}")
            print(f"figure seconds {seconds:.0f}")
            wrong = {what: session.scalar(text(query), given) for what, query in CHECKS.items()}
            wrong["lines_not_once_in_the_files"] = self._wrong_lines(session)
        for what, count in wrong.items():
            print(f"check {what} {count}")
        is_right = not any(wrong.values())
        print("zero lost, zero doubled" if is_right else "SOMETHING WAS LOST OR DOUBLED")
        return is_right

    def _wrong_lines(self, session: Session) -> int:
        wrong = 0
        for batch in session.scalars(select(Batch)):
            if batch.output_file_id is None:
                wrong += LINES
                continue
            path = storage.path(self.house.settings, batch.output_file_id)
            ids = Counter(json.loads(line)["custom_id"] for line in path.open())
            wrong += LINES - len(ids) + sum(times - 1 for times in ids.values())
        return wrong


def registry(engine: str, model: Path) -> str:
    """The models file."""
    if engine == "fake":
        return (
            f'[models.soak]\npath = "."\nwindow = 8\ncommand = {json.dumps(FAKE)}\n'
            'env = { FAKE_DELAY = "0.05" }\n'
        )
    return f'[models.soak]\npath = "{model.resolve()}"\nflags = ["--max-model-len=512"]\n'


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--jobs", type=int, help="default: 20,000 an hour")
    parser.add_argument("--batches", type=int, help="default: 20 an hour")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--engine", choices=["fake", "real"], default="fake")
    parser.add_argument("--model", type=Path, default=Path("var/models/smollm2-135m-instruct"))
    parser.add_argument(
        "--pause",
        type=float,
        nargs=2,
        metavar=("LEAST", "MOST"),
        help="seconds between two faults; default: 5 20, with the real engine 60 180",
    )
    asked = parser.parse_args()
    pause = tuple(asked.pause or ((5.0, 20.0) if asked.engine == "fake" else (60.0, 180.0)))
    jobs_asked = asked.jobs or max(1, round(JOBS_PER_HOUR * asked.minutes / 60))
    batches_asked = asked.batches or max(1, round(BATCHES_PER_HOUR * asked.minutes / 60))
    print(f"seed {asked.seed}, {jobs_asked} jobs, {batches_asked} batches", flush=True)
    settings = {
        "worker_heartbeat_seconds": 1.0,
        "worker_stale_seconds": STALE_SECONDS,
        "housekeeping_seconds": 1.0,
        "poll_seconds": 0.2,
        "task_slots": 8,
        "min_free_disk_bytes": 0,
        # That their workers die is not the jobs' fault here.
        "quarantine_crashes": 100,
    }
    with open_house(registry(asked.engine, asked.model), **settings) as house:
        soak = Soak(
            house,
            asked.seed,
            asked.minutes,
            jobs_asked,
            batches_asked,
            "soak",
            (pause[0], pause[1]),
        )
        is_right = soak.run()
        if not is_right:
            raise SystemExit(1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
