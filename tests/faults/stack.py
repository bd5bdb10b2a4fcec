"""A whole Stoker on real vLLM and a Postgres of its own, made to be killed in parts."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import openai
import psutil
import pytest
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from app.core import embedded, keys, schema, users
from app.core.db import make_engine
from app.core.models import Attempt, Batch, Result, Worker
from app.core.settings import load_settings
from tests.conftest import ROOT, free_port, process_environment, wait_until
from tests.worker.engines import family_of
from tests.worker.stack import QUICK, Stack, chat, ids

MODEL = "tiny"
WINDOW = 32
REQUESTS = 200
FLUSHED = 16
FLAGS = (
    "--enforce-eager",
    "--dtype=float32",
    "--max-model-len=256",
    "--max-num-seqs=16",
    "--block-size=32",
    "--kv-cache-memory-bytes=32M",
    # The proof of who was asked what is the engine's own.
    "--enable-log-requests",
)
# Nothing has to survive a power cut, but what was committed has to survive the server.
CONF = ("fsync=off", "full_page_writes=off", "shared_buffers=64MB")
PATIENT = {
    **QUICK,
    "STOKER_FLUSH_ROWS": str(FLUSHED),
    "STOKER_ENGINE_STALL_SECONDS": "12",
    "STOKER_ENGINE_START_SECONDS": "250",
}
_ASKED = re.compile(r"Received request \S*?(batch_req_[0-9a-f]+)-[0-9a-f]+:")


@dataclass
class EngineStack(Stack):
    """Starts, kills and starts again; knows what the engine says it was asked."""

    engine: Engine = field(init=False)
    postgres: Path = Path()
    conf: tuple[str, ...] = CONF
    model: Path = Path()
    api_key: str = ""
    port: int = 0
    worker: subprocess.Popen[bytes] | None = None
    web: subprocess.Popen[bytes] | None = None
    housekeeper: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        engine = self.session.get_bind()
        assert isinstance(engine, Engine)
        self.engine = engine

    def write_registry(self) -> None:
        """One model: the tiny one."""
        flags = ", ".join(f'"{flag}"' for flag in FLAGS)
        self.settings.models_path.parent.mkdir(parents=True, exist_ok=True)
        self.settings.models_path.write_text(
            f'[models.{MODEL}]\npath = "{self.model}"\nwindow = {WINDOW}\nflags = [{flags}]\n'
        )

    def bring_up(self) -> None:
        """Start whatever does not run, and wait until it works."""
        embedded.start(self.postgres, self.conf)
        if not _lives(self.worker):
            self.worker = self.start("worker", **PATIENT)
        if not _lives(self.housekeeper):
            self.housekeeper = self.start("worker.housekeeper", **PATIENT)
        if not _lives(self.web):
            self.web = self._start_web()
        wait_until(
            lambda: not _lives(self.web) or self.get("/health") == 200, "the web server answers"
        )
        assert _lives(self.web), self.logs()
        self.wait_for_engine()

    def _start_web(self) -> subprocess.Popen[bytes]:
        with open(self.folder / f"web-{len(self.processes)}.log", "wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "gunicorn", "-c", "deploy/gunicorn.py", "wsgi:app"],
                cwd=ROOT,
                env={**process_environment(self.settings, self.port), **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.processes.append(process)
        return process

    def wait_for_engine(self) -> None:
        """Wait until the worker says that its engine is ready, and the housekeeper that it leads."""

        def is_ready() -> bool:
            assert _lives(self.worker), self.logs()
            self.session.rollback()
            rows = self.session.scalars(select(Worker).where(Worker.stopped_at.is_(None)))
            found = {(row.pid, row.engine_status or row.status) for row in rows}
            return {
                (self.worker and self.worker.pid, "ready"),
                (self.housekeeper and self.housekeeper.pid, "running"),
            } <= found

        try:
            wait_until(is_ready, "the engine is ready", 280)
        except AssertionError as fault:
            raise AssertionError(f"{fault}\n{self.logs()}") from None

    # The batch, and the moment in its middle.

    def lines(self, tokens: int = 48) -> list[dict[str, Any]]:
        """200 requests whose answers have a fixed length, so that they take their time."""
        return [
            chat(
                f"q-{n:03}",
                f"Question {n}: what comes next?",
                model=MODEL,
                max_tokens=tokens,
                ignore_eos=True,
            )
            for n in range(REQUESTS)
        ]

    def run_to_the_middle(self) -> tuple[Batch, list[dict[str, Any]], set[str]]:
        """A batch that is running, its lines, and the requests that are answered by now."""
        lines = self.lines()
        batch = self.submit(lines)
        self.wait_for_results(batch, 40)
        answered = self.answered(batch)
        assert self.refresh(batch).status == "in_progress"
        assert 40 <= len(answered) < REQUESTS - WINDOW, "the fault would not fall into the middle"
        return batch, lines, answered

    def answered(self, batch: Batch) -> set[str]:
        """The ids of requests whose answers are written."""
        self.session.rollback()
        return set(
            self.session.scalars(select(Result.id).where(Result.batch_number == batch.number))
        )

    def times_asked(self, batch: Batch) -> Counter[str]:
        """How often the engines say that they were asked each request of the batch."""
        found: Counter[str] = Counter()
        for path in (self.settings.var_path / "logs").glob(f"engine-{MODEL}.log*"):
            found.update(_ASKED.findall(path.read_text(errors="replace")))
        own = batch.id.removeprefix("batch_")
        return Counter({name: times for name, times in found.items() if own in name})

    def check_whole(self, batch: Batch, lines: list[dict[str, Any]]) -> set[str]:
        """The output has every line once, in order; returns the requests asked more than once."""
        self.wait(batch, seconds=280)
        assert (batch.status, batch.completed, batch.failed) == ("completed", REQUESTS, 0)
        assert batch.error_file_id is None
        output = self.read(batch.output_file_id)
        assert ids(output) == ids(lines)
        asked = self.times_asked(batch)
        assert set(asked) == {line["id"] for line in output}
        assert batch.output_tokens == sum(
            line["response"]["body"]["usage"]["completion_tokens"] for line in output
        )
        return {name for name, times in asked.items() if times > 1}

    def outcomes(self, batch: Batch) -> list[str | None]:
        """How the attempts at the batch ended."""
        self.session.rollback()
        query = select(Attempt.outcome).where(Attempt.job_id == batch.job_id)
        return list(self.session.scalars(query.order_by(Attempt.number)))

    # Faults.

    def engine_process(self, name: str) -> psutil.Process:
        """A process of the engine's family, by its title."""
        family = family_of(self.settings.run_path)
        return next(process for process in family if name in process.name())

    @contextmanager
    def outage(self, mode: str, seconds: float) -> Iterator[None]:
        """Postgres is away inside the block, and for so long at least; so is our session."""
        self.session.rollback()
        self.engine.dispose()
        embedded.stop(self.postgres, mode)
        begun = time.monotonic()
        try:
            yield
        finally:
            time.sleep(max(0.0, seconds - (time.monotonic() - begun)))
            embedded.start(self.postgres, self.conf)

    # The web, as its users see it.

    def get(self, path: str) -> int:
        """The status of an answer; 0 when there is none."""
        return self.ask(path)[0]

    def ask(self, path: str) -> tuple[int, dict[str, str]]:
        """An answer's status and headers."""
        try:
            answer = httpx.get(
                f"http://127.0.0.1:{self.port}{path}",
                headers={"Authorization": f"Bearer {self.api_key}"},
                timeout=60,
            )
        except httpx.HTTPError:
            return 0, {}
        return answer.status_code, dict(answer.headers)

    def poll(self, batch: Batch) -> Callable[[], str]:
        """Have the official client poll until the batch is final; call the answer for its status."""
        batch_id, found = batch.id, []

        def poll() -> None:
            url = f"http://127.0.0.1:{self.port}/v1"
            with openai.OpenAI(base_url=url, api_key=self.api_key, max_retries=20) as client:
                while True:
                    status = client.batches.retrieve(batch_id).status
                    if status in ("completed", "failed", "expired", "cancelled"):
                        found.append(status)
                        return
                    time.sleep(0.2)

        thread = threading.Thread(target=poll, daemon=True)
        thread.start()

        def result() -> str:
            thread.join(120)
            return found[0] if found else "the client gave up"

        return result

    def stop(self) -> None:
        """End everything, frozen parts too."""
        for process in family_of(self.settings.run_path):
            process.send_signal(signal.SIGCONT)
        super().stop()


@contextmanager
def stack_on(base: Path, folder: Path, conf: Sequence[str] = ()) -> Iterator[EngineStack]:
    """A stack whose Postgres lies in `base`; of its processes none runs yet."""
    base.chmod(0o711)  # the server is another user's
    home = embedded.home(base)
    try:
        with pytest.MonkeyPatch.context() as environment:
            for name in list(os.environ):
                if name.startswith("STOKER_") or name == "DATABASE_URL":
                    environment.delenv(name)
            environment.setenv("STOKER_CONFIG", os.devnull)
            url = embedded.start(base, (*CONF, *conf))
            schema.upgrade(url)
            settings = load_settings(var=folder / "var", database_url=url, min_free_disk_bytes=0)
            engine = make_engine(settings, "test")
            with Session(engine, expire_on_commit=False) as session:
                _, key = keys.create(session, users.ensure_admin(session), "test")
                session.commit()
                stack = EngineStack(
                    settings,
                    session,
                    folder,
                    postgres=base,
                    conf=(*CONF, *conf),
                    api_key=key,
                    port=free_port(),
                )
                try:
                    yield stack
                finally:
                    stack.stop()
            engine.dispose()
    finally:
        embedded.stop(base, "immediate")
        shutil.rmtree(home, ignore_errors=True)


def kill(process: subprocess.Popen[bytes], *, with_children: bool = False) -> None:
    """SIGKILL a process, perhaps with all its children, and collect it."""
    family = psutil.Process(process.pid).children(recursive=True) if with_children else []
    process.kill()
    process.wait()
    for child in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()


def _lives(process: subprocess.Popen[bytes] | None) -> bool:
    return process is not None and process.poll() is None
