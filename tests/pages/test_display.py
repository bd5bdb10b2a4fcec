"""How values read: with their units, never rounder than the truth, and safe to see."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from app.pages import display
from app.pages.display import type_name
from app.pages.timeline_words import typed

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("share", "words"),
    [(0.0, "0.0 %"), (0.9808, "98.1 %"), (0.99999, "99.9 %"), (0.00001, "0.1 %"), (1.0, "100 %")],
)
def test_a_share_is_whole_only_when_it_is(share: float, words: str) -> None:
    assert display.percent(share) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.04, "0.0 s"), (13.61, "13.6 s"), (59.97, "1 min 00 s"), (260, "4 min 20 s"),
        (7500, "2 h 05 min"), (273_600, "3 d 4 h"),
    ],
)  # fmt: skip
def test_durations_have_two_units_at_most(seconds: float, words: str) -> None:
    assert display.duration(seconds) == words


@pytest.mark.parametrize(
    ("per_second", "words"),
    [(1234.5, "1,234 req/s"), (33.62, "33.6 req/s"), (0.05, "3.0 req/min"), (0.0005, "1.8 req/h")],
)
def test_slow_rates_are_told_per_minute_or_hour(per_second: float, words: str) -> None:
    assert display.rate(per_second) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(2, "just now"), (21, "21 s ago"), (270, "4 min ago"), (7300, "2 h ago"), (200_000, "2 d ago"),
     (-300, "in 5 min")],
)  # fmt: skip
def test_times_are_told_from_now(seconds: float, words: str) -> None:
    assert display.ago(NOW - timedelta(seconds=seconds), NOW) == words


@pytest.mark.parametrize(
    ("position", "words"), [(1, "1st"), (2, "2nd"), (3, "3rd"), (11, "11th"), (1002, "1,002nd")]
)
def test_places_are_ordinals(position: int, words: str) -> None:
    assert display.ordinal(position) == words


@pytest.mark.parametrize(
    ("count", "words"), [(999, "999"), (18_420, "18,420"), (1_840_000, "1.84 M"), (272e6, "272 M")]
)
def test_large_numbers_keep_three_figures(count: float, words: str) -> None:
    assert display.short_number(count) == words


@pytest.mark.parametrize(
    ("count", "words"), [(0, "0 B"), (1_400, "1.4 kB"), (200_000_000, "200 MB")]
)
def test_sizes_have_their_unit(count: int, words: str) -> None:
    assert display.size(count) == words


def test_marks_that_turn_or_hide_text_are_written_out() -> None:
    assert display.visible("a\u202eb\x1b[31m\x00") == "a⟨202E⟩b⟨001B⟩[31m⟨0000⟩"
    assert display.visible("ünïcode 漢字\n") == "ünïcode 漢字\n"


def test_code_in_a_sentence_is_set_as_code_and_everything_else_stays_text() -> None:
    assert display.prose("Run `flask users link`.") == "Run <code>flask users link</code>."
    assert display.prose("`<b>` & `") == "<code>&lt;b&gt;</code> &amp; `"


def test_a_type_is_called_by_its_label_and_keeps_its_name_in_the_title() -> None:
    assert type_name("batch_audit") == '<span title="batch_audit">Batch Audit</span>'
    assert type_name("mail.send") == "mail.send"
    assert type_name("<b>\u202e") == "&lt;b&gt;⟨202E⟩"
    assert [typed(name) for name in ("batch_audit", "export", "Mail")] == [
        "Batch Audit (batch_audit)",
        "Export",
        "Mail",
    ]
