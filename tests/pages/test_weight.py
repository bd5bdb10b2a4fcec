"""What a page weighs with all that it loads: it has to open quickly over a thin line, too."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable

import pytest
from flask.testing import FlaskClient
from sqlalchemy.orm import Session

from app.pages.navigation import ENTRIES
from tests.pages import day

_MOST = 150 * 1024
_LOADED = re.compile(r'<(?:link|script)[^>]* (?:href|src)="(/[^"]+)"')


def squeezed(client: FlaskClient, path: str) -> int:
    """Bytes of what comes, gzipped."""
    with client.get(path, follow_redirects=True) as answer:
        assert answer.status_code == 200, path
        return len(gzip.compress(answer.data, 6))


@pytest.mark.usefixtures("clear_jobs")
def test_every_page_with_all_that_it_loads_is_light(
    sign_in: Callable[..., FlaskClient], session: Session
) -> None:
    day.fill(session)
    client = sign_in()
    with client.application.test_request_context():
        paths = [client.application.url_for(entry.endpoint) for entry in ENTRIES]
    for path in paths:
        page = client.get(path).get_data(as_text=True)
        loaded = dict.fromkeys(_LOADED.findall(page))
        assert loaded, path
        weight = sum(squeezed(client, each) for each in (path, *loaded))
        assert weight <= _MOST, f"{path} weighs {weight / 1024:.0f} KiB"
