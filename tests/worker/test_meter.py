"""The meter: what was counted in the last seconds, and nothing older."""

from __future__ import annotations

from worker.meter import Meter


def test_only_the_last_seconds_count() -> None:
    now = [0.0]
    meter = Meter(10, clock=lambda: now[0])
    meter.add(100)
    assert meter.rate() == 10
    now[0] = 6
    meter.add(50)
    assert meter.rate() == 15
    now[0] = 11
    assert meter.rate() == 5
    now[0] = 60
    assert meter.rate() == 0
