"""What a bulk action came to: tallied by reason, in pages, and found by a search."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy.orm import Session

from app.core import bulk_items, job_actions, job_search, search_conditions
from app.core.bulk_items import DONE, Wanted
from app.core.errors import Invalid
from app.core.job_lists import Wanted as WantedPage
from app.core.models import BulkItem, Job
from app.core.retention_rules import RULES
from app.core.search_conditions import Filters
from tests.core.queue_hand import Hand


@pytest.fixture
def hand(session: Session) -> Hand:
    return Hand(session)


def found(hand: Hand, text: str, owner_name: str | None = None, limit: int = 50) -> list[str]:
    """What a search finds, page by page."""
    search = search_conditions.read(text, Filters(), owner_name=owner_name)
    ids: list[str] = []
    cursor: str | None = None
    while True:
        page = job_search.find(hand.session, search, WantedPage(limit=limit, cursor=cursor)).page
        ids += [str(job.id) for job in page.jobs]
        cursor = page.next_cursor
        if cursor is None:
            assert page.total == len(ids)
            return ids


def act(hand: Hand, bulk_id: int, job_id: str, found_id: str | None = None) -> None:
    found_number = int(found_id or job_id)
    bulk_items.record_done(hand.session, bulk_id, (int(job_id), "export"), found_number)
    hand.session.commit()


def test_reasons_are_grouped_whatever_they_name(hand: Hand) -> None:
    for number, reason in enumerate(
        (
            "Its batch batch_6f0c has not ended: it is in_progress.",
            "Its batch batch_77aa has not ended: it is in_progress.",
            "There is no job '12'.",
        )
    ):
        bulk_items.record_skipped(hand.session, 7, (number, "export"), reason)
    bulk_items.record_done(hand.session, 7, (50, "export"), None)
    bulk_items.record_done(hand.session, 8, (51, "export"), None)
    hand.session.commit()

    tally = bulk_items.tally(hand.session, 7)

    assert tally.kinds == [
        ("Its batch … has not ended: it is in_progress.", 2),
        ("There is no job …", 1),
    ]
    assert (tally.done, tally.found, tally.skipped) == (1, 0, 3)
    assert bulk_items.counts(hand.session, [7, 8, 9]) == {7: (1, 3), 8: (1, 0)}


def test_a_job_is_written_once(hand: Hand) -> None:
    bulk_items.record_skipped(hand.session, 7, (1, "export"), "first")
    bulk_items.record_done(hand.session, 7, (1, "export"), None)
    hand.session.commit()
    assert bulk_items.tally(hand.session, 7).kinds == [("first", 1)]
    assert bulk_items.recorded(hand.session, 7) == {1}


def test_pages_hold_every_job_once(hand: Hand) -> None:
    for number in range(7):
        reason = "too late" if number % 2 else "too early"
        bulk_items.record_skipped(hand.session, 7, (number, "export"), reason)
    for number in range(10, 13):
        bulk_items.record_done(hand.session, 7, (number, "export"), None)
    hand.session.commit()

    def read(wanted: Wanted) -> list[int]:
        ids: list[int] = []
        cursor: str | None = None
        while True:
            items, cursor = bulk_items.page(hand.session, 7, wanted, limit=2, cursor=cursor)
            ids += [item.job_id for item in items]
            if cursor is None:
                return ids

    assert read(Wanted()) == [0, 2, 4, 6, 1, 3, 5]
    assert read(Wanted(kind="too late")) == [1, 3, 5]
    assert read(Wanted(DONE)) == [10, 11, 12]
    parts = list(bulk_items.export(hand.session, 7, Wanted()))
    assert [item.job_id for part in parts for item in part] == [0, 2, 4, 6, 1, 3, 5]
    with pytest.raises(Invalid):
        bulk_items.page(hand.session, 7, Wanted(), limit=2, cursor="nonsense")


def test_a_search_finds_the_jobs_of_an_action(hand: Hand, monkeypatch: pytest.MonkeyPatch) -> None:
    ann = hand.user("ann")
    mine, hers, other = hand.defer(), hand.defer(ann), hand.defer()
    act(hand, 7, mine)
    act(hand, 7, hers)
    act(hand, 8, other, hers)
    bulk_items.record_skipped(hand.session, 7, (int(other), "export"), "too late")
    hand.session.commit()

    for limit in (10_000, 1):  # few, and more than are counted
        monkeypatch.setattr(job_search, "COUNT_LIMIT", limit)
        if limit == 10_000:
            assert found(hand, "bulk:7", limit=1) == [hers, mine]
            assert found(hand, "bulk:7,8") == [hers, mine]
        search = search_conditions.read("bulk:7", Filters(), owner_name=None)
        page = job_search.find(hand.session, search, WantedPage(limit=1)).page
        assert [str(job.id) for job in page.jobs] == [hers]
        assert page.has_more
    monkeypatch.undo()
    assert found(hand, "bulk:7", "ann") == [hers]
    assert found(hand, "bulk:7 status:failed") == []
    assert found(hand, "bulk:7 bulk:8") == [hers]
    assert found(hand, f"bulk:7 {mine}") == [mine]
    assert found(hand, "-bulk:7") == [other]
    assert found(hand, "bulk:9") == []
    everything = job_search.everything(search)
    assert {str(row.id) for row in hand.session.execute(everything.select(Job.id))} == {
        mine,
        hers,
    }
    for text in ("bulk:>7", "bulk:x"):
        with pytest.raises(Invalid):
            found(hand, text)


def test_what_an_action_came_to_goes_with_its_record(hand: Hand) -> None:
    bulk_id = int(hand.failed())
    act(hand, bulk_id, hand.defer())
    act(hand, bulk_id + 1_000_000, hand.defer())
    later = datetime.now(UTC) + timedelta(hours=1)
    [(_, is_over)] = RULES["bulk_item"].parts
    over = hand.session.query(BulkItem.bulk_id).where(is_over(later))
    assert [row.bulk_id for row in over] == [bulk_id + 1_000_000]

    job_actions.delete(hand.session, str(bulk_id), hand.admin)
    hand.session.commit()

    assert bulk_items.tally(hand.session, bulk_id).done == 0
