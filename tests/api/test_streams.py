"""Streams of a job's status and log, and the long poll."""

from __future__ import annotations

import http.client
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy.orm import Session

from app.api import streams as routes
from app.core import jobs, keys, users, watch
from app.extensions import db
from tests.api.conftest import error_of
from tests.api.streams import Stream, log, move, open_stream
from tests.conftest import LiveServer, wait_until

Open = Callable[..., Stream]
Connection = psycopg.Connection[Any]

STATUS_FIELDS = [
    "job_id",
    "status",
    "progress",
    "current_step",
    "result",
    "error",
    "created_at",
    "started_at",
    "completed_at",
    "updated_at",
]


@pytest.fixture
def app(app: Flask) -> Iterator[Flask]:
    yield app
    app.extensions["changes"].end()


@pytest.fixture
def worker(database_url: str) -> Iterator[Connection]:
    """A connection as a worker has it."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def other_worker(database_url: str) -> Iterator[Connection]:
    """Another one."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def job(session: Session, worker: Connection) -> int:
    """A job that runs."""
    job_id = jobs.defer(session, "export", {}, queue="tasks")
    session.commit()
    move(worker, job_id, "doing")
    return job_id


@pytest.fixture
def watch_job(client: FlaskClient, job: int) -> Open:
    """Opens a stream of the job's."""

    def watch_job(what: str = "logs/stream", **headers: str) -> Stream:
        return open_stream(client, f"/api/jobs/{job}/{what}", **headers)

    return watch_job


def progress(connection: Connection, job_id: int, percent: int, message: str) -> None:
    connection.execute(
        "SELECT stoker_progress(jsonb_build_array(jsonb_build_object('job', %s::bigint,"
        " 'number', 1, 'percent', %s::int, 'message', %s::text)))",
        [job_id, percent, message],
    )


def test_a_status_stream_says_the_present_status_each_change_and_the_end(
    watch_job: Open, worker: Connection, job: int
) -> None:
    stream = watch_job("stream")
    first = stream.next()
    assert first is not None
    assert list(first.data) == ["job_id", "status", "progress", "current_step", "timestamp"]
    assert first.data["job_id"] == str(job)
    assert (first.data["status"], first.data["progress"]) == ("running", 0)
    progress(worker, job, 40, "writing")
    second = stream.next()
    assert second is not None
    assert (second.data["progress"], second.data["current_step"]) == (40, "writing")
    move(worker, job, "succeeded")
    *_, last, end = stream.rest()
    assert (last.data["status"], last.data["progress"]) == ("completed", 100)
    assert (end.name, end.data["status"]) == ("end", "completed")


def test_the_stream_of_the_other_dialect_has_the_fields_of_its_status_route(
    client: FlaskClient, worker: Connection, job: int
) -> None:
    assert list(client.get(f"/api/v1/jobs/status/{job}").json) == STATUS_FIELDS
    move(worker, job, "failed")
    stream = open_stream(client, f"/api/v1/jobs/stream/{job}")
    only, end = stream.rest()
    assert list(only.data) == STATUS_FIELDS
    assert only.data["status"] == "failed"
    assert end.name == "end"


def test_a_job_that_is_deleted_ends_its_streams(
    watch_job: Open, worker: Connection, job: int
) -> None:
    stream = watch_job("stream")
    assert stream.next()
    worker.execute("DELETE FROM job WHERE id = %s", [job])
    worker.execute('SELECT pg_notify(\'stoker_changes\', \'{"noun":"job","id":""}\')')
    assert [event.name for event in stream.rest()] == ["end"]


def test_log_lines_come_with_their_ids_and_the_end_after_the_last(
    watch_job: Open, worker: Connection, job: int
) -> None:
    log(worker, job, "one", "two")
    stream = watch_job()
    log(worker, job, "three")
    move(worker, job, "succeeded")
    log(worker, job, "what came after the end")
    *lines, end = stream.rest()
    assert [line.data["message"] for line in lines] == [
        "one",
        "two",
        "three",
        "what came after the end",
    ]
    assert list(lines[0].data) == ["timestamp", "level", "message", "context", "attempt_number"]
    ids = [line.id or 0 for line in lines]
    assert ids == sorted(set(ids))
    assert (end.name, end.data) == ("end", {"job_id": str(job), "status": "completed"})


def test_a_stream_goes_on_after_the_last_line_that_its_reader_has(
    watch_job: Open, worker: Connection, job: int
) -> None:
    log(worker, job, "one", "two", "three")
    stream = watch_job()
    assert stream.next()
    second = stream.next()
    assert second is not None
    move(worker, job, "succeeded")
    by_header = watch_job(Last_Event_ID=str(second.id))
    by_parameter = watch_job(f"logs/stream?last_event_id={second.id}")
    both = watch_job("logs/stream?last_event_id=0", Last_Event_ID=str(second.id))
    for resumed in (by_header, by_parameter, both):
        assert [event.data.get("message") for event in resumed.rest()] == ["three", None]


def test_a_line_that_commits_late_comes_before_those_with_higher_ids(
    watch_job: Open, worker: Connection, other_worker: Connection, job: int
) -> None:
    stream = watch_job()
    log(worker, job, "first")
    assert stream.next()
    with worker.transaction():
        log(worker, job, "lower id, later commit")
        log(other_worker, job, "higher id, earlier commit")
        assert stream.is_silent(1.5)
    move(worker, job, "succeeded")
    late, early, _ = stream.rest()
    assert late.data["message"] == "lower id, later commit"
    assert early.data["message"] == "higher id, earlier commit"
    assert (late.id or 0) < (early.id or 0)


def test_a_transaction_that_somebody_forgot_holds_up_nobody_for_ever(
    watch_job: Open,
    worker: Connection,
    other_worker: Connection,
    job: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("app.core.log_horizon.PATIENCE_SECONDS", 1.0)
    with worker.transaction():
        log(worker, job, "never committed")
        stream = watch_job()
        log(other_worker, job, "committed")
        line = stream.next()
        assert line is not None
        assert line.data["message"] == "committed"


def test_resuming_again_and_again_under_many_writers_loses_and_repeats_nothing(
    watch_job: Open, worker: Connection, database_url: str, job: int
) -> None:
    chance = random.Random(7)
    is_over = threading.Event()

    def write(number: int) -> None:
        pauses = random.Random(number)
        with psycopg.connect(database_url) as connection:
            while not is_over.is_set():
                for _ in range(pauses.randint(1, 4)):
                    log(connection, job, f"line of {number}")
                    time.sleep(pauses.uniform(0, 0.03))
                if pauses.random() < 0.2:
                    connection.rollback()
                else:
                    connection.commit()

    writers = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for writer in writers:
        writer.start()
    seen: list[int] = []
    for _ in range(8):
        stream = watch_job(**({"Last-Event-ID": str(seen[-1])} if seen else {}))
        for _ in range(chance.randint(1, 12)):
            line = stream.next()
            assert line is not None
            assert line.id is not None
            seen.append(line.id)
        stream.leave()
    is_over.set()
    for writer in writers:
        writer.join()
    move(worker, job, "succeeded")
    seen += [event.id for event in watch_job(Last_Event_ID=str(seen[-1])).rest() if event.id]
    real = worker.execute("SELECT id FROM log_line WHERE job_id = %s ORDER BY id", [job]).fetchall()
    assert seen == [line_id for (line_id,) in real]


def test_a_level_leaves_out_lesser_lines(watch_job: Open, worker: Connection, job: int) -> None:
    for level in ("debug", "info", "WARNING", "error"):
        log(worker, job, level, level=level)
    move(worker, job, "failed")
    stream = watch_job("logs/stream?level=Warning")
    assert [event.data.get("message") for event in stream.rest()] == ["WARNING", "error", None]


def test_a_viewer_who_is_far_behind_reads_all_of_a_long_log(
    watch_job: Open, worker: Connection, job: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "_MOST_JOB_SIZE", 0)  # nothing stays at hand
    log(worker, job, *(f"line {n}" for n in range(2500)))
    stream = watch_job()
    assert stream.next()
    log(worker, job, *(f"line {n}" for n in range(2500, 5200)))
    move(worker, job, "succeeded")
    lines = [event.data["message"] for event in stream.rest() if event.id]
    assert lines == [f"line {n}" for n in range(1, 5200)]


def test_a_quiet_stream_says_that_it_is_alive(
    watch_job: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert routes.COMMENT_SECONDS == 15
    monkeypatch.setattr(routes, "COMMENT_SECONDS", 0.1)
    for what in ("stream", "logs/stream"):
        stream = watch_job(what)
        if what == "stream":
            stream.next(with_comments=True)
        event = stream.next(with_comments=True)
        assert event is not None
        assert event.name == "comment"
        stream.leave()


def connections(connection: Connection, name: str) -> list[int]:
    """The Postgres processes of one name in this database."""
    return [
        pid
        for (pid,) in connection.execute(
            "SELECT pid FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name = %s",
            [name],
        )
    ]


def test_fifty_viewers_share_one_connection(
    app: Flask,
    client: FlaskClient,
    session: Session,
    worker: Connection,
    job: int,
) -> None:
    app.extensions["changes"]._places._limit = 50
    other = jobs.defer(session, "export", {}, queue="tasks")
    session.commit()
    opened = [
        open_stream(client, f"/api/jobs/{job_id}/{what}")
        for job_id in (job, other)
        for what in ["logs/stream"] * 20 + ["stream"] * 5
    ]
    log(worker, job, "for one half")
    log(worker, other, "for the other")
    assert all(stream.next() for stream in opened)
    assert len(connections(worker, "stoker changes")) == 1
    with app.app_context():
        assert db.engine.pool.checkedout() == 0  # type: ignore[attr-defined]
    refused = client.get(f"/api/jobs/{job}/stream")
    assert error_of(refused, 503)
    assert int(refused.headers["Retry-After"]) > 0
    move(worker, job, "failed")
    move(worker, other, "cancelled")
    assert all(stream.rest()[-1].name == "end" for stream in opened)
    wait_until(lambda: client.get(f"/api/jobs/{job}/stream").status_code == 200, "places are free")


def test_streams_go_on_when_their_connection_to_postgres_was_killed(
    watch_job: Open, worker: Connection, job: int
) -> None:
    stream = watch_job()
    log(worker, job, "before")
    assert stream.next()
    (lost,) = connections(worker, "stoker changes")
    worker.execute("SELECT pg_terminate_backend(%s)", [lost])
    log(worker, job, "while nobody listened")
    wait_until(lambda: connections(worker, "stoker changes"), "somebody listens again")
    log(worker, job, "after")
    move(worker, job, "succeeded")
    messages = [event.data.get("message") for event in stream.rest()]
    assert messages == ["while nobody listened", "after", None]


def test_a_change_without_a_notification_is_found_all_the_same(
    watch_job: Open, worker: Connection, job: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "_FALLBACK_SECONDS", 0.5)
    stream = watch_job()
    log(worker, job, "heard of")
    assert stream.next()
    worker.execute(
        "INSERT INTO log_line (job_id, level, message) VALUES (%s, 'info', 'not heard of')", [job]
    )
    line = stream.next()
    assert line is not None
    assert line.data["message"] == "not heard of"


def test_a_poll_answers_when_the_status_changes(
    client: FlaskClient, worker: Connection, job: int
) -> None:
    def end() -> None:
        time.sleep(0.5)
        progress(worker, job, 10, "not yet")
        time.sleep(0.5)
        move(worker, job, "succeeded")

    threading.Thread(target=end).start()
    answer = client.get(f"/api/jobs/{job}/poll?current_status=running&timeout=60")
    assert answer.status_code == 200
    assert list(answer.json) == STATUS_FIELDS
    assert answer.json["status"] == "completed"


@pytest.mark.parametrize("path", ["/api/jobs/{}/poll", "/api/v1/jobs/poll/{}"])
def test_a_poll_answers_at_once_when_the_status_is_another(
    client: FlaskClient, worker: Connection, job: int, path: str
) -> None:
    known = client.get(f"{path.format(job)}?current_status=pending&timeout=300")
    assert known.json["status"] == "running"
    move(worker, job, "failed")
    final = client.get(f"{path.format(job)}?current_status=failed&timeout=300")
    assert final.json["status"] == "failed"


def test_a_poll_answers_with_what_there_is_when_its_time_is_over(
    client: FlaskClient, job: int
) -> None:
    for asked in ("timeout=1", "timeout=1&current_status=processing"):
        assert client.get(f"/api/jobs/{job}/poll?{asked}").json["status"] == "running"


@pytest.mark.parametrize(
    ("path", "param"),
    [
        ("poll?current_status=done", "current_status"),
        ("poll?timeout=soon", "timeout"),
        ("poll?timeout=0", "timeout"),
        ("logs/stream?level=loud", "level"),
        ("logs/stream?last_event_id=x", "last_event_id"),
        ("logs/stream?last_event_id=-1", "last_event_id"),
    ],
)
def test_what_cannot_be_read_is_named(client: FlaskClient, job: int, path: str, param: str) -> None:
    assert error_of(client.get(f"/api/jobs/{job}/{path}"), 400)["param"] == param


def test_an_unreadable_last_event_id_is_refused(client: FlaskClient, job: int) -> None:
    answer = client.get(f"/api/jobs/{job}/logs/stream", headers={"Last-Event-ID": "first"})
    assert error_of(answer, 400)["param"] == "Last-Event-ID"


@pytest.mark.parametrize(
    "path",
    [
        "/api/jobs/{}/stream",
        "/api/jobs/{}/logs/stream",
        "/api/jobs/{}/poll",
        "/api/v1/jobs/status/{}",
        "/api/v1/jobs/poll/{}",
        "/api/v1/jobs/stream/{}",
    ],
)
def test_somebody_elses_job_is_not_there(
    make_client: Callable[[str | None], FlaskClient],
    session: Session,
    worker: Connection,
    job: int,
    other_key: str,
    path: str,
) -> None:
    kim = make_client(other_key)
    assert error_of(kim.get(path.format(job)), 404)["code"] == "not_found"
    for wrong in ("0", "99999999999999999999999", "batch_1", "²"):
        error_of(kim.get(path.format(wrong)), 404)
    jobs.name(session, job, owner_name="kim")
    session.commit()
    move(worker, job, "succeeded")
    answer = kim.get(path.format(job), buffered=False)
    assert answer.status_code == 200
    answer.close()


def test_one_user_cannot_take_every_place(
    app: Flask,
    make_client: Callable[[str | None], FlaskClient],
    client: FlaskClient,
    session: Session,
    job: int,
    other_key: str,
) -> None:
    app.extensions["changes"]._places._user_limit = 2
    jobs.name(session, job, owner_name="kim")
    session.commit()
    kim = make_client(other_key)
    opened = [open_stream(kim, f"/api/jobs/{job}/stream") for _ in range(2)]
    assert all(stream.next() for stream in opened)
    refused = kim.get(f"/api/jobs/{job}/logs/stream")
    assert error_of(refused, 429)["code"] == "too_many_streams"
    assert int(refused.headers["Retry-After"]) > 0
    assert open_stream(client, f"/api/jobs/{job}/stream").next()


def test_a_key_that_may_not_read_gets_no_stream(
    make_client: Callable[[str | None], FlaskClient], session: Session, job: int
) -> None:
    _, plain = keys.create(session, users.ensure_admin(session), "to send", ["submit"])
    session.commit()
    error_of(make_client(plain).get(f"/api/jobs/{job}/stream"), 403)


@contextmanager
def connect(server: LiveServer, path: str, key: str) -> Iterator[http.client.HTTPResponse]:
    """A stream of a real web server."""
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=30)
    connection.request("GET", path, headers={"Authorization": f"Bearer {key}"})
    try:
        yield connection.getresponse()
    finally:
        connection.close()


def test_a_reader_who_left_makes_room_for_another(
    start_server: Callable[..., LiveServer], api_key: str, job: int
) -> None:
    server = start_server(STOKER_STREAM_LIMIT="1")

    def status() -> int:
        with connect(server, f"/api/jobs/{job}/logs/stream", api_key) as answer:
            return answer.status

    with connect(server, f"/api/jobs/{job}/stream", api_key) as answer:
        assert answer.readline().startswith(b"retry: ")
        assert status() == 503
    wait_until(lambda: status() == 200, "the place is free again")


def test_a_server_that_stops_ends_its_streams_in_order(
    live_server: LiveServer, api_key: str, job: int
) -> None:
    with (
        connect(live_server, f"/api/jobs/{job}/stream", api_key) as answer,
        connect(live_server, f"/api/jobs/{job}/logs/stream", api_key) as log_answer,
    ):
        answer.readline()
        log_answer.readline()
        live_server.process.terminate()
        assert live_server.process.wait(60) == 0
        answer.read()  # it ended in order: a cut stream would raise
        log_answer.read()


def test_a_stream_that_is_asked_for_and_not_read_keeps_no_place(
    app: Flask, client: FlaskClient, job: int
) -> None:
    app.extensions["changes"]._places._limit = 1
    for what in ("stream", "logs/stream", "stream"):
        for ask in (client.head, client.get):
            answer = ask(f"/api/jobs/{job}/{what}", buffered=False)
            assert answer.status_code == 200
            answer.close()
