"""The list of jobs: found, filtered, paged and kept fresh without moving under the reader."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import Page, expect
from sqlalchemy import text
from sqlalchemy.orm import Session

from tests.pages import job_seed
from tests.pages.conftest import Complaints, violations, wait_until_live, wait_until_so
from tests.pages.job_seed import add_job, no_jobs

pytestmark = [pytest.mark.browser, pytest.mark.usefixtures("no_jobs")]

__all__ = ["no_jobs"]

Open = Callable[..., Page]


def announce(session: Session, job_id: int) -> None:
    """Tell open pages, as the record's triggers do."""
    session.execute(
        text("SELECT pg_notify('stoker_changes', :said)"),
        {"said": f'{{"noun":"job","id":"{job_id}"}}'},
    )
    session.commit()


def test_a_row_tells_status_type_id_progress_time_and_message(
    open_page: Open, session: Session
) -> None:
    add_job(session, 12_345_678, "running", task="export", progress=67, message="Writing rows")

    row = open_page("/jobs").locator("#row-12345678")

    for said in ("Running", "Export", "#345678", "67 %", "5 min ago", "Writing rows"):
        expect(row).to_contain_text(said)
    expect(row.locator("progress")).to_have_attribute("value", "67")


def test_a_row_of_a_failed_job_says_the_error_with_its_type(
    open_page: Open, session: Session
) -> None:
    add_job(session, 1, "failed", error_type="KeyError", error_message="'customer_7'")
    add_job(session, 2, "failed", error_type="shop.errors.Refused", error_message=None)
    add_job(session, 3, "failed", error_message="the worker was lost")
    page = open_page("/jobs")

    for row, said in ((1, "KeyError: 'customer_7'"), (2, "Refused"), (3, "the worker was lost")):
        expect(page.locator(f"#row-{row} .joblist-message")).to_have_text(said)


def test_a_long_name_on_a_phone_is_not_broken_to_pieces(open_page: Open, session: Session) -> None:
    add_job(session, 1, "failed", task="shop.tasks.charge_card")
    add_job(session, 2, "failed", task="mail")
    page = open_page("/jobs", width=390)

    def middle(selector: str) -> float:
        box = page.locator(selector).bounding_box()
        assert box is not None
        return box["y"] + box["height"] / 2

    one_line = page.locator("#open-2 .joblist-type").bounding_box()
    name = page.locator("#open-1 .joblist-type").bounding_box()
    assert one_line is not None
    assert name is not None
    assert name["height"] == one_line["height"]
    assert middle("#open-1") > middle("#row-1 .badge") + 10
    assert abs(middle("#open-2") - middle("#row-2 .badge")) < 5
    assert abs(middle("#row-1 .joblist-when") - middle("#row-1 .badge")) < 5


def test_the_search_that_is_typed_can_be_cleared_and_its_chips_are_whole(
    open_page: Open, session: Session
) -> None:
    add_job(session, 1, "failed", arguments={"order_id": "fifty"})
    page = open_page("/jobs")
    page.locator("#jobs-q").press_sequentially("args.order_id:fifty")
    chip = page.locator(".chip span")
    expect(chip).to_have_text("args.order_id:fifty")
    assert chip.evaluate(
        "each => each.clientHeight >= parseFloat(getComputedStyle(each).fontSize) * 1.5"
    )

    expect(page.locator("#jobs-q")).to_be_focused()
    seen = page.evaluate(
        "() => { const box = document.getElementById('jobs-q-clear').getBoundingClientRect();"
        " return document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2)"
        ".closest('button')?.id; }"
    )
    assert seen == "jobs-q-clear"


def test_what_is_typed_is_searched_and_stands_in_the_address(
    open_page: Open, session: Session
) -> None:
    add_job(session, 1, task="export")
    add_job(session, 2, task="cleanup")
    page = open_page("/jobs")

    page.locator("#jobs-q").press_sequentially("type:export")

    expect(page.locator("#row-2")).to_have_count(0)
    expect(page.locator("#row-1")).to_be_visible()
    expect(page.locator("#jobs-count")).to_have_text("1 job")
    expect(page.locator(".active-filters")).to_be_visible()
    expect(page.locator(".chip")).to_contain_text("type:export")
    wait_until_so(page, "location.search === '?q=type%3Aexport'")
    expect(page.locator("#jobs-q")).to_be_focused()
    page.reload()
    expect(page.locator("#row-2")).to_have_count(0)
    expect(page.locator("#jobs-q")).to_have_value("type:export")


def test_menus_filter_and_back_restores_what_was_seen(open_page: Open, session: Session) -> None:
    add_job(session, 1, "failed", task="export")
    add_job(session, 2, "completed", task="export")
    add_job(session, 3, "failed", task="cleanup")
    page = open_page("/jobs")

    page.locator("select[name=status]").select_option("failed")
    expect(page.locator("#jobs-count")).to_have_text("2 jobs")
    page.locator("select[name=type]").select_option("export")
    expect(page.locator("#jobs-count")).to_have_text("1 job")
    wait_until_so(page, "location.search === '?status=failed&type=export'")
    page.go_back()
    expect(page.locator("#jobs-count")).to_have_text("2 jobs")
    expect(page.locator("select[name=type]")).to_have_value("")
    expect(page.locator("select[name=status]")).to_have_value("failed")
    page.locator("#clear-all").click()
    expect(page.locator("#jobs-count")).to_have_text("3 jobs")
    expect(page.locator("select[name=status]")).to_have_value("")
    expect(page.locator(".active-filters")).to_have_count(0)


def test_escape_clears_the_search_and_all_filters(open_page: Open, session: Session) -> None:
    add_job(session, 1, "failed")
    add_job(session, 2, "completed")
    page = open_page("/jobs?q=status:failed&type=mail")
    expect(page.locator("#jobs-count")).to_have_text("1 job")

    page.locator("#jobs-q").press("Escape")

    expect(page.locator("#jobs-count")).to_have_text("2 jobs")
    expect(page.locator("#jobs-q")).to_have_value("")
    wait_until_so(page, "location.search === ''")


def test_a_chip_takes_its_part_out_of_the_search(open_page: Open, session: Session) -> None:
    add_job(session, 1, "failed", task="export", error_message="out of memory")
    add_job(session, 2, "failed", task="mail", error_message="out of memory")
    page = open_page('/jobs?q=type:export error:"out of memory"')
    expect(page.locator("#jobs-count")).to_have_text("1 job")

    page.get_by_role("link", name="Remove type:export").click()

    expect(page.locator("#jobs-count")).to_have_text("2 jobs")
    expect(page.locator("#jobs-q")).to_have_value('error:"out of memory"')
    expect(page.locator(".chip")).to_have_count(1)


def test_a_mistake_is_named_by_its_column_and_the_list_stays(
    open_page: Open, session: Session, complaints: Complaints
) -> None:
    complaints.are_expected = True  # the browser says that the answer was a 400
    add_job(session, 1)
    page = open_page("/jobs")

    page.locator("#jobs-q").fill("mail colour:red")

    expect(page.locator("#search-error")).to_contain_text("Column 6: there is no field 'colour'")
    expect(page.locator("#jobs-q")).to_have_attribute("aria-invalid", "true")
    expect(page.locator("#row-1")).to_be_visible()
    page.locator("#jobs-q").fill("mail")
    expect(page.locator("#search-error")).to_be_empty()
    expect(page.locator("#jobs-q")).to_have_attribute("aria-invalid", "false")
    page.goto("/jobs?q=mail+colour:red")
    expect(page.locator("#search-error")).to_contain_text("Column 6")


def test_fields_and_known_values_are_suggested(open_page: Open, session: Session) -> None:
    add_job(session, 1, task="export")
    add_job(session, 2, task="cleanup")
    page = open_page("/jobs")
    box = page.locator("#jobs-q")

    box.press_sequentially("ty")
    expect(page.locator("#suggestion-1")).to_contain_text("type:")
    box.press("ArrowDown")
    box.press("Enter")
    expect(page.get_by_role("option", name="type:export")).to_be_visible()
    box.press("ArrowDown")
    expect(page.locator("#suggestion-1")).to_have_attribute("aria-selected", "true")
    box.press("Enter")

    expect(box).to_have_value("type:cleanup ")
    expect(page.locator("#row-1")).to_have_count(0)
    expect(page.locator("#row-2")).to_be_visible()
    page.goto("/jobs/suggestions?q=status:ru")
    expect(page.get_by_role("link", name="status:running")).to_be_visible()


def test_pages_are_walked_without_a_gap(open_page: Open, session: Session) -> None:
    for number in range(60):
        add_job(session, 1000 + number, minutes=1 + number // 10)
    page = open_page("/jobs")
    expect(page.locator(".joblist-row")).to_have_count(50)
    first = set(page.locator(".joblist-row").evaluate_all("rows => rows.map(row => row.id)"))

    page.locator("#next-page").click()

    expect(page.locator(".joblist-row")).to_have_count(10)
    second = set(page.locator(".joblist-row").evaluate_all("rows => rows.map(row => row.id)"))
    assert len(first | second) == 60
    page.reload()
    expect(page.locator(".joblist-row")).to_have_count(10)
    page.locator("#first-page").click()
    expect(page.locator(".joblist-row")).to_have_count(50)


def test_a_row_changes_in_place_and_new_jobs_come_in_on_top(
    open_page: Open, session: Session
) -> None:
    add_job(session, 1, "running", progress=10)
    page = open_page("/jobs")
    wait_until_live(page)
    page.evaluate("document.getElementById('row-1').isKept = true")

    session.execute(text("UPDATE job SET progress = 55 WHERE id = 1"))
    add_job(session, 2, minutes=0)
    announce(session, 1)

    expect(page.locator("#row-1")).to_contain_text("55 %")
    expect(page.locator(".joblist-row").first).to_have_attribute("data-job", "2")
    assert page.evaluate("document.getElementById('row-1').isKept")
    expect(page.locator("#newer")).not_to_be_visible()


def test_nothing_changes_while_rows_are_selected(open_page: Open, session: Session) -> None:
    add_job(session, 1, "running", progress=10)
    page = open_page("/jobs")
    wait_until_live(page)
    page.locator("#row-1 [data-select]").check()
    session.execute(text("UPDATE job SET progress = 55 WHERE id = 1"))
    announce(session, 1)
    page.evaluate("document.dispatchEvent(new Event('changed'))")

    expect(page.locator("#row-1")).to_contain_text("10 %")
    page.locator("#row-1 [data-select]").uncheck()
    page.locator("#row-1 [data-select]").blur()
    expect(page.locator("#row-1")).to_contain_text("55 %")


def test_a_job_opens_beside_the_list_and_back_closes_it(open_page: Open, session: Session) -> None:
    for number in (1, 2):
        add_job(session, number, task=f"task{number}", minutes=number)
    page = open_page("/jobs?status=completed")
    page.evaluate("document.getElementById('row-1').isKept = true")

    page.locator("#open-1").click()
    expect(page.locator("#job")).to_contain_text("task1")
    expect(page.locator("#row-1")).to_have_attribute("aria-current", "true")
    wait_until_so(page, "location.search === '?status=completed&job=1'")
    page.locator("#open-2").click()
    expect(page.locator("#job")).to_contain_text("task2")
    page.go_back()
    expect(page.locator("#job")).to_contain_text("task1")
    page.go_back()
    expect(page.locator("#job")).to_have_count(0)
    assert page.evaluate("document.getElementById('row-1').isKept")
    page.go_forward()
    expect(page.locator("#job")).to_contain_text("task1")
    page.reload()
    expect(page.locator("#job")).to_contain_text("task1")
    expect(page.locator("#row-1")).to_have_attribute("aria-current", "true")


def test_on_a_narrow_screen_the_open_job_is_the_page(open_page: Open, session: Session) -> None:
    add_job(session, 1)
    page = open_page("/jobs", width=390)
    page.locator("#open-1").click()

    expect(page.locator("#job")).to_be_visible()
    expect(page.locator("#jobs-list")).to_be_hidden()
    page.get_by_role("link", name="Back to the list").click()
    expect(page.locator("#jobs-list")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_the_keyboard_searches_walks_opens_and_explains(open_page: Open, session: Session) -> None:
    for number in (1, 2, 3):
        add_job(session, number, minutes=number)
    page = open_page("/jobs")

    page.keyboard.press("j")
    expect(page.locator("#open-1")).to_be_focused()
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("k")
    expect(page.locator("#open-2")).to_be_focused()
    page.keyboard.press("x")
    expect(page.locator("#row-2 [data-select]")).to_be_checked()
    page.keyboard.press("x")
    page.keyboard.press("Enter")
    expect(page.locator("#job")).to_contain_text("#2")
    page.keyboard.press("?")
    expect(page.locator("#keys-dialog")).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("/")
    expect(page.locator("#jobs-q")).to_be_focused()


def test_an_empty_record_says_how_jobs_come_about(open_page: Open) -> None:
    page = open_page("/jobs")

    expect(page.locator("#jobs-list")).to_contain_text("No job yet.")
    page.goto("/jobs?status=failed")
    expect(page.locator("#jobs-list")).to_contain_text("No job matches these filters.")
    page.goto("/jobs?job=4711")
    expect(page.locator("#job-panel")).to_contain_text("There is no job '4711'.")


def test_figures_of_all_jobs_lead_to_them(open_page: Open, session: Session) -> None:
    add_job(session, 1, "running", task="export")
    page = open_page("/jobs")

    page.get_by_role("button", name="Stats").click()
    expect(page.locator("#job-dialog")).to_contain_text("jobs, since the beginning")
    page.locator("#job-dialog").get_by_role("button", name="Close").click()
    expect(page.locator("#job-dialog")).to_be_hidden()
    page.goto("/jobs/stats")
    expect(page.locator("main")).to_contain_text("Running")


def test_a_hand_written_refresh_shows_what_came_since(open_page: Open, session: Session) -> None:
    add_job(session, 1)
    page = open_page("/jobs")

    add_job(session, 2, minutes=0)
    page.locator("#refresh-now").click()

    expect(page.locator("#row-2")).to_be_visible()


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("status=perhaps", "status"),
        ("created=yesterday", "created"),
        ("sort=colour", "sort"),
        ("cursor=nonsense", "cursor"),
        ("q=%00", "value"),
        ("type=%00", "value"),
        ("job=%00&status=%00", "status"),
        ("refresh=never", "refresh"),
    ],
)
def test_what_the_address_says_wrong_is_named(
    open_page: Open, complaints: Complaints, query: str, named: str
) -> None:
    complaints.are_expected = True
    page = open_page("/jobs?" + query)

    expect(page.locator("main")).to_contain_text(named)
    expect(page.locator("main")).not_to_contain_text("made a mistake")


@pytest.mark.parametrize(("scheme", "width"), [("light", 390), ("dark", 1440)])
def test_everybody_can_use_the_list(
    open_page: Open, session: Session, complaints: Complaints, width: int, scheme: str
) -> None:
    complaints.are_expected = True  # axe itself offends the policy
    job_seed.fill(session, count=8)
    job_seed.add_line(session, 900_001, "slow disk", "warning")
    page = open_page("/jobs?q=-type:nothing", width=width, color_scheme=scheme)
    assert violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.locator("#open-900001").click()
    expect(page.locator("#job")).to_be_visible()
    assert violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.goto("/jobs/900002")
    assert violations(page) == []
    page.goto("/jobs?q=colour:red")
    assert violations(page) == []
    page.goto("/jobs/stats")
    assert violations(page) == []
    page.goto("/jobs/suggestions?q=")
    assert violations(page) == []


def test_a_row_tells_user_time_items_priority_and_when_it_is_due(
    open_page: Open, session: Session
) -> None:
    soon = datetime.now(UTC) + timedelta(minutes=30)
    add_job(session, 1, "running", items_done=312, items_total=1000, progress=31)
    add_job(session, 2, "pending", scheduled_at=soon, priority=5)
    add_job(session, 3, "completed")
    page = open_page("/jobs")

    for said in ("312 of 1,000", "so far", "admin"):
        expect(page.locator("#row-1 .joblist-facts")).to_contain_text(said)
    for said in ("due in", "priority 5"):
        expect(page.locator("#row-2 .joblist-facts")).to_contain_text(said)
    expect(page.locator("#row-3 .joblist-facts")).to_contain_text("30.0 s")
    expect(page.locator("#row-3 .joblist-facts")).not_to_contain_text("priority")


def test_a_job_that_was_asked_to_stop_is_cancelling(open_page: Open, session: Session) -> None:
    add_job(session, 1, "running", cancel_requested_at=datetime.now(UTC))

    expect(open_page("/jobs").locator("#row-1 .badge")).to_have_text("Cancelling")


@pytest.mark.parametrize("width", [390, 1440])
def test_no_row_is_wider_than_the_list(open_page: Open, session: Session, width: int) -> None:
    long = "a-very-long-name-" * 6
    add_job(
        session, 1, "running", owner_name=long, task=long, message=long * 3, items_done=123_456,
        items_total=1_234_567, priority=-1000, progress=5,
    )  # fmt: skip
    page = open_page("/jobs", width=width)
    expect(page.locator("#row-1")).to_be_visible()

    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_an_order_may_be_turned_around(open_page: Open, session: Session) -> None:
    for number, task in ((1, "cleanup"), (2, "export"), (3, "backup")):
        add_job(session, number, task=task, minutes=number)
    page = open_page("/jobs?sort=type-last")

    ids = [row.get_attribute("data-job") for row in page.locator(".joblist-row").all()]
    assert ids == ["2", "1", "3"]


def test_locks_are_searched_for(open_page: Open, session: Session) -> None:
    add_job(session, 1, lock="nightly")
    add_job(session, 2, queueing_lock="report")
    page = open_page("/jobs?q=lock:nightly")
    expect(page.locator("#jobs-count")).to_have_text("1 job")
    expect(page.locator("#row-1")).to_be_visible()

    page.goto("/jobs?q=queueing_lock:report")
    expect(page.locator("#row-2")).to_be_visible()
    expect(page.locator("#row-1")).to_have_count(0)
