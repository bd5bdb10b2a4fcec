"""The history's charts: batches by status, requests and tokens, by the time the batches were made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from app.core.batch_figures import Figures, Sums
from app.pages import charts
from app.pages.display import number, short_number
from app.pages.filters import STATUSES
from app.pages.window_charts import STEP_WORDS, Chart, Table, Tip, at, heading_of, ticks, zone_of

# From the bottom of a bar to its top: what is done first.
_STACK = ("completed", "cancelled", "failed", "in_progress", "queued")

Parts = Callable[[Sums], list[tuple[str, int]]]


@dataclass(frozen=True)
class Drawn:
    """A chart with its heading, and what its colours stand for."""

    name: str
    title: str
    chart: Chart
    legend: list[tuple[str, str]]


@dataclass(frozen=True)
class Charts:
    """All of them, with the words under their axes; `step` is how long a bar is."""

    step: str
    ticks: tuple[str, ...]
    drawn: list[Drawn]


def draw(figures: Figures) -> Charts:
    """The charts of what the filters find."""
    step = STEP_WORDS[figures.step_seconds]
    statuses = [each for each in _STACK if figures.whole.by_status[each]]
    drawn = [
        _drawn(
            figures,
            "batches",
            "Batches by status",
            [(each, STATUSES[each]) for each in statuses or ["completed"]],
            lambda sums: [(each, sums.by_status[each]) for each in statuses],
            number,
        ),
        _drawn(
            figures,
            "requests",
            "Requests",
            [("completed", "Completed"), ("failed", "Failed")],
            lambda sums: [("completed", sums.completed), ("failed", sums.failed)],
            number,
        ),
        _drawn(
            figures,
            "tokens",
            "Tokens",
            [("read", "Read"), ("written", "Written")],
            lambda sums: [("read", sums.input_tokens), ("written", sums.output_tokens)],
            short_number,
        ),
    ]
    return Charts(step, _ticks(figures), drawn)


def _drawn(
    figures: Figures,
    name: str,
    title: str,
    legend: list[tuple[str, str]],
    parts: Parts,
    words: Callable[[float], str],
) -> Drawn:
    columns = [parts(sums) for _, sums in figures.steps]
    totals = [sum(count for _, count in column) for column in columns]
    most = max(totals, default=0)
    said = dict(legend)
    width = charts.WIDTH / max(1, len(columns))
    begins = [begins_at for begins_at, _ in figures.steps]
    starts = [at(each, figures.step_seconds) for each in begins]
    tips = [
        Tip(
            round(place * width, 2),
            round(width, 2),
            f"{starts[place]}: {_said(column, said, words)}",
        )
        for place, column in enumerate(columns)
        if totals[place]
    ]
    whole = [count for _, count in parts(figures.whole)]
    chart = Chart(
        top=words(most),
        sentence=_sentence(starts, totals, words, sum(whole), name, figures),
        tips=tips,
        table=Table(
            (heading_of(begins, figures.step_seconds), *(word for _, word in legend)),
            [
                (starts[place], *(words(count) for _, count in column))
                for place, column in enumerate(columns)
                if totals[place]
            ],
        ),
        bars=charts.bars(columns),
    )
    return Drawn(name, title, chart, legend)


def _said(
    column: Sequence[tuple[str, int]], legend: dict[str, str], words: Callable[[float], str]
) -> str:
    return ", ".join(f"{words(count)} {legend[kind].lower()}" for kind, count in column if count)


def _sentence(
    starts: Sequence[str],
    totals: Sequence[int],
    words: Callable[[float], str],
    whole: int,
    name: str,
    figures: Figures,
) -> str:
    most = max(totals, default=0)
    if not most:
        return f"No {name}."
    step = STEP_WORDS[figures.step_seconds]
    each = f"one {step}" if step[0].isalpha() else step
    place = totals.index(most)
    zone = zone_of(figures.steps[place][0], figures.step_seconds)
    return f"{words(whole)} in all, at most {words(most)} in {each}, from {starts[place]} {zone}."


def _ticks(figures: Figures) -> tuple[str, ...]:
    if not figures.steps or figures.until is None:
        return ()
    begins = [begins_at for begins_at, _ in figures.steps]
    return ticks(begins, figures.until, figures.step_seconds)
