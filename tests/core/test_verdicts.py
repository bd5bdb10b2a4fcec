"""Verdicts: whatever a model says about an incident, something usable is read from it."""

from __future__ import annotations

import orjson
import pytest

from app.core import verdicts
from app.core.answers import text_of
from app.core.errors import Invalid
from app.core.verdicts import Verdict


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        ('{"verdict": "retry", "summary": "The disk was full."}', "retry"),
        ('```json\n{"verdict": "FIX", "summary": "The disk was full."}\n```', "fix"),
        ('Sure! {"verdict":"harmless","summary":"The disk\nwas full."} Ask me more.', "harmless"),
        ('{"a": 1} {"verdict": "retry", "summary": "The disk was full."}', "retry"),
        ('{"verdict": "explode", "summary": "The disk was full."}', "unclear"),
    ],
)
def test_a_verdict_is_found_however_it_is_wrapped(answer: str, verdict: str) -> None:
    assert verdicts.read(answer) == Verdict(verdict, "The disk was full.")


@pytest.mark.parametrize("answer", ["It broke.", "{verdict: retry}", '{"verdict": ', "", None])
def test_an_answer_without_a_verdict_is_unclear_and_kept(answer: str | None) -> None:
    found = verdicts.read(answer)
    assert found.verdict == "unclear"
    assert found.summary == (answer or "The model gave no answer.").strip()


def test_a_report_of_any_length_fits_and_asks_at_an_endpoint_that_writes_text() -> None:
    line = orjson.loads(
        verdicts.request("incident-1", "x" * 100_000, model="m", endpoint="/v1/chat/completions")
    )
    assert (line["custom_id"], line["body"]["model"]) == ("incident-1", "m")
    assert len(line["body"]["messages"][1]["content"]) < 2_100
    assert verdicts.endpoint_for(("/v1/completions",), "m") == "/v1/completions"
    with pytest.raises(Invalid):
        verdicts.endpoint_for(("/v1/embeddings",), "m")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"choices": [{"message": {"content": "a"}}]}, "a"),
        ({"choices": [{"text": "b"}]}, "b"),
        ({"output": [{"content": [{"text": "c"}, {"text": "d"}]}]}, "cd"),
        ({"choices": [{"message": {"content": None}}]}, None),
        ({"data": [{"embedding": [1]}]}, None),
        ({"choices": "x", "output": 1}, None),
    ],
)
def test_the_text_of_an_answer_is_read_from_any_endpoint(
    body: dict[str, object], words: str | None
) -> None:
    assert text_of(orjson.dumps(body)) == words
