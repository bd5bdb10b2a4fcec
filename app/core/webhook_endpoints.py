"""Webhook endpoints: URLs that hear of events, with a signing secret each; the caller commits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta

from sqlalchemy import Select, delete, func, select, tuple_, update
from sqlalchemy.orm import Session

from app.core import audit, signatures, webhooks
from app.core.addresses import is_web_address
from app.core.errors import Conflict, Forbidden, Invalid, LimitReached, NotFound, Refused
from app.core.ids import new_id
from app.core.models import AlertRule, User, WebhookDelivery, WebhookEndpoint
from app.core.users import OPERATING_ROLES, Actor
from app.core.webhooks import EVENT_TYPES, make_delivery

OLD_SECRET_HOURS = 24

_MOST_PER_OWNER = 100
_SAMPLE_BATCH = "batch_" + 32 * "0"
_NOT_ALL = "Only an operator's endpoint may hear of everybody's events."


def list_endpoints(
    session: Session, owner_id: int | None, *, after: str | None, limit: int
) -> tuple[Sequence[WebhookEndpoint], bool]:
    """A page, newest first, and whether more follow. Raises NotFound when `after` is unknown."""
    query = _visible(owner_id)
    place = (WebhookEndpoint.created_at, WebhookEndpoint.id)
    if after is not None:
        last = get(session, after, owner_id, param="after")
        query = query.where(tuple_(*place) < tuple_(last.created_at, last.id))
    query = query.order_by(*(column.desc() for column in place)).limit(limit + 1)
    found = session.scalars(query).all()
    return found[:limit], len(found) > limit


def get(
    session: Session, endpoint_id: str, owner_id: int | None, param: str = "webhook_endpoint_id"
) -> WebhookEndpoint:
    """One endpoint. Raises NotFound."""
    endpoint = session.scalar(_visible(owner_id).where(WebhookEndpoint.id == endpoint_id))
    if endpoint is None:
        raise NotFound(f"There is no webhook endpoint '{endpoint_id}'.", param=param)
    return endpoint


def create(
    session: Session,
    owner: User,
    actor: str,
    *,
    name: str,
    url: str,
    event_types: Iterable[str],
    hears_all: bool = False,
) -> WebhookEndpoint:
    """A new one, with its secret. Raises Invalid, Forbidden (`hears_all`) and Refused (too many)."""
    types = _checked(owner, name, url, event_types, hears_all)
    # Their number is looked at by one at a time.
    session.execute(select(User.id).where(User.id == owner.id).with_for_update())
    known = session.scalar(
        select(func.count()).where(WebhookEndpoint.owner_id == owner.id),
    )
    if (known or 0) >= _MOST_PER_OWNER:
        raise Refused(f"A user has {_MOST_PER_OWNER} webhook endpoints at most; delete one first.")
    endpoint = WebhookEndpoint(
        id=new_id("we"),
        owner_id=owner.id,
        name=name,
        url=url,
        event_types=types,
        hears_all=hears_all,
        secret=signatures.new_secret(),
    )
    session.add(endpoint)
    session.flush()
    audit.record(session, actor, "webhook_endpoint.create", endpoint.id, name)
    return endpoint


def change(
    session: Session,
    endpoint: WebhookEndpoint,
    actor: str,
    *,
    name: str | None = None,
    url: str | None = None,
    event_types: Iterable[str] | None = None,
    hears_all: bool | None = None,
) -> WebhookEndpoint:
    """Change what is given; one that was disabled hears again.

    What it has not heard yet goes to its new url. Raises Invalid and Forbidden.
    """
    wanted = {
        "name": endpoint.name if name is None else name,
        "url": endpoint.url if url is None else url,
        "hears_all": endpoint.hears_all if hears_all is None else hears_all,
    }
    owner = session.get_one(User, endpoint.owner_id)
    types = endpoint.event_types if event_types is None else event_types
    wanted["event_types"] = _checked(
        owner, str(wanted["name"]), str(wanted["url"]), types, bool(wanted["hears_all"])
    )
    wanted["disabled_at"] = None
    changed = {key: value for key, value in wanted.items() if getattr(endpoint, key) != value}
    if changed:
        for column, value in changed.items():
            setattr(endpoint, column, value)
        if "url" in changed:
            _send_elsewhere(session, endpoint)
        endpoint.updated_at = session.scalars(select(func.clock_timestamp())).one()
        audit.record(
            session, actor, "webhook_endpoint.update", endpoint.id, ", ".join(sorted(changed))
        )
        session.flush()
    return endpoint


def disable(session: Session, endpoint: WebhookEndpoint, actor: str) -> WebhookEndpoint:
    """Let it hear of nothing new until somebody changes it; what is under way is still sent."""
    if endpoint.disabled_at is None:
        endpoint.disabled_at = session.scalars(select(func.clock_timestamp())).one()
        audit.record(session, actor, "webhook_endpoint.disable", endpoint.id, endpoint.name)
        session.flush()
    return endpoint


def _send_elsewhere(session: Session, endpoint: WebhookEndpoint) -> None:
    session.execute(
        update(WebhookDelivery)
        .where(WebhookDelivery.endpoint_id == endpoint.id, WebhookDelivery.status != "delivered")
        .values(url=endpoint.url, host=webhooks.host_of(endpoint.url))
    )


def remove(session: Session, endpoint: WebhookEndpoint, actor: str) -> None:
    """Delete it with its deliveries. Raises Conflict while an alert rule tells it."""
    # Locked first: whoever makes a rule with it comes before, or finds it gone.
    session.execute(
        select(WebhookEndpoint.id).where(WebhookEndpoint.id == endpoint.id).with_for_update()
    )
    rule = session.scalar(
        select(AlertRule.name).where(AlertRule.targets.contains([endpoint.id])).limit(1)
    )
    if rule is not None:
        raise Conflict(f"The alert rule '{rule}' tells this endpoint; change that first.")
    session.execute(delete(WebhookEndpoint).where(WebhookEndpoint.id == endpoint.id))
    audit.record(session, actor, "webhook_endpoint.delete", endpoint.id, endpoint.name)


def rotate_secret(
    session: Session, endpoint: WebhookEndpoint, actor: str, *, keep_old: bool
) -> WebhookEndpoint:
    """Give it a new secret; the old one signs too for a day if `keep_old`, else no more."""
    now = session.scalars(select(func.clock_timestamp())).one()
    endpoint.old_secret = endpoint.secret if keep_old else None
    endpoint.old_secret_until = now + timedelta(hours=OLD_SECRET_HOURS) if keep_old else None
    endpoint.secret = signatures.new_secret()
    endpoint.updated_at = now
    audit.record(session, actor, "webhook_endpoint.rotate_secret", endpoint.id)
    session.flush()
    return endpoint


def sample(session: Session, endpoint: WebhookEndpoint, event_type: str) -> WebhookDelivery:
    """A made-up event of a type for a test.

    Raises LimitReached while another test of its owner's goes on: somebody waits for each.
    """
    open_test = select(WebhookDelivery.id).where(
        WebhookDelivery.owner_id == endpoint.owner_id,
        WebhookDelivery.is_test,
        WebhookDelivery.status == "pending",
    )
    if session.scalar(open_test.limit(1)) is not None:
        raise LimitReached("Another test is under way; one goes at a time.", retry_after_seconds=10)
    return make_delivery(
        event_type,
        _sample_data(event_type),
        endpoint.url,
        owner_id=endpoint.owner_id,
        endpoint_id=endpoint.id,
        is_test=True,
    )


def _sample_data(event_type: str) -> dict[str, object]:
    match event_type:
        case webhooks.PROGRESS:
            counts = {"total": 10, "completed": 5, "failed": 0}
            return {"id": _SAMPLE_BATCH, "request_counts": counts}
        case webhooks.INCIDENT:
            text = "This is a test: nothing has happened"
            return {"id": "0", "source": "failure", "risk_level": "low", "text": text}
        case _ if event_type.startswith("job."):
            status = event_type.removeprefix("job.")
            return {"id": "0", "job_type": "test", "queue": "test", "status": status}
        case _:
            return {"id": _SAMPLE_BATCH}


def check_hearing(actor: Actor, hears_all: bool | None) -> None:
    """Who does not see what is everybody's does not hear of it either. Raises Forbidden."""
    if hears_all and actor.owner_filter is not None:
        raise Forbidden(_NOT_ALL)


def _visible(owner_id: int | None) -> Select[WebhookEndpoint]:
    query = select(WebhookEndpoint)
    return query if owner_id is None else query.where(WebhookEndpoint.owner_id == owner_id)


def _checked(
    owner: User, name: str, url: str, event_types: Iterable[str], hears_all: bool
) -> list[str]:
    """The types, each once."""
    if not name.strip() or not name.isprintable():
        raise Invalid("An endpoint has a name of one line.", param="name")
    types = list(dict.fromkeys(event_types))
    for each in types:
        if each not in EVENT_TYPES:
            raise Invalid(
                f"There is no event type '{each}': {', '.join(EVENT_TYPES)}.", param="event_types"
            )
    if not types:
        raise Invalid("An endpoint hears of one event type at least.", param="event_types")
    if not is_web_address(url):
        raise Invalid("The url must be an http or https address without a user name.", param="url")
    if hears_all and owner.role not in OPERATING_ROLES:
        raise Forbidden(_NOT_ALL)
    return types
