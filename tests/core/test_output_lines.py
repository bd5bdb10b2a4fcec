"""Lines of result files: one for each request, whatever the engine put into its answer."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from app.core.results import output_line

TEXT = "next\N{NEXT LINE}line\u2028paragraph\u2029é \\u2028 \n\r end"


def line_of(**columns: Any) -> bytes:
    row = {"line": 1, "id": "batch_req_1", "custom_id": TEXT, "status_code": 200} | columns
    return output_line(SimpleNamespace(**row))  # type: ignore[arg-type]


@pytest.mark.parametrize("indent", [None, 2])
def test_an_answer_is_one_line_to_every_reader_and_unchanged(indent: int | None) -> None:
    answer = {"choices": [{"text": TEXT}]}
    line = line_of(body=json.dumps(answer, ensure_ascii=False, indent=indent))
    assert len(line.decode().splitlines()) == 1
    read = json.loads(line)
    assert (read["custom_id"], read["response"]["body"]) == (TEXT, answer)


def test_an_error_is_one_line_to_every_reader() -> None:
    error = {"code": "engine_crashed", "message": TEXT}
    line = line_of(status_code=None, error=json.dumps(error, ensure_ascii=False))
    assert len(line.decode().splitlines()) == 1
    assert json.loads(line)["error"] == error
