"""What was asked and what was answered, as text: in the words of the four endpoints.

Bodies are what a client sent and an engine answered: any of it may be missing, or of another shape.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

# Fields of a request's body that are its question, and not how it is to be answered.
QUESTIONS = ("messages", "prompt", "input", "instructions")


@dataclass(frozen=True)
class Part:
    """One message: who says it (system, user, assistant, …) and what."""

    role: str
    text: str


@dataclass(frozen=True)
class Fault:
    """What went wrong: its kind (`type`, or `code`), and in words."""

    kind: str
    message: str


def load(text: str | bytes | None) -> Any:
    """The JSON, or None where it is none."""
    try:
        return orjson.loads(text or b"null")
    except orjson.JSONDecodeError:
        return None


def question(body: object) -> list[Part]:
    """The parts of what was asked."""
    if not isinstance(body, dict):
        return []
    parts = []
    if isinstance(body.get("instructions"), str):
        parts.append(Part("instructions", body["instructions"]))
    for name in ("messages", "prompt", "input"):
        parts += _parts(body.get(name), name if name != "messages" else "user")
    return parts


def _parts(value: object, role: str) -> list[Part]:
    match value:
        case None:
            return []
        case str():
            return [Part(role, value)]
        case [*entries] if entries and all(isinstance(each, dict) for each in entries):
            return [_message(each, role) for each in entries if isinstance(each, dict)]
        case [*entries] if all(isinstance(each, str) for each in entries):
            return [Part(role, str(each)) for each in entries]
    return [Part(role, _json(value))]


def _message(entry: dict[str, Any], role: str) -> Part:
    said = entry.get("role")
    content = entry.get("content")
    text = _text(content) if content is not None else _json({**entry, "role": None})
    return Part(said if isinstance(said, str) else role, text)


def _text(content: object) -> str:
    """Of a text, or of parts such as {"type": "text", "text": …}; others stand as they are."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "\n".join(
            each["text"]
            if isinstance(each, dict) and isinstance(each.get("text"), str)
            else each
            if isinstance(each, str)
            else _json(each)
            for each in content
        )
    return _json(content)


def answer(body: object) -> str | None:
    """The text of an answer; of numbers, how many there are. None where there is none."""
    if not isinstance(body, dict):
        return None
    for name, read in (("choices", _choice), ("output", _output)):
        entries = body.get(name)
        if isinstance(entries, list):
            texts = [read(each) for each in entries if isinstance(each, dict)]
            return "\n\n".join(text for text in texts if text)
    data = body.get("data")
    if isinstance(data, list):
        return "\n".join(_embedding(each) for each in data[:100] if isinstance(each, dict))
    return None


def _choice(entry: dict[str, Any]) -> str:
    message = entry.get("message")
    if isinstance(message, dict):
        said = [_text(message["content"])] if message.get("content") else []
        calls = message.get("tool_calls")
        return "\n".join([*said, *([_json(calls)] if calls else [])])
    text = entry.get("text")
    return text if isinstance(text, str) else ""


def _output(entry: dict[str, Any]) -> str:
    if entry.get("type") == "reasoning":
        return ""
    content = entry.get("content")
    return _text(content) if content is not None else _json(entry)


def _embedding(entry: dict[str, Any]) -> str:
    numbers = entry.get("embedding")
    if isinstance(numbers, list):
        first = ", ".join(str(each) for each in numbers[:4])
        return f"{len(numbers)} numbers: {first}, …"
    return f"{len(numbers)} characters" if isinstance(numbers, str) else ""


def reasoning(body: object) -> str | None:
    """What the model thought before it answered, where the engine tells it apart."""
    entries = body.get("choices") if isinstance(body, dict) else None
    for entry in entries if isinstance(entries, list) else ():
        message = entry.get("message") if isinstance(entry, dict) else None
        if isinstance(message, dict):
            for name in ("reasoning_content", "reasoning"):
                if isinstance(message.get(name), str) and message[name]:
                    return str(message[name])
    return None


def finish_reason(body: object) -> str | None:
    """Why the first answer ended, such as `stop` or `length`."""
    entries = body.get("choices") if isinstance(body, dict) else None
    first = entries[0] if isinstance(entries, list) and entries else None
    said = first.get("finish_reason") if isinstance(first, dict) else None
    return said if isinstance(said, str) else None


def fault(text: str | None) -> Fault:
    """Of an error body, whatever shape it has."""
    if not text:
        return Fault("error", "What it said is too long to be shown.")
    body = load(text)
    error = body.get("error", body) if isinstance(body, dict) else None
    if not isinstance(error, dict):
        return Fault("error", error if isinstance(error, str) else text)
    kind = error.get("type") or error.get("code") or "error"
    message = error.get("message") or error.get("detail")
    return Fault(str(kind), text if message is None else str(message))


def parameters(body: object) -> dict[str, Any]:
    """How a request is to be answered: its body without the question and the model."""
    if not isinstance(body, dict):
        return {}
    return {name: body[name] for name in body if name not in (*QUESTIONS, "model")}


def _json(value: object) -> str:
    return orjson.dumps(value).decode()
