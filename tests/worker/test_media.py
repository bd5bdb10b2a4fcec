"""Which requests are refused because the engine would fetch something for them."""

from __future__ import annotations

from typing import Any

import pytest

from worker.bodies import RefusedRequest, refuse

SECRET = "http://169.254.169.254/secret"
PICTURE = "data:image/png;base64,AAAA"
HOSTS = frozenset({"images.example.org"})


def chat(*content: Any, **message: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": list(content), **message}]}


@pytest.mark.parametrize(
    "body",
    [
        chat({"type": "image_url", "image_url": {"url": SECRET}}),
        chat({"type": "image_url", "image_url": SECRET}),
        chat({"type": "audio_url", "audio_url": {"url": SECRET}}),
        chat({"type": "video_url", "video_url": {"url": SECRET}}),
        chat({"image_url": SECRET}),
        chat({"type": "text", "text": "", "uuid": "1", "image_url": SECRET}),
        chat({"type": "text", "text": "", "uuid": "1", "video_url": {"url": SECRET}}),
        chat({"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}),
        chat({"type": "image_url", "image_url": {"url": "//169.254.169.254/"}}),
        chat({"type": "image_url", "image_url": {"url": f" {PICTURE}"}}),
        chat({"type": "file", "file": {"file_data": SECRET}}),
        chat({"type": "image", "image": SECRET}),
        chat({"type": "image", "image": ["HTTP://[::1]/secret"]}),
        chat({"type": ["text"], "text": SECRET}),
        chat({"type": "resource", "resource": {"contents": [{"uri": SECRET}]}}),
        {"messages": [{"content": [{"type": "image_url", "image_url": {"url": SECRET}}]}]},
        {"messages": [[{"role": "user", "content": [{"image_url": SECRET}]}]]},
        {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": SECRET}]}]},
        {"input": [{"role": "user", "content": [{"type": "input_file", "file_url": SECRET}]}]},
        {
            "input": [
                {
                    "type": "function_call_output",
                    "call_id": "1",
                    "output": [{"type": "input_image", "image_url": SECRET}],
                }
            ]
        },
        {"input": [{"type": "computer_call_output", "output": {"image_url": SECRET}}]},
        {"input": [{"type": "image_url", "image_url": {"url": SECRET}}]},
        {"prompt": [{"image_url": SECRET}]},
    ],
)
def test_a_request_that_the_engine_would_fetch_something_for_is_refused(
    body: dict[str, Any],
) -> None:
    with pytest.raises(RefusedRequest, match="URLs are not fetched") as refused:
        refuse(body, HOSTS)
    assert refused.value.param.startswith(next(iter(body)))


@pytest.mark.parametrize(
    "url",
    [
        "http://evil.example.org\\@images.example.org/",
        "http://images.example.org\\@evil.example.org/",
        "http://evil.example.org@images.example.org/",
        "http://images.example.org@evil.example.org/",
        "http://evil.example.org#@images.example.org/",
        "http://images.example.org.evil.example.org/",
        "http://images.example.org:80:80/",
        "http://images.example.org/\t",
        "http:images.example.org",
        "https+unix://images.example.org/",
    ],
)
def test_a_named_host_can_not_be_feigned(url: str) -> None:
    with pytest.raises(RefusedRequest):
        refuse(chat({"type": "image_url", "image_url": {"url": url}}), HOSTS)


@pytest.mark.parametrize("url", ["https://Images.example.org:8443/a.png?b=1#c", PICTURE])
@pytest.mark.parametrize("kind", ["image_url", "picture"])
def test_content_from_a_named_host_or_sent_along_passes(kind: str, url: str) -> None:
    refuse(chat({"type": kind, "image_url": {"url": url, "detail": "auto"}}), HOSTS)
    refuse(chat({"type": kind, "other": url}), HOSTS)


@pytest.mark.parametrize(
    "body",
    [
        chat("see https://example.org"),
        chat({"type": "text", "text": SECRET}),
        chat({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}),
        {"messages": [{"role": "user", "content": SECRET}]},
        {
            "messages": [
                {
                    "role": "assistant",
                    "content": "It says so.",
                    "annotations": [{"type": "url_citation", "url_citation": {"url": SECRET}}],
                    "tool_calls": [
                        {"id": "1", "function": {"name": "f", "arguments": '{"url": "http://a"}'}}
                    ],
                }
            ],
            "tools": [
                {
                    "type": "function",
                    "function": {
                        "name": "get",
                        "parameters": {
                            "$schema": "https://json-schema.org/draft/2020-12/schema",
                            "properties": {"url": {"type": "string"}, "image_url": {"const": "x"}},
                        },
                    },
                }
            ],
        },
        {
            "messages": [
                {"role": "developer", "content": "Be brief.", "tools": [{"url": "https://a"}]}
            ]
        },
        {
            "input": [
                {
                    "type": "message",
                    "role": "assistant",
                    "content": [
                        {
                            "type": "output_text",
                            "text": "So it says.",
                            "annotations": [{"type": "url_citation", "url": "https://a", "title": ""}],
                        }
                    ],
                },
                {"type": "function_call", "name": "get", "arguments": '{"url": "https://a"}'},
                {"type": "function_call_output", "call_id": "1", "output": "https://a"},
                {"type": "reasoning", "summary": [{"type": "summary_text", "text": "https://a"}]},
            ]
        },
        {"input": "https://example.org"},
        {"input": ["https://example.org", "b"]},
        {"prompt": [[1, 2], [3]]},
    ],
)  # fmt: skip
def test_links_in_text_citations_and_schemas_pass(body: dict[str, Any]) -> None:
    refuse(body, HOSTS)
