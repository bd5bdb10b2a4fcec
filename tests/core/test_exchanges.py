"""What an engine said of a request that failed, in whatever shape it said it."""

from __future__ import annotations

import pytest

from app.core.exchanges import Fault, fault


@pytest.mark.parametrize(
    ("said", "kind", "message"),
    [
        ('{"error": {"type": "server_error", "message": "boom"}}', "server_error", "boom"),
        ('{"error": {"code": 404, "message": "no model"}}', "404", "no model"),
        ('{"error": "Unauthorized"}', "error", "Unauthorized"),
        ('{"detail": "Not Found"}', "error", "Not Found"),
        ('{"error": {"code": "odd"}}', "odd", '{"error": {"code": "odd"}}'),
        ("Bad Gateway", "error", "Bad Gateway"),
        ("[1]", "error", "[1]"),
        (None, "error", "What it said is too long to be shown."),
        ("", "error", "What it said is too long to be shown."),
    ],
)
def test_a_failed_request_says_what_went_wrong(said: str | None, kind: str, message: str) -> None:
    assert fault(said) == Fault(kind, message)
