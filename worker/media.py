"""What the engine would fetch: URLs in a request that only named hosts may stand in.

vLLM (renderers/chat_utils.py) fetches what a part of a message's content names as `image_url`,
`audio_url` or `video_url`, whatever the part's `type` says, and loads `file:` URLs where its operator
allows it. Parts come in `messages`, and in `input` of responses (`content`, and `output` of a
function's call) and of embeddings. Text is never fetched, be it a link in a sentence, an
annotation or a tool's JSON schema. A part that is neither text nor known here may name no URL.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import Any

# Content that vLLM reads as text; its other fields (annotations, say) go nowhere but to the template.
_TEXTS = (
    "input_text",
    "output_text",
    "reasoning_text",
    "refusal",
    "summary_text",
    "text",
    "thinking",
    "tool_reference",
)
# Items of a conversation by their `type`; a chat's messages have none.
_ITEMS = (
    None,
    "custom_tool_call",
    "custom_tool_call_output",
    "function_call",
    "function_call_output",
    "message",
    "reasoning",
)
# The fields of an item whose parts the engine reads.
_CONTENTS = ("content", "output")

_URL = re.compile(r"[a-z][a-z0-9+.-]*://|(?:https?|ftp|file):", re.IGNORECASE)
# Parsers disagree about user names, backslashes and white space: the host must stand alone.
_PLAIN_URL = re.compile(
    r"https?://(?:\[(?P<address>[0-9a-f:.]+)\]|(?P<host>[a-z0-9._-]+))(?::[0-9]{1,5})?"
    r"(?:[/?#][^\\\s\x00-\x1f\x7f]*)?",
    re.IGNORECASE,
)


def forbidden_urls(body: dict[str, Any], media_hosts: Collection[str]) -> Iterator[str]:
    """The places in a request (such as `messages[0].content[1].image_url`) of URLs to refuse."""
    for name in ("messages", "input", "prompt"):
        for place, url in _urls_of_items(body.get(name), name):
            if not is_allowed(url, media_hosts):
                yield place


def is_allowed(url: str, media_hosts: Collection[str]) -> bool:
    """Whether the engine may see it: it brings its content along, or its host is named."""
    if url[:5].lower() == "data:":  # as vLLM asks
        return True
    found = _PLAIN_URL.fullmatch(url)
    return found is not None and (found["host"] or found["address"]).lower() in media_hosts


def _urls_of_items(value: object, place: str) -> Iterator[tuple[str, str]]:
    """In messages or items of a response: conversations may also be lists of such lists."""
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from _urls_of_items(item, f"{place}[{index}]")
    elif isinstance(value, dict):
        is_item = value.get("type") in _ITEMS and ("role" in value or "type" in value)
        if not is_item:
            yield from _urls_of_part(value, place)
            return
        for name in _CONTENTS:
            yield from _urls_of_content(value.get(name), f"{place}.{name}")


def _urls_of_content(value: object, place: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, list):
        for index, part in enumerate(value):
            yield from _urls_of_content(part, f"{place}[{index}]")
    elif isinstance(value, dict):
        yield from _urls_of_part(value, place)


def _urls_of_part(part: dict[str, Any], place: str) -> Iterator[tuple[str, str]]:
    kind = part.get("type")
    is_text = isinstance(kind, str) and kind in _TEXTS
    for key, value in part.items():
        if key.endswith("_url"):
            yield from _urls_of_medium(value, f"{place}.{key}")
        elif not is_text:
            yield from _urls_within(value, f"{place}.{key}")


def _urls_of_medium(value: object, place: str) -> Iterator[tuple[str, str]]:
    """A field that is fetched: itself or its `url`, whatever they look like."""
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, dict):
        for key, each in value.items():
            if key == "url" and isinstance(each, str):
                yield f"{place}.url", each
            else:
                yield from _urls_within(each, f"{place}.{key}")
    else:
        yield from _urls_within(value, place)


def _urls_within(value: object, place: str) -> Iterator[tuple[str, str]]:
    """Any text that names a URL, however deep."""
    if isinstance(value, str):
        if _URL.search(value):
            yield place, value
    elif isinstance(value, list):
        for index, part in enumerate(value):
            yield from _urls_within(part, f"{place}[{index}]")
    elif isinstance(value, dict):
        for key, part in value.items():
            yield from _urls_within(part, f"{place}.{key}")
