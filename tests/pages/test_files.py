"""Downloading a batch's files from its page."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from sqlalchemy.orm import Session

from app.core.settings import Settings
from tests.pages import seed
from tests.pages.conftest import Complaints

Open = Callable[..., Page]


@pytest.mark.browser
def test_the_output_file_is_saved_as_it_is_and_never_shown(
    open_page: Open, session: Session, settings: Settings, tmp_path: Path
) -> None:
    content = b'{"id":"1"}\r\n<script>alert(1)</script>\n'
    settings.files_path.mkdir(parents=True, exist_ok=True)
    (settings.files_path / "file-out").write_bytes(content)
    seed.add_file(session, "file-out", "answers.jsonl", len(content))
    seed.add_batch(session, id="batch_a", output_file_id="file-out")
    page = open_page("/history/batch_a")
    with page.expect_download() as download:
        page.click("text=answers.jsonl")
    assert download.value.suggested_filename == "answers.jsonl"
    download.value.save_as(tmp_path / "saved")
    assert (tmp_path / "saved").read_bytes() == content
    answer = page.request.get("/files/file-out/content")
    assert answer.headers["content-disposition"].startswith("attachment")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-security-policy"] == "sandbox"


@pytest.mark.browser
def test_a_file_that_is_kept_no_longer_is_named_without_a_link(
    open_page: Open, session: Session, complaints: Complaints
) -> None:
    seed.add_batch(session, id="batch_a", input_file_id="file-gone")
    page = open_page("/history/batch_a")
    expect(page.locator(".files")).to_contain_text("file-gone, no longer kept")
    assert page.locator(".files a:not(#so-far)").count() == 0
    assert complaints == []
