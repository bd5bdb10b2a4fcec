"""What an export holds: a real worker writes it, its user reads it."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import insert, select, text
from sqlalchemy.orm import Session

from app.core import export_formats, exports, jobs, keys, tasks, users
from app.core.errors import NotFound
from app.core.models import File, Incident, Job
from app.core.settings import Settings
from app.core.tasks import Export
from tests.conftest import wait_until
from tests.worker.stack import Stack, chat


@pytest.fixture
def stack(settings: Settings, session: Session, tmp_path: Path) -> Iterator[Stack]:
    stack = Stack(settings, session, tmp_path)
    stack.write_models(fake={})
    yield stack
    stack.stop()


def run(stack: Stack, name: str, *, user: str = "admin", **arguments: Any) -> Job:
    """Defer a task and wait until its job has ended."""
    users.ensure_admin(stack.session)
    actor = users.actor_of(users.get(stack.session, user))
    job_id = tasks.defer_task(stack.session, name, arguments, actor, settings=None)
    stack.session.commit()

    def job() -> Job:
        stack.session.rollback()
        return stack.session.scalars(select(Job).where(Job.id == job_id)).one()

    wait_until(lambda: job().ended_at, f"{name} has ended\n{stack.logs()}")
    return job()


def content(stack: Stack, filename_part: str) -> bytes:
    """The newest export's bytes."""
    file = stack.session.scalars(
        select(File)
        .where(File.purpose == "export", File.filename.contains(filename_part))
        .order_by(File.created_at.desc())
    ).first()
    assert file is not None
    return (stack.settings.files_path / file.id).read_bytes()


def add_jobs(session: Session, count: int, **values: Any) -> None:
    session.execute(
        text(
            "INSERT INTO job (id, created_at, task, queue, status, ended_at, owner_name, arguments)"
            " SELECT n, now() - n * interval '1 second', 'mail', 'other', 'completed', now(),"
            " CASE WHEN n % 2 = 0 THEN 'ann' END, jsonb_build_object('n', n)"
            " FROM generate_series(1000001, 1000000 + :count) AS n"
        ),
        {"count": count},
    )
    session.commit()


def test_exported_jobs_are_read_back_as_json_csv_and_zip(stack: Stack) -> None:
    add_jobs(stack.session, 2500)
    stack.start()
    for form in ("json", "csv", "zip"):
        job = run(stack, "export", what="jobs", format=form, job_type="mail")
        assert (job.status, job.progress, job.items_done) == ("completed", 100, 2500), stack.logs()
    whole = json.loads(content(stack, ".json"))
    assert (whole["what"], whole["count"], len(whole["items"])) == ("jobs", 2500, 2500)
    assert whole["items"][-1]["arguments"] == {"n": 1000001}
    rows = list(csv.DictReader(io.StringIO(content(stack, ".csv").decode())))
    assert [row["id"] for row in rows] == [str(item["id"]) for item in whole["items"]]
    with zipfile.ZipFile(io.BytesIO(content(stack, ".zip"))) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["jobs.json", "jobs.csv"]
        assert json.loads(archive.read("jobs.json"))["items"] == whole["items"]
        assert archive.read("jobs.csv") == content(stack, ".csv")


def test_a_cell_that_looks_like_a_formula_is_defused_and_comes_back_exactly(
    session: Session,
) -> None:
    texts = ["=1+1", "+x", "-x", "@x", "\tx", "\rx", "'=x", "''-x", "'tis", "plain", "a=b", "＝x"]
    for words in texts:
        shown = export_formats.cell(words)
        assert isinstance(shown, str)
        assert not shown.startswith(("=", "+", "-", "@", "\t", "\r", "＝"))
        assert export_formats.plain(shown) == words
    assert export_formats.cell(-1) == -1
    session.execute(
        insert(Incident),
        [
            {"source": "failure", "risk_level": "low", "fingerprint": str(n), "text": words}
            for n, words in enumerate(texts)
        ],
    )
    out = io.BytesIO()
    selected = exports.find(session, Export(what="events"), None, None)
    assert exports.write(session, selected, "csv", out) == len(texts)
    rows = list(csv.DictReader(io.StringIO(out.getvalue().decode(), newline="")))
    assert [export_formats.plain(row["text"]) for row in rows] == texts
    assert rows[0]["text"] == "'=1+1"


def test_a_user_exports_only_what_it_may_see_and_downloads_it(
    stack: Stack, app: Any, make_client: Any
) -> None:
    ann = users.User(name="ann", role="user")
    stack.session.add_all([ann, users.User(name="ben", role="user")])
    stack.session.flush()
    secrets = {
        name: keys.create(stack.session, users.get(stack.session, name), "k")[1]
        for name in ("ann", "ben")
    }
    add_jobs(stack.session, 10)
    stack.start()
    run(stack, "export", user="ann", what="jobs", format="json", job_type="mail")
    items = json.loads(content(stack, ".json"))["items"]
    assert len(items) == 5
    assert {item["owner_name"] for item in items} == {"ann"}
    file_id = stack.session.scalars(select(File.id).where(File.purpose == "export")).one()
    client: FlaskClient = make_client(secrets["ann"])
    downloaded = client.get(f"/v1/files/{file_id}/content")
    assert json.loads(downloaded.data)["count"] == 5
    downloaded.close()
    assert make_client(secrets["ben"]).get(f"/v1/files/{file_id}/content").status_code == 404


def test_the_job_of_a_user_who_is_gone_does_not_run_with_anybody_elses_rights(
    stack: Stack,
) -> None:
    ann = users.User(name="ann", role="user")
    stack.session.add(ann)
    stack.session.flush()
    job_id = tasks.defer_task(
        stack.session, "export", {"what": "jobs"}, users.actor_of(ann), settings=None
    )
    stack.session.delete(ann)
    stack.session.commit()
    stack.start()

    def job() -> Job:
        stack.session.rollback()
        return stack.session.scalars(select(Job).where(Job.id == job_id)).one()

    wait_until(lambda: job().ended_at, f"the export has ended\n{stack.logs()}")
    assert (job().status, job().error_message) == ("failed", "There is no user 'ann'.")


def test_a_batchs_results_are_exported_in_input_order(stack: Stack) -> None:
    stack.start()
    batch = stack.wait(stack.submit([chat("a"), chat("bad", "STATUS 400"), chat("c")]))
    run(stack, "export", what="results", format="json", batch_id=batch.id)
    items = json.loads(content(stack, ".json"))["items"]
    assert [(item["custom_id"], item["is_success"]) for item in items] == [
        ("a", True),
        ("bad", False),
        ("c", True),
    ]
    with pytest.raises(NotFound):
        run(stack, "export", what="results", batch_id="batch_none")


def test_an_aborted_export_leaves_no_file(stack: Stack) -> None:
    add_jobs(stack.session, 200_000)
    stack.start()
    users.ensure_admin(stack.session)
    actor = users.actor_of(users.get(stack.session, "admin"))
    job_id = tasks.defer_task(
        stack.session, "export", {"what": "jobs", "format": "zip"}, actor, settings=None
    )
    stack.session.commit()

    def status() -> str:
        stack.session.rollback()
        return stack.session.scalars(select(Job.status).where(Job.id == job_id)).one()

    has_begun = select(Job.items_total).where(Job.id == job_id)
    wait_until(lambda: (status(), stack.session.scalar(has_begun))[1], "the export runs")
    connection = stack.session.connection().connection.driver_connection
    jobs._app.job_manager.cancel_job_by_id(job_id, abort=True, connection=connection)
    stack.session.commit()
    wait_until(lambda: status() in ("cancelled", "completed", "failed"), "the export has ended")
    assert status() == "cancelled", stack.logs()
    assert stack.session.scalars(select(File).where(File.purpose == "export")).all() == []
    assert list(stack.settings.files_path.iterdir()) == []


def test_an_export_goes_on_when_the_worker_was_stopped_in_its_middle(stack: Stack) -> None:
    add_jobs(stack.session, 100_000)
    worker = stack.start()
    actor = users.actor_of(users.ensure_admin(stack.session))
    job_id = tasks.defer_task(
        stack.session, "export", {"what": "jobs", "format": "zip"}, actor, settings=None
    )
    stack.session.commit()

    def job() -> Job:
        stack.session.rollback()
        stack.session.expire_all()
        return stack.session.scalars(select(Job).where(Job.id == job_id)).one()

    wait_until(lambda: job().items_total, "the export runs")
    worker.terminate()
    assert worker.wait(60) == 0
    assert (job().status, job().attempts) == ("pending", 1), stack.logs()
    stack.start()
    wait_until(lambda: job().ended_at, "the export has ended")
    assert (job().status, job().attempts) == ("completed", 2)
    assert len(stack.session.scalars(select(File).where(File.purpose == "export")).all()) == 1
