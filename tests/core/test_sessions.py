"""One-time links and the browsers they sign in."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, update
from sqlalchemy.orm import Session

from app.core import sessions, users
from app.core.errors import Unauthenticated
from app.core.models import BrowserSession, SignInLink


@pytest.fixture
def token(session: Session) -> str:
    token = sessions.create_sign_in_link(session, users.ensure_admin(session), 5)
    session.commit()
    return token


@pytest.fixture
def cookie(session: Session, token: str) -> str:
    cookie = sessions.consume_sign_in_link(session, token, session_days=1)
    session.commit()
    return cookie


def test_a_link_signs_in_once(session: Session, token: str, cookie: str) -> None:
    browser = sessions.get(session, cookie, idle_hours=1)
    assert browser is not None
    assert browser.user.name == "admin"
    with pytest.raises(Unauthenticated, match="used already"):
        sessions.consume_sign_in_link(session, token, session_days=1)


def test_of_many_browsers_that_open_a_link_at_once_one_is_signed_in(
    engine: Engine, token: str
) -> None:
    def open_link(_: int) -> bool:
        with Session(engine) as session:
            try:
                sessions.consume_sign_in_link(session, token, session_days=1)
                session.commit()
            except Unauthenticated:
                return False
            return True

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(open_link, range(8))) == 1


@pytest.mark.parametrize("text", ["", "x", "\x00", "\udc80", "é" * 100])
def test_a_made_up_link_or_cookie_is_refused(session: Session, text: str) -> None:
    with pytest.raises(Unauthenticated):
        sessions.consume_sign_in_link(session, text, session_days=1)
    assert sessions.get(session, text, idle_hours=1) is None


def test_an_old_link_is_refused(session: Session, token: str) -> None:
    session.execute(update(SignInLink).values(expires_at=datetime.now(UTC)))
    session.commit()
    with pytest.raises(Unauthenticated, match="too old"):
        sessions.consume_sign_in_link(session, token, session_days=1)


@pytest.mark.parametrize(
    "end",
    [
        lambda session, cookie: sessions.end(session, cookie),
        lambda session, cookie: session.execute(
            update(BrowserSession).values(expires_at=datetime.now(UTC))
        ),
        lambda session, cookie: session.execute(
            update(BrowserSession).values(last_seen_at=datetime.now(UTC) - timedelta(hours=2))
        ),
    ],
    ids=["signed out", "too old", "idle"],
)
def test_a_session_ends_on_the_server(
    session: Session, cookie: str, end: Callable[[Session, str], object]
) -> None:
    end(session, cookie)
    session.commit()
    session.expire_all()
    assert sessions.get(session, cookie, idle_hours=1) is None


def test_a_session_in_use_does_not_become_idle(session: Session, cookie: str) -> None:
    earlier = datetime.now(UTC) - timedelta(minutes=50)
    session.execute(update(BrowserSession).values(last_seen_at=earlier))
    session.commit()
    browser = sessions.get(session, cookie, idle_hours=1)
    session.commit()
    assert browser is not None
    assert browser.last_seen_at > earlier


def test_long_ended_sessions_and_links_are_removed(session: Session, cookie: str) -> None:
    assert sessions.delete_expired(session, before=datetime.now(UTC)) == 0
    session.execute(update(BrowserSession).values(expires_at=datetime.now(UTC)))
    session.execute(update(SignInLink).values(expires_at=datetime.now(UTC)))
    assert sessions.delete_expired(session, before=datetime.now(UTC)) == 2
