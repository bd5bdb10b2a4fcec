"""Charts as numbers for a template that draws them as SVG: places in a box of WIDTH by HEIGHT.

A box is stretched to its place on the page, so no text is in it; bars and lines say what they stand
for in a title, a sentence and a table beside them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

WIDTH = 600.0
HEIGHT = 100.0
# What is there is seen, however small beside the rest.
_LEAST_HEIGHT = 2.0


@dataclass(frozen=True)
class Piece:
    """A rectangle, and the class of what it stands for."""

    kind: str
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Line:
    """Points of a line in SVG's words; a gap begins another. Points alone are `dots` (x, y)."""

    kind: str
    paths: tuple[str, ...]
    dots: tuple[tuple[float, float], ...]


def bars(columns: Sequence[Sequence[tuple[str, int]]], most: int | None = None) -> list[Piece]:
    """Columns of stacked counts, the first of each at the bottom; `most` is the height of the box."""
    sums = [sum(count for _, count in column) for column in columns]
    most = most or max(sums, default=0)
    if not most:
        return []
    width = WIDTH / len(columns)
    gap = min(2.0, width * 0.2)
    pieces = []
    for place, column in enumerate(columns):
        top = HEIGHT
        for kind, count in column:
            if count:
                height = max(_LEAST_HEIGHT, count / most * HEIGHT)
                top = max(0.0, top - height)
                left = round(place * width + gap / 2, 2)
                pieces.append(
                    Piece(kind, left, round(top, 2), round(width - gap, 2), round(height, 2))
                )
    return pieces


def outline(pieces: Sequence[Piece]) -> str:
    """Pieces of one kind as a single path, in SVG's words: many bars are one element."""
    return "".join(
        f"M{each.x} {each.y}h{each.width}v{each.height}h-{each.width}z" for each in pieces
    )


def line(kind: str, values: Sequence[float | None], most: float) -> Line:
    """A line over the middles of as many steps; `most` is the height of the box."""
    width = WIDTH / max(1, len(values))
    paths: list[str] = []
    dots: list[tuple[float, float]] = []
    run: list[tuple[float, float]] = []
    for place, value in enumerate((*values, None)):
        if value is not None:
            height = value / most * (HEIGHT - 4) if most else 0.0
            run.append((round((place + 0.5) * width, 2), round(HEIGHT - 2 - height, 2)))
            continue
        if len(run) > 1:
            paths.append(" ".join(f"{x},{y}" for x, y in run))
        elif run:
            dots += run
        run = []
    return Line(kind, tuple(paths), tuple(dots))
