"""The programs that README and tutorials show do what they say."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy.orm import Session

from app.core.settings import Settings
from tests.conftest import ROOT, LiveServer
from tests.docs.pages import code
from tests.node import conftest as node_tests
from tests.worker.stack import Stack

MODEL = "smollm2-135m-instruct"

node = node_tests.node


@pytest.fixture(autouse=True)
def stack(settings: Settings, session: Session, tmp_path: Path) -> Iterator[Stack]:
    """A worker that serves what `make up` serves, with a fake engine."""
    stack = Stack(settings, session, tmp_path)
    stack.write_models(**{MODEL: {}})
    stack.start()
    yield stack
    stack.stop()
    print(stack.logs())  # shown when the test failed


def run(command: list[str], program: str, server: LiveServer, key: str, folder: Path) -> str:
    """What the program prints, given what `make up` tells to export."""
    assert program, "the page has no such program"
    done = subprocess.run(
        command,
        input=program,
        env={**os.environ, "OPENAI_BASE_URL": server.api_url, "OPENAI_API_KEY": key},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_readmes_program_prints_an_answer_for_each_prompt(
    live_server: LiveServer, api_key: str, tmp_path: Path
) -> None:
    program = code(ROOT / "README.md", "python")
    printed = run([sys.executable, "-"], program, live_server, api_key, tmp_path)
    lines = printed.splitlines()
    assert len(lines) == 2
    assert all(line.startswith("answer ") for line in lines)


def test_the_python_tutorials_program_answers_its_three_questions(
    live_server: LiveServer, api_key: str, tmp_path: Path
) -> None:
    program = code(ROOT / "docs" / "tutorial" / "first-batch-python.md", "python")
    printed = run([sys.executable, "-"], program, live_server, api_key, tmp_path)
    assert re.match(r"batch_\w+ (validating|in_progress)", printed)
    assert "completed 3 of 3" in printed
    assert printed.count("    answer ") == 3
    assert "Why is the sky blue?" in printed


@pytest.mark.node
def test_the_node_tutorials_program_answers_its_three_questions(
    live_server: LiveServer, api_key: str, node: list[str]
) -> None:
    program = code(ROOT / "docs" / "tutorial" / "first-batch-node.md", "js")
    # Beside the packages that the tests install.
    command = [*node, "--input-type=module", "-"]
    printed = run(command, program, live_server, api_key, node_tests.FOLDER)
    assert "completed 3 of 3" in printed
    assert printed.count("    answer ") == 3


def test_the_prompts_of_the_first_batch_are_for_the_model_that_the_pages_name() -> None:
    prompts = (ROOT / "examples" / "first_batch.jsonl").read_text()
    assert f'"model": "{MODEL}"' in prompts
