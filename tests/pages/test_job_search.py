"""What the list of jobs says of a search that no index serves."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from flask.testing import FlaskClient
from sqlalchemy.orm import Session

from app.core import job_search
from tests.pages import record_seed

pytestmark = pytest.mark.usefixtures("clear_jobs")

SAID = "only the newest jobs were looked at, back to"


def test_the_list_says_how_far_back_all_but_a_lock_was_looked_for(
    session: Session, sign_in: Callable[..., FlaskClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    for minutes in (1, 2, 3, 4):
        record_seed.add_job(session, minutes=minutes, lock="a" if minutes % 2 else "b")
    client = sign_in()
    assert SAID not in client.get("/jobs?q=-lock:a").text
    monkeypatch.setattr(job_search, "LOOSE_LIMIT", 2)
    assert SAID in client.get("/jobs?q=-lock:a").text
    assert SAID not in client.get("/jobs?q=lock:a").text
