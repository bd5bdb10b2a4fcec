"""The engine: the vLLM server that answers requests. Nothing outside this package knows vLLM."""

from worker.engine.answers import Answer, OpenAIError, openai_error
from worker.engine.engine import Engine, EngineStatus
from worker.engine.errors import EngineBusy, EngineError, EngineGone, EngineNotRunning

__all__ = [
    "Answer",
    "Engine",
    "EngineBusy",
    "EngineError",
    "EngineGone",
    "EngineNotRunning",
    "EngineStatus",
    "OpenAIError",
    "openai_error",
]
