"""JSON of values that a quick writer refuses."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from app.core import json_text

LONG = 123456789012345678901234567890


def refuse(word: str) -> None:
    raise AssertionError(f"{word} is no JSON")


@pytest.mark.parametrize("also", [1, LONG], ids=["quick", "long"])
def test_a_number_that_json_has_no_word_for_is_null_beside_long_ones_too(also: int) -> None:
    value = {"n": also, "many": [float("inf"), {"none": float("nan")}, 0.5]}
    read = json.loads(json_text.write(value), parse_constant=refuse)
    assert read == {"n": also, "many": [None, {"none": None}, 0.5]}


@pytest.mark.parametrize(
    "text", [f'{{"n": {LONG}, "x": 0.5}}', f'{{"n": {LONG}, "x": 0.5}}'.encode()]
)
def test_whole_numbers_are_read_to_the_last_digit(text: str | bytes) -> None:
    assert json_text.read(text) == {"n": LONG, "x": 0.5}


@pytest.mark.parametrize(
    "text", ["", "{", "NaN", f"[{LONG}, NaN]", "1" * 5000, "[" * 1010 + str(LONG) + "]" * 1010]
)
def test_what_is_no_json_or_beyond_python_is_refused_as_such(text: str) -> None:
    with pytest.raises(json.JSONDecodeError):
        json_text.read(text)


@pytest.mark.parametrize("also", [1, LONG], ids=["quick", "long"])
def test_times_and_what_has_no_word_are_texts(also: int) -> None:
    value = {"n": also, "at": datetime(2026, 3, 4, 5, 6, tzinfo=UTC), "what": {"ü"}}
    read = json.loads(json_text.write(value))
    assert read == {"n": also, "at": "2026-03-04T05:06:00+00:00", "what": "{'ü'}"}
