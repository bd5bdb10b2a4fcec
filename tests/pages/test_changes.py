"""The stream that tells pages that something changed."""

from __future__ import annotations

import http.client
import json
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import psycopg
import pytest
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from app.core import alert_rules, alerts, deliveries, incidents
from app.core.changes import CHANNEL, ChangeFeed, Full, Viewer
from app.core.db import sqlalchemy_url
from app.core.settings import Settings
from tests.conftest import LiveServer, new_database, wait_until

DEFER = (
    "INSERT INTO procrastinate_jobs (queue_name, task_name, args) VALUES ('tasks', 'export', '{}')"
)


@pytest.fixture
def quiet_url(postgres: str, template_database: str) -> Iterator[str]:
    """A database in which nobody else listens."""
    with new_database(postgres, template_database) as url:
        yield url


@pytest.fixture
def feed(quiet_url: str) -> Iterator[ChangeFeed]:
    """A feed with room for two."""
    feed = ChangeFeed(quiet_url, limit=2)
    yield feed
    feed.end()


@contextmanager
def place(feed: ChangeFeed) -> Iterator[Viewer]:
    """A page's place in the feed for as long as the block lasts."""
    viewer = feed.join()
    try:
        yield viewer
    finally:
        feed.leave(viewer)


def announce(database_url: str, times: int = 1) -> None:
    """Something changed, so many times in quick succession."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        for _ in range(times):
            connection.execute(f"NOTIFY {CHANNEL}, '{{}}'")


def defer(database_url: str) -> None:
    """A job is deferred, by a program that knows nothing of viewers."""
    with psycopg.connect(database_url) as connection:
        connection.execute(DEFER)


def is_listened_to(database_url: str) -> bool:
    """Whether the triggers would notify now."""
    with psycopg.connect(database_url) as connection:
        found = connection.execute("SELECT FROM listener WHERE until > now()").fetchone()
    return found is not None


def listeners(database_url: str) -> list[int]:
    """The Postgres processes that listen in this database."""
    with psycopg.connect(database_url) as connection:
        return [
            pid
            for (pid,) in connection.execute(
                "SELECT pid FROM pg_stat_activity"
                " WHERE datname = current_database() AND application_name = 'stoker changes'"
            )
        ]


@contextmanager
def open_stream(server: LiveServer, cookie: dict[str, str]) -> Iterator[http.client.HTTPResponse]:
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=60)
    connection.request("GET", "/changes", headers={"Cookie": f"{cookie['name']}={cookie['value']}"})
    try:
        yield connection.getresponse()
    finally:
        connection.close()


def test_a_viewer_is_told_once_when_it_comes_and_then_of_changes(
    feed: ChangeFeed, quiet_url: str
) -> None:
    with place(feed) as viewer:
        assert viewer.wait(30)
        wait_until(lambda: listeners(quiet_url), "the feed listens")
        while viewer.wait(1.5):  # connecting counts as a change
            pass
        announce(quiet_url)
        assert viewer.wait(30)
        assert not viewer.wait(0.1)


def test_many_changes_are_one_for_a_viewer_that_rests(feed: ChangeFeed, quiet_url: str) -> None:
    with place(feed) as viewer:
        wait_until(lambda: listeners(quiet_url), "the feed listens")
        while viewer.wait(1.5):  # connecting counts as a change
            pass
        announce(quiet_url, times=20)
        told = 0
        while viewer.wait(2.5):
            told += 1
        assert 1 <= told <= 2


def test_all_viewers_share_one_connection(feed: ChangeFeed, quiet_url: str) -> None:
    with place(feed) as first, place(feed) as second:
        wait_until(lambda: listeners(quiet_url), "the feed listens")
        announce(quiet_url)
        assert first.wait(30)
        assert second.wait(30)
        assert len(listeners(quiet_url)) == 1


def test_a_lost_connection_comes_back_and_counts_as_a_change(
    feed: ChangeFeed, quiet_url: str
) -> None:
    with place(feed) as viewer:
        wait_until(lambda: listeners(quiet_url), "the feed listens")
        while viewer.wait(1.5):
            pass
        (lost,) = listeners(quiet_url)
        with psycopg.connect(quiet_url) as connection:
            connection.execute("SELECT pg_terminate_backend(%s)", [lost])
        assert viewer.wait(30)
        wait_until(lambda: listeners(quiet_url), "the feed listens again")


def rest(viewer: Viewer) -> None:
    """Until the viewer was told everything that its own coming made of it."""
    while viewer.wait(1.5):
        pass


def test_a_job_notifies_only_while_somebody_listens(feed: ChangeFeed, quiet_url: str) -> None:
    with psycopg.connect(quiet_url, autocommit=True) as ear:
        ear.execute(f"LISTEN {CHANNEL}")
        defer(quiet_url)
        announce(quiet_url)
        assert [notice.payload for notice in ear.notifies(timeout=10, stop_after=1)] == ["{}"]
        with place(feed) as viewer:
            wait_until(lambda: is_listened_to(quiet_url), "the feed says that it listens")
            rest(viewer)
            defer(quiet_url)
            (notice,) = ear.notifies(timeout=10, stop_after=1)
            assert notice.payload == '{"noun":"job","id":""}'
            assert viewer.wait(5)


def test_a_change_that_was_under_way_when_the_first_viewer_came_is_told(
    feed: ChangeFeed, quiet_url: str
) -> None:
    with psycopg.connect(quiet_url) as early:
        early.execute(DEFER)
        with place(feed) as viewer:
            wait_until(lambda: is_listened_to(quiet_url), "the feed says that it listens")
            rest(viewer)
            early.commit()
            assert viewer.wait(5)


def test_alerts_deliveries_incidents_and_the_trail_are_told_while_somebody_listens(
    quiet_url: str, settings: Settings
) -> None:
    engine = create_engine(sqlalchemy_url(quiet_url))
    with psycopg.connect(quiet_url, autocommit=True) as ear, Session(engine) as session:
        ear.execute(f"LISTEN {CHANNEL}")

        def told() -> set[str]:
            """Of what, up to a last word of our own."""
            session.commit()
            ear.execute(f"NOTIFY {CHANNEL}, 'last'")
            said = []
            for notice in ear.notifies(timeout=10):
                if notice.payload == "last":
                    break
                said.append(json.loads(notice.payload)["noun"])
            return set(said)

        def change_all() -> list[set[str]]:
            rule = {
                "kind": "job_failure",
                "name": str(uuid.uuid4()),
                "targets": ["ops@example.org"],
            }
            alert_rules.create(session, "admin", {**rule, "threshold": 1.0})
            rules = told()
            incidents.report(
                session, source="failure", risk_level="low", fingerprint="f", text="export failed"
            )
            reported = told()
            alerts.evaluate(session, settings)
            fired = told()
            (due,) = deliveries.claim(session, 1)
            deliveries.record(session, due, deliveries.Outcome(200), settings)
            return [rules, reported, fired, told()]

        ear.execute(
            "INSERT INTO job (id, task, queue, status, started_at, attempt_started_at, ended_at)"
            " SELECT number, 'mail', 'q', 'failed', now(), now(), now()"
            " FROM generate_series(1, 3) AS number"
        )
        assert change_all() == [set(), set(), set(), set()]
        ear.execute("INSERT INTO listener (id, until) VALUES (gen_random_uuid(), now() + '1 hour')")
        assert change_all() == [{"audit"}, {"incident"}, {"alert"}, {"delivery"}]
    engine.dispose()


def test_places_are_limited_and_given_back(feed: ChangeFeed) -> None:
    with place(feed), place(feed):
        with pytest.raises(Full) as refusal:
            feed.join()
        assert refusal.value.http_status == 503
        assert refusal.value.retry_after_seconds
    with place(feed):
        pass


def test_beyond_the_limit_a_page_is_told_when_to_come_back(
    live_server: LiveServer, cookie: dict[str, str], settings: Settings
) -> None:
    streams = [open_stream(live_server, cookie) for _ in range(settings.stream_limit + 1)]
    answers = [stream.__enter__() for stream in streams]
    try:
        assert [answer.status for answer in answers].count(200) == settings.stream_limit
        (refused,) = (answer for answer in answers if answer.status != 200)
        assert refused.status == 503
        assert int(refused.headers["Retry-After"]) > 0
    finally:
        for stream in streams:
            stream.__exit__(None, None, None)

    def has_room() -> bool:
        with open_stream(live_server, cookie) as answer:
            return answer.status == 200

    wait_until(has_room, "places of readers who left are free again")


def test_the_stream_is_not_held_back_by_a_proxy(
    live_server: LiveServer, cookie: dict[str, str]
) -> None:
    with open_stream(live_server, cookie) as answer:
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        assert answer.headers["X-Accel-Buffering"] == "no"
        assert answer.readline() == b"event: changed\n"


def test_an_open_stream_does_not_hold_up_a_graceful_stop(
    start_server: Callable[..., LiveServer], cookie: dict[str, str]
) -> None:
    server = start_server()
    own = {**cookie, "name": f"stoker_session_{urlsplit(server.url).port}"}
    with open_stream(server, own) as answer:
        assert answer.status == 200
        answer.readline()
        began = time.monotonic()
        server.process.terminate()
        assert server.process.wait(10) == 0
        assert time.monotonic() - began < 10
        answer.read()  # it ended in order: a cut stream would raise
