"""What programs may ask and what they get, as pydantic models: read by the handlers, and published.

A handler says `@describe(query=…, body=…, answer=…)`; `document` makes openapi.json of all of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import wraps
from types import MappingProxyType
from typing import Annotated, Any, TypeVar

from flask import Flask, Response, request
from flask.typing import ResponseReturnValue
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.json_schema import models_json_schema
from werkzeug.routing import IntegerConverter, Rule

from app.api.schemas import first_fault
from app.core.errors import Invalid

Handler = Callable[..., ResponseReturnValue]
Asked = TypeVar("Asked", bound="Query")

_JSON = "application/json"
_MOST = 2**62  # fits Postgres's bigint


class Answer(BaseModel):
    """What a handler answers; it is sent as JSON."""

    # Every field is sent, and none that is not described.
    model_config = ConfigDict(
        json_schema_serialization_defaults_required=True, extra="forbid", protected_namespaces=()
    )


class Query(BaseModel):
    """Query parameters. Unknown ones are ignored, as clients add their own."""

    model_config = ConfigDict(extra="ignore", populate_by_name=True)


def _clamped(most: int) -> Callable[[Any], Any]:
    def clamp(value: Any) -> Any:
        try:
            return min(int(value), most)
        except (TypeError, ValueError):
            return value

    return clamp


def Limit(default: int, most: int) -> Any:  # noqa: N802 - reads as a type
    """The type of a `limit`: more than `most` means `most`, as clients ask for too much."""
    words = f"At most {most} are given."
    return Annotated[
        int,
        Field(ge=1),
        BeforeValidator(_clamped(most)),
        Field(default=default, description=words),
    ]


Offset = Annotated[int, Field(ge=0, le=_MOST)]


@dataclass(frozen=True)
class Operation:
    """What a handler says of itself."""

    query: type[BaseModel] | None
    body: type[BaseModel] | None
    answer: type[BaseModel] | None
    status: int
    media: str
    body_media: str
    errors: tuple[int, ...]
    also: Mapping[int, type[BaseModel]]


def describe(
    *,
    query: type[BaseModel] | None = None,
    body: type[BaseModel] | None = None,
    answer: type[BaseModel] | None = None,
    status: int = 200,
    media: str = _JSON,
    body_media: str = _JSON,
    errors: tuple[int, ...] = (),
    also: Mapping[int, type[BaseModel]] = MappingProxyType({}),
) -> Callable[[Callable[..., Any]], Handler]:
    """Publish a handler. An `Answer` that it returns, or a dict of one, is sent as JSON.

    `errors` are statuses beyond those that any call may get (400, 401, 403, 404, 429, 503), `also` are
    other answers, by their status, that the handler sends itself.
    """

    def mark(view: Callable[..., Any]) -> Handler:
        @wraps(view)
        def handler(*arguments: Any, **named: Any) -> Any:
            given = view(*arguments, **named)
            if answer is not None and isinstance(given, dict):
                given = answer.model_validate(given)
            if isinstance(given, Answer):
                content = given.model_dump_json(by_alias=True)
                return Response(content, status, mimetype=_JSON)
            return given

        handler.operation = Operation(  # type: ignore[attr-defined]
            query, body, answer, status, media, body_media, errors, also
        )
        return handler

    return mark


def read_query(kind: type[Asked]) -> Asked:
    """The request's query parameters. Raises Invalid that names the first unfit one.

    An empty one counts as not given, as forms send it.
    """
    given: dict[str, Any] = {}
    for name, field in kind.model_fields.items():
        shown = field.alias or name
        value = request.args.get(shown)
        if value:
            if "\x00" in value:
                raise Invalid(f"{shown} has a character that no text has.", param=shown)
            given[shown] = value
    try:
        return kind.model_validate(given)
    except ValidationError as fault:
        raise first_fault(fault) from None


def document(app: Flask) -> dict[str, Any]:
    """The OpenAPI 3.1 description of every described route."""
    routes = list(described(app))
    models: dict[tuple[type[BaseModel], Any], None] = {}
    for _, operation, _ in routes:
        answers = [(model, "serialization") for model in operation.also.values()]
        for model, mode in (
            (operation.body, "validation"),
            (operation.answer, "serialization"),
            *answers,
        ):
            if model is not None:
                models[(model, mode)] = None
    references, definitions = models_json_schema(
        list(models), ref_template="#/components/schemas/{model}"
    )
    paths: dict[str, dict[str, Any]] = {}
    for rule, operation, view in routes:
        path = re.sub(r"<(?:[^:<>]+:)?([^<>]+)>", r"{\1}", rule.rule)
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            paths.setdefault(path, {})[method.lower()] = _operation(
                rule, method, operation, view, references
            )
    schemas = definitions.get("$defs", {})
    schemas["Error"] = _ERROR
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Stoker",
            "version": "1",
            "description": "Batch inference and background jobs on one GPU server.",
        },
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": dict(sorted(schemas.items())),
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"key": []}],
    }


def described(app: Flask) -> Iterator[tuple[Rule, Operation, Callable[..., Any]]]:
    """Every described route, its description and its handler."""
    for rule in app.url_map.iter_rules():
        view = app.view_functions[rule.endpoint]
        operation = getattr(view, "operation", None)
        if operation is not None:
            yield rule, operation, view


_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}
_ANY_CALL = (400, 401, 403, 404, 429, 503)
_REASONS = {
    400: "Unreadable: the error names the parameter.",
    401: "No credentials, or unknown ones.",
    403: "Not allowed.",
    404: "Absent, or somebody else's.",
    409: "Not in this status.",
    413: "Too large.",
    422: "A value that is understood but refused.",
    429: "Too much at once; Retry-After says when to come back.",
    503: "The database or the engine is away; Retry-After says when to come back.",
}


def _operation(
    rule: Rule,
    method: str,
    operation: Operation,
    view: Callable[..., Any],
    references: Any,
) -> dict[str, Any]:
    answers: dict[str, Any] = {str(operation.status): {"description": "As asked."}}
    if operation.answer is not None:
        schema: Any = references[(operation.answer, "serialization")]
        answers[str(operation.status)]["content"] = {operation.media: {"schema": schema}}
    elif operation.status != 204:
        answers[str(operation.status)]["content"] = {operation.media: {"schema": {}}}
    for status, model in operation.also.items():
        shown = {"schema": references[(model, "serialization")]}
        answers[str(status)] = {"description": "As asked.", "content": {_JSON: shown}}
    for status in sorted({*_ANY_CALL, *operation.errors}):
        answers[str(status)] = {
            "description": _REASONS[status],
            "content": {_JSON: {"schema": {"$ref": "#/components/schemas/Error"}}},
        }
    words = (view.__doc__ or rule.endpoint).strip().splitlines()[0]
    found: dict[str, Any] = {
        "operationId": f"{method.lower()}_{rule.endpoint.replace('.', '_')}",
        "summary": words,
        "parameters": [*_path_parameters(rule), *_query_parameters(operation.query)],
        "responses": answers,
    }
    if getattr(view, "is_public", False):
        found["security"] = []
    if operation.body is not None:
        schema = references[(operation.body, "validation")]
        found["requestBody"] = {
            "required": True,
            "content": {operation.body_media: {"schema": schema}},
        }
    return found


def _path_parameters(rule: Rule) -> Iterator[dict[str, Any]]:
    converters = rule._converters
    for name in sorted(rule.arguments):
        kind = "integer" if isinstance(converters.get(name), IntegerConverter) else "string"
        yield {"name": name, "in": "path", "required": True, "schema": {"type": kind}}


def _query_parameters(query: type[BaseModel] | None) -> Iterator[dict[str, Any]]:
    if query is None:
        return
    schema = query.model_json_schema(ref_template="#/components/schemas/{model}")
    definitions = schema.get("$defs", {})
    for name, field in schema.get("properties", {}).items():
        described = field.pop("description", None)
        if "$ref" in field:
            field = definitions[field["$ref"].rsplit("/", 1)[1]]
        found = {
            "name": name,
            "in": "query",
            "required": name in schema.get("required", ()),
            "schema": field,
        }
        yield {**found, "description": described} if described else found
