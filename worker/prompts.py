"""What a request will cost and which prompts begin alike, judged without a tokenizer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from zlib import crc32

# A prompt's first 64, 256, 1024 and 4096 bytes each give 32 bits of its key. Sorted by it, prompts
# that share a prefix stand beside each other at every one of these lengths, like a walk through a
# trie; the engine's prefix cache (LRU, first come first served) then finds what it has just used.
_LEVELS = (64, 256, 1024, 4096)

_BYTES_PER_TOKEN = 4
_DEFAULT_MAX_TOKENS = 256


@dataclass(frozen=True, slots=True)
class Estimate:
    """`tokens` in and out together, `max_tokens` out, `prefix_key` as 32 hex digits."""

    tokens: int
    max_tokens: int
    prefix_key: str


def estimate(endpoint: str, body: dict[str, Any]) -> Estimate:
    """Judge a request by its body; odd bodies cost little here and fail in the engine."""
    prompt = _prompt(body).encode("utf-8", "replace")
    max_tokens = 0 if endpoint == "/v1/embeddings" else _max_tokens(body)
    key = 0
    start = 0
    digits = []
    for end in _LEVELS:
        key = crc32(prompt[start:end], key)
        start = end
        digits.append(f"{key:08x}")
    return Estimate(len(prompt) // _BYTES_PER_TOKEN + max_tokens, max_tokens, "".join(digits))


def _max_tokens(body: dict[str, Any]) -> int:
    for name in ("max_completion_tokens", "max_tokens", "max_output_tokens"):
        value = body.get(name)
        if isinstance(value, int) and 0 < value < 2**31:
            return value
    return _DEFAULT_MAX_TOKENS


def _prompt(body: dict[str, Any]) -> str:
    """The text as the engine's chat template will order it, near enough."""
    if "messages" in body:
        return _text(body["messages"])
    if "prompt" in body:
        return _text(body["prompt"])
    return _text(body.get("instructions")) + "\n" + _text(body.get("input"))


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "\n".join(_text(part) for part in value)
    if isinstance(value, dict):
        return f"{value.get('role', '')}\n{_text(value.get('content', value.get('text')))}"
    return "" if value is None else str(value)
