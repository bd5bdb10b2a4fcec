"""The official Python client against a real server, a real worker and a fake engine."""

from __future__ import annotations

import io
import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import openai
import pytest
from openai.types import Batch

from tests.conftest import LiveServer
from tests.worker.stack import Stack, chat, jsonl

FINAL = ("completed", "failed", "expired", "cancelled")


@pytest.fixture
def worker(stack: Stack) -> Stack:
    """A worker that answers batches."""
    stack.start()
    return stack


def submit(sdk: openai.OpenAI, lines: list[dict[str, Any]] | bytes, **options: Any) -> Batch:
    content = lines if isinstance(lines, bytes) else jsonl(lines)
    file = sdk.files.create(file=("requests.jsonl", content), purpose="batch")
    return sdk.batches.create(
        input_file_id=file.id,
        endpoint=options.pop("endpoint", "/v1/chat/completions"),
        completion_window="24h",
        **options,
    )


def follow(sdk: openai.OpenAI, batch: Batch, stack: Stack) -> Batch:
    deadline = time.monotonic() + 120
    while batch.status not in FINAL:
        assert time.monotonic() < deadline, f"{batch.status}\n{stack.logs()}"
        time.sleep(0.1)
        batch = sdk.batches.retrieve(batch.id)
    return batch


def test_a_batch_goes_the_whole_way(sdk: openai.OpenAI, stack: Stack) -> None:
    lines = [chat(f"r{number}", f"Question {number}") for number in range(20)]
    lines[7] = chat("r7", "STATUS 400")
    batch = submit(sdk, lines, metadata={"run": "1"})
    assert batch.status == "validating"
    stack.start()  # now: a quick worker would have validated it before the answer was made
    batch = follow(sdk, batch, stack)
    assert batch.status == "completed"
    assert batch.model == "fake"
    assert batch.metadata == {"run": "1"}
    assert batch.request_counts is not None
    assert batch.request_counts.model_dump() == {"total": 20, "completed": 19, "failed": 1}
    assert batch.usage is not None
    assert batch.usage.total_tokens == batch.usage.input_tokens + batch.usage.output_tokens > 0
    assert batch.in_progress_at is not None
    assert batch.finalizing_at is not None
    assert batch.completed_at is not None
    assert batch.created_at <= batch.in_progress_at <= batch.completed_at

    assert batch.output_file_id is not None
    output = [json.loads(line) for line in sdk.files.content(batch.output_file_id).iter_lines()]
    assert [line["custom_id"] for line in output] == [f"r{n}" for n in range(20) if n != 7]
    assert all(sorted(line) == ["custom_id", "error", "id", "response"] for line in output)
    assert all(line["response"]["status_code"] == 200 for line in output)
    assert batch.error_file_id is not None
    (failed,) = [json.loads(line) for line in sdk.files.content(batch.error_file_id).iter_lines()]
    assert failed["custom_id"] == "r7"
    assert failed["response"]["status_code"] == 400
    assert failed["error"] is None
    file = sdk.files.retrieve(batch.output_file_id)
    assert file.purpose == "batch_output"
    assert file.bytes == len(sdk.files.content(file.id).content)

    reached_by_path = {"cast_to": httpx.Response}
    results = sdk.get(f"/batches/{batch.id}/results", **reached_by_path)
    assert results.headers["X-Incomplete"] == "false"
    assert [json.loads(line)["custom_id"] for line in results.text.splitlines()] == [
        f"r{number}" for number in range(20)
    ]
    failures = sdk.get(f"/batches/{batch.id}/failed", **reached_by_path).json()
    assert list(failures) == ["batch_id", "failed_count", "failed_requests", "has_more"]
    assert failures["failed_count"] == 1
    (failure,) = failures["failed_requests"]
    assert list(failure) == [
        "id",
        "batch_id",
        "custom_id",
        "request_index",
        "error_message",
        "error_type",
        "retry_count",
        "last_retry_at",
        "created_at",
    ]
    assert (failure["custom_id"], failure["request_index"]) == ("r7", 7)
    assert "validated" in sdk.get(f"/batches/{batch.id}/logs", **reached_by_path).json()["logs"]

    again = sdk.post(f"/batches/{batch.id}/retry-failed", cast_to=Batch)
    assert again.metadata == {"run": "1", "retried_from": batch.id}
    again = follow(sdk, again, stack)
    assert again.request_counts is not None
    assert again.request_counts.total == 1

    found = sdk.get("/jobs/history", **reached_by_path).json()["jobs"]
    assert [job["batch_id"] for job in found] == [again.id, batch.id]
    assert found[1]["status"] == "completed"
    assert found[1]["total_tokens"] == batch.usage.total_tokens


def test_a_bad_file_fails_its_batch_with_lines_and_codes(sdk: openai.OpenAI, worker: Stack) -> None:
    content = jsonl([chat("a"), chat("a")]) + b"{nonsense\n"
    batch = follow(sdk, submit(sdk, content), worker)
    assert batch.status == "failed"
    assert batch.failed_at is not None
    assert batch.output_file_id is None
    assert batch.errors is not None
    assert batch.errors.data is not None
    found = {(error.code, error.line) for error in batch.errors.data}
    assert ("duplicate_custom_id", 2) in found
    assert ("invalid_json_line", 3) in found


def test_a_cancelled_batch_keeps_what_was_answered(sdk: openai.OpenAI, worker: Stack) -> None:
    worker.write_models(fake={"WINDOW": "16"})  # all at once, whatever their order
    lines = [chat(f"r{n}", "Hi" if n < 4 else "SLOW 110") for n in range(16)]
    batch = submit(sdk, lines)
    while not (counts := sdk.batches.retrieve(batch.id).request_counts) or counts.completed < 4:
        time.sleep(0.1)
    running = sdk.get(f"/batches/{batch.id}/results", cast_to=httpx.Response)
    assert running.headers["X-Incomplete"] == "true"
    assert len(running.text.splitlines()) >= 4
    assert sdk.batches.retrieve(batch.id).model_extra["queue_position"] == 0  # type: ignore[index]
    queue = sdk.get("/queue", cast_to=httpx.Response).json()
    assert queue["current_job"]["batch_id"] == batch.id
    assert list(queue["current_job"]) == [
        "batch_id",
        "model",
        "status",
        "progress",
        "throughput",
        "timing",
    ]
    assert sdk.batches.cancel(batch.id).status == "cancelling"
    batch = follow(sdk, batch, worker)
    assert batch.status == "cancelled"
    assert batch.output_file_id is not None
    assert len(sdk.files.content(batch.output_file_id).text.splitlines()) >= 4
    with pytest.raises(openai.ConflictError):
        sdk.batches.cancel(batch.id)


def test_lists_are_walked_page_by_page(sdk: openai.OpenAI) -> None:
    batches = [submit(sdk, [chat("a")]).id for _ in range(5)]
    assert [batch.id for batch in sdk.batches.list(limit=2)] == batches[::-1]
    files = [file.id for file in sdk.files.list(limit=2, order="asc", purpose="batch")]
    assert len(files) == len(set(files)) == 5
    assert [model.id for model in sdk.models.list()] == ["fake"]
    assert sdk.models.retrieve("fake").owned_by == "stoker"


def test_files_are_made_read_and_deleted(sdk: openai.OpenAI) -> None:
    content = '{"é": "\\u2028 \u2028"}\r\n\n'.encode()
    file = sdk.files.create(
        file=io.BytesIO(content),
        purpose="user_data",
        expires_after={"anchor": "created_at", "seconds": 3600},
    )
    assert file.expires_at is not None
    assert file.expires_at - file.created_at == 3600
    assert sdk.files.wait_for_processing(file.id).status == "processed"
    assert sdk.files.content(file.id).content == content
    with sdk.files.with_streaming_response.content(file.id) as streamed:
        assert b"".join(streamed.iter_bytes()) == content
    assert sdk.files.delete(file.id).deleted
    with pytest.raises(openai.NotFoundError) as refusal:
        sdk.files.retrieve(file.id)
    assert refusal.value.request_id is not None
    assert refusal.value.code == "file_not_found"


def test_refusals_are_the_sdks_errors(
    sdk: openai.OpenAI, live_server: LiveServer, other_key: str
) -> None:
    with pytest.raises(openai.AuthenticationError):
        sdk.with_options(api_key="sk-wrong").models.list()
    with pytest.raises(openai.NotFoundError):
        sdk.batches.retrieve("batch_none")
    with pytest.raises(openai.BadRequestError) as refusal:
        sdk.files.create(file=("a.txt", b"x"), purpose="batch")
    assert refusal.value.message.endswith("Must be .jsonl") or "Must be .jsonl" in str(
        refusal.value
    )
    batch = submit(sdk, [chat("a")])
    with pytest.raises(openai.NotFoundError):
        sdk.with_options(api_key=other_key).batches.retrieve(batch.id)


def test_a_conflict_is_not_asked_again(live_server: LiveServer, api_key: str) -> None:
    asked: list[str] = []
    with httpx.Client(event_hooks={"request": [lambda it: asked.append(it.url.path)]}) as http:
        sdk = openai.OpenAI(
            base_url=live_server.api_url, api_key=api_key, max_retries=3, http_client=http
        )
        batch = submit(sdk, [chat("a")])
        with pytest.raises(openai.ConflictError):
            sdk.files.delete(batch.input_file_id)
    assert asked.count(f"/v1/files/{batch.input_file_id}") == 1


class _AnswersGetLost(httpx.HTTPTransport):
    """Loses the answer to the first POST of a batch, after the server has acted on it."""

    lost = 0

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        answer = super().handle_request(request)
        if request.method == "POST" and request.url.path.endswith("/batches") and not self.lost:
            self.lost += 1
            answer.close()
            raise httpx.ReadTimeout("lost", request=request)
        return answer


def test_a_lost_answer_makes_one_batch(live_server: LiveServer, api_key: str) -> None:
    transport = _AnswersGetLost()
    with httpx.Client(transport=transport) as http:
        sdk = openai.OpenAI(
            base_url=live_server.api_url, api_key=api_key, max_retries=2, http_client=http
        )
        batch = submit(sdk, [chat("a")])
        assert transport.lost == 1
        assert [found.id for found in sdk.batches.list()] == [batch.id]


def test_the_same_post_many_times_at_once_makes_one_batch(
    live_server: LiveServer, sdk: openai.OpenAI, api_key: str
) -> None:
    file = sdk.files.create(file=("x.jsonl", jsonl([chat("a")])), purpose="batch")
    body = {
        "input_file_id": file.id,
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
    }
    headers = {"Authorization": f"Bearer {api_key}", "Idempotency-Key": "once"}

    def post(_: int) -> str:
        answer = httpx.post(
            live_server.api_url + "/batches", json=body, headers=headers, timeout=60
        )
        return str(answer.json()["id"])

    with ThreadPoolExecutor(20) as pool:
        assert len(set(pool.map(post, range(40)))) == 1
    assert len(list(sdk.batches.list())) == 1
