"""Every page with something on it: nobody is shut out, nothing sticks out, no browser complains."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from flask import Flask
from playwright.sync_api import Page
from sqlalchemy.orm import Session

from app.core.settings import Settings
from app.pages.navigation import ENTRIES
from tests.conftest import ROOT
from tests.pages import house
from tests.pages.conftest import violations

Open = Callable[..., Page]
SHAPES = ("light", "dark", "narrow")


@pytest.fixture
def numbers(session: Session, settings: Settings) -> Iterator[dict[str, str]]:
    """The house; none of it is left for the next test."""
    house.clear(session)
    yield house.fill(session, settings)
    house.clear(session)


@pytest.mark.browser
@pytest.mark.parametrize(("scheme", "width"), [("light", 1440), ("dark", 390)])
def test_no_page_shuts_anybody_out_sticks_out_or_makes_a_browser_complain(
    numbers: dict[str, str], open_page: Open, scheme: str, width: int
) -> None:
    page = open_page("/", width=width, color_scheme=scheme)
    found: dict[str, object] = {}
    for name, path in house.PAGES.items():
        answer = page.goto(path.format(**numbers))
        assert answer is not None
        assert answer.ok, name
        if faults := violations(page):
            found[name] = faults
        for each in (1440, 390):
            page.set_viewport_size({"width": each, "height": 900})
            if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
                found[f"{name} at {each} px"] = "sticks out"
        page.set_viewport_size({"width": width, "height": 900})
    assert found == {}


def test_every_page_of_the_navigation_has_its_pictures_in_the_docs(app: Flask) -> None:
    with app.test_request_context():
        for entry in ENTRIES:
            assert app.url_for(entry.endpoint) in [
                path.partition("?")[0] for path in house.PAGES.values()
            ], f"{entry.word} is missing in tests/pages/house.py"
    gallery = (ROOT / "docs/reference/pages.md").read_text()
    for name in house.PAGES:
        for shape in SHAPES:
            picture = f"images/{name}-{shape}.png"
            assert picture in gallery, f"docs/reference/pages.md does not show {picture}"
            assert (ROOT / "docs" / picture).exists(), "run docs/screenshots.py"
