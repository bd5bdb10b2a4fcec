"""API keys: shown once, refused once revoked."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy.orm import Session

from app.core import keys, users
from app.core.errors import Invalid, NotFound


def make(session: Session, **options: object) -> tuple[int, str]:
    key, plain = keys.create(session, users.ensure_admin(session), "test", **options)  # type: ignore[arg-type]
    session.commit()
    return key.id, plain


def test_a_new_key_opens_the_door_and_its_text_is_not_kept(session: Session) -> None:
    _, plain = make(session)
    key = keys.verify(session, plain)
    assert key is not None
    assert key.user.name == "admin"
    assert plain.startswith("sk-stoker-")
    kept = " ".join(str(getattr(key, column.name)) for column in key.__table__.columns)
    assert plain not in kept
    assert plain[10:-4] not in kept


def test_a_revoked_key_is_refused_from_then_on(session: Session) -> None:
    key_id, plain = make(session)
    keys.revoke(session, key_id, "admin")
    session.commit()
    assert keys.verify(session, plain) is None


def test_revoking_twice_keeps_the_first_moment(session: Session) -> None:
    key_id, _ = make(session)
    first = keys.revoke(session, key_id, "admin").revoked_at
    session.commit()
    assert keys.revoke(session, key_id, "admin").revoked_at == first


def test_an_unknown_key_id_can_not_be_revoked(session: Session) -> None:
    with pytest.raises(NotFound, match="no key 77"):
        keys.revoke(session, 77, "admin")


def test_an_expired_key_is_refused(session: Session) -> None:
    _, plain = make(session, expires_at=datetime.now(UTC) - timedelta(seconds=1))
    assert keys.verify(session, plain) is None


def test_a_disabled_users_keys_are_refused(session: Session) -> None:
    _, plain = make(session)
    users.disable(session, "admin", "test")
    session.commit()
    assert keys.verify(session, plain) is None


@pytest.mark.parametrize(
    "change",
    [
        lambda plain: "",
        lambda plain: plain[:-1],
        lambda plain: plain + "0",
        lambda plain: plain[:-1] + ("a" if plain[-1] != "a" else "b"),
        lambda plain: plain.replace("sk-stoker-", "sk-"),
        lambda plain: plain[:20] + "é" + plain[21:],
        lambda plain: plain[:20] + "\x00" + plain[21:],
    ],
)
def test_a_key_with_one_wrong_character_is_refused(session: Session, change: object) -> None:
    _, plain = make(session)
    assert keys.verify(session, change(plain)) is None  # type: ignore[operator]


def test_a_busy_key_notes_its_use_once_a_minute(session: Session) -> None:
    _, plain = make(session)
    first = keys.verify(session, plain)
    session.commit()
    assert first is not None
    session.refresh(first)
    noted = first.last_used_at
    assert noted is not None
    for _ in range(3):
        keys.verify(session, plain)
        session.commit()
    session.refresh(first)
    assert first.last_used_at == noted


def test_a_key_with_an_unknown_scope_is_not_made(session: Session) -> None:
    with pytest.raises(Invalid, match="everything"):
        make(session, scopes=("everything",))
