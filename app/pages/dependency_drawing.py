"""The jobs that depend on each other as a drawing: what has to end first stands at the left."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from app.core import job_types
from app.core.dependencies import Graph

MOST = 30
BOX_WIDTH, BOX_HEIGHT = 168.0, 42.0
_COLUMN, _ROW = 226.0, 54.0
_EDGE = 4.0
_LONGEST = 22


@dataclass(frozen=True)
class Box:
    """A job at its place."""

    id: int
    status: str
    label: str
    x: float
    y: float
    is_own: bool


@dataclass(frozen=True)
class Drawing:
    """Boxes, and the arrows between them as SVG paths."""

    boxes: list[Box]
    arrows: list[str]
    width: float
    height: float

    @property
    def count(self) -> int:
        """How many jobs are drawn."""
        return len(self.boxes)


def draw(graph: Graph, own_id: int) -> Drawing:
    """The MOST jobs that are nearest to one's own."""
    shown = _nearest(graph, own_id)
    edges = [
        (edge.needs_id, edge.job_id)
        for edge in graph.edges
        if edge.needs_id in shown and edge.job_id in shown
    ]
    columns = _columns(shown, edges)
    rows: dict[int, float] = {}
    for column in range(max(columns.values(), default=0) + 1):
        members = [each for each in shown if columns[each] == column]
        # Near what it needs, so that few arrows cross.
        needed = {
            each: [rows[one] for one, two in edges if two == each and one in rows]
            for each in members
        }
        members.sort(key=lambda each: (_mean(needed[each]), each))
        for row, each in enumerate(members):
            rows[each] = float(row)
    by_id = {node.id: node for node in graph.nodes}
    boxes = [
        Box(
            each,
            by_id[each].status,
            _short(job_types.label(by_id[each].task)),
            _EDGE + columns[each] * _COLUMN,
            _EDGE + rows[each] * _ROW,
            each == own_id,
        )
        for each in shown
        if each in by_id
    ]
    places = {box.id: box for box in boxes}
    arrows = [_arrow(places[one], places[two]) for one, two in edges]
    width = max((box.x for box in boxes), default=0.0) + BOX_WIDTH + _EDGE
    height = max((box.y for box in boxes), default=0.0) + BOX_HEIGHT + _EDGE
    return Drawing(boxes, arrows, width, height)


def _nearest(graph: Graph, own_id: int) -> list[int]:
    beside: dict[int, list[int]] = {node.id: [] for node in graph.nodes}
    for edge in graph.edges:
        if edge.needs_id in beside and edge.job_id in beside:
            beside[edge.needs_id].append(edge.job_id)
            beside[edge.job_id].append(edge.needs_id)
    found, waiting = {own_id: None}, deque([own_id])
    while waiting and len(found) < MOST:
        for each in beside.get(waiting.popleft(), []):
            if each not in found and len(found) < MOST:
                found[each] = None
                waiting.append(each)
    return [each for each in found if each in beside]


def _columns(shown: list[int], edges: list[tuple[int, int]]) -> dict[int, int]:
    """One more than the last of what each needs. Ids of long ago may come again: a circle ends."""
    columns = dict.fromkeys(shown, 0)
    for _ in shown:
        changed = False
        for one, two in edges:
            if columns[two] <= columns[one] < len(shown) - 1:
                columns[two] = columns[one] + 1
                changed = True
        if not changed:
            break
    return columns


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"


def _arrow(one: Box, two: Box) -> str:
    begin, end = one.x + BOX_WIDTH, two.x - 5
    middle = (begin + end) / 2
    y, to = one.y + BOX_HEIGHT / 2, two.y + BOX_HEIGHT / 2
    return f"M{begin} {y}C{middle} {y} {middle} {to} {end} {to}"
