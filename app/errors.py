"""Translates whatever was raised, once, into an answer: JSON for programs, a page for people."""

from __future__ import annotations

import psycopg
import structlog
from flask import Flask, Response, make_response, render_template, request
from procrastinate.exceptions import ConnectorException
from sqlalchemy import exc as sql
from werkzeug.exceptions import HTTPException

from app.api.errors import is_api_request, json_error
from app.core.errors import Invalid, NotFound, StokerError, TooLarge, Unavailable
from app.extensions import db

_RETRY_SECONDS = 2

_log = structlog.get_logger("web")


class _HttpFault(StokerError):
    """A refusal that Werkzeug made, in our shape."""

    def __init__(self, fault: HTTPException) -> None:
        super().__init__(fault.description or fault.name)
        self.http_status = fault.code or 500
        if self.http_status < 500:
            self.error_type = "invalid_request_error"


class _Unexpected(StokerError):
    """A fault of ours. The client gets the request's id, the log gets the rest."""


def register(app: Flask) -> None:
    """Catch everything; no client ever sees a stack trace."""
    app.register_error_handler(Exception, _answer)


def _answer(fault: Exception) -> Response:
    if isinstance(fault, HTTPException) and fault.response is not None:
        return make_response(fault.response)  # a redirect, or an answer made on purpose
    known = translate(fault)
    if known.http_status >= 500:
        _log.error("request failed", fault=known.message, exc_info=_unexplained(known, fault))
        db.session.remove()
    response = json_error(known) if is_api_request() else _page(known)
    if isinstance(fault, HTTPException):
        for name, value in fault.get_headers():
            if name == "Allow":
                response.headers[name] = value
    if known.retry_after_seconds is not None:
        response.headers["Retry-After"] = str(known.retry_after_seconds)
    return response


def _unexplained(known: StokerError, fault: Exception) -> Exception | None:
    return fault if isinstance(known, _Unexpected) else None


def translate(fault: Exception) -> StokerError:
    """The refusal that `fault` amounts to."""
    match fault:
        case StokerError():
            if fault.http_status == 503 and fault.retry_after_seconds is None:
                fault.retry_after_seconds = _RETRY_SECONDS
            return fault
        case HTTPException(code=404):
            return NotFound(f"There is nothing at {request.method} {request.path}.")
        case HTTPException(code=405):
            refusal = _HttpFault(fault)
            refusal.message = f"{request.path} does not take {request.method}."
            return refusal
        case HTTPException(code=413):
            return TooLarge("The request is larger than this server takes.")
        case HTTPException():
            return _HttpFault(fault)
        case sql.DBAPIError() | sql.TimeoutError() | psycopg.Error():
            return _translate_database(fault)
        case ConnectorException(__cause__=psycopg.Error() as cause):
            return _translate_database(cause)
        case UnicodeEncodeError():
            return Invalid("The request has text that is not valid Unicode.")
        case _:
            return _Unexpected("The server made a mistake; its log has this request's id.")


def _translate_database(
    fault: sql.DBAPIError | sql.TimeoutError | psycopg.Error,
) -> StokerError:
    cause = fault.orig if isinstance(fault, sql.DBAPIError) else fault
    match cause:
        case psycopg.errors.QueryCanceled():
            message = "The database took too long to answer."
        case psycopg.errors.UndefinedTable() | psycopg.errors.UndefinedColumn():
            message = "The database has an older schema: run `flask db upgrade`."
        case psycopg.errors.DataError():
            return Invalid("The request has a value that can't be stored or looked up.")
        case psycopg.OperationalError() | psycopg.InterfaceError() | sql.TimeoutError():
            message = "The database can't be reached at the moment."
        case StokerError():
            return cause
        case _:
            return _Unexpected("The server made a mistake; its log has this request's id.")
    return Unavailable(message, retry_after_seconds=_RETRY_SECONDS)


def _page(fault: StokerError) -> Response:
    return make_response(render_template("error.html", fault=fault), fault.http_status)
