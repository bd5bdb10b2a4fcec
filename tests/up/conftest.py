"""What the tests of starting share."""

from __future__ import annotations

import os

import pytest


@pytest.fixture
def as_root(request: pytest.FixtureRequest) -> None:
    """Only root hands the server to another user: elsewhere there is nothing to see."""
    if os.geteuid() != 0:
        pytest.xfail("needs root")
