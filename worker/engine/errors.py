"""What can go wrong with the engine. None of these is a result of a request."""

from __future__ import annotations


class EngineError(Exception):
    """The engine can't be started; the message is one sentence that says why."""


class ShortOfMemory(EngineError):
    """There is too little free memory for the model."""


class EngineGone(Exception):
    """The engine died, or was stopped, before it answered: the request is not answered.

    `ran_out_of_memory`: by its own words it had too much to do at once.
    """

    def __init__(self, message: str, *, ran_out_of_memory: bool = False) -> None:
        super().__init__(message)
        self.ran_out_of_memory = ran_out_of_memory


class EngineNotRunning(EngineGone):
    """The engine was not running when it was to be asked: nothing was sent to it."""


class EngineBusy(Exception):
    """The engine lives but would not answer now (503, 429, a lost connection): ask again later."""
