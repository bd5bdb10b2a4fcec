"""/v1/webhook_endpoints: who hears of events, as the SDK's `client.webhooks` asks."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from flask import Blueprint, g
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema

from app.api.openapi import Answer, Limit, Query, describe, read_query
from app.api.schemas import PlainText, WebAddress, read_body
from app.api.v1.answers import Deleted
from app.api.v1.objects import page, unix
from app.auth import needs
from app.core import delivery_tests, webhook_endpoints
from app.core.errors import Refused
from app.core.models import User, WebhookEndpoint
from app.core.webhooks import EVENT_TYPES
from app.extensions import current_settings, db

blueprint = Blueprint("webhook_endpoints", __name__)


def _known(event_type: str) -> str:
    if event_type not in EVENT_TYPES:
        raise ValueError(f"must be one of {', '.join(EVENT_TYPES)}")
    return event_type


EventType = Annotated[
    str, AfterValidator(_known), WithJsonSchema({"type": "string", "enum": list(EVENT_TYPES)})
]
EventTypes = Annotated[list[EventType], Field(min_length=1, max_length=50)]
Name = Annotated[PlainText, Field(min_length=1, max_length=200)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class NewEndpoint(_Body):
    """POST /v1/webhook_endpoints. `hears_all` is for operators."""

    name: Name
    url: WebAddress
    event_types: EventTypes
    hears_all: bool = False


class ChangedEndpoint(_Body):
    """POST /v1/webhook_endpoints/{id}: what is to be another."""

    name: Name | None = None
    url: WebAddress | None = None
    event_types: EventTypes | None = None
    hears_all: bool | None = None


class Rotation(_Body):
    """POST /v1/webhook_endpoints/{id}/rotate_secret."""

    keep_old_secret_active_for_24_hours: bool = False


class EndpointTest(_Body):
    """POST /v1/webhook_endpoints/{id}/test."""

    event_type: EventType


class Endpoint(Answer):
    """A webhook endpoint; its secret is shown when it is made and when it is rotated."""

    id: str
    object: Literal["webhook_endpoint"]
    created_at: int
    updated_at: int
    name: str
    url: str
    event_types: list[str]
    signing_secret_hint: str
    hears_all: bool
    disabled_at: int | None


class EndpointWithSecret(Endpoint):
    """The same, with its secret: this once."""

    signing_secret: str


class EndpointList(Answer):
    """A page of webhook endpoints."""

    object: Literal["list"]
    data: list[Endpoint]
    first_id: str | None
    last_id: str | None
    has_more: bool


class EventTypeList(Answer):
    """What an endpoint may hear of."""

    object: Literal["list"]
    data: list[str]


class TestResult(Answer):
    """The endpoint has answered; `status_code` says how."""

    object: Literal["webhook_endpoint.test"]
    webhook_endpoint_id: str
    event_type: str
    status_code: int
    success: Literal[True]


class EndpointQuery(Query):
    """GET /v1/webhook_endpoints."""

    after: str | None = Field(None, description="The last one of the page before.")
    limit: Limit(20, 100)  # type: ignore[valid-type]


@blueprint.get("/webhook_event_types")
@needs("read")
@describe(answer=EventTypeList)
def event_types() -> dict[str, Any]:
    """What an endpoint may hear of."""
    return {"object": "list", "data": list(EVENT_TYPES)}


@blueprint.post("/webhook_endpoints")
@needs("submit")
@describe(body=NewEndpoint, answer=EndpointWithSecret, errors=(422,))
def create() -> dict[str, Any]:
    """Make an endpoint. Its signing secret is in this answer, and never again."""
    body = read_body(NewEndpoint)
    webhook_endpoints.check_hearing(g.actor, body.hears_all)
    session = db.session()
    owner = session.get_one(User, g.actor.user_id)
    endpoint = webhook_endpoints.create(session, owner, g.actor.label, **body.model_dump())
    session.commit()
    return _with_secret(endpoint)


@blueprint.get("/webhook_endpoints")
@needs("read")
@describe(query=EndpointQuery, answer=EndpointList)
def index() -> dict[str, Any]:
    """A page of endpoints, newest first."""
    asked = read_query(EndpointQuery)
    found, has_more = webhook_endpoints.list_endpoints(
        db.session(), g.actor.owner_filter, after=asked.after, limit=asked.limit
    )
    return page([_endpoint(each) for each in found], has_more=has_more)


@blueprint.get("/webhook_endpoints/<webhook_endpoint_id>")
@needs("read")
@describe(answer=Endpoint)
def show(webhook_endpoint_id: str) -> dict[str, Any]:
    """One endpoint."""
    return _endpoint(_found(webhook_endpoint_id))


@blueprint.post("/webhook_endpoints/<webhook_endpoint_id>")
@needs("submit")
@describe(body=ChangedEndpoint, answer=Endpoint)
def update(webhook_endpoint_id: str) -> dict[str, Any]:
    """Change an endpoint; one that was disabled hears again."""
    body = read_body(ChangedEndpoint)
    webhook_endpoints.check_hearing(g.actor, body.hears_all)
    session = db.session()
    endpoint = webhook_endpoints.change(
        session, _found(webhook_endpoint_id), g.actor.label, **body.model_dump(exclude_unset=True)
    )
    session.commit()
    return _endpoint(endpoint)


@blueprint.delete("/webhook_endpoints/<webhook_endpoint_id>")
@needs("submit")
@describe(answer=Deleted, errors=(409,))
def delete(webhook_endpoint_id: str) -> dict[str, Any]:
    """Delete an endpoint with its deliveries."""
    session = db.session()
    webhook_endpoints.remove(session, _found(webhook_endpoint_id), g.actor.label)
    session.commit()
    return {"id": webhook_endpoint_id, "object": "webhook_endpoint.deleted", "deleted": True}


@blueprint.post("/webhook_endpoints/<webhook_endpoint_id>/disable")
@needs("submit")
@describe(answer=Endpoint)
def disable(webhook_endpoint_id: str) -> dict[str, Any]:
    """Let an endpoint hear of nothing new until it is changed."""
    session = db.session()
    endpoint = webhook_endpoints.disable(session, _found(webhook_endpoint_id), g.actor.label)
    session.commit()
    return _endpoint(endpoint)


@blueprint.post("/webhook_endpoints/<webhook_endpoint_id>/rotate_secret")
@needs("submit")
@describe(body=Rotation, answer=EndpointWithSecret)
def rotate_secret(webhook_endpoint_id: str) -> dict[str, Any]:
    """Give an endpoint a new signing secret, shown in this answer and never again."""
    body = read_body(Rotation)
    session = db.session()
    endpoint = webhook_endpoints.rotate_secret(
        session,
        _found(webhook_endpoint_id),
        g.actor.label,
        keep_old=body.keep_old_secret_active_for_24_hours,
    )
    session.commit()
    return _with_secret(endpoint)


@blueprint.post("/webhook_endpoints/<webhook_endpoint_id>/test")
@needs("submit")
@describe(body=EndpointTest, answer=TestResult, errors=(422,))
def test(webhook_endpoint_id: str) -> dict[str, Any]:
    """Send an endpoint a made-up event, once, and say what it answered."""
    body = read_body(EndpointTest)
    session = db.session()
    endpoint = _found(webhook_endpoint_id)
    message = webhook_endpoints.sample(session, endpoint, body.event_type)
    (sent,) = delivery_tests.send(session, [message], current_settings().worker_stale_seconds)
    if sent.last_status_code is None:
        raise Refused(f"The endpoint did not answer: {sent.last_error}.")
    return {
        "object": "webhook_endpoint.test",
        "webhook_endpoint_id": webhook_endpoint_id,
        "event_type": body.event_type,
        "status_code": sent.last_status_code,
        "success": True,
    }


def _found(endpoint_id: str) -> WebhookEndpoint:
    return webhook_endpoints.get(db.session(), endpoint_id, g.actor.owner_filter)


def _endpoint(endpoint: WebhookEndpoint) -> dict[str, Any]:
    return {
        "id": endpoint.id,
        "object": "webhook_endpoint",
        "created_at": unix(endpoint.created_at),
        "updated_at": unix(endpoint.updated_at),
        "name": endpoint.name,
        "url": endpoint.url,
        "event_types": endpoint.event_types,
        "signing_secret_hint": endpoint.secret_hint,
        "hears_all": endpoint.hears_all,
        "disabled_at": unix(endpoint.disabled_at),
    }


def _with_secret(endpoint: WebhookEndpoint) -> dict[str, Any]:
    return {**_endpoint(endpoint), "signing_secret": endpoint.secret}
