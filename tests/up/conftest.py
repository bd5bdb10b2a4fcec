"""What the tests of starting share."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.core import embedded


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that every user may pass through."""
    folder = Path(tempfile.mkdtemp(prefix="stoker-up-"))
    folder.chmod(0o711)
    yield folder
    for base in (folder, *(found.parent for found in folder.rglob("postgres.log"))):
        embedded.stop(base, "immediate")
    shutil.rmtree(folder)


@pytest.fixture
def as_root() -> None:
    """Only root hands the server to another user: elsewhere there is nothing to see."""
    if os.geteuid() != 0:
        pytest.xfail("needs root")
