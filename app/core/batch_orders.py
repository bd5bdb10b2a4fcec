"""The orders of lists of batches: the stretches of which each is made, and the indexes' way along them.

Batches that have run are listed by how long, and behind them those that have not: that is two
stretches, each with an order that an index has. The last stretch is last in either direction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import ColumnElement, and_
from sqlalchemy.orm import Session

from app.core import users
from app.core.batch_matching import owners_of
from app.core.models import RUN_MS, Batch

Sort = Literal["created", "batch", "status", "model", "requests", "duration", "throughput", "user"]
Order = Literal["asc", "desc"]


@dataclass(frozen=True)
class Key:
    """What a stretch is ordered by: a name, what it is in SQL, and what a cursor has of it."""

    name: str
    column: ColumnElement[Any]
    kind: type


@dataclass(frozen=True)
class Stretch:
    """Batches that meet `condition`, ordered by `keys`; its name is the cursor's."""

    name: str
    keys: tuple[Key, ...]
    condition: ColumnElement[bool] | None = None
    # Whether its order turns with the list's; else it is the newest first.
    turns: bool = True

    @property
    def kinds(self) -> list[type]:
        return [key.kind for key in self.keys]


def _key(name: str, column: Any, kind: type) -> Key:
    return Key(name, column, kind)


_NUMBER = _key("number", Batch.number, int)
_CREATED = (_key("created_at", Batch.created_at, datetime), _NUMBER)
_HAS_RUN = RUN_MS.is_not(None)
_NOT_RUN = Stretch("without", _CREATED, RUN_MS.is_(None), turns=False)

# A waiting batch is stored as one that runs, and has not begun.
_WAITS = and_(Batch.status == "in_progress", Batch.in_progress_at.is_(None))
_RUNS = and_(Batch.status == "in_progress", Batch.in_progress_at.is_not(None))
_STATUSES: tuple[tuple[str, ColumnElement[bool]], ...] = (
    ("validating", Batch.status == "validating"),
    ("queued", _WAITS),
    ("in_progress", _RUNS),
    *(
        (status, Batch.status == status)
        for status in ("finalizing", "cancelling", "completed", "failed", "expired", "cancelled")
    ),
)
_STRETCHES: dict[Sort, tuple[Stretch, ...]] = {
    "created": (Stretch("all", _CREATED),),
    "batch": (Stretch("all", (_key("id", Batch.id, str),)),),
    "status": tuple(
        Stretch(status, _CREATED, condition, turns=False) for status, condition in _STATUSES
    ),
    "model": (
        Stretch("all", (_key("model", Batch.model, str), *_CREATED), Batch.model.is_not(None)),
        Stretch("without", _CREATED, Batch.model.is_(None), turns=False),
    ),
    "requests": (Stretch("all", (_key("total", Batch.total, int), _NUMBER)),),
    "duration": (Stretch("all", (_key("run_ms", RUN_MS, int), _NUMBER), _HAS_RUN), _NOT_RUN),
    "throughput": (
        Stretch(
            "all", (_key("millirate", Batch.millirate, int), _NUMBER), Batch.millirate.is_not(None)
        ),
        _NOT_RUN,
    ),
}
SORTS: tuple[Sort, ...] = (*_STRETCHES, "user")


def stretches_of(
    session: Session, sort: Sort, order: Order, owner_id: int | None
) -> Sequence[Stretch]:
    """A list's stretches, the first one first."""
    if sort == "user":
        names = users.names(session, owners_of(session, owner_id))
        found: Sequence[Stretch] = [
            Stretch(str(owner), _CREATED, Batch.owner_id == owner, turns=False)
            for owner in sorted(names, key=lambda owner: (names[owner].lower(), owner))
        ]
    else:
        found = _STRETCHES[sort]
    return found[::-1] if sort in ("status", "user") and order == "desc" else found
