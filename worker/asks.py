"""Requests on their way to the engine: millions wait as numbers, few exist as objects."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import Session

from app.core.db import driver_connection
from app.core.sql import statement
from app.core.suspects import DEATHS_BEFORE_ALONE

# Postgres' binary COPY: a header, then for each row the number of fields and each field with its
# length before it. None of these is ever null, so all rows have one size.
_HEADER_BYTES = 19
_TRAILER_BYTES = 2
_ROW = np.dtype(
    [
        ("fields", ">i2"),
        *(("line_bytes", ">i4"), ("line", ">i4")),
        *(("position_bytes", ">i4"), ("position", ">i8")),
        *(("length_bytes", ">i4"), ("length", ">i4")),
        *(("max_tokens_bytes", ">i4"), ("max_tokens", ">i4")),
        # The prefix key's first half: what the first 256 bytes of the prompt are (worker.prompts).
        *(("key_bytes", ">i4"), ("group", ">u8"), ("prefix", ">u8")),
        *(("deaths_bytes", ">i4"), ("deaths", ">i4")),
    ]
)


@dataclass(slots=True)
class Ask:
    """A request on its way: where its line lies, and what has befallen it so far."""

    line: int
    position: int
    length: int
    deaths: int = 0
    tries: int = 0


class Asks:
    """What of a batch is still to be asked, in dispatch order; 24 bytes for each of millions.

    Requests that were in the engine at several deaths are kept apart, to be asked alone; so are
    those that died alone with their worker, to be asked no more.
    """

    def __init__(self, rows: npt.NDArray[Any]) -> None:
        self._put_back: deque[Ask] = deque()
        self._alone: deque[Ask] = deque()
        self._deadly: deque[Ask] = deque()
        for row in rows[rows["deaths"] > 0]:
            fields = (int(row[name]) for name in ("line", "position", "length", "deaths"))
            self.put_back(Ask(*fields))
        unharmed = rows[rows["deaths"] == 0]
        order = dispatch_order(unharmed)
        self._lines = unharmed["line"][order].astype(np.int64)
        self._positions = unharmed["position"][order].astype(np.int64)
        self._lengths = unharmed["length"][order].astype(np.int64)
        self._next = 0

    def __len__(self) -> int:
        known = len(self._put_back) + len(self._alone) + len(self._deadly)
        return len(self._lines) - self._next + known

    def put_back(self, ask: Ask) -> None:
        """A request that was lost with its engine: it comes first, or alone after two deaths."""
        if ask.deaths > DEATHS_BEFORE_ALONE:
            self._deadly.append(ask)
        elif ask.deaths == DEATHS_BEFORE_ALONE:
            self._alone.append(ask)
        else:
            self._put_back.append(ask)

    @property
    def has_next(self) -> bool:
        """Whether something may be asked beside others."""
        return bool(self._put_back) or self._next < len(self._lines)

    @property
    def has_alone(self) -> bool:
        """Whether something must be asked alone."""
        return bool(self._alone)

    @property
    def has_deadly(self) -> bool:
        """Whether something must not be asked again."""
        return bool(self._deadly)

    def take(self) -> Ask:
        """The next request. Raises IndexError when there is none."""
        if self._put_back:
            return self._put_back.popleft()
        at = self._next
        ask = Ask(int(self._lines[at]), int(self._positions[at]), int(self._lengths[at]))
        self._next += 1
        return ask

    def take_alone(self) -> Ask:
        """The next request that must be asked alone. Raises IndexError when there is none."""
        return self._alone.popleft()

    def take_deadly(self) -> Ask:
        """The next request that is only to be failed. Raises IndexError when there is none."""
        return self._deadly.popleft()


def read_unanswered(session: Session, batch_number: int) -> Asks:
    """What of a batch has no result yet: by one COPY, straight into arrays."""
    query = statement("requests", "unanswered").bindparams(batch_number=batch_number)
    # COPY takes no parameters; the only one is a number of ours.
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    words = str(query.compile(dialect=dialect, compile_kwargs={"literal_binds": True}))
    words = words.rstrip(";\n ")
    content = bytearray()
    with (
        driver_connection(session).cursor() as cursor,
        cursor.copy(f"COPY ({words}) TO STDOUT (FORMAT binary)") as copy,
    ):
        for piece in copy:
            content += piece
    count = (len(content) - _HEADER_BYTES - _TRAILER_BYTES) // _ROW.itemsize
    rows = np.frombuffer(content, _ROW, count, _HEADER_BYTES)
    assert len(content) == _HEADER_BYTES + count * _ROW.itemsize + _TRAILER_BYTES
    return Asks(rows)


def dispatch_order(rows: npt.NDArray[Any]) -> npt.NDArray[np.intp]:
    """The order in which the engine does least work: indices into `rows`.

    Prompts that share a prefix follow each other, since the engine's prefix cache forgets the
    least recently used first. Groups with the longest answers lead, larger ones first: their
    decoding overlaps the others' prefill, and no long answer is left to run alone at the end.
    """
    groups, member_of = np.unique(rows["group"].astype(np.uint64), return_inverse=True)
    longest = np.zeros(len(groups), np.int64)
    np.maximum.at(longest, member_of, rows["max_tokens"].astype(np.int64))
    size = np.bincount(member_of, minlength=len(groups))
    # lexsort: the last key is the first to be compared.
    order: npt.NDArray[np.intp] = np.lexsort(
        (
            rows["line"].astype(np.int64),
            -rows["max_tokens"].astype(np.int64),
            rows["prefix"].astype(np.uint64),
            member_of,
            -size[member_of],
            -longest[member_of],
        )
    )
    return order
