"""Files: a row only for bytes that are on disk, and no bytes without a row for long."""

from __future__ import annotations

import errno
import hashlib
import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from app.core import batches, files, storage, users
from app.core.errors import Conflict, Invalid, NotFound, TooLarge, Unavailable
from app.core.models import Batch, File
from app.core.settings import Settings, load_settings


@pytest.fixture
def owner_id(session: Session) -> int:
    owner_id = users.ensure_admin(session).id
    session.commit()
    return owner_id


def make(
    session: Session, settings: Settings, owner_id: int, content: bytes = b"{}\n", **options: object
) -> File:
    with storage.Draft(settings) as draft:
        draft.write(content)
        file = files.create(
            session,
            settings,
            draft,
            owner_id=owner_id,
            **{"purpose": "batch", "filename": "x.jsonl", **options},  # type: ignore[arg-type]
        )
    session.commit()
    return file


def stored(settings: Settings) -> set[str]:
    return {path.name for path in settings.files_path.iterdir()}


def test_a_file_is_named_by_its_id_and_has_its_hash(
    session: Session, settings: Settings, owner_id: int
) -> None:
    file = make(session, settings, owner_id, b"content")
    assert stored(settings) == {file.id}
    assert files.path(settings, file.id).read_bytes() == b"content"
    assert file.sha256 == hashlib.sha256(b"content").hexdigest()


def test_a_draft_that_is_not_kept_leaves_nothing(settings: Settings) -> None:
    with storage.Draft(settings) as draft:
        draft.write(b"x")
        assert len(stored(settings)) == 1
    assert stored(settings) == set()


def test_a_refused_file_leaves_nothing(session: Session, settings: Settings, owner_id: int) -> None:
    with pytest.raises(Invalid):
        make(session, settings, owner_id, purpose="nonsense")
    assert stored(settings) == set()
    assert session.scalar(select(func.count()).select_from(File)) == 0


def test_a_draft_ends_at_its_limit(settings: Settings) -> None:
    with storage.Draft(settings, max_bytes=10) as draft:
        draft.write(b"x" * 10)
        with pytest.raises(TooLarge):
            draft.write(b"x")
    assert stored(settings) == set()


def test_a_disk_that_fills_up_is_said_and_leaves_nothing(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with storage.Draft(settings) as draft:
        draft.write(b"x")
        with pytest.raises(Unavailable) as refusal:
            draft.keep()
    assert refusal.value.code == "disk_full"
    assert stored(settings) == set()


def test_a_file_that_would_leave_too_little_room_is_refused_before_it_comes(
    settings: Settings,
) -> None:
    storage.check_room(settings, 1000)
    with pytest.raises(TooLarge):
        storage.check_room(settings, settings.max_upload_bytes + 1)
    tight = load_settings(var=settings.var, min_free_disk_bytes=2**62)
    with pytest.raises(Unavailable):
        storage.check_room(tight, 0)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("x.jsonl", "x.jsonl"),
        ("/etc/x.jsonl", "x.jsonl"),
        ("..\\..\\x.jsonl", "x.jsonl"),
        ("a\r\nb\x00.jsonl", "ab.jsonl"),
        ("\u202ex.jsonl", "x.jsonl"),
        ("é " * 200 + ".jsonl", None),
    ],
)
def test_a_name_is_made_safe(
    session: Session, settings: Settings, owner_id: int, given: str, kept: str | None
) -> None:
    name = make(session, settings, owner_id, filename=given).filename
    assert name == (kept or name)
    assert len(name) <= 255
    assert name.isprintable()


def test_expired_files_go_unless_an_open_batch_needs_them(
    session: Session, settings: Settings, owner_id: int
) -> None:
    needed, unneeded, fresh = (make(session, settings, owner_id) for _ in range(3))
    batches.create(
        session, owner_id, batches.NewBatch(needed.id, "/v1/chat/completions"), settings=None
    )
    session.execute(
        update(File)
        .where(File.id != fresh.id)
        .values(expires_at=datetime.now(UTC) - timedelta(seconds=1))
    )
    session.commit()
    assert files.delete_expired(session, settings) == 1
    assert stored(settings) == {needed.id, fresh.id}
    with pytest.raises(NotFound):
        files.get(session, needed.id, None)
    session.execute(update(Batch).values(status="cancelled", cancelled_at=func.now()))
    session.commit()
    assert files.delete_expired(session, settings) == 1
    assert stored(settings) == {fresh.id}
    assert unneeded.id not in stored(settings)


def test_a_file_in_use_is_kept(session: Session, settings: Settings, owner_id: int) -> None:
    file = make(session, settings, owner_id)
    batches.create(
        session, owner_id, batches.NewBatch(file.id, "/v1/chat/completions"), settings=None
    )
    session.commit()
    with pytest.raises(Conflict, match="batch_"):
        files.delete(session, file.id, owner_id)


def test_old_bytes_without_a_row_are_removed_and_young_ones_are_not(
    session: Session, settings: Settings, owner_id: int
) -> None:
    file = make(session, settings, owner_id)
    old, young = settings.files_path / "file-old", settings.files_path / "file-young"
    for path in (old, young):
        path.write_bytes(b"x")
    long_ago = time.time() - 7200
    for path in (old, files.path(settings, file.id)):
        os.utime(path, (long_ago, long_ago))
    assert files.remove_leftovers(session, settings) == 1
    assert stored(settings) == {file.id, "file-young"}


def test_a_draft_in_work_is_no_leftover(session: Session, settings: Settings) -> None:
    (settings.files_path).mkdir(parents=True)
    (settings.files_path / "file-abandoned.part").write_bytes(b"x")
    with storage.Draft(settings) as draft:
        draft.write(b"x")
        assert files.remove_leftovers(session, settings) == 1
        assert stored(settings) == {f"{draft.id}.part"}


def test_nothing_is_left_over_where_nothing_was(session: Session, tmp_path: Path) -> None:
    assert files.remove_leftovers(session, load_settings(var=tmp_path / "none")) == 0
