"""Files: their rows in the database. The bytes are `app.core.storage`'s.

The row is added only when all bytes are on disk, and goes before they do: what a row names can
always be read.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import Select, or_, select, tuple_
from sqlalchemy import delete as sql_delete
from sqlalchemy.orm import Session

from app.core.errors import Conflict, Invalid, NotFound
from app.core.models import IS_OPEN, Batch, File
from app.core.models.files import UPLOAD_PURPOSES
from app.core.settings import Settings
from app.core.storage import DRAFT_SUFFIX, Draft, path, path_of, remove_abandoned

__all__ = [
    "UPLOAD_PURPOSES",
    "add",
    "create",
    "delete",
    "delete_expired",
    "get",
    "list_files",
    "path",
    "path_of",
    "remove_bytes",
    "remove_leftovers",
]

SHORTEST_EXPIRY_SECONDS = 3600
LONGEST_EXPIRY_SECONDS = 30 * 86_400

_LONGEST_NAME = 255
# A kept file gets its row within moments; one without a row for this long has lost its process.
_ORPHAN_SECONDS = 3600.0


def add(
    session: Session,
    draft: Draft,
    *,
    owner_id: int,
    purpose: str,
    filename: str,
    expires_at: datetime | None,
    created_at: datetime | None = None,
) -> File:
    """The row of a draft that has been kept; the caller commits."""
    file = File(
        id=draft.id,
        owner_id=owner_id,
        purpose=purpose,
        filename=filename,
        bytes=draft.bytes,
        sha256=draft.sha256,
        created_at=created_at or datetime.now(UTC),
        expires_at=expires_at,
    )
    session.add(file)
    session.flush()
    return file


def create(
    session: Session,
    settings: Settings,
    draft: Draft,
    *,
    owner_id: int,
    purpose: str,
    filename: str,
    expires_after_seconds: int | None = None,
) -> File:
    """Keep an uploaded draft and add its row; the caller commits.

    Raises Invalid for a purpose, name or expiry that is not taken.
    """
    if purpose not in UPLOAD_PURPOSES:
        raise Invalid(
            f"purpose must be one of {', '.join(UPLOAD_PURPOSES)}; got {purpose!r}.",
            param="purpose",
        )
    name = _clean_name(filename)
    if purpose == "batch" and not name.endswith(".jsonl"):
        raise Invalid("Invalid file format for Batch API. Must be .jsonl", param="file")
    if expires_after_seconds is None and purpose == "batch":
        expires_after_seconds = round(settings.file_days * 86_400)
    elif expires_after_seconds is not None and not (
        SHORTEST_EXPIRY_SECONDS <= expires_after_seconds <= LONGEST_EXPIRY_SECONDS
    ):
        raise Invalid(
            f"expires_after[seconds] must be from {SHORTEST_EXPIRY_SECONDS} to "
            f"{LONGEST_EXPIRY_SECONDS}.",
            param="expires_after[seconds]",
        )
    draft.keep()
    now = datetime.now(UTC)
    return add(
        session,
        draft,
        owner_id=owner_id,
        purpose=purpose,
        filename=name,
        created_at=now,
        expires_at=now + timedelta(seconds=expires_after_seconds)
        if expires_after_seconds is not None
        else None,
    )


def get(session: Session, file_id: str, owner_id: int | None) -> File:
    """One file. Raises NotFound when it is absent, expired or (with an owner) somebody else's."""
    file = session.scalar(_visible(owner_id).where(File.id == file_id))
    if file is None:
        raise _absent(file_id)
    return file


def list_files(
    session: Session,
    owner_id: int | None,
    *,
    after: str | None,
    limit: int,
    is_descending: bool = True,
    purpose: str | None = None,
) -> tuple[list[File], bool]:
    """A page, and whether more follow. Raises NotFound when `after` is unknown."""
    query = _visible(owner_id)
    if purpose is not None:
        query = query.where(File.purpose == purpose)
    place = tuple_(File.created_at, File.id)
    if after is not None:
        last = session.execute(
            select(File.created_at, File.id).where(
                File.id == after, *([] if owner_id is None else [File.owner_id == owner_id])
            )
        ).one_or_none()
        if last is None:
            raise _absent(after, param="after")
        here = tuple_(last.created_at, last.id)
        query = query.where(place < here if is_descending else place > here)
    columns = (File.created_at, File.id)
    query = query.order_by(
        *(column.desc() if is_descending else column.asc() for column in columns)
    )
    found = list(session.scalars(query.limit(limit + 1)))
    return found[:limit], len(found) > limit


def delete(session: Session, file_id: str, owner_id: int | None) -> None:
    """Remove a file's row; the caller commits and then calls `remove_bytes`.

    Raises NotFound, and Conflict while a batch that has not ended needs the file.
    """
    # Locked, so that no batch can be created from the file between this look and the commit.
    file = session.scalar(_visible(owner_id).where(File.id == file_id).with_for_update())
    if file is None:
        raise _absent(file_id)
    needed_by = session.scalar(_open_batches().where(Batch.input_file_id == file_id).limit(1))
    if needed_by is not None:
        raise Conflict(
            f"The batch {needed_by} still needs this file; cancel it first.",
            param="file_id",
            code="file_in_use",
        )
    session.delete(file)
    session.flush()


def remove_bytes(settings: Settings, file_ids: Iterable[str]) -> None:
    """Remove the bytes of files whose rows are gone. Downloads that run are not disturbed."""
    for file_id in file_ids:
        path(settings, file_id).unlink(missing_ok=True)


def delete_expired(session: Session, settings: Settings, *, limit: int = 1000) -> int:
    """Remove files past their time that no open batch needs; commits. How many there were."""
    expired = (
        select(File.id)
        .where(
            File.expires_at <= datetime.now(UTC),
            ~_open_batches().where(Batch.input_file_id == File.id).exists(),
        )
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    gone = list(session.scalars(sql_delete(File).where(File.id.in_(expired)).returning(File.id)))
    session.commit()
    remove_bytes(settings, gone)
    return len(gone)


def remove_leftovers(session: Session, settings: Settings) -> int:
    """Remove what killed processes left: drafts that nobody writes, and bytes without a row."""
    if not settings.files_path.is_dir():
        return 0
    removed = 0
    old: dict[str, Path] = {}
    newest_orphan = time.time() - _ORPHAN_SECONDS
    for entry in settings.files_path.iterdir():
        if entry.name.endswith(DRAFT_SUFFIX):
            removed += remove_abandoned(entry)
        elif entry.stat().st_mtime < newest_orphan:
            old[entry.name] = entry
    names = list(old)
    for start in range(0, len(names), 1000):
        some = names[start : start + 1000]
        known = set(session.scalars(select(File.id).where(File.id.in_(some))))
        for name in some:
            if name not in known:
                old[name].unlink(missing_ok=True)
                removed += 1
    session.rollback()
    return removed


def _visible(owner_id: int | None) -> Select[File]:
    query = select(File).where(or_(File.expires_at.is_(None), File.expires_at > datetime.now(UTC)))
    return query if owner_id is None else query.where(File.owner_id == owner_id)


def _open_batches() -> Select[str]:
    return select(Batch.id).where(IS_OPEN)


def _absent(file_id: str, param: str = "file_id") -> NotFound:
    return NotFound(f"There is no file {file_id!r}.", param=param, code="file_not_found")


def _clean_name(filename: str) -> str:
    """A name that is safe to store and to send back; never used as a path."""
    base = filename.replace("\\", "/").rsplit("/", 1)[-1]
    name = "".join(sign for sign in base if sign.isprintable())[-_LONGEST_NAME:].strip()
    if not name:
        raise Invalid("The file needs a name.", param="file")
    return name
