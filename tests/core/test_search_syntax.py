"""What a search's text means, and where it says that it is wrong."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from app.core.errors import Invalid
from app.core.search_syntax import parse

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


def terms(text: str) -> list[tuple[str | None, str, str]]:
    return [(term.field, term.operator, term.value) for term in parse(text)]


def test_words_and_fields_stand_side_by_side() -> None:
    assert terms('nightly type:export error:"out of memory" duration:>60 "two words"') == [
        (None, "", "nightly"),
        ("type", "", "export"),
        ("error", "", "out of memory"),
        ("duration", ">", "60"),
        (None, "", "two words"),
    ]


def test_nothing_is_no_condition() -> None:
    assert terms("") == terms("  \t\n ") == []


def test_a_minus_negates() -> None:
    assert [(term.is_negated, term.value) for term in parse('-status:failed -"a b" - a-b')] == [
        (True, "failed"),
        (True, "a b"),
        (False, "-"),
        (False, "a-b"),
    ]


def test_quotes_hold_spaces_colons_and_escaped_quotes() -> None:
    assert terms(r'"http://x y" "say \"hi\"" user:"kim: the first"') == [
        (None, "", "http://x y"),
        (None, "", 'say "hi"'),
        ("user", "", "kim: the first"),
    ]


def test_arguments_are_named_by_their_path() -> None:
    assert terms("args.customer:42 args.to.name:Kim") == [
        ("args.customer", "", "42"),
        ("args.to.name", "", "Kim"),
    ]


def test_fields_may_be_written_large() -> None:
    assert terms("Type:Export") == [("type", "", "Export")]


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("60", 60),
        ("1.5", 1.5),
        ("90s", 90),
        ("5m", 300),
        ("2h", 7200),
        ("1d", 86400),
        ("5ms", 0.005),
    ],
)
def test_durations_are_seconds_or_have_a_unit(value: str, seconds: float) -> None:
    assert parse(f"duration:>{value}")[0].seconds() == seconds


@pytest.mark.parametrize(
    ("value", "begin", "end"),
    [
        ("2026-11-01", datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 11, 2, tzinfo=UTC)),
        ("2026-11-01T09:30Z", *[datetime(2026, 11, 1, 9, 30, tzinfo=UTC)] * 2),
        ("2026-11-01T09:30+02:00", *[datetime(2026, 11, 1, 7, 30, tzinfo=UTC)] * 2),
        ("24h", *[NOW - timedelta(hours=24)] * 2),
        ("7d", *[NOW - timedelta(days=7)] * 2),
    ],
)
def test_times_are_days_moments_or_ages(value: str, begin: datetime, end: datetime) -> None:
    assert parse(f"created:{value}")[0].times(NOW) == (begin, end)


@pytest.mark.parametrize(
    ("text", "column", "words"),
    [
        ("colour:red", 1, "no field 'colour'"),
        ("a b colour:red", 5, "no field 'colour'"),
        ("-colour:red", 2, "no field 'colour'"),
        ("type:", 6, "value of type is missing"),
        ("type: export", 6, "value of type is missing"),
        ('type:""', 6, "value of type is empty"),
        ('error:"out of', 7, "not closed"),
        ('say "hi', 5, "not closed"),
        ('"a"b', 4, "a space is missing"),
        ('ab"c"', 3, "in the middle of a word"),
        ("type:>export", 6, "has no order"),
        ("args.n:>5", 8, "has no order"),
        ("x" * 2001, 2001, "2,000 characters at most"),
        ("a " * 33, 65, "32 parts at most"),
    ],
)
def test_a_mistake_is_told_by_its_column(text: str, column: int, words: str) -> None:
    with pytest.raises(Invalid) as refusal:
        parse(text)
    assert refusal.value.param == "q"
    assert refusal.value.message.startswith(f"column {column}: ")
    assert words in refusal.value.message


def test_a_value_that_its_field_cannot_have_is_told_by_its_column() -> None:
    for text, read in (
        ("a duration:>soon", lambda term: term.seconds()),
        ("a created:>=soon", lambda term: term.times(NOW)),
        ("a created:>99999999w", lambda term: term.times(NOW)),
        ("a created:9999-12-31", lambda term: term.times(NOW)),
        ("ab         id:x1", lambda term: term.whole_numbers()),
    ):
        term = parse(text)[1]
        with pytest.raises(Invalid) as refusal:
            read(term)
        assert refusal.value.message.startswith(f"column {term.column}: ")
        assert text[term.column - 1 :].lstrip(">=") == term.value
