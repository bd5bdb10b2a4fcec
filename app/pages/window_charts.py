"""The first page's charts: how many jobs ended in each step of a window, how long they waited and ran."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from app.core.overview import Series
from app.core.window_counts import Step
from app.pages import charts
from app.pages.display import duration, number, there, zone_word

STEP_WORDS = {
    60: "minute",
    300: "5 minutes",
    900: "15 minutes",
    3600: "hour",
    3 * 3600: "3 hours",
    6 * 3600: "6 hours",
    86_400: "day",
    7 * 86_400: "week",
    28 * 86_400: "4 weeks",
}
_DAY = 86_400
_SHARES = (0.5, 0.95, 0.99)


@dataclass(frozen=True)
class Tip:
    """What a step of the chart says when it is pointed at."""

    x: float
    width: float
    text: str


@dataclass(frozen=True)
class Table:
    """The same as a picture, a row for each step of which there is something to say, the latest first."""

    headings: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


@dataclass(frozen=True)
class Chart:
    """One picture: bars or lines, the height of its box in words, and all of it in a sentence."""

    top: str
    sentence: str
    tips: list[Tip]
    table: Table
    bars: Sequence[charts.Piece] = ()
    lines: Sequence[charts.Line] = ()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to draw."""
        return not (self.bars or any(each.paths or each.dots for each in self.lines))


@dataclass(frozen=True)
class Charts:
    """All of a window, with the words under their axes."""

    step: str
    ticks: tuple[str, ...]
    ended: Chart
    waits: Chart
    runs: Chart


def draw(series: Series) -> Charts:
    """The charts of a window."""
    word = STEP_WORDS[series.step_seconds]
    return Charts(
        step=word,
        ticks=ticks(_begins(series), series.until, series.step_seconds),
        ended=_ended(series, word),
        waits=_percentiles(series, "wait_seconds"),
        runs=_percentiles(series, "run_seconds"),
    )


def at(moment: datetime, step_seconds: int) -> str:
    """When a step begins, as fine as its length asks for: days are UTC's, hours the reader's."""
    return f"{moment:%d %b}" if step_seconds >= _DAY else f"{there(moment):%d %b %H:%M}"


def zone_of(moment: datetime, step_seconds: int) -> str:
    """What stands behind such a time."""
    return "UTC" if step_seconds >= _DAY else zone_word(moment)


def heading_of(moments: Sequence[datetime], step_seconds: int) -> str:
    """What stands over a column of such times."""
    return f"From ({zone_of(moments[-1], step_seconds)})" if moments else "From"


def ticks(moments: Sequence[datetime], until: datetime, step_seconds: int) -> tuple[str, ...]:
    """The words under an axis: of its first step, the middle one, and its end."""
    seconds = (until - moments[0]).total_seconds()
    if seconds <= _DAY:
        form = "%H:%M"
    else:  # of few days, a day alone would stand there twice
        form = "%d %b" if step_seconds >= _DAY or seconds > 3 * _DAY else "%d %b %H:%M"
    shown = (moments[0], moments[len(moments) // 2], until)
    return tuple(f"{each if step_seconds >= _DAY else there(each):{form}}" for each in shown)


def _begins(series: Series) -> list[datetime]:
    return [step.begins_at for step in series.steps]


def _tips(series: Series, words: Sequence[str]) -> list[Tip]:
    width = charts.WIDTH / len(series.steps)
    return [
        Tip(
            round(place * width, 2),
            round(width, 2),
            f"{at(step.begins_at, series.step_seconds)}: {text}",
        )
        for place, (step, text) in enumerate(zip(series.steps, words, strict=True))
        if text
    ]


def _ended(series: Series, word: str) -> Chart:
    steps = series.steps
    most = max(steps, key=lambda step: step.ended)
    kinds = ("completed", "cancelled", "failed")
    sentence = "Nothing ended."
    if most.ended:
        when = at(most.begins_at, series.step_seconds)
        each = f"one {word}" if word[0].isalpha() else word
        sentence = f"At most {number(most.ended)} in {each}, from {when} {zone_of(most.begins_at, series.step_seconds)}."
    return Chart(
        top=number(most.ended),
        sentence=sentence,
        tips=_tips(series, [_counts(step) for step in steps]),
        table=Table(
            (heading_of(_begins(series), series.step_seconds), "Completed", "Failed", "Cancelled"),
            [
                (
                    at(step.begins_at, series.step_seconds),
                    *(number(each) for each in (step.completed, step.failed, step.cancelled)),
                )
                for step in reversed(steps)
                if step.ended
            ],
        ),
        bars=charts.bars([[(kind, getattr(step, kind)) for kind in kinds] for step in steps]),
    )


def _counts(step: Step) -> str:
    if not step.ended:
        return ""
    counts = (("completed", step.completed), ("failed", step.failed), ("cancelled", step.cancelled))
    return ", ".join(f"{number(count)} {kind}" for kind, count in counts if count)


def _percentiles(series: Series, measure: str) -> Chart:
    shares = [tuple(getattr(step, measure)(share) for share in _SHARES) for step in series.steps]
    halves, highs = ([each[place] for each in shares] for place in (0, 1))
    most = max((each for each in highs if each is not None), default=0.0)
    whole = [getattr(series.whole, measure)(share) for share in _SHARES]
    sentence = "Nothing to measure."
    if whole[0] is not None:
        half, high, highest = (duration(each) for each in whole)
        sentence = f"Half within {half}, 95 % within {high}, 99 % within {highest}."
    return Chart(
        top=duration(most) if most else "",
        sentence=sentence,
        tips=_tips(
            series,
            [
                ""
                if half is None
                else f"half within {duration(half)}, 95 % within {duration(high)}"
                for half, high in zip(halves, highs, strict=True)
            ],
        ),
        table=Table(
            (
                heading_of(_begins(series), series.step_seconds),
                "Half within",
                "95 % within",
                "99 % within",
            ),
            [
                (
                    at(step.begins_at, series.step_seconds),
                    *(duration(each) for each in told if each is not None),
                )
                for step, told in reversed([*zip(series.steps, shares, strict=True)])
                if told[0] is not None
            ],
        ),
        lines=(charts.line("high", highs, most), charts.line("half", halves, most)),
    )
