"""API keys: shown once, kept as a digest, revocable at any time."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import string
import zlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from sqlalchemy import func, or_, select, update
from sqlalchemy.orm import Session

from app.core import audit
from app.core.errors import Invalid, NotFound
from app.core.models import ApiKey, User
from app.core.users import SCOPES

PREFIX = "sk-stoker-"

_ALPHABET = string.digits + string.ascii_letters
_RANDOM_LENGTH = 43  # 62^43 is about 2^256
_CHECK_LENGTH = 6
_USE_NOTED_EVERY = timedelta(minutes=1)


def create(
    session: Session,
    user: User,
    name: str,
    scopes: Sequence[str] = SCOPES,
    *,
    expires_at: datetime | None = None,
    actor: str | None = None,
) -> tuple[ApiKey, str]:
    """A new key for `user`, and its plain text, which can't be had again.

    Raises Invalid for an unknown scope.
    """
    unknown = sorted(set(scopes) - set(SCOPES))
    if unknown:
        raise Invalid(f"There is no scope '{unknown[0]}'.", param="scopes")
    random = "".join(secrets.choice(_ALPHABET) for _ in range(_RANDOM_LENGTH))
    plain = PREFIX + random + _check_digits(random)
    key = ApiKey(
        user_id=user.id,
        name=name,
        digest=_digest(plain),
        hint=f"{PREFIX}…{plain[-4:]}",
        scopes=list(scopes),
        expires_at=expires_at,
    )
    session.add(key)
    session.flush()
    audit.record(session, actor or user.name, "key.create", str(key.id), name)
    return key, plain


def verify(session: Session, plain: str) -> ApiKey | None:
    """The living key of a living user that `plain` is, or None.

    Notes the use at most once a minute, so that a busy key does not write with every request;
    the caller commits.
    """
    if not _is_well_formed(plain):
        return None
    digest = _digest(plain)
    key = session.scalar(select(ApiKey).where(ApiKey.digest == digest))
    if key is None or not hmac.compare_digest(key.digest, digest):
        return None
    now = datetime.now(UTC)
    if key.revoked_at is not None or key.user.disabled_at is not None:
        return None
    if key.expires_at is not None and key.expires_at <= now:
        return None
    if key.last_used_at is None or key.last_used_at < now - _USE_NOTED_EVERY:
        # Guarded, so that parallel requests write once and never wait for each other in turn.
        session.execute(
            update(ApiKey)
            .where(
                ApiKey.id == key.id,
                or_(
                    ApiKey.last_used_at.is_(None),
                    ApiKey.last_used_at < now - _USE_NOTED_EVERY,
                ),
            )
            .values(last_used_at=now)
        )
    return key


def list_keys(session: Session) -> Sequence[ApiKey]:
    """All keys, revoked ones included, in the order they were made."""
    return session.scalars(select(ApiKey).order_by(ApiKey.id)).all()


def revoke(session: Session, key_id: int, actor: str) -> ApiKey:
    """End a key; the next request with it is refused. Raises NotFound."""
    key = session.get(ApiKey, key_id)
    if key is None:
        raise NotFound(f"There is no key {key_id}.")
    if key.revoked_at is None:
        key.revoked_at = session.scalar(select(func.now()))
        audit.record(session, actor, "key.revoke", str(key.id), key.name)
    return key


def _is_well_formed(plain: str) -> bool:
    """Whether the check digits fit: a mistyped key is told apart without asking the database."""
    random = plain[len(PREFIX) : -_CHECK_LENGTH]
    return (
        plain.startswith(PREFIX)
        and len(random) == _RANDOM_LENGTH
        and plain.isascii()
        and plain[-_CHECK_LENGTH:] == _check_digits(random)
    )


def _check_digits(random: str) -> str:
    number = zlib.crc32(random.encode())
    digits = ""
    for _ in range(_CHECK_LENGTH):
        number, digit = divmod(number, len(_ALPHABET))
        digits = _ALPHABET[digit] + digits
    return digits


def _digest(plain: str) -> bytes:
    """SHA-256: a key is random enough that a slow hash would guard nothing."""
    return hashlib.sha256(plain.encode()).digest()
