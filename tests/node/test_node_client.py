"""The official Node client against a real server, a real worker and a fake engine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy.orm import Session

from app.core.settings import Settings
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
    stack.start()
    run("batch.mjs")


def test_files_are_made_listed_read_and_deleted(run: Run) -> None:
    run("files.mjs")


def test_refusals_are_the_clients_errors(run: Run) -> None:
    run("errors.mjs")


def test_what_the_server_adds_is_reached_too(run: Run, stack: Stack) -> None:
    stack.start()
    stack.start("worker.housekeeper")
    run("server.mjs")
