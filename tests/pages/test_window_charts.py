"""The words under the axes of the Overview's charts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from flask import Flask

from app.pages.window_charts import ticks

BEGIN = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("hours", "step_hours", "words"),
    [
        (6, 1, ("12:00", "15:00", "18:06")),
        (24, 1, ("12:00", "00:00", "12:06")),  # as the first step is whole, a bit over a day
        (30, 1, ("04 Mar 12:00", "05 Mar 03:00", "05 Mar 18:06")),
        (7 * 24, 3, ("04 Mar", "08 Mar", "11 Mar")),
        (30 * 24, 24, ("04 Mar", "19 Mar", "03 Apr")),
    ],
)
def test_no_two_words_under_an_axis_are_alike(
    app: Flask, hours: int, step_hours: int, words: tuple[str, ...]
) -> None:
    until = BEGIN + timedelta(hours=hours, minutes=6)
    step = timedelta(hours=step_hours)
    begins = [BEGIN + step * number for number in range(hours // step_hours + 1)]
    with app.test_request_context("/"):
        assert ticks(begins, until, round(step.total_seconds())) == words
