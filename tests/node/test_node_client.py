"""The official Node client against a real server, a real worker and a fake engine."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core.models import Batch
from app.core.settings import Settings
from tests.conftest import wait_until
from tests.node.conftest import Run
from tests.worker.stack import Stack

pytestmark = pytest.mark.node


@pytest.fixture(autouse=True)
def stack(settings: Settings, session: Session, tmp_path: Path) -> Iterator[Stack]:
    """Serves the model `fake`."""
    stack = Stack(settings, session, tmp_path)
    stack.write_models(fake={})
    yield stack
    stack.stop()
    print(stack.logs())  # shown when the test failed


def test_a_batch_goes_the_whole_way(run: Run, stack: Stack) -> None:
    def is_made() -> bool:
        stack.session.rollback()
        return stack.session.scalar(select(Batch.id)) is not None

    with ThreadPoolExecutor(1) as pool:
        ran = pool.submit(run, "batch.mjs")
        # Only then: a quick worker would have validated it before the client is answered.
        wait_until(lambda: ran.done() or is_made(), "the batch is made")
        stack.start()
        ran.result()


def test_files_are_made_listed_read_and_deleted(run: Run) -> None:
    run("files.mjs")


def test_refusals_are_the_clients_errors(run: Run) -> None:
    run("errors.mjs")


def test_what_the_server_adds_is_reached_too(run: Run, stack: Stack) -> None:
    stack.start()
    stack.start("worker.housekeeper")
    run("server.mjs")
