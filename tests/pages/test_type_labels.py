"""Types of an application's own are called by the labels that the settings give them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
from flask.testing import FlaskClient
from sqlalchemy.orm import Session

from app.core import job_types
from app.core.settings import Settings, SettingsError, load_settings
from tests.pages.job_seed import add_job, no_jobs

SignIn = Callable[..., FlaskClient]

pytestmark = pytest.mark.usefixtures(no_jobs.__name__)

LABELS = {
    "extraction": "Extraction",
    "docs.tasks.parse": "Document Processing",
    "docs.tasks.parse_again": "Document Processing",
}
DESCRIPTIONS = {"docs.tasks.parse": "Turns PDFs into chunks."}


@pytest.fixture
def client(sign_in: SignIn, settings: Settings) -> Iterator[FlaskClient]:
    """A browser on a server whose settings have these words."""
    client = sign_in()
    words = {"type_labels": LABELS, "type_descriptions": DESCRIPTIONS}
    job_types.use(settings.model_copy(update=words))
    yield client
    job_types.use(settings)


def test_a_list_calls_them_so_in_rows_menu_and_chip(client: FlaskClient, session: Session) -> None:
    add_job(session, 7, task="extraction")
    page = client.get("/jobs?type=extraction").text
    assert '<span class="joblist-type">Extraction</span>' in page
    assert '<option value="extraction" title="extraction" selected>Extraction<' in page
    assert "Type: Extraction" in page


def test_the_menu_is_in_the_order_of_the_labels(client: FlaskClient, session: Session) -> None:
    add_job(session, 7, task="docs.tasks.parse")
    add_job(session, 8, task="extraction")
    menu = client.get("/jobs").text.partition('name="type"')[2].partition("</select>")[0]
    words = ["Cleanup<", "Document Processing<", "Export<", "Extraction<", "Import<"]
    places = [menu.index(word) for word in words]
    assert places == sorted(places)


def test_a_search_takes_the_label_of_one_type_or_several(
    client: FlaskClient, session: Session
) -> None:
    add_job(session, 7, task="docs.tasks.parse")
    add_job(session, 8, task="docs.tasks.parse_again")
    add_job(session, 9, task="extraction")
    page = client.get('/jobs?q=type:"document processing"').text
    assert 'id="row-7"' in page
    assert 'id="row-8"' in page
    assert 'id="row-9"' not in page


def test_a_job_says_its_label_its_key_and_what_it_does(
    client: FlaskClient, session: Session
) -> None:
    add_job(session, 7, task="docs.tasks.parse")
    page = client.get("/jobs/7").text
    assert 'Document Processing <span class="id">#7' in page
    assert '<code class="type-key">docs.tasks.parse</code>' in page
    assert "Turns PDFs into chunks.<" in page
    assert "Log of Document Processing" in client.get("/jobs/7/log").text


def test_failures_are_called_so_too(client: FlaskClient, session: Session) -> None:
    add_job(session, 7, "failed", task="docs.tasks.parse", error_type="ValueError")
    page = client.get("/failures?type=docs.tasks.parse").text
    assert ">Document Processing</a>" in page
    assert "What goes wrong with Document Processing" in page
    assert ">Document Processing</option>" in page


def test_a_label_that_says_nothing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STOKER_TYPE_LABELS", '{"extraction": " "}')
    with pytest.raises(SettingsError, match="STOKER_TYPE_LABELS"):
        load_settings()


def test_the_environment_gives_them_to_every_process() -> None:
    said = subprocess.run(
        [sys.executable, "-c", "from app.factory import create_app; create_app();"
         " from app.core import job_types; print(job_types.label('extraction'))"],
        env={**os.environ, "STOKER_TYPE_LABELS": '{"extraction": "Extraction"}'},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert said.stdout.strip().endswith("Extraction")
