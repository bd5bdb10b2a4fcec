"""Suspects: who of a batch is in the engine, remembered beyond the engine's life and the worker's.

Of a dead engine its worker knows what it had. What a dead worker had is known only if it was noted
before it was sent, which costs a write for each request: so only once a batch has lost a worker, and
of requests that are asked alone.
"""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

from sqlalchemy.orm import Session

from app.core import suspects
from worker.asks import Ask
from worker.outages import Patience


class Suspects:
    """What of one attempt at a batch may be asked for after a death."""

    def __init__(
        self,
        sessions: Callable[[], Session],
        patience: Patience,
        batch_number: int,
        token: UUID,
        *,
        is_careful: bool,
    ) -> None:
        self._sessions = sessions
        self._patience = patience
        self._batch_number = batch_number
        self._token = token
        self._is_careful = is_careful
        self._sent: set[int] = set()
        self._answered: list[int] = []
        self._casualties: list[int] = []
        self._dead_generations: set[int] = set()
        self._deaths_noted = 0

    async def send(self, ask: Ask, *, is_alone: bool = False) -> None:
        """Note that it is about to be sent, where its worker's death would ask for it."""
        if not self._is_careful and not is_alone:
            return
        answered, self._answered = self._answered, []
        self._sent.add(ask.line)

        def note() -> None:
            with self._sessions() as session:
                suspects.note_sent(session, self._batch_number, self._token, ask.line, answered)

        await self._patience.outlast(note, "note what is sent")

    def end(self, ask: Ask) -> None:
        """It has its result; who failed for its deaths is kept in mind."""
        if ask.line in self._sent and ask.deaths <= suspects.DEATHS_BEFORE_ALONE:
            self._sent.discard(ask.line)
            self._answered.append(ask.line)

    def engine_died(self, generation: int) -> bool:
        """The engine of that generation died under requests of this batch; whether that is news."""
        is_news = generation not in self._dead_generations
        self._dead_generations.add(generation)
        return is_news

    def lose(self, ask: Ask) -> None:
        """It was in the engine when that died, and may be why."""
        self._casualties.append(ask.line)

    async def note_casualties(self) -> None:
        """Write down who was in the engine when it died, if that is not yet done."""
        deaths = len(self._dead_generations) - self._deaths_noted
        if not self._casualties and not deaths:
            return
        lines, self._casualties = self._casualties, []
        self._deaths_noted += deaths

        def note() -> None:
            with self._sessions() as session:
                suspects.note_deaths(session, self._batch_number, lines, deaths)

        await self._patience.outlast(note, "note suspects")
