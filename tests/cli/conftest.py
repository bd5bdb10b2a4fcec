"""What the commands' tests share: they are run in this process, on the test's database."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from click.testing import Result
from flask import Flask


@pytest.fixture
def run(app: Flask) -> Callable[..., Result]:
    """Runs a `flask` command: `run("batches", "list")`; `input` is its standard input."""
    return lambda *words, **more: app.test_cli_runner().invoke(args=list(words), **more)
