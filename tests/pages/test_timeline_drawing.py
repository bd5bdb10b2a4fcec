"""What the timeline's picture draws of how many ran at once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from app.core.overlaps import Point
from app.pages.timeline_drawing import Drawing

BEGIN = datetime(2026, 3, 4, 5, 0, tzinfo=UTC)
END = BEGIN + timedelta(minutes=100)


def drawn(*running: tuple[int, int]) -> Drawing:
    """Of (minute, how many ran from then on); a minute is ten units wide."""
    points = [Point(BEGIN + timedelta(minutes=minute), count) for minute, count in running]
    return Drawing([], points, [], BEGIN, END, END)


def test_where_less_than_two_ran_nothing_is_drawn_of_an_overlap() -> None:
    drawing = drawn((10, 1), (20, 2), (30, 1), (50, 3), (60, 2), (70, 0))

    assert drawing.crowded.count("M") == drawing.crowded.count("Z") == 2
    assert drawing.crowded.startswith("M200.0 ")
    assert "ZM500.0 " in drawing.crowded
    assert drawing.curve.count("M") == 1


def test_what_still_runs_is_drawn_up_to_the_end() -> None:
    drawing = drawn((10, 1), (20, 2))

    assert "H1000.0" in drawing.crowded
    assert drawing.crowded.endswith("Z")
    assert not drawn((10, 1)).crowded
    assert not drawn().curve
