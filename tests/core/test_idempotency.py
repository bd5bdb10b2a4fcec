"""The same request to defer a job, sent again with its key, makes no second one."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from sqlalchemy import Engine, func, select, update
from sqlalchemy.orm import Session

from app.core import defer, retention, users
from app.core.defer import Deferred, Terms
from app.core.errors import Conflict, Invalid
from app.core.models import AuditEntry, IdempotencyKey, Job
from app.core.settings import Settings

LATER = datetime(2040, 1, 1, tzinfo=UTC)


def send(
    session: Session,
    terms: Terms = Terms(),  # noqa: B008 - frozen
    *,
    key: str | None = "k",
    user: str = "admin",
    **arguments: Any,
) -> Deferred:
    users.ensure_admin(session)
    actor = users.actor_of(users.get(session, user))
    terms = terms.model_copy(update={"idempotency_key": key})
    deferred = defer.defer(session, "export", arguments, actor, terms, settings=None)
    session.commit()
    return deferred


def test_the_same_words_give_the_first_job(session: Session) -> None:
    first = send(session, format="zip")
    again = send(session, format="zip", what="jobs")  # the default, said

    assert first.is_new
    assert again == Deferred(first.job_id, is_new=False)
    assert session.scalar(select(func.count()).select_from(Job)) == 1
    audits = session.scalars(
        select(AuditEntry.object_id).where(AuditEntry.action == "job.defer")
    ).all()
    assert audits == [str(first.job_id)]


def test_the_order_of_dependencies_and_the_zone_of_a_time_are_no_other_words(
    session: Session,
) -> None:
    one, two = (send(session, key=None).job_id for _ in range(2))
    first = send(session, Terms(schedule_at=LATER, depends_on=(one, two)))
    there = LATER.astimezone(timezone(timedelta(hours=2)))
    assert send(session, Terms(schedule_at=there, depends_on=(two, one))).job_id == first.job_id


@pytest.mark.parametrize(
    ("terms", "arguments"),
    [
        (Terms(), {"format": "json"}),
        (Terms(priority=1), {}),
        (Terms(lock="l"), {}),
        (Terms(timeout_seconds=5), {}),
        (Terms(schedule_at=LATER), {}),
    ],
)
def test_other_words_are_refused(session: Session, terms: Terms, arguments: dict[str, Any]) -> None:
    send(session)
    with pytest.raises(Conflict) as refusal:
        send(session, terms, **arguments)
    assert refusal.value.code == "idempotency_key_reused"


def test_a_key_is_its_users_own(session: Session) -> None:
    users.ensure_admin(session)
    session.add(users.User(name="ann", role="user"))
    first = send(session)
    assert send(session, user="ann").is_new
    assert send(session).job_id == first.job_id
    assert send(session, key="other").is_new
    assert send(session, key=None).is_new


def test_fifty_at_once_make_one_job(session: Session, engine: Engine) -> None:
    users.ensure_admin(session)
    session.commit()

    def once(_: int) -> int:
        with Session(engine) as own:
            return send(own).job_id

    with ThreadPoolExecutor(8) as pool:
        ids = set(pool.map(once, range(50)))
    assert len(ids) == 1
    assert session.scalar(select(func.count()).select_from(Job)) == 1


def test_a_key_is_kept_for_its_days_and_then_removed(session: Session, settings: Settings) -> None:
    send(session, key="old")
    send(session, key="new")
    age = datetime.now(UTC) - timedelta(days=settings.idempotency_days, minutes=1)
    session.execute(
        update(IdempotencyKey).where(IdempotencyKey.key == "old").values(created_at=age)
    )
    session.commit()
    retention.run(settings, ["idempotency_key"])
    assert session.scalars(select(IdempotencyKey.key)).all() == ["new"]
    assert settings.idempotency_days >= 1


@pytest.mark.parametrize("name", ["lock", "idempotency_key"])
def test_what_no_database_takes_as_text_is_refused(name: str) -> None:
    with pytest.raises(Invalid, match="NUL"):
        defer.read_terms({name: "a\0b"})
