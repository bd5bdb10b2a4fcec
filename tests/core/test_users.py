"""Users, and what each may do."""

from __future__ import annotations

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core import keys, sessions, users
from app.core.errors import Conflict, Forbidden, Invalid, NotFound
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


def test_a_viewer_sees_as_operators_do_and_may_do_nothing(session: Session) -> None:
    users.ensure_admin(session)
    viewer = users.create(session, "vic", "viewer", "somebody")
    actor = users.actor_of(viewer)
    assert actor.owner_filter is None
    users.authorize(actor, "read")
    users.authorize_look(actor, "operate")
    for scope in ("submit", "operate", "admin"):
        with pytest.raises(Forbidden):
            users.authorize(actor, scope)
    with pytest.raises(Forbidden, match="'admin'"):
        users.authorize_look(actor, "admin")
    entry = session.scalars(select(AuditEntry).where(AuditEntry.action == "user.create")).one()
    assert (entry.actor, entry.object_id, entry.details) == ("somebody", "vic", "viewer")


def test_a_viewers_key_sees_no_more_than_its_scopes_say(session: Session) -> None:
    viewer = users.create(session, "vic", "viewer", "somebody")
    key, _ = keys.create(session, viewer, "narrow", ("read",))
    assert users.actor_of(viewer, key).owner_filter == viewer.id
    with pytest.raises(Forbidden):
        users.authorize_look(users.actor_of(viewer, key), "operate")


@pytest.mark.parametrize("name", ["", " ann", "ann (key 3)", "a" * 65, "ann\n", "-x", "<b>"])
def test_a_name_is_one_plain_word(session: Session, name: str) -> None:
    with pytest.raises(Invalid, match="name must have"):
        users.create(session, name, "user", "somebody")


def test_a_name_is_given_once_and_a_role_is_a_known_one(session: Session) -> None:
    users.create(session, "ann", "user", "somebody")
    with pytest.raises(Conflict, match="'ann' already"):
        users.create(session, "ann", "viewer", "somebody")
    with pytest.raises(Invalid, match="viewer"):
        users.change_role(session, "ann", "king", "somebody")


def test_another_role_holds_at_once_and_is_written_down(session: Session) -> None:
    users.ensure_admin(session)
    ann = users.create(session, "ann", "operator", "somebody")
    users.change_role(session, "ann", "viewer", "ben")
    assert users.actor_of(ann).scopes == {"read"}
    users.change_role(session, "ann", "viewer", "ben")
    entry = session.scalars(select(AuditEntry).where(AuditEntry.action == "user.role")).one()
    assert (entry.actor, entry.object_id, entry.details) == ("ben", "ann", "operator → viewer")


def test_the_last_administrator_stays_one(session: Session) -> None:
    users.ensure_admin(session)
    with pytest.raises(Conflict, match="last administrator"):
        users.change_role(session, "admin", "viewer", "admin")
    users.create(session, "ann", "admin", "admin")
    users.change_role(session, "admin", "viewer", "admin")
    with pytest.raises(Conflict, match="last administrator"):
        users.change_role(session, "ann", "user", "ann")
