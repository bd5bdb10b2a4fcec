"""Signed-in browsers and the one-time links that sign them in."""

from __future__ import annotations

import hashlib
import secrets
from datetime import UTC, datetime, timedelta

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from app.core import audit
from app.core.errors import Unauthenticated
from app.core.models import BrowserSession, SignInLink, User

_SEEN_NOTED_EVERY = timedelta(minutes=1)
_LINK_IS_SPENT = (
    "This sign-in link has been used already or is too old. Make a new one with `flask users link`."
)


def create_sign_in_link(session: Session, user: User, minutes: float) -> str:
    """The token of a link that signs a browser in as `user`, once, within `minutes`."""
    token = secrets.token_urlsafe(32)
    now = datetime.now(UTC)
    session.add(
        SignInLink(
            digest=_digest(token),
            user_id=user.id,
            expires_at=now + timedelta(minutes=minutes),
        )
    )
    audit.record(session, user.name, "sign_in_link.create", user.name)
    return token


def consume_sign_in_link(session: Session, token: str, *, session_days: float) -> str:
    """Use a link up and open a browser session: the token for its cookie.

    Raises Unauthenticated when the link is unknown, used, or too old.
    """
    user_id = session.scalar(
        update(SignInLink)
        .where(
            SignInLink.digest == _digest(token),
            SignInLink.used_at.is_(None),
            SignInLink.expires_at > func.now(),
            SignInLink.user_id.in_(select(User.id).where(User.disabled_at.is_(None))),
        )
        .values(used_at=func.now())
        .returning(SignInLink.user_id)
    )
    if user_id is None:
        raise Unauthenticated(_LINK_IS_SPENT)
    cookie = secrets.token_urlsafe(32)
    session.add(
        BrowserSession(
            digest=_digest(cookie),
            user_id=user_id,
            expires_at=datetime.now(UTC) + timedelta(days=session_days),
        )
    )
    user = session.get_one(User, user_id)
    audit.record(session, user.name, "session.create", user.name)
    return cookie


def linked_name(session: Session, token: str) -> str:
    """Whom a link would sign in; the link stays unused. Raises Unauthenticated as using it does."""
    name = session.scalar(
        select(User.name)
        .join(SignInLink, SignInLink.user_id == User.id)
        .where(
            SignInLink.digest == _digest(token),
            SignInLink.used_at.is_(None),
            SignInLink.expires_at > func.now(),
            User.disabled_at.is_(None),
        )
    )
    if name is None:
        raise Unauthenticated(_LINK_IS_SPENT)
    return name


def get(session: Session, cookie: str, *, idle_hours: float) -> BrowserSession | None:
    """The open session that a cookie stands for, or None.

    It ends at its absolute limit, or after `idle_hours` without a request, whichever is first.
    The caller commits (the last use is noted once a minute).
    """
    now = datetime.now(UTC)
    browser = session.scalar(
        select(BrowserSession).where(
            BrowserSession.digest == _digest(cookie),
            BrowserSession.ended_at.is_(None),
            BrowserSession.expires_at > now,
            BrowserSession.last_seen_at > now - timedelta(hours=idle_hours),
        )
    )
    if browser is None or browser.user.disabled_at is not None:
        return None
    if browser.last_seen_at < now - _SEEN_NOTED_EVERY:
        browser.last_seen_at = now
    return browser


def end(session: Session, cookie: str) -> None:
    """Sign a browser out, on the server."""
    browser = session.get(BrowserSession, _digest(cookie))
    if browser is not None and browser.ended_at is None:
        browser.ended_at = datetime.now(UTC)
        audit.record(session, browser.user.name, "session.end", browser.user.name)


def delete_expired(session: Session, *, before: datetime) -> int:
    """Remove sessions and links that ended before `before`; the number of rows removed."""
    links = session.execute(
        delete(SignInLink).where(SignInLink.expires_at < before).returning(SignInLink.digest)
    ).all()
    browsers = session.execute(
        delete(BrowserSession)
        .where(BrowserSession.expires_at < before)
        .returning(BrowserSession.digest)
    ).all()
    return len(links) + len(browsers)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()
