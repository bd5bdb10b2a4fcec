"""One Stoker on real vLLM for all tests that kill a part of it: its start is what takes long."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import tiny_model
from tests.conftest import IN_MEMORY
from tests.faults.stack import EngineStack, stack_on


@pytest.fixture(scope="session")
def tiny_folder(request: pytest.FixtureRequest) -> Path:
    """The tiny model; built once and kept in pytest's cache until its code changes."""
    key = hashlib.sha256(Path(tiny_model.__file__).read_bytes()).hexdigest()[:12]
    cache = request.config.cache
    assert cache is not None
    folder = cache.mkdir("tiny-model") / key
    if not folder.exists():
        draft = Path(tempfile.mkdtemp(dir=folder.parent))
        tiny_model.build(draft)
        draft.rename(folder)
    return folder


@pytest.fixture(scope="package")
def whole_stack(
    tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[EngineStack]:
    """Everything but its processes."""
    base = Path(tempfile.mkdtemp(prefix="stoker-faults-", dir=IN_MEMORY))
    try:
        with stack_on(base, tmp_path_factory.mktemp("faults")) as stack:
            stack.model = tiny_folder
            stack.write_registry()
            yield stack
    finally:
        shutil.rmtree(base, ignore_errors=True)


@pytest.fixture
def stack(whole_stack: EngineStack) -> EngineStack:
    """All of it up and ready, whatever the test before has left of it."""
    whole_stack.bring_up()
    return whole_stack
