"""The timeline's axis has round times of the reader's clock, also where that is changed."""

from __future__ import annotations

from datetime import timedelta

from flask import Flask

from app.pages import timeline_axis
from tests.pages.test_typed_times import BERLIN, at, local


def test_the_axis_has_round_local_times_and_says_the_day_and_the_zone(app: Flask) -> None:
    with app.test_request_context("/", headers=local(app, "Asia/Kolkata")):
        since = at("2026-01-05T12:10")
        ticks = timeline_axis.ticks(since, since + timedelta(hours=24))
        assert [tick.word for tick in ticks] == [
            *("18:00", "21:00", "Tue 6 Jan", "03:00", "06:00", "09:00", "12:00", "15:00"),
        ]
        assert ticks[2].at == at("2026-01-05T18:30")
        assert timeline_axis.heading(since, since + timedelta(hours=24)) == "Mon 5 Jan, IST"


def test_the_axis_goes_through_a_change_of_the_clocks(app: Flask) -> None:
    with app.test_request_context("/", headers=local(app)):
        back = timeline_axis.ticks(at("2026-10-24T22:00"), at("2026-10-25T04:00"))
        assert [tick.word for tick in back] == [
            *("Sun 25 Oct", "01:00", "02:00", "02:00 CET", "03:00", "04:00", "05:00"),
        ]
        heading = timeline_axis.heading(at("2026-10-24T22:00"), at("2026-10-25T04:00"))
        assert heading == "Sun 25 Oct, CEST, CET"
        forward = timeline_axis.ticks(at("2026-03-28T23:00"), at("2026-03-29T04:00"))
        words = [tick.word for tick in forward]
        assert words[0] == "Sun 29 Mar"
        assert "03:00 CEST" in words
        assert "02:00" not in words
        days = timeline_axis.ticks(at("2026-10-23T12:00"), at("2026-10-28T12:00"))
        assert [tick.at.hour for tick in days if tick.word.startswith("Mon")] == [23]


def test_every_step_of_the_axis_has_as_many_ticks_as_fit(app: Flask) -> None:
    for zone in (BERLIN, "Asia/Kathmandu", "Africa/Cairo", "America/St_Johns"):
        with app.test_request_context("/", headers=local(app, zone)):
            for seconds in (
                10,
                60,
                600,
                3600,
                6 * 3600,
                86_400,
                7 * 86_400,
                30 * 86_400,
                366 * 86_400,
            ):
                since = at("2026-04-20T08:07:03")
                ticks = timeline_axis.ticks(since, since + timedelta(seconds=seconds))
                assert 2 <= len(ticks) <= 11, (zone, seconds)
                assert len({tick.at for tick in ticks}) == len(ticks)
