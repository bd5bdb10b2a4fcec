"""Storage: how the tables are, what is kept how long, what a clean-up would remove, and one by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest
from flask.testing import FlaskClient
from playwright.sync_api import Page, expect
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from app.core import retention_forecast, retention_runs, table_advice, table_health
from app.core.models import AuditEntry, Job, RetentionRun
from app.core.retention_runs import Run
from app.core.settings import Settings
from app.core.table_health import Health, Part, Table, Transaction
from tests.pages.conftest import violations
from tests.pages.test_alerts import SAME, token

Open = Callable[..., Page]
SignIn = Callable[..., FlaskClient]
NOW = datetime.now(UTC)


@pytest.fixture(autouse=True)
def _clear(session: Session, clear_jobs: None) -> Iterator[None]:
    yield
    session.rollback()
    for table in ("retention_run", "audit_entry", "rollup", "rollup_span", "dirty_hour"):
        session.execute(text(f"DELETE FROM {table}"))
    session.commit()


def add_jobs(session: Session, days_ago: float, count: int, status: str, task: str = "t") -> None:
    session.execute(
        text(
            "INSERT INTO job (id, created_at, task, queue, status, ended_at)"
            " SELECT nextval('procrastinate_jobs_id_seq'), :at, :task, 'q', :status, :at"
            " FROM generate_series(1, :count)"
        ),
        {"at": NOW - timedelta(days=days_ago), "task": task, "status": status, "count": count},
    )
    session.commit()


def add_run(session: Session, error: str | None = None, **rows: int) -> RetentionRun:
    began = NOW - timedelta(hours=2)
    run_id = None
    for table, removed in rows.items():
        row = RetentionRun(
            run_id=run_id,
            table_name=table,
            before=began,
            started_at=began,
            ended_at=began + timedelta(seconds=90),
            rows_removed=removed,
            error=error,
        )
        session.add(row)
        session.flush()
        run_id = row.run_id = run_id or row.id
    session.commit()
    return row


def test_the_dry_run_says_what_would_go_by_status_and_type_and_removes_nothing(
    session: Session, settings: Settings
) -> None:
    add_jobs(session, 400, 5, "failed", "import")
    add_jobs(session, 400, 2, "completed", "import")
    add_jobs(session, 400, 3, "completed", "export")
    add_jobs(session, 50, 7, "completed", "export")
    own = settings.model_copy(update={"failed_days": 1000.0, "completed_days": 30.0})
    lines = {(each.table, each.status): each for each in retention_forecast.look(session, own)}
    completed = lines["job", "completed"]
    assert (completed.rows, completed.precision) == (12, "exact")
    assert completed.types == [("export", 10), ("import", 2)]
    assert lines["job", "failed"].rows == lines["job", "cancelled"].rows == 0
    session.rollback()
    assert len(session.scalars(select(Job.id)).all()) == 17


def test_the_dry_run_counts_no_further_than_its_limit(
    session: Session, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention_forecast, "MOST_COUNTED", 3)
    for number in range(5):
        at = NOW - timedelta(days=1000 + number)
        session.add(AuditEntry(at=at, actor="a", action="b", object_id="c"))
    session.commit()
    lines = {each.table: each for each in retention_forecast.look(session, settings)}
    assert (lines["audit_entry"].rows, lines["audit_entry"].precision) == (3, "at_least")


def test_what_takes_too_long_to_count_is_said_to_be_unknown(
    session: Session, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dawdle(session: Session, settings: Settings) -> int:
        session.execute(text("SELECT pg_sleep(60)"))
        return 0

    monkeypatch.setattr(retention_forecast.old_results, "count", dawdle)
    monkeypatch.setattr(retention_forecast, "_PART_SECONDS", 0.2)
    monkeypatch.setattr(retention_forecast, "_ALL_SECONDS", 60.0)
    before = session.scalar(text("SHOW statement_timeout"))
    lines = {each.table: each for each in retention_forecast.look(session, settings)}
    assert (lines["job_result"].rows, lines["job_result"].precision) == (None, "unknown")
    assert lines["retention_run"].precision == "exact"
    assert session.scalar(text("SHOW statement_timeout")) == before


def test_an_administrator_has_it_removed_by_a_job_after_a_question(
    session: Session, sign_in: SignIn
) -> None:
    admin = sign_in()
    page = admin.get("/storage/clean-up").text
    answer = admin.post("/storage/clean-up", data={"csrf_token": token(page)}, headers=SAME)
    assert answer.status_code == 303
    session.rollback()
    job = session.scalars(select(Job).where(Job.task == "cleanup")).one()
    assert answer.location.endswith(f"/jobs/{job.id}")
    assert session.scalars(select(AuditEntry).where(AuditEntry.action == "job.defer")).one()


def test_while_a_run_goes_on_no_second_one_is_begun(session: Session, sign_in: SignIn) -> None:
    admin = sign_in()
    page = admin.get("/storage/clean-up").text
    # Of a run that died the rows never end.
    session.add(RetentionRun(table_name="job", before=NOW))
    session.commit()
    assert "disabled" not in admin.get("/storage/clean-up").text
    session.execute(select(func.pg_advisory_xact_lock(retention_runs.ONLY_RUN_KEY)))
    answer = admin.post("/storage/clean-up", data={"csrf_token": token(page)}, headers=SAME)
    session.rollback()
    assert answer.status_code == 409
    assert "A run of the clean-up goes on" in answer.text
    assert "disabled" in answer.text


def test_operators_see_why_they_may_not_clean_up_and_others_see_nothing(
    session: Session, sign_in: SignIn
) -> None:
    operator = sign_in("olga", "operator")
    page = operator.get("/storage/clean-up").text
    assert "Only administrators may remove things by hand" in page
    answer = operator.post("/storage/clean-up", data={"csrf_token": token(page)}, headers=SAME)
    assert answer.status_code == 403
    ann = sign_in("ann", "user")
    for path in ("/storage", "/storage/clean-up", "/api/storage", "/api/storage/retention"):
        assert ann.get(path).status_code == 403
    assert 'href="/storage"' not in ann.get("/queue").text
    session.rollback()
    assert session.scalar(select(Job.id)) is None


def test_the_page_has_the_runs_with_what_each_removed_and_how_long_it_took(
    session: Session, sign_in: SignIn
) -> None:
    add_run(session, job=1200, log_line=34)
    add_run(session, error="<b>lock</b> \u202e timeout", file=0)
    page = sign_in().get("/storage").text
    for said in ("1,200", "Ended jobs", "1 min 30 s", "⟨202E⟩", "left file unfinished"):
        assert said in page
    assert "<b>lock</b>" not in page
    assert "No run is older" in sign_in().get("/storage?offset=50").text
    assert sign_in().get("/storage?offset=x").status_code == 400


def test_programs_get_the_same(session: Session, sign_in: SignIn) -> None:
    add_jobs(session, 400, 2, "failed")
    row = add_run(session, job=7, file=3)
    client = sign_in()
    retention = client.get("/api/storage/retention?limit=1").get_json()
    assert retention["runs"][0]["rows"] == {"job": 7, "file": 3}
    assert retention["runs"][0]["id"] == str(row.run_id)
    assert retention["job_days"] == {"completed": 180.0, "failed": 180.0, "cancelled": 180.0}
    forecast = client.get("/api/storage/retention/forecast").get_json()["lines"]
    assert {line["table"] for line in forecast} >= {"job", "log_line", "result"}
    storage = client.get("/api/storage").get_json()
    tables = {table["name"]: table for table in storage["tables"]}
    assert storage["database_bytes"] > 0
    assert tables["procrastinate_jobs"]["is_queue"]
    assert {part["name"] for part in tables["job"]["partitions"]} >= {
        "job_default",
        f"job_{NOW:%Y_%m}",
    }
    job = tables["job"]
    assert job["total_bytes"] == sum(part["total_bytes"] for part in job["partitions"])
    assert job["total_bytes"] == job["row_bytes"] + job["index_bytes"] + job["toast_bytes"]


def health(*tables: Table, **fields: object) -> Health:
    parts = [part(f"job_{NOW + timedelta(days=days):%Y_%m}") for days in range(0, 70, 7)]
    values: dict[str, object] = {
        "database": "d",
        "database_bytes": 1,
        "transaction_age": 5,
        "counted_since": None,
        "free_bytes": 900 * 2**30,
        "disk_bytes": 1000 * 2**30,
        "oldest": None,
        "tables": [*tables, *table_health._tables([]), whole("job", parts)],
        "months": [],
    }
    return Health(**values | fields)  # type: ignore[arg-type]


def part(name: str, **fields: object) -> Part:
    values: dict[str, object] = dict.fromkeys(
        ("rows", "dead_rows", "changed_rows", "total_bytes", "index_bytes", "toast_bytes"), 0
    )
    return Part(**values | {"name": name, "vacuumed_at": NOW, "analyzed_at": NOW} | fields)  # type: ignore[arg-type]


def whole(name: str, parts: list[Part]) -> Table:
    return table_health._whole(name, parts)


@pytest.mark.parametrize(
    ("fields", "tables", "kinds"),
    [
        ({}, [], []),
        ({"free_bytes": 50 * 2**30}, [], ["disk"]),
        ({"oldest": Transaction("psql", "7", NOW, 7200.0, "END;")}, [], ["transaction"]),
        ({"transaction_age": 1_500_000_000}, [], ["age"]),
        (
            {"tables": [whole("job", [part("job_default", rows=50_000)])]},
            [],
            ["partition", "default"],
        ),
        ({}, [whole("alert", [part("alert", rows=9, dead_rows=50_000)])], ["dead"]),
        ({}, [whole("alert", [part("alert", rows=50_000, analyzed_at=None)])], ["statistics"]),
        ({}, [whole("procrastinate_jobs", [part("procrastinate_jobs", rows=10**6)])], ["queue"]),
    ],
)
def test_what_deserves_attention_is_said_and_nothing_else(
    settings: Settings, fields: dict[str, object], tables: list[Table], kinds: list[str]
) -> None:
    found = table_advice.find(health(*tables, **fields), settings, None)
    assert [each.kind for each in found] == kinds


def test_a_clean_up_that_failed_or_stayed_away_is_said(settings: Settings) -> None:
    old = NOW - timedelta(days=3)
    failed = Run(1, old, old, {}, 0, {"job": "lock timeout"})
    found = table_advice.find(health(), settings, failed)
    assert [each.title for each in found] == [
        "The last clean-up left job unfinished",
        "No clean-up for two days",
    ]


@pytest.mark.browser
@pytest.mark.parametrize(("scheme", "width"), [("light", 390), ("dark", 1440)])
def test_the_pages_fit_and_can_be_used_by_everybody(
    open_page: Open, session: Session, width: int, scheme: str
) -> None:
    add_jobs(session, 400, 3, "completed", "a_task_with_a_rather_long_name_that_goes_on")
    add_jobs(session, 1, 3, "completed")
    add_run(session, job=123_456, log_line=2_345_678)
    session.execute(text("ANALYZE job"))
    session.commit()
    for path in ("/storage", "/storage/clean-up"):
        page = open_page(path, width=width, color_scheme=scheme)
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert violations(page) == []


@pytest.mark.browser
def test_g_and_d_lead_to_the_page(open_page: Open) -> None:
    page = open_page("/queue")
    page.keyboard.press("g")
    page.keyboard.press("d")
    expect(page.get_by_role("heading", level=1)).to_have_text("Storage")
