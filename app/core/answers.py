"""The text of an engine's answer, whichever endpoint it came from."""

from __future__ import annotations

from typing import Any

import orjson


def text_of(body: str | bytes | None) -> str | None:
    """The answer's words; None when it has none (an embedding, an error, no JSON)."""
    try:
        answer = orjson.loads(body or b"null")
    except orjson.JSONDecodeError:
        return None
    if not isinstance(answer, dict):
        return None
    choices = answer.get("choices")
    if isinstance(choices, list) and choices and isinstance(choices[0], dict):
        message = choices[0].get("message")
        words = message.get("content") if isinstance(message, dict) else choices[0].get("text")
        return words if isinstance(words, str) else None
    parts = [
        part["text"]
        for item in _objects(answer.get("output"))
        for part in _objects(item.get("content"))
        if isinstance(part.get("text"), str)
    ]
    return "".join(parts) if parts else None


def _objects(value: object) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []
