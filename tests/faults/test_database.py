"""The database is frozen, away for long, full of connections or out of disk; the engine is a fake."""

from __future__ import annotations

import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
import psycopg
import pytest

from app.core import db, embedded, silence
from app.core.models import Batch
from tests.conftest import wait_until
from tests.faults.stack import EngineStack, stack_on
from tests.worker.stack import chat, ids

pytestmark = [pytest.mark.faults, pytest.mark.timeout(200)]

LINES = [chat(f"q-{n}") for n in range(150)]
DISK = "256m"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineStack]:
    """Everything but its processes; for root the server's disk is a small one of its own."""
    with tempfile.TemporaryDirectory(prefix="stoker-database-") as name, ExitStack() as undo:
        if os.geteuid() == 0:
            mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK},mode=711", "tmpfs", name]
            if subprocess.run(mount, capture_output=True, check=False).returncode == 0:
                undo.callback(subprocess.run, ["umount", "--lazy", name], check=False)
        conf = ("max_connections=50", "max_wal_size=32MB", "min_wal_size=32MB")
        stack = undo.enter_context(stack_on(Path(name), tmp_path_factory.mktemp("faults"), conf))
        stack.environment |= {"STOKER_POOL_SIZE": "6", "STOKER_PAGE_TIMEOUT_SECONDS": "2"}
        stack.write_models(fake={"FAKE_DELAY": "0.05", "WINDOW": "4"})
        yield stack


@pytest.fixture
def stack(whole: EngineStack) -> EngineStack:
    """All of it up, whatever the test before has left of it."""
    whole.bring_up()
    whole.asked_path.unlink(missing_ok=True)
    return whole


def pids(stack: EngineStack) -> list[int | None]:
    return [each and each.pid for each in (stack.worker, stack.housekeeper, stack.web)]


@contextmanager
def frozen(base: Path) -> Iterator[None]:
    """Every process of the server is stopped: it takes connections and says nothing."""
    server = psutil.Process(embedded.pid(base))
    family = [server, *server.children(recursive=True)]
    for process in family:
        process.suspend()
    try:
        yield
    finally:
        for process in family:
            process.resume()


def run_to_the_middle(stack: EngineStack) -> Batch:
    batch = stack.submit(LINES)
    stack.wait_for_results(batch, 40)
    return batch


def check_once(stack: EngineStack, batch: Batch) -> None:
    """Every line was answered, recorded and asked once."""
    stack.wait(batch)
    assert (batch.status, batch.completed, batch.failed) == ("completed", len(LINES), 0)
    assert ids(stack.read(batch.output_file_id)) == ids(LINES)
    assert len(stack.asked()) == len(set(stack.asked())) == len(LINES)


def ask_at_once(stack: EngineStack, count: int) -> list[tuple[int, bool, float]]:
    """So many requests at once: their statuses, whether they say when to come back, their times."""

    def ask(_: int) -> tuple[int, bool, float]:
        begun = time.monotonic()
        code, headers = stack.ask("/v1/batches")
        return code, "retry-after" in headers, time.monotonic() - begun

    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(ask, range(count)))


def test_while_the_database_is_frozen_the_web_says_so_soon_and_nothing_is_lost(
    stack: EngineStack,
) -> None:
    before = pids(stack)
    batch = run_to_the_middle(stack)
    assert stack.get("/v1/batches") == 200
    stack.session.rollback()
    with frozen(stack.postgres):
        # More than the pool has places for; then the same again: nothing has piled up.
        for _ in range(2):
            answers = ask_at_once(stack, 12)
            assert {(code, says_when) for code, says_when, _ in answers} == {(503, True)}
            # 3 s on a machine that does nothing else.
            assert max(seconds for _, _, seconds in answers) < 6
        assert stack.get("/health") == 200
    wait_until(lambda: stack.get("/v1/batches") == 200, "the web answers again", 15)
    check_once(stack, batch)
    assert pids(stack) == before


@pytest.fixture
def server() -> Iterator[Path]:
    """A server of the test's own."""
    with tempfile.TemporaryDirectory(prefix="stoker-silent-") as name:
        base = Path(name)
        base.chmod(0o711)
        embedded.start(base, ("fsync=off",))
        try:
            yield base
        finally:
            embedded.stop(base, "immediate")


def test_a_worker_waits_for_a_slow_statement_and_not_for_a_frozen_server(
    server: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(silence, "ASK_SECONDS", 0.2)
    monkeypatch.setattr(silence, "_ANSWER_SECONDS", 2)
    with db.connect(embedded.url(server), "test", autocommit=True) as connection:
        assert connection.execute("SELECT 1 FROM pg_sleep(1)").fetchone() == (1,)
        freezing = ExitStack()
        timer = threading.Timer(0.3, lambda: freezing.enter_context(frozen(server)))
        timer.start()
        with freezing, pytest.raises(psycopg.OperationalError, match="does not answer"):
            connection.execute("SELECT 1 FROM pg_sleep(1.5)")
        assert connection.closed


def test_a_long_outage_costs_no_answer_and_no_process(stack: EngineStack) -> None:
    # Four times as long as a worker may be silent, as 120 s are with the settings' defaults.
    before = pids(stack)
    batch = run_to_the_middle(stack)
    with stack.outage("immediate", 12):
        assert stack.ask("/v1/batches")[0] == 503
    check_once(stack, batch)
    assert pids(stack) == before
    wait_until(lambda: stack.outcomes(batch) == ["moved", "completed"], "one attempt ran it")


def test_without_a_free_connection_the_web_says_when_to_come_back(stack: EngineStack) -> None:
    batch = run_to_the_middle(stack)
    url = stack.settings.database_url
    with ExitStack() as taken, psycopg.connect(url, autocommit=True) as operator:

        def take_all() -> None:
            while True:
                try:
                    taken.enter_context(psycopg.connect(url))
                except psycopg.OperationalError:
                    return

        take_all()
        operator.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'stoker web'"
        )
        take_all()
        code, headers = stack.ask("/v1/batches")
        assert code == 503
        assert int(headers["retry-after"]) > 0
        assert stack.get("/health") == 200
    wait_until(lambda: stack.get("/v1/batches") == 200, "the web answers again", 15)
    check_once(stack, batch)


def test_with_every_connection_of_its_pool_busy_the_web_stays_healthy(stack: EngineStack) -> None:
    stack.session.rollback()
    with psycopg.connect(stack.settings.database_url) as other:
        other.execute("LOCK TABLE batch IN ACCESS EXCLUSIVE MODE")
        answers = ask_at_once(stack, 12)
        assert {(code, says_when) for code, says_when, _ in answers} == {(503, True)}
        assert stack.get("/health") == 200
    wait_until(lambda: stack.get("/v1/batches") == 200, "the web answers again", 15)


def test_a_full_disk_under_the_database_costs_no_answer(stack: EngineStack) -> None:
    if not os.path.ismount(stack.postgres):
        pytest.skip("only root can give the server a disk of its own")
    batch = run_to_the_middle(stack)
    ballast = stack.postgres / "ballast"
    with open(ballast, "wb") as file:
        try:
            while True:
                file.write(bytes(1 << 20))
                file.flush()
        except OSError:
            pass
        fill = f"CREATE TABLE ballast AS SELECT repeat('x', 500) FROM generate_series(1, {10**6})"
        said = _refusal(stack, fill)
        assert said in ("53100", None)  # None: the server has fallen over, and says nothing
    ballast.unlink()
    stack.bring_up()
    check_once(stack, batch)


def _refusal(stack: EngineStack, statement: str) -> str | None:
    """The SQLSTATE with which the server refuses it; None when the connection is lost."""
    with (
        pytest.raises(psycopg.Error) as refused,
        psycopg.connect(stack.settings.database_url) as connection,
    ):
        connection.execute(statement)  # type: ignore[call-overload]
    return refused.value.sqlstate
