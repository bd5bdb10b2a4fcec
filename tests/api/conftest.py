"""What the API's tests share: a served model, files and batches to ask about, SDK clients."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from flask.testing import FlaskClient
from sqlalchemy.orm import Session

from app.core import keys
from app.core.models import User
from app.core.settings import Settings
from tests.conftest import LiveServer
from tests.worker.stack import Stack, chat, jsonl

Upload = Callable[..., dict[str, Any]]


@pytest.fixture(autouse=True)
def stack(settings: Settings, session: Session, tmp_path: Path) -> Iterator[Stack]:
    """Serves the model `fake`; `stack.start()` starts a worker that answers."""
    stack = Stack(settings, session, tmp_path)
    stack.write_models(fake={})
    yield stack
    stack.stop()
    print(stack.logs())  # shown when the test failed


@pytest.fixture
def upload(client: FlaskClient) -> Upload:
    """Uploads some requests (or any bytes) and returns the file object."""

    def upload(content: bytes | None = None, name: str = "requests.jsonl", **form: Any) -> Any:
        content = jsonl([chat("a"), chat("b")]) if content is None else content
        form = {"purpose": "batch", "file": (io.BytesIO(content), name), **form}
        answer = client.post("/v1/files", data=form)
        assert answer.status_code == 200, answer.text
        return answer.json

    return upload


@pytest.fixture
def create(client: FlaskClient, upload: Upload) -> Callable[..., dict[str, Any]]:
    """Creates a batch and returns its object."""

    def create(**changes: Any) -> Any:
        body = {
            "input_file_id": changes.pop("input_file_id", None) or upload()["id"],
            "endpoint": "/v1/chat/completions",
            "completion_window": "24h",
            **changes,
        }
        answer = client.post("/v1/batches", json=body)
        assert answer.status_code == 200, answer.text
        return answer.json

    return create


@pytest.fixture
def other_key(session: Session) -> str:
    """The key of a plain user who owns nothing yet."""
    kim = User(name="kim", role="user")
    session.add(kim)
    session.flush()
    _, plain = keys.create(session, kim, "kim's")
    session.commit()
    return plain


@pytest.fixture
def sdk(live_server: LiveServer, api_key: str) -> Iterator[openai.OpenAI]:
    """The official client on a real server."""
    with openai.OpenAI(base_url=live_server.api_url, api_key=api_key, max_retries=0) as sdk:
        yield sdk


def error_of(answer: Any, status: int) -> dict[str, Any]:
    """The error object of a refused request, after its shape is checked."""
    assert answer.status_code == status, answer.text
    assert list(answer.json) == ["error"]
    error = answer.json["error"]
    assert sorted(error) == ["code", "message", "param", "type"]
    assert error["message"]
    assert "Traceback" not in json.dumps(error)
    return error
