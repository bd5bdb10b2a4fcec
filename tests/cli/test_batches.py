"""`flask batches`, as an engineer types it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from click.testing import Result
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from app.core import batches, outputs, storage
from app.core.models import AuditEntry, Batch
from app.core.results import NewResult, Usage, write
from app.core.settings import Settings
from tests.conftest import ROOT, process_environment, wait_until
from tests.worker.stack import Stack, chat, ids, jsonl

Run = Callable[..., Result]


@pytest.fixture(autouse=True)
def stack(settings: Settings, session: Session, tmp_path: Path) -> Iterator[Stack]:
    stack = Stack(settings, session, tmp_path)
    stack.write_models(fake={})
    yield stack
    stack.stop()


def nameless(*custom_ids: str) -> list[dict[str, Any]]:
    """Lines that leave the model to the command."""
    lines = [chat(custom_id) for custom_id in custom_ids]
    for line in lines:
        del line["body"]["model"]
    return lines


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "requests.jsonl"
    path.write_bytes(jsonl([chat("a"), chat("b")]))
    return path


def answered(stack: Stack, *, finish: bool) -> Batch:
    """A batch of two, of which the first is answered and the second has failed."""
    batch = stack.submit([chat("a"), chat("b")])
    session, token = stack.session, uuid4()
    session.execute(
        text(
            "INSERT INTO request (batch_number, line, custom_id, position, length, max_tokens,"
            " prefix_key) SELECT :number, line, chr(96 + line), (line - 1) * :length, :length - 1,"
            " 9, gen_random_uuid() FROM generate_series(1, 2) AS line"
        ),
        {"number": batch.number, "length": len(jsonl([chat("a")]))},
    )
    batch.status, batch.total, batch.attempt_token, batch.model = "in_progress", 2, token, "fake"
    batch.in_progress_at = batch.created_at
    session.commit()
    at = batch.created_at
    good = NewResult(1, "r1", at, 200, '{"n":1}', usage=Usage(input_tokens=3, output_tokens=4))
    write(session, batch, token, [good, NewResult(2, "r2", at, 400, '{"error":{}}')])
    if finish:
        outputs.finalize(session, stack.settings, batch, token, "completed")
    return stack.refresh(batch)


def test_a_file_becomes_a_batch_as_the_api_would_have_made_it(
    run: Run, stack: Stack, file: Path
) -> None:
    made = run(
        *("batches", "submit", str(file), "--model", "fake", "--window", "2h", "--priority", "1"),
        *("--metadata", "team=blue", "--metadata", "run=7=b", "--json"),
    )
    assert made.exit_code == 0, made.stderr
    batch = json.loads(made.stdout)
    assert (batch["status"], batch["endpoint"]) == ("validating", "/v1/chat/completions")
    assert (batch["completion_window"], batch["priority"]) == ("2h", 1)
    assert batch["metadata"] == {"team": "blue", "run": "7=b"}
    content = storage.path(stack.settings, batch["input_file_id"]).read_bytes()
    assert content == file.read_bytes()
    (entry,) = stack.session.scalars(select(AuditEntry))
    assert (entry.actor, entry.action) == ("command line", "batch.create")


def test_lines_without_a_model_get_the_one_that_is_said(run: Run, stack: Stack) -> None:
    content = jsonl(nameless("a")) + jsonl([chat("b")]).rstrip() + b"\nno json\n"
    made = run("batches", "submit", "-", "--model", "fake", "--json", input=content)
    assert made.exit_code == 0, made.stderr
    file_id = json.loads(made.stdout)["input_file_id"]
    lines = storage.path(stack.settings, file_id).read_bytes().split(b"\n")
    assert json.loads(lines[0])["body"]["model"] == "fake"
    assert lines[1:] == [jsonl([chat("b")]).rstrip(), b"no json", b""]


@pytest.mark.parametrize(
    ("lines", "words", "sentence"),
    [
        (
            [chat("a"), chat("b", model="gpt")],
            ("--model", "fake"),
            "Line 2 names the model 'gpt', not 'fake': leave --model out, or take the lines' own "
            "models out.",
        ),
        ([chat("a")], ("--model", "gpt"), "The model `gpt` does not exist."),
        (
            [chat("a")],
            ("--window", "9d"),
            "completion_window must be a number of hours from 1h to 168h, like 24h.",
        ),
        (
            [chat("a")],
            ("--endpoint", "/v1/magic"),
            "endpoint must be one of /v1/chat/completions, /v1/completions, /v1/embeddings, "
            "/v1/responses; got '/v1/magic'.",
        ),
        ([], (), "There are no lines to make a batch of."),
        ([{"custom_id": "a"}], (), "No line names its url: say the endpoint by --endpoint."),
        ([chat("a")], ("--user", "nobody"), "There is no user 'nobody'."),
        (
            [chat("a")],
            ("--metadata", f"{'k' * 65}=v"),
            "Invalid value for 'metadata': may have keys of 64 characters at most.",
        ),
    ],
)
def test_a_refused_file_is_one_sentence_and_leaves_nothing(
    run: Run,
    stack: Stack,
    tmp_path: Path,
    lines: list[dict[str, Any]],
    words: tuple[str, ...],
    sentence: str,
) -> None:
    path = tmp_path / "refused.jsonl"
    path.write_bytes(jsonl(lines))
    refused = run("batches", "submit", str(path), *words)
    assert refused.exit_code == 1
    assert (refused.stdout, refused.stderr) == ("", f"Error: {sentence}\n")
    folder = stack.settings.files_path
    assert not folder.exists() or not list(folder.iterdir())


def test_what_can_not_be_read_as_a_command_ends_with_2(run: Run, file: Path) -> None:
    for words in (
        ("submit", "absent.jsonl"),
        ("submit", str(file), "--metadata", "blue"),
        ("submit", str(file), "--priority", "5"),
        ("download", "batch_1", "--json"),
    ):
        assert run("batches", *words).exit_code == 2


def test_batches_are_listed_and_shown(run: Run, stack: Stack) -> None:
    batch = answered(stack, finish=True)
    (listed,) = json.loads(run("batches", "list", "--json").stdout)
    assert listed == json.loads(run("batches", "show", batch.id, "--json").stdout)
    assert listed["request_counts"] == {"total": 2, "completed": 1, "failed": 1}
    assert batch.id in run("batches", "list").stdout
    shown = run("batches", "show", batch.id).stdout
    assert "1 completed, 1 failed" in shown
    assert "3 in, 4 out" in shown
    absent = run("batches", "show", "batch_1")
    assert (absent.exit_code, absent.stderr) == (1, "Error: There is no batch 'batch_1'.\n")


def test_answers_and_errors_are_downloaded(run: Run, stack: Stack, tmp_path: Path) -> None:
    batch = answered(stack, finish=True)
    path = tmp_path / "answers.jsonl"
    path.write_text("what was there before")
    done = run("batches", "download", batch.id, "--output", str(path), "--json")
    assert done.exit_code == 0, done.stderr
    content = storage.path(stack.settings, batch.output_file_id or "").read_bytes()
    assert path.read_bytes() == content
    assert json.loads(done.stdout) == {
        "batch_id": batch.id,
        "path": str(path),
        "bytes": len(content),
        "lines": 1,
        "is_partial": False,
    }
    printed = run("batches", "download", batch.id, "--errors")
    assert [line["custom_id"] for line in map(json.loads, printed.stdout.splitlines())] == ["b"]
    assert [entry.name for entry in tmp_path.glob(".*")] == []


def test_of_a_batch_that_runs_only_a_part_is_downloaded(run: Run, stack: Stack) -> None:
    batch = answered(stack, finish=False)
    refused = run("batches", "download", batch.id)
    assert refused.exit_code == 1
    assert "--partial" in refused.stderr
    for words, found in (((), "a"), (("--errors",), "b")):
        printed = run("batches", "download", batch.id, "--partial", *words)
        assert printed.exit_code == 0
        assert ids([json.loads(line) for line in printed.stdout.splitlines()]) == [found]


def test_a_download_that_can_not_be_written_is_one_sentence(
    run: Run, stack: Stack, tmp_path: Path
) -> None:
    batch = answered(stack, finish=True)
    refused = run("batches", "download", batch.id, "-o", str(tmp_path / "no" / "file"))
    assert refused.exit_code == 1
    assert refused.stderr.startswith("Error: ")
    assert refused.stderr.count("\n") == 1
    storage.path(stack.settings, batch.output_file_id or "").unlink()
    gone = run("batches", "download", batch.id)
    assert (gone.exit_code, gone.stdout) == (1, "")
    assert "is not in the data folder" in gone.stderr


def test_a_batch_is_cancelled_and_what_failed_is_asked_again(run: Run, stack: Stack) -> None:
    batch = answered(stack, finish=True)
    again = json.loads(run("batches", "retry-failed", batch.id, "--json").stdout)
    assert again["metadata"]["retried_from"] == batch.id
    lines = storage.path(stack.settings, again["input_file_id"]).read_bytes()
    assert lines == jsonl([chat("b")])
    cancelled = run("batches", "cancel", again["id"])
    assert cancelled.exit_code == 0
    assert batches.get(stack.session, again["id"], None).status == "cancelling"
    late = run("batches", "cancel", batch.id)
    assert (late.exit_code, late.stderr) == (
        1,
        "Error: A batch that is completed can't be cancelled.\n",
    )


def test_a_watched_batch_is_seen_through_to_its_end(run: Run, stack: Stack, file: Path) -> None:
    stack.start()
    done = run("batches", "submit", str(file), "--watch")
    assert done.exit_code == 0, done.stderr + stack.logs()
    assert "2 of 2 requests answered" in done.stdout

    failed = run("batches", "submit", "-", "--watch", "--json", input=jsonl([chat("a", model="x")]))
    assert failed.exit_code == 1
    assert json.loads(failed.stdout)["status"] == "failed"
    assert failed.stderr.startswith("Error: The batch ")
    assert failed.stderr.count("\n") == 1


def test_ctrl_c_ends_the_watching_and_not_the_batch(stack: Stack, tmp_path: Path) -> None:
    batch = stack.submit([chat("a")])
    log = tmp_path / "watching.log"
    with log.open("wb") as said:
        watching = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "flask",
                "--app",
                "wsgi",
                "batches",
                "show",
                batch.id,
                "--watch",
            ],
            cwd=ROOT,
            env={**process_environment(stack.settings), "PYTHONUNBUFFERED": "1"},
            stderr=said,
            # What a shell starts in its background ignores Ctrl-C, and the tests may be that.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
    try:
        wait_until(lambda: batch.id in log.read_text(), "it says what it watches")
        watching.send_signal(signal.SIGINT)
        assert watching.wait(60) == 130
    finally:
        watching.kill()
        watching.wait()
    text = log.read_text()
    assert f"The batch goes on: `flask batches show {batch.id} --watch` follows it again" in text
    assert "Traceback" not in text
    assert stack.refresh(batch).status == "validating"
