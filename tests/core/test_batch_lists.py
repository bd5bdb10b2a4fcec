"""Batches listed: in every order, page by page both ways, by what they are called; and by indexes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.orm import Session

from app.core import batch_figures, batch_lists, db, users
from app.core.batch_lists import Wanted
from app.core.batch_matching import COUNT_LIMIT, BatchFilters
from app.core.batch_orders import SORTS
from app.core.errors import Invalid
from app.core.history import describe
from app.core.models import Batch, User
from tests.conftest import new_database
from tests.pages import seed

BATCHES = 12_000
NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)

# A few months of a server: some fail, some wait, some run, some were refused before they ran.
SEED = """
INSERT INTO user_account (name, role) SELECT 'user ' || g, 'user' FROM generate_series(1, 6) AS g;
INSERT INTO batch (id, owner_id, input_file_id, input_filename, endpoint, completion_window, metadata,
    fingerprint, status, model, created_at, expires_at, in_progress_at, completed_at, failed_at,
    total, completed, input_tokens, output_tokens)
SELECT 'batch_' || md5(g::text), (SELECT min(id) FROM user_account) + g % 6, 'file-x',
    'input-' || g % 977 || '.jsonl', '/v1/chat/completions', '24h',
    jsonb_build_object('team', 'team-' || g % 50, 'run', md5((g * 7)::text)), '', status,
    CASE WHEN g % 40 > 0 THEN 'model-' || g % 9 END, made, made + interval '1 day',
    CASE WHEN g % 20 > 0 THEN made + interval '3 s' END,
    CASE WHEN status = 'completed' THEN made + make_interval(secs => 3 + g::bigint * 7919 % 400) END,
    CASE WHEN status = 'failed' THEN made + make_interval(secs => 3 + g::bigint * 7919 % 400) END,
    100 + g % 90, CASE WHEN status = 'completed' THEN 100 + g % 90 ELSE 0 END, g % 900 * 4, g % 900
FROM (
    SELECT g, CASE WHEN g % 50 = 7 THEN 'failed' WHEN g < 40 THEN 'in_progress' ELSE 'completed' END AS status,
        '2026-03-02T12:00Z'::timestamptz - make_interval(mins => g) AS made
    FROM generate_series(1, 12000) AS g
) AS made;
"""

FILTERS: dict[str, BatchFilters] = {
    "all": BatchFilters(),
    "failed": BatchFilters(statuses=("failed",)),
    "several statuses": BatchFilters(statuses=("failed", "queued", "in_progress")),
    "a model": BatchFilters(model="model-3"),
    "two days": BatchFilters(since=NOW - timedelta(days=2), until=NOW),
    "a file": BatchFilters(search="input-77.jsonl"),
    "an id": BatchFilters(search="batch_c4c"),
    "metadata": BatchFilters(search="team=team-7"),
    "a part of a value": BatchFilters(search="c4ca42"),
    "a part that nearly all have": BatchFilters(search="team-"),
    "a short part of some": BatchFilters(search="77", statuses=("failed",), model="model-3"),
}
_SCAN = re.compile(
    r"Seq Scan on batch [^\n]*\(actual [^)]*rows=([\d.]+) [^\n]*"
    r"(?:\n +(?:Filter|Buffers|Index)[^\n]*)*(?:\n +Rows Removed by Filter: (\d+))?"
)


@pytest.fixture(scope="module")
def history(postgres: str, template_database: str) -> Iterator[Engine]:
    """A database with a history; the module's tests only read it."""
    with new_database(postgres, template_database) as url:
        connect_args = db.connect_args("test")
        # As a server with its database in memory or on flash has it.
        connect_args["options"] += " -c random_page_cost=1.1"
        engine = create_engine(db.sqlalchemy_url(url), connect_args=connect_args)
        with engine.begin() as connection:
            for statement in SEED.split(";\n"):
                if statement.strip():
                    connection.execute(text(statement))
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("VACUUM ANALYZE batch"))
        yield engine
        engine.dispose()


@contextmanager
def statements(engine: Engine) -> Iterator[list[tuple[str, Any]]]:
    """What is executed meanwhile."""
    seen: list[tuple[str, Any]] = []

    def note(_c: Any, _k: Any, statement: str, parameters: Any, *_: Any) -> None:
        seen.append((statement, parameters))

    event.listen(engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(engine, "before_cursor_execute", note)


def key(sort: str) -> Callable[[Batch], Any]:
    """What a list is in the order of; None for what comes last."""

    def of(batch: Batch) -> Any:
        job = describe(batch)
        return {
            "created": job.created_at,
            "batch": job.batch_id,
            "model": job.model,
            "requests": job.total_requests,
            "duration": job.duration,
            "throughput": job.throughput and round(job.throughput, 2),
            "user": batch.owner_id,
            "status": 0,
        }[sort]

    return of


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("sort", SORTS)
def test_every_order_leads_through_all_once_and_back_again(
    history: Engine, sort: Any, order: Any
) -> None:
    filters = BatchFilters(since=NOW - timedelta(hours=5), until=NOW)
    with Session(history) as session:
        expected = {
            batch.id: key(sort)(batch)
            for part in batch_lists.walk(session, filters, Wanted(limit=1000))
            for batch in part
        }
        pages = [batch_lists.page(session, filters, Wanted(sort, order, 70))]
        while pages[-1].next_cursor is not None:
            wanted = Wanted(sort, order, 70, pages[-1].next_cursor)
            pages.append(batch_lists.page(session, filters, wanted))
        listed = [batch.id for each in pages for batch in each.batches]
        assert len(listed) == len(expected) == 300
        assert set(listed) == set(expected)
        assert [each.first for each in pages] == [1, 71, 141, 211, 281]
        values = [expected[batch_id] for batch_id in listed]
        known = [value for value in values if value is not None]
        assert values[: len(known)] == known, "what has no value comes last"
        assert known == sorted(known, reverse=order == "desc")
        for before, after in zip(reversed(pages[:-1]), reversed(pages), strict=False):
            wanted = Wanted(sort, order, 70, after.previous_cursor)
            back = batch_lists.page(session, filters, wanted)
            assert [batch.id for batch in back.batches] == [batch.id for batch in before.batches]
            assert back.first == before.first
        assert pages[0].previous_cursor is None


@pytest.mark.parametrize("sort", SORTS)
@pytest.mark.parametrize("name", FILTERS)
def test_every_list_is_served_by_indexes_or_reads_so_many_at_most(
    history: Engine, name: str, sort: Any
) -> None:
    with statements(history) as seen, Session(history) as session:
        first = batch_lists.page(session, FILTERS[name], Wanted(sort, limit=5))
        if first.next_cursor is not None:
            batch_lists.page(
                session, FILTERS[name], Wanted(sort, limit=5, cursor=first.next_cursor)
            )
    with history.connect() as connection:
        driver: Any = connection.connection.driver_connection
        driver.execute("SET plan_cache_mode = force_custom_plan")
        for statement, parameters in seen:
            rows = driver.execute("EXPLAIN (ANALYZE, COSTS OFF) " + statement, parameters)
            plan = "\n".join(row[0] for row in rows)
            for scan in _SCAN.finditer(plan):
                # A count that its limit stops may read the first rows as they lie.
                assert float(scan[1]) in (0, COUNT_LIMIT + 1), plan
                assert int(scan[2] or 0) < BATCHES / 10, plan


def found(session: Session, **asked: Any) -> set[str]:
    page = batch_lists.page(session, BatchFilters(**asked), Wanted(limit=100))
    assert page.total == len(page.batches)
    return {batch.id for batch in page.batches}


def test_a_search_finds_ids_file_names_and_metadata(session: Session) -> None:
    seed.add_batch(session, id="batch_ab1", input_filename="Nightly-Run.jsonl")
    seed.add_batch(session, id="batch_ab2", custom_metadata={"team": "search", "run": "10 %_off"})
    seed.add_batch(session, id="batch_zz3", custom_metadata={"Team": "ab ranking"})
    assert found(session, search="batch_ab") == {"batch_ab1", "batch_ab2"}
    assert found(session, search="nightly") == {"batch_ab1"}
    assert found(session, search="team") == {"batch_ab2", "batch_zz3"}
    assert found(session, search="team=search") == {"batch_ab2"}
    assert found(session, search="team=sea") == set()
    assert found(session, search='Team="ab ranking"') == {"batch_zz3"}
    assert found(session, search='"ab rank"') == {"batch_zz3"}
    assert found(session, search="search batch_ab2") == {"batch_ab2"}
    assert found(session, search="search nightly") == set()
    assert found(session, search="0 %_o") == {"batch_ab2"}
    assert found(session, search="%") == {"batch_ab2"}
    with pytest.raises(Invalid, match="q is longer"):
        found(session, search="x" * 201)


def test_several_statuses_are_those_of_either(session: Session) -> None:
    for status in (
        "validating",
        "queued",
        "in_progress",
        "completed",
        "failed",
        "expired",
        "cancelled",
    ):
        seed.add_batch(session, status, id=f"batch_{status}")
    assert found(session, statuses=("queued", "failed")) == {
        "batch_validating", "batch_queued", "batch_failed", "batch_expired",
    }  # fmt: skip
    assert found(session, statuses=("in_progress", "cancelled")) == {
        "batch_in_progress", "batch_cancelled",
    }  # fmt: skip


def test_nobody_finds_what_is_somebody_elses(session: Session) -> None:
    seed.add_batch(session, id="batch_a", input_filename="secret.jsonl")
    user = User(name="ada", role="user")
    session.add(user)
    session.flush()
    seed.add_batch(session, id="batch_b", owner_id=user.id)
    admin = users.ensure_admin(session)
    for sort in SORTS:
        for search in ("", "secret", "batch_", "s"):
            filters = BatchFilters(owner_id=user.id, search=search)
            page = batch_lists.page(session, filters, Wanted(sort))
            assert {batch.id for batch in page.batches} <= {"batch_b"}
    assert found(session, owner_id=user.id) == {"batch_b"}
    assert found(session, owner_id=user.id, user_id=admin.id) == set()
    assert found(session, user_id=admin.id) == {"batch_a"}


@pytest.mark.parametrize("cursor", ["", "x", "eyJhIjoxfQ", "W10", "ImEi"])
def test_a_cursor_of_nobodys_is_refused(session: Session, cursor: str) -> None:
    with pytest.raises(Invalid, match="cursor"):
        batch_lists.page(session, BatchFilters(), Wanted(cursor=cursor))


def test_a_cursor_of_another_order_is_refused(session: Session) -> None:
    for _ in range(3):
        seed.add_batch(session)
    page = batch_lists.page(session, BatchFilters(), Wanted(limit=2))
    with pytest.raises(Invalid, match="another order"):
        batch_lists.page(session, BatchFilters(), Wanted("duration", cursor=page.next_cursor))


def test_figures_are_of_what_the_filters_find_in_steps_without_gaps(session: Session) -> None:
    base = NOW - timedelta(hours=30)
    seed.add_batch(session, created_at=base, total=100, completed=90, failed=10, run_seconds=10.0)
    seed.add_batch(session, created_at=base + timedelta(hours=5), total=50, run_seconds=20.0)
    seed.add_batch(session, "cancelled", created_at=base + timedelta(hours=5), total=9)
    seed.add_batch(session, "queued", created_at=NOW - timedelta(hours=60), total=7, model="other")
    filters = BatchFilters(since=NOW - timedelta(hours=40), until=NOW)
    figures = batch_figures.read(session, filters, NOW)
    whole = figures.whole
    assert dict(whole.by_status) == {"completed": 2, "cancelled": 1}
    assert (whole.requests, whole.completed, whole.failed) == (159, 143, 10)
    assert whole.average_seconds == pytest.approx(15.0)
    assert whole.success_rate == 1.0
    assert figures.step_seconds == 3600
    begins = [begins_at for begins_at, _ in figures.steps]
    assert begins == [begins[0] + timedelta(hours=place) for place in range(len(begins))]
    assert begins[0] <= NOW - timedelta(hours=40)
    assert begins[-1] <= NOW < begins[-1] + timedelta(hours=1)
    assert sum(sums.batches for _, sums in figures.steps) == 3
    assert sum(sums.tokens for _, sums in figures.steps) == whole.tokens > 0
    assert batch_figures.read(session, BatchFilters(model="other"), NOW).whole.batches == 1
    assert batch_figures.read(session, BatchFilters(model="none"), NOW).steps == []


def test_counting_new_results_touches_no_index_of_a_batch(session: Session) -> None:
    """Else every count, four a second of a running batch, writes all of its indexes anew."""
    counted = (
        "completed|failed|input_tokens|cached_tokens|output_tokens|reasoning_tokens"
        "|first_result_at|last_result_at"
    )
    definitions = session.scalars(
        text("SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = 'batch'::regclass")
    ).all()
    assert len(definitions) > 10
    for definition in definitions:
        assert not re.search(rf"\b({counted})\b(?!')", definition), definition
