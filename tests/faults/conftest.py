"""One Stoker on real vLLM for all tests that kill a part of it: its start is what takes long."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy.orm import Session

from app.core import embedded, keys, schema, users
from app.core.db import make_engine
from app.core.settings import load_settings
from tests import tiny_model
from tests.conftest import free_port
from tests.faults.stack import CONF, EngineStack


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


@pytest.fixture(scope="session")
def whole_stack(
    tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[EngineStack]:
    """Everything but its processes."""
    base = Path(tempfile.mkdtemp(prefix="stoker-faults-"))
    base.chmod(0o711)
    home = embedded.home(base)
    folder = tmp_path_factory.mktemp("faults")
    with pytest.MonkeyPatch.context() as environment:
        for name in list(os.environ):
            if name.startswith("STOKER_") or name == "DATABASE_URL":
                environment.delenv(name)
        environment.setenv("STOKER_CONFIG", os.devnull)
        url = embedded.start(base, CONF)
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
                model=tiny_folder,
                api_key=key,
                port=free_port(),
            )
            stack.write_registry()
            try:
                yield stack
            finally:
                stack.stop()
        engine.dispose()
    embedded.stop(base, "immediate")
    shutil.rmtree(home, ignore_errors=True)
    shutil.rmtree(base, ignore_errors=True)


@pytest.fixture
def stack(whole_stack: EngineStack) -> EngineStack:
    """All of it up and ready, whatever the test before has left of it."""
    whole_stack.bring_up()
    return whole_stack
