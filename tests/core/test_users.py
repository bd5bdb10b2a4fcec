"""Users, and what each may do."""

from __future__ import annotations

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core import keys, sessions, users
from app.core.errors import Forbidden, NotFound
from app.core.models import AuditEntry, User


def test_there_is_one_administrator_however_often_it_is_ensured(session: Session) -> None:
    first = users.ensure_admin(session)
    session.commit()
    assert users.ensure_admin(session).id == first.id
    assert [user.name for user in users.list_users(session)] == ["admin"]


def test_a_disabled_user_is_signed_out_everywhere_and_the_audit_trail_says_by_whom(
    session: Session,
) -> None:
    user = users.ensure_admin(session)
    token = sessions.create_sign_in_link(session, user, 5)
    cookie = sessions.consume_sign_in_link(session, token, session_days=1)
    session.commit()
    users.disable(session, "admin", "somebody")
    session.commit()
    assert sessions.get(session, cookie, idle_hours=1) is None
    entry = session.scalars(select(AuditEntry).where(AuditEntry.action == "user.disable")).one()
    assert (entry.actor, entry.object_id) == ("somebody", "admin")


def test_an_unknown_user_is_named_in_the_refusal(session: Session) -> None:
    with pytest.raises(NotFound, match="'nobody'"):
        users.get(session, "nobody")


def test_a_key_narrows_what_its_user_may_do(session: Session) -> None:
    admin = users.ensure_admin(session)
    key, _ = keys.create(session, admin, "reader", ("read",))
    actor = users.actor_of(admin, key)
    users.authorize(actor, "read")
    with pytest.raises(Forbidden, match="'submit'"):
        users.authorize(actor, "submit")


def test_a_key_can_not_widen_what_its_user_may_do(session: Session) -> None:
    plain_user = User(name="kim", role="user")
    session.add(plain_user)
    session.flush()
    key, _ = keys.create(session, plain_user, "wide", users.SCOPES)
    actor = users.actor_of(plain_user, key)
    assert actor.scopes == {"read", "submit"}
    assert actor.owner_filter == plain_user.id


def test_somebody_elses_things_are_absent_for_a_plain_user() -> None:
    kim = users.Actor(2, "kim", frozenset({"read"}))
    users.authorize(kim, "read", owner_id=2)
    with pytest.raises(NotFound):
        users.authorize(kim, "read", owner_id=1)
