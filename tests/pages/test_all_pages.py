"""Every page with something on it: nobody is shut out, nothing sticks out, no browser complains."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Page
from sqlalchemy.orm import Session

from app.core.settings import Settings
from tests.pages import house
from tests.pages.conftest import violations

Open = Callable[..., Page]


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
