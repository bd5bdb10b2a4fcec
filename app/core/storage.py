"""The bytes of files: each in the data folder under its id, written as a draft that nobody sees.

A process that is killed leaves at most a draft behind; `remove_abandoned` finds those by a lock
that dies with its process.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
from pathlib import Path
from types import TracebackType
from typing import Self

from app.core.errors import TooLarge, Unavailable
from app.core.ids import new_id
from app.core.settings import Settings

DRAFT_SUFFIX = ".part"

_DISK_RETRY_SECONDS = 60


def path_of(files_path: Path, file_id: str) -> Path:
    """Where a file's bytes lie. `file_id` must be one of ours, never what a client sent."""
    return files_path / file_id


def path(settings: Settings, file_id: str) -> Path:
    """`path_of`, for those who have the settings."""
    return path_of(settings.files_path, file_id)


class Draft:
    """A file while it is written: `write` and then `keep`; leaving the `with` drops what is not kept.

    Raises TooLarge when more than `max_bytes` are written, Unavailable when the disk is full.
    """

    def __init__(self, settings: Settings, *, max_bytes: int | None = None) -> None:
        self.id = new_id("file", "-")
        self.bytes = 0
        self._path = path(settings, self.id)
        self._draft_path = self._path.with_name(self.id + DRAFT_SUFFIX)
        self._max_bytes = max_bytes
        self._hash = hashlib.sha256()
        self._is_kept = False
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = open(self._draft_path, "xb")  # noqa: SIM115 - closed by keep or __exit__
        fcntl.flock(self._file, fcntl.LOCK_EX)  # while it is held, nobody takes it for a leftover

    @property
    def sha256(self) -> str:
        """Of what has been written, as hexadecimal digits."""
        return self._hash.hexdigest()

    def write(self, data: bytes | bytearray) -> int:
        """Append `data`."""
        self.bytes += len(data)
        if self._max_bytes is not None and self.bytes > self._max_bytes:
            raise too_large(self._max_bytes)
        self._hash.update(data)
        try:
            return self._file.write(data)
        except OSError as fault:
            raise _disk_fault(fault) from fault

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """A form's parser rewinds what it has written; nothing is read back here."""
        return offset

    def keep(self) -> None:
        """Make the file durable under its final name."""
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._draft_path.rename(self._path)
            _sync_folder(self._path.parent)
        except OSError as fault:
            raise _disk_fault(fault) from fault
        self._is_kept = True
        self._file.close()

    def discard(self) -> None:
        """Remove what was written, unless it has been kept."""
        if self._is_kept or self._file.closed:
            return
        self._draft_path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # its last bytes may not fit on the disk
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.discard()


def check_room(settings: Settings, bytes_expected: int) -> None:
    """Raises TooLarge or Unavailable when a file of this size would not be taken."""
    if bytes_expected > settings.max_upload_bytes:
        raise too_large(settings.max_upload_bytes)
    settings.files_path.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(settings.files_path).free
    if free - bytes_expected < settings.min_free_disk_bytes:
        raise _disk_full()


def too_large(max_bytes: int) -> TooLarge:
    """The refusal of a file beyond the limit."""
    return TooLarge(f"A file may have {max_bytes:,} bytes at most.", param="file")


def remove_abandoned(draft: Path) -> bool:
    """Remove a draft that nobody writes any more; whether it was one."""
    try:
        with open(draft, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            draft.unlink(missing_ok=True)
            return True
    except (BlockingIOError, FileNotFoundError):
        return False  # somebody writes it, or has just finished


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _disk_fault(fault: OSError) -> Exception:
    return _disk_full() if fault.errno in (errno.ENOSPC, errno.EDQUOT) else fault


def _disk_full() -> Unavailable:
    return Unavailable(
        "The server's disk is full; no file can be taken at the moment.",
        code="disk_full",
        retry_after_seconds=_DISK_RETRY_SECONDS,
    )
