"""How all jobs stand now, as pages share it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy.orm import Session

from app.core import common_searches, job_search, overview, queue_stats, search_conditions, standing
from app.core.job_lists import Wanted
from app.core.search_conditions import Filters
from tests.core.queue_hand import Hand


def test_pages_agree_on_what_is_open_and_how_long_it_waits(session: Session) -> None:
    hand = Hand(session)
    hand.defer_foreign()
    hand.defer()
    hand.defer(hand.user("kim"), schedule_at=datetime.now(UTC) + timedelta(minutes=5))
    assert hand.fetch() is not None
    now = standing.read(session, None)
    assert now.open == overview.count_open(session)
    assert (now.open.running, now.open.waiting, now.open.scheduled) == (1, 1, 1)
    assert now.by_status == {"running": 1, "pending": 2}
    since = {each.name: each.oldest_due_at for each in queue_stats.queues(session)}
    assert since == {"tasks": None, "shop": now.open.oldest_at}
    assert standing.read(session, "kim").by_status == {"pending": 1}


def test_words_that_were_found_to_be_common_are_not_counted_again_for_a_while(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    hand = Hand(session)
    for _ in range(3):
        hand.defer()
    monkeypatch.setattr(job_search, "COUNT_LIMIT", 2)
    search = search_conditions.read("export", Filters(), owner_name=None)
    finder = job_search._Finder(session, search, Wanted(limit=2))
    assert finder.rare() is None
    monkeypatch.setattr(job_search.search_tallies, "read", None)
    assert finder.rare() is None  # without a look
    monkeypatch.undo()
    monkeypatch.setattr(job_search, "COUNT_LIMIT", 2)
    monkeypatch.setattr(common_searches, "KNOWN_SECONDS", 0.0)
    monkeypatch.setattr(common_searches, "_until", {})
    assert finder.rare() is None
    monkeypatch.setattr(job_search, "COUNT_LIMIT", 3)
    found = finder.rare()
    assert found is not None
    assert found.page.total == 3
