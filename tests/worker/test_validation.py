"""One pass over a batch's file: what it keeps, and every fault it names with its line."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core import users
from app.core.models import Batch, Request
from app.core.results import LeaseLost
from worker.asks import read_unanswered
from worker.lines import Limits
from worker.validation import Findings, validate

MODELS = {
    "small": ("/v1/chat/completions", "/v1/completions"),
    "vectors": ("/v1/embeddings",),
}
LIMITS = Limits(max_requests=1000, max_tokens=1_000_000, max_line_bytes=10_000)


def line(custom_id: object = "a", **changes: Any) -> dict[str, Any]:
    request: dict[str, Any] = {
        "custom_id": custom_id,
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {"model": "small", "messages": [{"role": "user", "content": "Hello"}]},
    }
    body = changes.pop("body", None)
    if isinstance(body, dict):
        request["body"] |= body
    elif body is not None:
        request["body"] = body
    return {key: value for key, value in (request | changes).items() if value != "absent"}


def nested(levels: int) -> list[Any]:
    deep: list[Any] = []
    for _ in range(levels):
        deep = [deep]
    return deep


def jsonl(*lines: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(each).encode() + b"\n" for each in lines)


@pytest.fixture
def batch(session: Session) -> Batch:
    admin = users.ensure_admin(session)
    batch = Batch(
        id=f"batch_{uuid4().hex}",
        owner_id=admin.id,
        input_file_id="file-x",
        endpoint="/v1/chat/completions",
        completion_window="24h",
        fingerprint="",
        attempt_token=uuid4(),
        expires_at=admin.created_at,
    )
    session.add(batch)
    session.commit()
    return batch


@pytest.fixture
def check(session: Session, batch: Batch, tmp_path: Path) -> Any:
    def check(content: bytes, limits: Limits = LIMITS) -> Findings:
        path = tmp_path / "input.jsonl"
        path.write_bytes(content)
        assert batch.attempt_token is not None
        return validate(session, batch, batch.attempt_token, path, MODELS, limits)

    return check


def requests(session: Session, batch: Batch) -> list[Request]:
    query = select(Request).where(Request.batch_number == batch.number).order_by(Request.line)
    return list(session.scalars(query))


def test_each_request_is_found_again_by_its_position(
    check: Any, session: Session, batch: Batch, tmp_path: Path
) -> None:
    content = jsonl(line("eins"), line("zwei ✓\t\\"), line("drei"))
    findings = check(content)
    assert (findings.errors, findings.total, batch.status) == ([], 3, "in_progress")
    found = requests(session, batch)
    assert [each.custom_id for each in found] == ["eins", "zwei ✓\t\\", "drei"]
    for each in found:
        raw = content[each.position : each.position + each.length]
        assert json.loads(raw)["custom_id"] == each.custom_id


def test_byte_order_mark_crlf_and_blank_last_lines_are_accepted(
    check: Any, session: Session, batch: Batch
) -> None:
    content = b"\xef\xbb\xbf" + jsonl(line("a"), line("b")).replace(b"\n", b"\r\n") + b"\r\n \n\n"
    findings = check(content)
    assert (findings.errors, findings.total) == ([], 2)
    for each in requests(session, batch):
        assert json.loads(content[each.position : each.position + each.length])


def test_a_last_line_without_line_end_counts(check: Any) -> None:
    assert check(jsonl(line("a"), line("b")).rstrip(b"\n")).total == 2


@pytest.mark.parametrize(
    ("content", "code", "param"),
    [
        (b"{not json}\n", "invalid_json_line", None),
        (b"\xff\xfe\n", "invalid_json_line", None),
        (b'{"custom_id": "\\ud800"}\n', "invalid_json_line", None),
        (b"[" * 5000 + b"\n", "invalid_json_line", None),
        (b'{"custom_id": NaN}\n', "invalid_json_line", None),
        (jsonl(line(body={"messages": nested(400)})), "invalid_request", None),
        (jsonl(line(body={"response_format": nested(260)})), "invalid_request", None),
        (b"[]\n", "invalid_request", None),
        (jsonl(line("absent")), "missing_required_parameter", "custom_id"),
        (jsonl(line(7)), "invalid_request", "custom_id"),
        (jsonl(line("")), "invalid_request", "custom_id"),
        (jsonl(line("x" * 513)), "invalid_request", "custom_id"),
        (jsonl(line("nul\0")), "invalid_request", "custom_id"),
        (jsonl(line(method="absent")), "missing_required_parameter", "method"),
        (jsonl(line(method="GET")), "invalid_request", "method"),
        (jsonl(line(url="absent")), "missing_required_parameter", "url"),
        (jsonl(line(url="/v1/moderations")), "invalid_url", "url"),
        (jsonl(line(url=["/v1/chat/completions"])), "invalid_url", "url"),
        (jsonl(line(url="/v1/completions")), "url_mismatch", "url"),
        (jsonl(line(body="absent")), "missing_required_parameter", "body"),
        (jsonl(line(body="words")), "invalid_request", "body"),
        (jsonl(line(body={"model": None})), "missing_required_parameter", "body.model"),
        (jsonl(line(body={"model": "large"})), "model_not_found", "body.model"),
        (jsonl(line(body={"model": {}})), "model_not_found", "body.model"),
        (jsonl(line(body={"stream": True})), "streaming_unsupported", "body.stream"),
        (jsonl(line(body={"user": "x" * 10_001})), "line_too_long", None),
    ],
)
def test_a_bad_line_fails_the_batch_and_is_named(
    check: Any, session: Session, batch: Batch, content: bytes, code: str, param: str | None
) -> None:
    check(jsonl(line("fine")) + content + jsonl(line("also fine")))
    session.refresh(batch)
    assert batch.status == "failed"
    assert batch.errors is not None
    error = batch.errors[0]
    assert (error["code"], error["line"], error["param"]) == (code, 2, param)
    assert requests(session, batch) == []


def test_a_blank_line_in_the_middle_is_named(check: Any) -> None:
    findings = check(jsonl(line("a")) + b"\n" + jsonl(line("b")))
    assert [(error.code, error.line) for error in findings.errors] == [("invalid_json_line", 2)]


def test_models_must_not_be_mixed(check: Any) -> None:
    other = line("b", body={"model": "vectors"})
    findings = check(jsonl(line("a"), other))
    assert [(error.code, error.line) for error in findings.errors] == [("model_mismatch", 2)]


def test_a_model_that_does_not_serve_the_endpoint_is_named(check: Any) -> None:
    findings = check(jsonl(line("a", body={"model": "vectors"})))
    assert [(error.code, error.param) for error in findings.errors] == [("invalid_url", "url")]


def test_every_second_use_of_a_custom_id_is_named_with_the_first(check: Any) -> None:
    findings = check(jsonl(line("a"), line("b"), line("a"), line("a"), line("b")))
    assert [(error.code, error.line) for error in findings.errors] == [
        ("duplicate_custom_id", 3),
        ("duplicate_custom_id", 4),
        ("duplicate_custom_id", 5),
    ]
    assert "line 1" in str(findings.errors[0])


def test_the_first_hundred_errors_are_kept_in_line_order(check: Any) -> None:
    lines = [line("same")] + [line("same") if n % 2 else line(method="GET") for n in range(300)]
    findings = check(jsonl(*lines))
    assert len(findings.errors) == 100
    assert findings.errors[0].line == 2
    numbers = [error.line for error in findings.errors]
    assert numbers == sorted(numbers, key=lambda number: number or 0)


def test_an_empty_file_fails_the_batch(check: Any) -> None:
    assert [error.code for error in check(b"\n\n").errors] == ["empty_file"]


def test_too_many_requests_fail_the_batch(check: Any, session: Session, batch: Batch) -> None:
    findings = check(jsonl(*(line(str(n)) for n in range(5))), Limits(4, 10**9, 10_000))
    assert [(error.code, error.line) for error in findings.errors] == [("too_many_tasks", None)]
    session.refresh(batch)
    assert batch.status == "failed"


def test_a_duplicate_before_a_hundred_other_errors_is_named(check: Any) -> None:
    lines = [line("same"), line("same")] + [line(str(n), method="GET") for n in range(150)]
    errors = check(jsonl(*lines)).errors
    assert len(errors) == 100
    assert (errors[0].code, errors[0].line) == ("duplicate_custom_id", 2)


def test_as_deep_as_it_can_be_is_accepted(check: Any) -> None:
    assert check(jsonl(line(body={"response_format": nested(240)}))).errors == []


def test_too_many_tokens_fail_the_batch(check: Any) -> None:
    findings = check(jsonl(line("a")), Limits(10, 10, 10_000))
    assert [error.code for error in findings.errors] == ["token_limit_exceeded"]


def test_an_attempt_that_lost_the_batch_writes_nothing(
    session: Session, batch: Batch, tmp_path: Path
) -> None:
    path = tmp_path / "input.jsonl"
    path.write_bytes(jsonl(line("a")))
    with pytest.raises(LeaseLost):
        validate(session, batch, uuid4(), path, MODELS, LIMITS)
    assert requests(session, batch) == []


def test_a_line_longer_than_the_limit_does_not_hide_the_next_ones(check: Any) -> None:
    long = line("long", body={"user": "x" * 2_500_000})
    findings = check(jsonl(line("a"), long, line("b"), line("b")))
    assert [(error.code, error.line) for error in findings.errors] == [
        ("line_too_long", 2),
        ("duplicate_custom_id", 4),
    ]


def test_prompts_that_share_a_prefix_stand_together(
    check: Any, session: Session, batch: Batch
) -> None:
    def chat(n: int) -> dict[str, Any]:
        shared = f"Document {n % 3}. " + f"{n % 3} fact. " * 200
        return line(str(n), body={"messages": [{"role": "user", "content": f"{shared} Q{n}"}]})

    check(jsonl(*(chat(n) for n in range(30))))
    asks = read_unanswered(session, batch.number)
    groups = [(asks.take().line - 1) % 3 for _ in range(30)]
    assert not asks.has_next
    changes = sum(a != b for a, b in pairwise(groups))
    assert changes == 2
