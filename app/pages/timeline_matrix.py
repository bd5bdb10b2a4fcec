"""The table of types against types: for how long runs of every two were under way at once."""

from __future__ import annotations

from dataclasses import dataclass

from app.core.overlaps import TypePair

_MOST_TYPES = 12


@dataclass(frozen=True)
class Matrix:
    """Types against types; `pairs` by both names, `most` the most seconds of one."""

    types: list[str]
    pairs: dict[tuple[str, str], TypePair]
    most: float

    @classmethod
    def of(cls, by_pair: list[TypePair]) -> Matrix:
        seconds: dict[str, float] = {}
        pairs = {}
        for pair in by_pair:
            for one, other in {(pair.type1, pair.type2), (pair.type2, pair.type1)}:
                pairs[one, other] = pair
                seconds[one] = seconds.get(one, 0.0) + pair.overlap_seconds
        types = sorted(seconds, key=lambda name: (-seconds[name], name))[:_MOST_TYPES]
        return cls(types, pairs, max((pair.overlap_seconds for pair in by_pair), default=0.0))

    def level(self, pair: TypePair) -> int:
        """How much of the most it is, from 1 to 5."""
        return 1 + min(4, int(5 * pair.overlap_seconds / self.most)) if self.most else 1
