"""What the list of jobs shows, as a file, or by a job where it is too much to wait for."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient
from playwright.sync_api import Page, expect
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core import job_lists, job_search, tasks
from app.core.models import Job
from tests.pages.conftest import Complaints, violations
from tests.pages.job_seed import add_job, no_jobs

pytestmark = pytest.mark.usefixtures("no_jobs")

__all__ = ["no_jobs"]

Open = Callable[..., Page]
SignIn = Callable[..., FlaskClient]


def test_the_filters_say_which_jobs_and_formulas_are_defused(
    sign_in: SignIn, session: Session
) -> None:
    add_job(session, 1, "failed", minutes=9, error_message="=HYPERLINK(1)", result={"a": 1.5})
    add_job(session, 2, "failed", minutes=8)
    add_job(session, 3, "completed")
    add_job(session, 4, "failed", task="other")

    answer = sign_in().get("/jobs/export.csv?status=failed&q=type:mail", buffered=True)

    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert answer.headers["Content-Disposition"].startswith('attachment; filename="jobs-')
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [row["id"] for row in rows] == ["1", "2"]
    assert rows[0]["error_message"] == "'=HYPERLINK(1)"
    assert json.loads(rows[0]["result"]) == {"a": 1.5}


@pytest.mark.parametrize("form", ["csv", "json", "ndjson"])
def test_a_number_of_any_length_is_exported_with_every_digit(
    sign_in: SignIn, session: Session, form: str
) -> None:
    digits = "123456789012345678901234567890"
    add_job(session, 1, arguments=f'{{"order": {digits}}}')

    answer = sign_in().get(f"/jobs/export.{form}", buffered=True)

    assert digits in answer.text
    assert answer.text.count("\n") > 1 or form == "ndjson"


def test_json_is_as_the_task_writes_it_and_ndjson_a_job_a_line(
    sign_in: SignIn, session: Session
) -> None:
    for number in (1, 2):
        add_job(session, number, arguments={"n": number}, minutes=10 - number)
    client = sign_in()

    whole = client.get("/jobs/export.json", buffered=True).get_json()
    lines = [
        json.loads(line)
        for line in client.get("/jobs/export.ndjson", buffered=True).text.splitlines()
    ]

    assert (whole["kind"], whole["what"], whole["count"]) == ("stoker.export", "jobs", 2)
    assert [line["arguments"] for line in lines] == [{"n": 1}, {"n": 2}]
    assert whole["items"] == lines


def test_everybody_gets_only_what_they_may_see(sign_in: SignIn, session: Session) -> None:
    client = sign_in("kim", "user")
    add_job(session, 1, owner_name="kim")
    add_job(session, 2, owner_name="lee")

    lines = client.get("/jobs/export.ndjson", buffered=True).text.splitlines()

    assert [json.loads(line)["id"] for line in lines] == [1]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/jobs/export.csv?q=colour:x", 400),
        ("/jobs/export.xls", 404),
        ("/jobs/export?created=9y", 400),
    ],
)
def test_what_can_not_be_exported_is_refused(sign_in: SignIn, path: str, status: int) -> None:
    assert sign_in().get(path, buffered=True).status_code == status


def test_what_is_too_much_is_written_by_a_job(
    sign_in: SignIn, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(1, 5):
        add_job(session, number, "failed", minutes=number)
    for module in (job_search, job_lists, __import__("app.core.job_matching", fromlist=["x"])):
        monkeypatch.setattr(module, "COUNT_LIMIT", 3)
    client = sign_in("omar", "operator")

    assert client.get("/jobs/export.csv?status=failed", buffered=True).status_code == 409
    page = client.get("/jobs/export?status=failed").text
    assert "Start the export" in page
    token = page.split('name="csrf_token" value="')[1].split('"')[0]
    form = {"csrf_token": token, "format": "zip", "status": "failed", "q": "type:mail"}
    answer = client.post(
        "/jobs/export", data=form, headers={"Sec-Fetch-Site": "same-origin"}, buffered=True
    )

    assert answer.status_code == 303
    job = session.scalars(select(Job).where(Job.task == "export")).one()
    assert job.arguments["filter"] == {"q": "type:mail", "status": "failed"}
    asked: Any = tasks.read(tasks.Export, "export", job.arguments)
    assert asked.format == "zip"


@pytest.mark.browser
@pytest.mark.parametrize("width", [390, 1440])
def test_the_dialog_follows_the_filters(
    open_page: Open, session: Session, complaints: Complaints, width: int
) -> None:
    complaints.are_expected = True  # axe itself offends the policy
    add_job(session, 1, "failed")
    add_job(session, 2, "completed")
    page = open_page("/jobs", width=width)

    page.locator("select[name=status]").select_option("failed")
    expect(page.locator("#jobs-count")).to_have_text("1 job")
    page.locator("#jobs-export").click()

    dialog = page.locator("#job-dialog")
    expect(dialog).to_contain_text("Export 1 job")
    assert violations(page) == []
    with page.expect_download() as download:
        dialog.get_by_role("button", name="NDJSON").click()
    assert json.loads(download.value.path().read_text())["id"] == 1
