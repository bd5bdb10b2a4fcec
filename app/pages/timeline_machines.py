"""The timeline's lanes of machines: how busy each was, and which model its engine had."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from app.core.samples import Block, Figures, Machine, Point
from app.pages.display import clock, clock_time, duration, size

CURVE = 34.0
_BLOCK = 18.0
_PAD = 6.0
HEIGHT = CURVE + _BLOCK + 2 * _PAD
# About as wide as a letter.
LETTER = 6.6
_SHADES = 4


@dataclass(frozen=True)
class DrawnBlock:
    """A stretch in which a model was loaded; `shade` is the same for the same models."""

    x: float
    y: float
    width: float
    shade: int
    label: str
    since: datetime
    until: datetime
    tip: str


@dataclass(frozen=True)
class DrawnMachine:
    """A lane of a machine: `busy` is an area, `memory` a line; from 0 to 100 %, both SVG paths."""

    word: str
    host: str
    note: str
    y: float
    height: float
    busy: str
    memory: str
    blocks: list[DrawnBlock]


def draw(machine: Machine, y: float, x: Callable[[datetime], float]) -> DrawnMachine:
    """The GPU where the worker tells of one, else the processor."""
    bottom = y + _PAD + CURVE
    measures = (
        ("gpu_utilization", "gpu_memory_percent")
        if machine.has_gpu
        else ("cpu_percent", "memory_percent")
    )
    busy, held = (_values(machine.points, name) for name in measures)
    known = sorted({block.models for block in machine.blocks})
    shades = {models: place % _SHADES for place, models in enumerate(known)}
    return DrawnMachine(
        word="GPU" if machine.has_gpu else "CPU, no GPU is told of",
        host=machine.host,
        note=_note(machine, *measures),
        y=y,
        height=HEIGHT,
        busy=_path(busy, bottom, x, is_area=True),
        memory=_path(held, bottom, x, is_area=False),
        blocks=[_block(each, bottom + 3, x, shades[each.models]) for each in machine.blocks],
    )


def _values(points: Sequence[Point], name: str) -> list[tuple[Point, float]]:
    return [
        (point, value) for point in points if (value := getattr(point.figures, name)) is not None
    ]


def _path(
    values: Sequence[tuple[Point, float]],
    bottom: float,
    x: Callable[[datetime], float],
    *,
    is_area: bool,
) -> str:
    """Steps; where nothing is known there is a gap."""
    parts: list[str] = []
    end: datetime | None = None
    for point, value in values:
        height = round(bottom - min(max(value, 0.0), 100.0) / 100 * CURVE, 1)
        if point.since != end:
            if is_area:
                parts.append(f"{_down(end, bottom)}M{x(point.since)} {bottom}V{height}")
            else:
                parts.append(f"M{x(point.since)} {height}")
        else:
            parts.append(f"V{height}")
        parts.append(f"H{x(point.until)}")
        end = point.until
    if is_area:
        parts.append(_down(end, bottom))
    return "".join(parts)


def _down(end: datetime | None, bottom: float) -> str:
    return "" if end is None else f"V{bottom}Z"


def _block(block: Block, y: float, x: Callable[[datetime], float], shade: int) -> DrawnBlock:
    left = x(block.since)
    width = round(max(x(block.until) - left, 2.0), 1)
    name = " and ".join(block.models)
    short = name.rpartition("/")[2] if len(block.models) == 1 else name
    room = int((width - 8) / LETTER)
    label = short if len(short) <= room else f"{short[: room - 1]}…" if room >= 4 else ""
    return DrawnBlock(
        min(left, 1000 - width), y, width, shade, label, block.since, block.until, _tip(block, name)
    )


def _tip(block: Block, name: str) -> str:
    seconds = (block.until - block.since).total_seconds()
    return "\n".join(
        [
            f"{name} loaded",
            f"{clock(block.since)} to {clock_time(block.until)}, {duration(seconds)}",
            *figure_words(block.figures),
        ]
    )


def figure_words(told: Figures) -> list[str]:
    """What is known of a stretch of time, on the average; a sentence for each part."""
    lines = []
    for word, percent, more in (
        ("GPU", told.gpu_utilization, _percent("memory", told.gpu_memory_percent)),
        ("machine: CPU", told.cpu_percent, _percent("memory", told.memory_percent)),
        ("engine: CPU", told.engine_cpu_percent, _bytes(told.engine_memory_bytes)),
        ("worker: CPU", told.worker_cpu_percent, _bytes(told.worker_memory_bytes)),
    ):
        if percent is not None:
            lines.append(", ".join(part for part in (f"{word} {percent:.0f} %", more) if part))
        elif more:
            lines.append(f"{word.partition(':')[0]}: {more}")
    return lines


def _percent(word: str, value: float | None) -> str:
    return "" if value is None else f"{word} {value:.0f} %"


def _bytes(value: float | None) -> str:
    return "" if value is None else f"memory {size(int(value))}"


def _note(machine: Machine, busy: str, memory: str) -> str:
    means = machine.figures
    words = [_percent("", getattr(means, busy)), _percent("memory", getattr(means, memory))]
    return ", ".join(word.strip() for word in words if word)
