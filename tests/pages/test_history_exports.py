"""The history's list, saved as CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from flask.testing import FlaskClient
from playwright.sync_api import Page
from sqlalchemy.orm import Session

from app.pages import history_exports
from tests.pages import seed

SignIn = Callable[..., FlaskClient]


def read_csv(client: FlaskClient, query: str = "") -> list[dict[str, str]]:
    answer = client.get(f"/history/export.csv{query}")
    assert answer.status_code == 200
    assert answer.headers["Content-Disposition"] == 'attachment; filename="batches.csv"'
    return list(csv.DictReader(io.StringIO(answer.text, newline="")))


def test_both_forms_hold_what_the_filters_find_in_the_lists_order(
    sign_in: SignIn, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history_exports, "_AT_ONCE", 2)
    now = datetime.now(UTC)
    for place in range(5):
        seed.add_batch(
            session, id=f"batch_{place}", total=10 * (place + 1), run_seconds=10.0,
            created_at=now - timedelta(minutes=place + 1), custom_metadata={"place": str(place)},
        )  # fmt: skip
    seed.add_batch(session, "cancelled", id="batch_cancelled")
    client = sign_in()
    rows = read_csv(client, "?status=completed&sort=requests")
    assert [row["batch_id"] for row in rows] == [f"batch_{place}" for place in (4, 3, 2, 1, 0)]
    assert rows[0]["total_requests"] == "50"
    assert rows[0]["requests_per_second"] == "5.0"
    assert rows[0]["user"] == "admin"
    assert json.loads(rows[0]["metadata"]) == {"place": "4"}
    items = json.loads(client.get("/history/export.json?status=completed&sort=requests").text)
    assert [item["batch_id"] for item in items] == [row["batch_id"] for row in rows]
    assert items[0]["metadata"] == {"place": "4"}
    assert items[0]["duration_seconds"] == 10.0
    assert len(read_csv(client)) == 6


def test_no_cell_is_a_formula_to_a_spreadsheet(sign_in: SignIn, session: Session) -> None:
    formula = '=HYPERLINK("https://example.org","x")'
    seed.add_batch(session, id="batch_a", model=formula, input_filename="+1.jsonl")
    client = sign_in()
    (row,) = read_csv(client)
    assert row["model"] == "'" + formula
    assert row["input_file"] == "'+1.jsonl"
    (item,) = json.loads(client.get("/history/export.json").text)
    assert item["model"] == formula


def test_nothing_found_is_a_head_without_lines_and_an_empty_array(
    sign_in: SignIn, session: Session
) -> None:
    client = sign_in()
    assert client.get("/history/export.csv").text.startswith("batch_id,status,model,")
    assert read_csv(client) == []
    assert json.loads(client.get("/history/export.json").text) == []
    own = sign_in("ada", "user").get("/history/export.csv").text
    assert "user" not in own.splitlines()[0].split(",")


@pytest.mark.parametrize("query", ["status=x", "sort=x", "range=dates&from=x", "q=" + "x" * 201])
def test_what_cant_be_read_is_refused_before_anything_is_sent(
    sign_in: SignIn, session: Session, query: str
) -> None:
    for form in ("csv", "json"):
        assert sign_in().get(f"/history/export.{form}?{query}").status_code == 400


def test_the_page_leads_to_the_export_of_what_it_shows(
    open_page: Callable[..., Page], session: Session
) -> None:
    seed.add_batch(session, id="batch_a")
    seed.add_batch(session, "failed", id="batch_b")
    page = open_page("/history?status=failed")
    with page.expect_download() as waited:
        page.click("text=CSV")
    lines = waited.value.path().read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["batch_id", "batch_b"]
