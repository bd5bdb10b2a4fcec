"""Saved views: a user's own names for addresses of pages."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.core.errors import Conflict, Invalid, LimitReached, NotFound
from app.core.models import SavedView

MOST = 100
LONGEST_NAME = 80
LONGEST_ADDRESS = 4000
_MOST_ID = 2**63 - 1


def list_views(session: Session, user_id: int) -> Sequence[SavedView]:
    """A user's views by name."""
    query = select(SavedView).where(SavedView.user_id == user_id)
    return session.scalars(query.order_by(func.lower(SavedView.name), SavedView.id)).all()


def create(session: Session, user_id: int, name: str, address: str) -> SavedView:
    """Keep an address, which the caller has found to be a page's. The caller commits.

    Raises Invalid (name or address), Conflict (a view of that name is there), LimitReached.
    """
    name = _read_name(name)
    if len(address) > LONGEST_ADDRESS or "\0" in address:
        raise Invalid(f"address must have {LONGEST_ADDRESS:,} characters at most.", param="address")
    kept = select(func.count()).select_from(SavedView).where(SavedView.user_id == user_id)
    if session.scalars(kept).one() >= MOST:
        raise LimitReached(f"There are {MOST} saved views already: delete one first.")
    made = session.scalars(
        insert(SavedView)
        .values(user_id=user_id, name=name, address=address)
        .on_conflict_do_nothing(index_elements=["user_id", "name"])
        .returning(SavedView)
    ).one_or_none()
    if made is None:
        raise _taken(name)
    return made


def rename(session: Session, user_id: int, view_id: int, name: str) -> SavedView:
    """Give a view another name. The caller commits.

    Raises Invalid, NotFound (also for another user's), Conflict (another one has that name).
    """
    name = _read_name(name)
    if view_id > _MOST_ID:
        raise _absent(view_id)
    view = session.scalar(
        select(SavedView)
        .where(SavedView.id == view_id, SavedView.user_id == user_id)
        .with_for_update()
    )
    if view is None:
        raise _absent(view_id)
    view.name = name
    try:
        session.flush()
    except IntegrityError:
        raise _taken(name) from None
    return view


def remove(session: Session, user_id: int, view_id: int) -> None:
    """Forget a view. The caller commits. Raises NotFound."""
    if view_id > _MOST_ID:
        raise _absent(view_id)
    gone = session.scalar(
        delete(SavedView)
        .where(SavedView.id == view_id, SavedView.user_id == user_id)
        .returning(SavedView.id)
    )
    if gone is None:
        raise _absent(view_id)


def _read_name(name: str) -> str:
    name = name.strip()
    if not 0 < len(name) <= LONGEST_NAME or "\0" in name:
        raise Invalid(f"name must have 1 to {LONGEST_NAME} characters.", param="name")
    return name


def _taken(name: str) -> Conflict:
    return Conflict(f"There is a saved view of the name “{name}” already.", param="name")


def _absent(view_id: int) -> NotFound:
    return NotFound(f"There is no saved view {view_id}.", param="view_id", code="not_found")
