"""What becomes of one job, as it happens: its status, Server-Sent Events, and the long poll."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Annotated, Any, Literal

import orjson
from flask import Blueprint, Response, current_app, g, request
from pydantic import BeforeValidator, Field
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as NoConnection

from app.api.openapi import Answer, Limit, Query, describe, read_query
from app.auth import needs
from app.core import json_text
from app.core.changes import ChangeFeed, JobViewer
from app.core.errors import Invalid
from app.core.status import API
from app.core.watch import PAGE_LINES, read_page
from app.core.watched_job import JobState, Line, get_state, is_at_least
from app.event_stream import COMMENT, COMMENT_SECONDS, Reader, event, reconnection, respond
from app.extensions import db

blueprint = Blueprint("streams", __name__)

_TICK_SECONDS = 2.0  # how soon a stream notices that its reader left
_MAX_AGE_SECONDS = 3600.0  # the client connects anew, and who it is gets checked anew
_MOST_READS = 4  # at once, of viewers who are behind: the other connections are for requests
_MOST_ID = 2**63 - 1

_reads = threading.BoundedSemaphore(_MOST_READS)


def _lowered(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


Level = Annotated[
    Literal["debug", "info", "warning", "error", "critical"], BeforeValidator(_lowered)
]


class JobStatus(Answer):
    """Where a job stands, and what came of it."""

    job_id: str
    status: Literal["pending", "running", "completed", "failed", "cancelled"]
    progress: int
    current_step: str | None
    result: Any
    error: str | None
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    updated_at: datetime


class PollQuery(Query):
    """What a long poll waits for."""

    timeout: Limit(30, 300) = Field(30, description="Seconds to wait for a change, 300 at most.")  # type: ignore[valid-type]
    current_status: str | None = Field(
        None, description="The status that the caller knows; by default the one at the call."
    )


class LogStreamQuery(Query):
    """Which log lines are sent."""

    level: Level | None = Field(None, description="The least level that is sent.")
    last_event_id: int | None = Field(
        None,
        ge=0,
        le=_MOST_ID,
        description="Only lines after this one are sent; the header Last-Event-ID goes before it.",
    )


@blueprint.get("/api/v1/jobs/status/<job_id>")
@needs("read")
@describe(answer=JobStatus)
def show_status(job_id: str) -> JobStatus:
    """Where a job stands."""
    return _status(_own(job_id))


@blueprint.get("/api/jobs/<job_id>/poll", endpoint="poll")
@blueprint.get("/api/v1/jobs/poll/<job_id>", endpoint="poll_v1")
@needs("read")
@describe(query=PollQuery, answer=JobStatus)
def poll(job_id: str) -> JobStatus:
    """Where a job stands, once its status is another than the caller knows, or the time is over."""
    asked = read_query(PollQuery)
    state = _own(job_id)
    known = {state.status} if asked.current_status is None else _read_status(asked.current_status)
    if state.status not in known or state.is_final:
        return _status(state)
    viewer = _feed().watch(state, g.actor.user_id)
    try:
        return _status(_await_other(viewer, known, asked.timeout) or state)
    finally:
        viewer.feed.unwatch(viewer)


@blueprint.get("/api/jobs/<job_id>/stream")
@needs("read")
@describe(media="text/event-stream")
def stream(job_id: str) -> Response:
    """A job's status now and whenever it changes, until the job is final."""
    return _stream_status(job_id, _progress)


@blueprint.get("/api/v1/jobs/stream/<job_id>")
@needs("read")
@describe(media="text/event-stream")
def stream_v1(job_id: str) -> Response:
    """The same, with the fields of the status route."""
    return _stream_status(job_id, lambda state: _status(state).model_dump_json().encode())


@blueprint.get("/api/jobs/<job_id>/logs/stream")
@needs("read")
@describe(query=LogStreamQuery, media="text/event-stream")
def stream_log(job_id: str) -> Response:
    """A job's log lines from the first, or from the last one seen, until the job is final."""
    asked = read_query(LogStreamQuery)
    after = _last_event_id()
    state = _own(job_id)
    viewer = _feed().watch(state, g.actor.user_id, with_log=True)
    reader = Reader()
    log = _Log(viewer, db.engine, asked.last_event_id or 0 if after is None else after)
    return respond(
        _paced(viewer, reader, log.events(asked.level)),
        lambda: viewer.feed.unwatch(viewer),
        reader,
    )


def _stream_status(job_id: str, said: Callable[[JobState], bytes]) -> Response:
    state = _own(job_id)
    viewer = _feed().watch(state, g.actor.user_id)
    reader = Reader()
    return respond(
        _paced(viewer, reader, _status_events(viewer, state, said)),
        lambda: viewer.feed.unwatch(viewer),
        reader,
    )


def _feed() -> ChangeFeed:
    feed = current_app.extensions["changes"]
    assert isinstance(feed, ChangeFeed)
    return feed


def _own(job_id: str) -> JobState:
    """The job, if the caller may see it. Its connection is free again: a stream lasts."""
    state = get_state(db.session(), job_id, g.actor.owner_name)
    db.session.rollback()
    return state


def _read_status(word: str) -> frozenset[str]:
    try:
        return API.read(word)
    except Invalid as fault:
        raise Invalid(fault.message, param="current_status") from None


def _last_event_id() -> int | None:
    """What a client sends by itself when it connects anew."""
    said = request.headers.get("Last-Event-ID", "").strip()
    if not said:
        return None
    if said.isascii() and said.isdigit() and int(said) <= _MOST_ID:
        return int(said)
    raise Invalid(
        f"Last-Event-ID must be the id of a log line; got {said[:100]!r}.", param="Last-Event-ID"
    )


def _await_other(
    viewer: JobViewer, known: frozenset[str] | set[str], seconds: int
) -> JobState | None:
    ends_at = time.monotonic() + seconds
    reader = Reader()
    while True:
        state = viewer.job.state()
        rest = ends_at - time.monotonic()
        if state is None or state.status not in known or rest <= 0:
            return state
        if viewer.feed.is_ended or reader.has_left():
            return state
        viewer.wait(min(rest, _TICK_SECONDS))


def _paced(viewer: JobViewer, reader: Reader, events: Iterator[bytes]) -> Iterator[bytes]:
    """`events`, where an empty one means that nothing is new: then it waits, and says so in time."""
    ends_at = time.monotonic() + _MAX_AGE_SECONDS
    comment_at = time.monotonic() + COMMENT_SECONDS
    yield reconnection()
    for said in events:
        if said:
            yield said
        elif time.monotonic() >= comment_at:
            yield COMMENT
        else:
            viewer.wait(max(0.0, min(_TICK_SECONDS, comment_at - time.monotonic())))
            if viewer.feed.is_ended or time.monotonic() >= ends_at or reader.has_left():
                return
            continue
        comment_at = time.monotonic() + COMMENT_SECONDS


def _status_events(
    viewer: JobViewer, state: JobState, said: Callable[[JobState], bytes]
) -> Iterator[bytes]:
    yield event(said(state))
    while not state.is_final:
        now = viewer.job.state()
        if now is None:  # its record was deleted
            break
        if now == state:
            yield b""
        else:
            state = now
            yield event(said(state))
    yield event(
        orjson.dumps({"job_id": str(state.id), "status": API.say(state.status)}), name="end"
    )


class _Log:
    """One viewer's way through a job's log."""

    def __init__(self, viewer: JobViewer, engine: Engine, after: int) -> None:
        self._viewer = viewer
        self._engine = engine
        self._after = after

    def events(self, level: str | None) -> Iterator[bytes]:
        """The lines from `level` on in order, each once, and `end` after the last."""
        job = self._viewer.job
        while True:
            found = job.look(self._after)
            lines: list[Line] | None = found.lines
            if found.is_behind:
                lines = self._read_page(found.until)
            if lines is None:  # the database is away: as if nothing were new
                yield b""
                continue
            said = b"".join(_sent(line) for line in lines if is_at_least(line, level))
            if found.is_behind and len(lines) == PAGE_LINES:
                self._after = lines[-1].id
            else:
                self._after = max(self._after, found.until)
            if said:
                yield said
            elif found.is_behind:
                continue
            elif found.is_complete:
                break
            else:
                yield b""
        state = job.state()
        status = None if state is None else API.say(state.status)
        yield event(orjson.dumps({"job_id": str(job.id), "status": status}), name="end")

    def _read_page(self, until: int) -> list[Line] | None:
        """What is not at hand, from the database; None when it can't be reached."""
        try:
            with _reads, self._engine.connect() as connection:
                return read_page(connection, self._viewer.job.id, self._after, until)
        except (DBAPIError, NoConnection):
            return None


def _status(state: JobState) -> JobStatus:
    return JobStatus.model_validate(
        {
            "job_id": str(state.id),
            "status": API.say(state.status),
            "progress": state.progress,
            "current_step": state.message,
            "result": state.result,
            "error": state.error_message,
            "created_at": state.created_at,
            "started_at": state.started_at,
            "completed_at": state.ended_at,
            "updated_at": state.updated_at,
        }
    )


def _progress(state: JobState) -> bytes:
    return orjson.dumps(
        {
            "job_id": str(state.id),
            "status": API.say(state.status),
            "progress": state.progress,
            "current_step": state.message,
            "timestamp": _moment(state.read_at),
        }
    )


def _moment(at: datetime) -> str:
    """As the models of the other answers say it."""
    return at.isoformat().replace("+00:00", "Z")


def _sent(line: Line) -> bytes:
    if line.sent is None:
        entry = {
            "timestamp": _moment(line.at),
            "level": line.level,
            "message": line.message,
            "context": line.context,
            "attempt_number": line.attempt_number,
        }
        line.sent = event(json_text.write(entry), event_id=line.id)
    return line.sent
