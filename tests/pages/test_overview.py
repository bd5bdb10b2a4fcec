"""The Overview: figures of a window and a type, kept fresh as its reader chose."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from flask.testing import FlaskClient
from playwright.sync_api import Page, expect
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.core import overview, rollups
from app.core.models import WorkerSample
from tests.pages import record_seed
from tests.pages.conftest import Complaints, violations, wait_until_live

Open = Callable[..., Page]


pytestmark = pytest.mark.usefixtures("clear_jobs")


# --- What is counted


def test_a_window_is_the_same_from_the_rows_and_from_the_rollups(session: Session) -> None:
    record_seed.fill(session)
    until = datetime.now(UTC)
    window = {"since": until - timedelta(hours=26), "until": until}
    from_rows = overview.series(session, **window)
    assert from_rows.whole.ended == 900
    assert sum(step.ended for step in from_rows.steps) == 900

    assert rollups.refresh(session) > 0
    hours = session.scalar(text("SELECT count(*) FROM rollup WHERE dimension = 'status'"))
    assert hours
    counted = overview.series(session, **window)

    assert [step.ended for step in counted.steps] == [step.ended for step in from_rows.steps]
    assert counted.success_rate == from_rows.success_rate
    assert counted.average_run_seconds == from_rows.average_run_seconds
    for share in (0.5, 0.95, 0.99):
        assert counted.whole.wait_seconds(share) == from_rows.whole.wait_seconds(share)
        assert counted.whole.run_seconds(share) == from_rows.whole.run_seconds(share)
    one = overview.series(session, **window, task="batch_audit")
    assert one.whole.ended == 150
    assert (one.whole.run_seconds(0.5) or 0) > 60


@pytest.mark.parametrize("days", [30, 366])
def test_a_long_window_takes_whole_days_from_the_rollups(session: Session, days: int) -> None:
    record_seed.fill(session)
    rollups.refresh(session)
    until = datetime.now(UTC)
    found = overview.series(session, since=until - timedelta(days=days), until=until)
    assert found.whole.ended == 900
    assert len(found.steps) <= 64
    assert found.steps[0].begins_at <= found.since < found.steps[1].begins_at
    assert found.steps[-1].begins_at < found.until


def test_a_user_is_told_of_own_jobs_only(
    session: Session, sign_in: Callable[..., FlaskClient]
) -> None:
    mine = record_seed.add_job(session, owner_name="ann", task="ann_mine")
    theirs = record_seed.add_job(session, owner_name="bob", task="bob_theirs")
    record_seed.add_job(session, "pending", owner_name="bob", task="bob_theirs")
    page = sign_in("ann", "user").get("/").text
    assert f'id="latest-{mine}"' in page
    assert f'id="latest-{theirs}"' not in page
    assert "bob" not in page.replace("combobox", "")
    assert 'id="card-total">1<' in page
    assert 'id="card-waiting">0<' in page


def test_up_next_goes_by_priority_and_then_by_age(session: Session) -> None:
    later = record_seed.add_job(
        session, "pending", minutes=9, scheduled_at=datetime.now(UTC) + timedelta(hours=1)
    )
    old = record_seed.add_job(session, "pending", minutes=8)
    new = record_seed.add_job(session, "retrying", minutes=2)
    urgent = record_seed.add_job(session, "pending", minutes=1, priority=5)
    found = [job.id for job in overview.up_next(session)]
    assert found == [urgent, old, new, later]
    assert overview.count_open(session) == overview.Open(
        0, 3, 1, overview.count_open(session).oldest_at
    )


# --- The page, by plain requests


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("range=2h", "range must be one of"),
        ("refresh=1", "refresh must be one of"),
        ("range=dates&from=yesterday", "from must be a time like"),
        ("range=dates&to=x", "to must be a time like"),
        ("range=dates&from=2026-02-02&to=2026-01-01", "from must be before to"),
        ("range=dates&from=2020-01-01&to=2026-01-01", "366 days"),
        ("range=dates&from=0001-01-01T00:00%2B14:00", "from must be"),
    ],
)
def test_what_can_not_be_read_is_named(
    sign_in: Callable[..., FlaskClient], query: str, said: str
) -> None:
    answer = sign_in().get(f"/?{query}")
    assert answer.status_code == 400
    assert said in answer.text


def test_any_type_is_only_a_name(sign_in: Callable[..., FlaskClient]) -> None:
    client = sign_in()
    for name in ("%00", "<b>", "%E2%80%AEx", "'; --", "x" * 5000):
        assert client.get(f"/?type={name}").status_code == 200
    page = client.get("/?type=<script>alert(1)</script>%E2%80%AE").text
    assert "<script>alert" not in page
    assert "⟨202E⟩" in page


def test_everything_that_was_chosen_is_in_the_addresses(
    session: Session, sign_in: Callable[..., FlaskClient]
) -> None:
    record_seed.add_job(session, "failed", error_type="ValueError", error_message="no")
    page = sign_in().get("/?range=6h&refresh=60").text
    assert 'hx-get="/?range=6h&amp;refresh=60"' in page
    assert 'hx-trigger="every 60s"' in page
    assert "/failures?range=6h" in page
    assert "/?range=6h&amp;type=export&amp;refresh=60" in page


# --- The page, in a browser


@pytest.mark.browser
def test_the_cards_say_what_ran_in_the_window_that_was_chosen(
    open_page: Open, session: Session
) -> None:
    task = "cards_of_a_window"
    record_seed.add_job(session, task=task, minutes=3, run_seconds=4)
    record_seed.add_job(session, task=task, minutes=200, run_seconds=8)
    record_seed.add_job(session, "failed", task=task, minutes=250, error_type="ValueError")
    record_seed.add_job(session, "running", task=task, minutes=1)
    record_seed.add_job(session, "pending", task=task, minutes=7)
    page = open_page(f"/?type={task}")
    expect(page.locator("#card-total")).to_have_text("3")
    expect(page.locator("#card-success")).to_have_text("66.7 %")
    expect(page.locator("#card-average")).to_have_text("6.0 s")
    expect(page.locator("#card-running")).to_have_text("1")
    expect(page.locator("#card-waiting + .note")).to_contain_text("oldest for 7 min")
    expect(page.locator(".types tbody")).to_contain_text(task)
    expect(page.locator(".latest tbody tr")).to_have_count(5)

    page.get_by_text("1 h", exact=True).click()
    expect(page.locator("#card-total")).to_have_text("1")
    expect(page.locator(".asof")).to_contain_text("last hour")
    assert "range=1h" in page.url
    assert f"type={task}" in page.url
    page.go_back()
    expect(page.locator("#card-total")).to_have_text("3")


@pytest.mark.browser
def test_a_window_of_ones_own_is_kept_in_the_address(open_page: Open, session: Session) -> None:
    task = "own_window"
    record_seed.add_job(session, task=task, created_at=datetime.now(UTC) - timedelta(days=2))
    page = open_page(f"/?type={task}")
    expect(page.locator("#card-total")).to_have_text("0")
    page.get_by_text("Custom", exact=True).click()
    day = datetime.now(UTC) - timedelta(days=3)
    page.locator("[name=from]").fill(f"{day:%Y-%m-%dT%H:%M}")
    page.locator("[name=from]").blur()
    expect(page.locator("#card-total")).to_have_text("1")
    assert "range=dates" in page.url
    page.reload()
    expect(page.locator("#card-total")).to_have_text("1")
    expect(page.locator("[name=from]")).to_have_value(f"{day:%Y-%m-%dT%H:%M}")


@pytest.mark.browser
def test_a_new_job_appears_by_itself_unless_that_is_turned_off(
    open_page: Open, session: Session
) -> None:
    live, off = open_page("/"), open_page("/")
    wait_until_live(live)
    wait_until_live(off)
    off.locator("[name=refresh]").select_option("off")
    expect(off.locator(".asof")).to_contain_text("not refreshed by itself")
    off.locator("h1").click()  # away from the menu, which would hold a refresh back
    job_id = record_seed.add_job(session, "pending", minutes=0)
    session.execute(text('SELECT pg_notify(\'stoker_changes\', \'{"noun":"job","id":"1"}\')'))
    session.commit()
    expect(live.locator(f"#latest-{job_id}")).to_be_visible()
    expect(off.locator(f"#latest-{job_id}")).to_have_count(0)
    off.locator("#refresh-now").click()
    expect(off.locator(f"#latest-{job_id}")).to_be_visible()
    assert off.url.endswith("/?refresh=off")


@pytest.mark.browser
def test_what_needs_attention_is_told_with_its_cause(open_page: Open, session: Session) -> None:
    session.execute(
        text("INSERT INTO queue_pause (queue, paused_by, reason) VALUES ('tasks', 'ada', 'moving')")
    )
    session.execute(
        text(
            "INSERT INTO incident (source, risk_level, fingerprint, text, occurrences)"
            " VALUES ('failure', 'high', 'f', 'export failed with ValueError', 14)"
        )
    )
    job = record_seed.add_job(session, "pending")
    page = open_page("/")
    attention = page.locator(".attention")
    expect(attention).to_contain_text("No worker is running.")
    expect(attention).to_contain_text("tasks is paused by ada")
    expect(attention).to_contain_text("export failed with ValueError")
    expect(attention).to_contain_text("14 times")
    expect(page.locator(f"#next-{job}")).to_contain_text("moving")


@pytest.mark.browser
@pytest.mark.parametrize("path", ["/", "/queue", "/failures"])
@pytest.mark.parametrize("width", [390, 1440])
def test_a_full_page_shuts_nobody_out(
    open_page: Open, session: Session, complaints: Complaints, width: int, path: str
) -> None:
    complaints.are_expected = True  # axe itself offends the policy
    record_seed.fill(session)
    scheme = "dark" if width == 390 else "light"
    page = open_page(path, width=width, color_scheme=scheme)
    assert violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.browser
def test_a_narrow_screen_has_five_pages_in_reach_and_the_others_under_more(open_page: Open) -> None:
    page = open_page("/", width=390)
    expect(page.locator(".pages a:visible")).to_have_count(5)
    tops = page.evaluate(
        "[...document.querySelectorAll('.cards dl > div')].map(each => each.offsetTop)"
    )
    assert tops[0] == tops[1] < tops[2] == tops[3]
    page.get_by_role("button", name="More").click()
    page.locator("#more-pages").get_by_role("link", name="API").click()
    expect(page.locator("h1")).to_have_text("HTTP interface")
    expect(page.locator(".more")).to_have_attribute("data-current", "far")


def test_each_chart_is_a_table_too_that_stays_open(open_page: Open, session: Session) -> None:
    record_seed.add_job(session, minutes=90, wait_seconds=4, run_seconds=30)
    record_seed.add_job(session, "failed", minutes=90)
    page = open_page("/")
    wait_until_live(page)
    for summary in page.get_by_text("As a table").all():
        summary.click()
    expect(page.locator("#ended-table tbody tr")).to_have_count(1)
    expect(page.locator("#ended-table tbody tr")).to_contain_text("1")
    expect(page.locator("#waits-table tbody")).to_contain_text("s")
    expect(page.locator("#runs-table tbody")).to_contain_text("30.0 s")

    new = record_seed.add_job(session, minutes=1)
    page.evaluate("htmx.trigger('#home-now', 'refresh')")

    expect(page.locator(f"#latest-{new}")).to_be_visible()
    expect(page.locator("#runs-table tbody")).to_be_visible()
    assert violations(page) == []
    for width in (1440, 390):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") == width


def test_the_cards_show_how_busy_the_machine_was_in_the_window(
    session: Session, sign_in: Callable[..., FlaskClient]
) -> None:
    assert "spark-place" not in sign_in().get("/?range=6h&type=unseen").text
    now = datetime.now(UTC)
    for minutes in range(55):
        session.add(
            WorkerSample(
                at=now - timedelta(minutes=minutes),
                worker_id=UUID(int=1),
                host="gpu-1",
                cpu_percent=20.0 if minutes < 20 else 60.0,
                memory_percent=40.0,
            )
        )
    session.commit()

    page = sign_in().get("/?range=1h&type=unseen").text

    assert 'aria-label="CPU in this time: 20 to 60 %' in page
    assert "Memory in this time: 40 to 40 %, 40 % on the average" in page
    assert "GPU in this time" not in page  # no worker tells of one
