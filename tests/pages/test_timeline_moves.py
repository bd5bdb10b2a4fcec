"""Moving through time: by dragging, wheel, keys and fingers."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.pages.conftest import wait_until_so
from tests.pages.timeline_day import DAY, Day, busy

pytestmark = pytest.mark.browser

Open = Callable[..., Page]


def test_a_stretch_is_chosen_by_dragging_and_the_way_back_is_kept(
    day: Day, open_page: Open
) -> None:
    jobs = busy(day)
    page = open_page(DAY)
    box = page.locator("#plot svg").bounding_box()
    assert box is not None
    unit = box["width"] / 1150

    # From 11:00 to 15:00: a quarter of the plot is an hour.
    page.mouse.move(box["x"] + unit * (150 + 530), box["y"] + box["height"] - 6)
    page.mouse.down()
    page.mouse.move(box["x"] + unit * (150 + 700), box["y"] + box["height"] - 6, steps=4)
    page.mouse.up()

    expect(page.locator(".bar")).to_have_count(4)
    expect(page.locator(f"[data-job='{jobs['batch'].id}']")).to_have_count(0)
    expect(page.locator("[name=range][value=dates]")).to_be_checked()
    page.go_back()
    expect(page.locator(".bar")).to_have_count(6)


def test_the_wheel_zooms_with_control_and_scrolls_without(day: Day, open_page: Open) -> None:
    busy(day)
    page = open_page(DAY)
    before = page.locator("#timeline").get_attribute("data-since")
    page.locator("#plot svg").hover(position={"x": 600, "y": 80})

    page.mouse.wheel(0, 40)
    assert page.url.endswith(DAY)
    page.keyboard.down("Control")
    page.mouse.wheel(0, -200)
    page.keyboard.up("Control")

    wait_until_so(page, f"document.getElementById('timeline').dataset.since > '{before}'")


def test_the_wheel_moves_what_is_there_at_once(day: Day, open_page: Open) -> None:
    busy(day)
    page = open_page(DAY)
    svg = page.locator("#plot svg")

    moved = svg.evaluate(
        """svg => {
          const box = svg.getBoundingClientRect();
          const middle = box.left + box.width * (150 + 500) / 1150;
          svg.dispatchEvent(new WheelEvent("wheel", {
            deltaY: -100, ctrlKey: true, clientX: middle, clientY: box.top + 80, bubbles: true, cancelable: true }));
          return svg.querySelector("[data-moves]").getAttribute("transform");
        }"""
    )

    found = re.fullmatch(r"translate\((-?[\d.]+) 0\) scale\(([\d.]+) 1\)", moved)
    assert found, moved
    by, scale = map(float, found.groups())
    assert scale == pytest.approx(1.284, abs=0.001)
    assert by + 500 * scale == pytest.approx(500, abs=0.5)  # the middle stays where it is
    wait_until_so(
        page,
        "location.search.includes('range=dates') && !document.querySelector('[data-moves][transform]')",
    )


def test_the_keys_walk_from_run_to_run_and_zoom(day: Day, open_page: Open) -> None:
    jobs = busy(day)
    page = open_page(DAY)
    page.locator("#plot").focus()

    page.keyboard.press("ArrowDown")
    expect(page.locator(f"[data-job='{jobs['failed'].id}']")).to_be_focused()  # of the first lane
    expect(page.get_by_role("tooltip")).to_contain_text("CUDA out of memory")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowLeft")
    expect(page.locator(f"[data-job='{jobs['cancelled'].id}']")).to_be_focused()
    page.keyboard.press("+")
    expect(page.locator(".bar")).to_have_count(5)  # 12:00 to 14:00
    page.locator("#plot").focus()
    page.keyboard.press("-")
    expect(page.locator(".bar")).to_have_count(6)
    page.locator("#plot").focus()
    page.keyboard.press("0")
    expect(page.locator("[name=range][value='24h']")).to_be_checked()


def test_the_keys_go_on_where_the_run_in_focus_has_left_the_window(
    day: Day, open_page: Open
) -> None:
    jobs = busy(day)
    page = open_page(DAY)
    page.locator("#plot").focus()
    page.keyboard.press("ArrowDown")
    expect(page.locator(f"[data-job='{jobs['failed'].id}']")).to_be_focused()

    page.keyboard.press("Shift+ArrowLeft")
    expect(page.locator(".bar")).to_have_count(4)  # 09:00 to 13:00
    expect(page.locator("#plot")).to_be_focused()
    page.keyboard.press("Shift+ArrowLeft")
    expect(page.get_by_text("Nothing ran here.")).to_be_visible()  # 07:00 to 11:00
    expect(page.get_by_role("link", name="Earlier")).to_be_focused()
    page.keyboard.press("Shift+ArrowRight")

    expect(page.locator(".bar")).to_have_count(4)


class Fingers:
    """Real touches, as the browser gets them from a screen; places are shares of the plot's width."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.debugger = page.context.new_cdp_session(page)

    def at(self, *shares: float, y: float = 100) -> list[dict[str, float]]:
        box = self.page.locator("#plot svg").bounding_box()
        assert box is not None
        unit = box["width"] / 1150
        return [
            {"x": box["x"] + unit * (150 + 1000 * share), "y": box["y"] + y, "id": number}
            for number, share in enumerate(shares)
        ]

    def send(self, kind: str, points: list[dict[str, float]]) -> None:
        self.debugger.send(
            "Input.dispatchTouchEvent", {"type": f"touch{kind}", "touchPoints": points}
        )


def shown(page: Page) -> tuple[float, float]:
    since, until = (
        float(page.locator("#timeline").get_attribute(f"data-{name}") or 0)
        for name in ("since", "until")
    )
    return since, until


def test_one_finger_moves_the_time(day: Day, open_page: Open) -> None:
    busy(day)
    page = open_page(DAY, has_touch=True)
    since, until = shown(page)
    fingers = Fingers(page)

    fingers.send("Start", fingers.at(0.25))
    for share in (0.35, 0.5, 0.75):
        fingers.send("Move", fingers.at(share))
    expect(page.locator("[data-moves]").first).to_have_attribute(
        "transform", re.compile("^translate")
    )
    fingers.send("End", [])

    wait_until_so(page, f"Number(document.getElementById('timeline').dataset.since) < {since}")
    now = shown(page)
    assert now[0] == pytest.approx(since - (until - since) / 2, abs=300)
    assert now[1] - now[0] == pytest.approx(until - since, abs=2)
    expect(page.locator("[data-moves][transform]")).to_have_count(0)
    assert "/jobs/" not in page.url


def test_two_fingers_zoom_around_what_is_under_them(day: Day, open_page: Open) -> None:
    busy(day)
    page = open_page(DAY, has_touch=True)
    since, until = shown(page)
    fingers = Fingers(page)

    fingers.send("Start", fingers.at(0.4, 0.6))
    for apart in (0.15, 0.2):
        fingers.send("Move", fingers.at(0.5 - apart, 0.5 + apart))
    fingers.send("End", [])

    wait_until_so(page, f"Number(document.getElementById('timeline').dataset.since) > {since}")
    length = until - since
    assert shown(page) == pytest.approx((since + length / 4, until - length / 4), abs=120)


def test_a_finger_that_holds_still_is_told_what_is_there_and_may_then_choose_a_stretch(
    day: Day, open_page: Open
) -> None:
    jobs = busy(day)
    page = open_page(DAY, has_touch=True)
    since, _ = shown(page)
    fingers = Fingers(page)
    box = page.locator(f"[data-job='{jobs['batch'].id}'] .run").bounding_box()
    assert box is not None
    y = box["y"] - fingers.at(0)[0]["y"] + 100 + box["height"] / 2

    fingers.send("Start", fingers.at(0.3, y=y))
    expect(page.get_by_role("tooltip")).to_contain_text(f"#{jobs['batch'].id} Batch (run_batch)")
    fingers.send("End", [])
    expect(page.get_by_role("tooltip")).to_be_visible()
    assert page.url.endswith(DAY)  # the job was not opened

    fingers.send("Start", fingers.at(0.3, y=y))
    expect(page.get_by_role("tooltip")).to_contain_text("run_batch")
    for share in (0.4, 0.55):
        fingers.send("Move", fingers.at(share, y=y))
    expect(page.locator("#brush")).to_have_attribute("visibility", "visible")
    fingers.send("End", [])

    wait_until_so(page, f"Number(document.getElementById('timeline').dataset.since) > {since}")
    now = shown(page)
    assert now == pytest.approx((since + 0.3 * 14_400, since + 0.55 * 14_400), abs=120)


def test_a_tap_beside_a_small_bar_opens_its_job(day: Day, open_page: Open) -> None:
    jobs = busy(day)
    page = open_page(DAY, has_touch=True, width=390)
    bar = page.locator(f"[data-job='{jobs['failed'].id}'] .run")
    bar.scroll_into_view_if_needed()
    page.locator("#plot").evaluate("(plot) => { plot.scrollLeft = 500; }")
    box = bar.bounding_box()
    assert box is not None

    page.touchscreen.tap(box["x"] + box["width"] / 2, box["y"] + box["height"] + 4)

    expect(page).to_have_url(re.compile(rf"/jobs/{jobs['failed'].id}$"))


def test_the_map_is_dragged_by_a_finger_and_large_enough_for_one(day: Day, open_page: Open) -> None:
    busy(day)
    page = open_page(DAY, has_touch=True, width=390)
    since, _ = shown(page)
    page.evaluate("document.getElementById('map').scrollIntoView({block: 'center'})")
    box = page.locator("#map").bounding_box()
    assert box is not None
    assert box["height"] >= 24
    fingers = Fingers(page)
    places = [
        {"x": box["x"] + box["width"] * share, "y": box["y"] + 12, "id": 0} for share in (0.8, 0.4)
    ]

    fingers.send("Start", places[:1])
    fingers.send("Move", places[1:])
    fingers.send("End", [])

    wait_until_so(page, f"Number(document.getElementById('timeline').dataset.since) < {since}")
