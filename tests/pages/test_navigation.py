"""The names of the pages are in reach at every width, and nothing sticks out."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from app.pages.navigation import ENTRIES

Open = Callable[..., Page]


@pytest.mark.browser
@pytest.mark.parametrize("width", [390, 640, 768, 1024, 1280, 1440])
def test_each_page_can_be_reached_at_any_width(open_page: Open, width: int) -> None:
    page = open_page("/schedules", width=width)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    in_bar = 8 if width > 1280 else 5
    expect(page.locator(".pages a:visible")).to_have_count(in_bar)
    page.get_by_role("button", name="More").click()
    expect(page.locator("#more-pages a:visible")).to_have_count(len(ENTRIES) - in_bar)
    stats = page.get_by_role("link", name="Stats", exact=True)
    expect(stats).to_be_in_viewport()
    stats.click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Statistics")
