"""Reasons: one rule for pages, the API and commands."""

from __future__ import annotations

import pytest

from app.core import reasons
from app.core.errors import Invalid


def test_a_reason_stands_without_the_blanks_around_it() -> None:
    assert reasons.read("  the disk\nis full ") == "the disk\nis full"
    assert reasons.read("r" * reasons.LONGEST, is_line=True) == "r" * reasons.LONGEST


@pytest.mark.parametrize("words", ["", " \n", "r" * (reasons.LONGEST + 1), "a\0b"])
def test_no_reason_and_too_long_a_one_are_refused(words: str) -> None:
    with pytest.raises(Invalid) as refusal:
        reasons.read(words)
    assert refusal.value.param == "reason"


def test_one_line_is_no_two() -> None:
    with pytest.raises(Invalid):
        reasons.read("a\nb", is_line=True)
