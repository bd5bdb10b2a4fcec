"""A worker and a housekeeper as processes of their own, on the test's database, with fake engines."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from app.core import batches, files, storage, users
from app.core.batches import NewBatch
from app.core.models import Batch
from app.core.settings import Settings
from tests.conftest import ROOT, process_environment, wait_until

FAKE = [sys.executable, str(ROOT / "tests" / "fake_engine.py"), "--uds", "{socket}"]
FINAL = ("completed", "failed", "expired", "cancelled")

# What a test would otherwise wait for.
QUICK = {
    "STOKER_WORKER_HEARTBEAT_SECONDS": "0.5",
    "STOKER_WORKER_STALE_SECONDS": "3",
    "STOKER_HOUSEKEEPING_SECONDS": "0.5",
    "STOKER_POLL_SECONDS": "0.1",
    "STOKER_WORKER_DRAIN_SECONDS": "0.5",
}


def chat(custom_id: str, prompt: str = "Hello", model: str = "fake", **body: Any) -> dict[str, Any]:
    """One line of a batch's file."""
    return {
        "custom_id": custom_id,
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {"model": model, "messages": [{"role": "user", "content": prompt}], **body},
    }


@dataclass
class Stack:
    """Starts processes, submits batches, reads what came of them."""

    settings: Settings
    session: Session
    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def asked_path(self) -> Path:
        """Each line is the id of a request that an engine was asked."""
        return self.folder / "asked.log"

    def asked(self) -> list[str]:
        """Requests that engines were asked so far, without what tells the tries apart."""
        if not self.asked_path.exists():
            return []
        return [line.rsplit("-", 1)[0] for line in self.asked_path.read_text().splitlines()]

    def write_models(self, **models: dict[str, str]) -> None:
        """The registry: a fake engine for each name, told what to do by its environment."""
        tables = []
        for name, environment in models.items():
            env = {"FAKE_LOG": str(self.asked_path), **environment}
            window = env.pop("WINDOW", "8")
            tables.append(
                f'[models."{name}"]\npath = "."\nwindow = {window}\n'
                f"command = {json.dumps(FAKE)}\n"
                f"env = {{ {', '.join(f'{key} = {json.dumps(env[key])}' for key in env)} }}\n"
            )
        self.settings.models_path.parent.mkdir(parents=True, exist_ok=True)
        self.settings.models_path.write_text("\n".join(tables))

    def start(self, module: str = "worker", **environment: str) -> subprocess.Popen[bytes]:
        """Start a process of ours."""
        log = open(self.folder / f"{module}-{len(self.processes)}.log", "wb")  # noqa: SIM115
        process = subprocess.Popen(
            [sys.executable, "-m", module],
            cwd=ROOT,
            env={**process_environment(self.settings), **QUICK, **self.environment, **environment},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        log.close()
        self.processes.append(process)
        return process

    def stop(self) -> None:
        """End every process, the way an operator would, then the hard way."""
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.terminate()
        for process in self.processes:
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def logs(self) -> str:
        """What the processes printed."""
        return "\n".join(path.read_text() for path in sorted(self.folder.glob("*.log")))

    def submit(self, lines: Sequence[dict[str, Any]] | bytes, **options: Any) -> Batch:
        """Upload the lines and create a batch of them."""
        content = lines if isinstance(lines, bytes) else jsonl(lines)
        owner = users.ensure_admin(self.session)
        with storage.Draft(self.settings) as draft:
            draft.write(content)
            file = files.create(
                self.session,
                self.settings,
                draft,
                owner_id=owner.id,
                purpose="batch",
                filename="input.jsonl",
            )
        new = NewBatch(file.id, options.pop("endpoint", "/v1/chat/completions"), **options)
        batch = batches.create(self.session, owner.id, new, settings=None)
        self.session.commit()
        return batch

    def refresh(self, batch: Batch) -> Batch:
        """The batch as it is now."""
        self.session.rollback()
        self.session.refresh(batch)
        return batch

    def wait(self, batch: Batch, *statuses: str, seconds: float = 120) -> Batch:
        """Wait until the batch has one of these statuses (any final one by default)."""
        try:
            wait_until(
                lambda: self.refresh(batch).status in (statuses or FINAL),
                f"{batch.id} is {statuses or 'final'}",
                seconds,
            )
        except AssertionError as fault:
            raise AssertionError(f"{fault}; it is {batch.status}\n{self.logs()}") from None
        return batch

    def wait_for_results(self, batch: Batch, count: int) -> None:
        """Wait until so many requests are answered."""
        wait_until(
            lambda: self.refresh(batch).completed + batch.failed >= count, f"{count} results"
        )

    def read(self, file_id: str | None) -> list[dict[str, Any]]:
        """A result file's lines."""
        if file_id is None:
            return []
        content = storage.path(self.settings, file_id).read_text()
        return [json.loads(line) for line in content.splitlines()]


def jsonl(lines: Sequence[dict[str, Any]]) -> bytes:
    """Lines as a file."""
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def ids(lines: Sequence[dict[str, Any]]) -> list[str]:
    """The custom_ids of lines."""
    return [line["custom_id"] for line in lines]
