"""Where an embedded server lives and as whom it runs.

Postgres refuses to run as root. Root therefore hands the server to an unprivileged user; where that
user can't enter the base folder, the server's data and socket lie in a system folder instead.
Permissions outside the base folder are never changed.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict
from urllib.parse import quote

DATABASE = "stoker"
SOCKET = ".s.PGSQL.5432"
# sun_path holds 108 bytes, the last of them a zero.
LONGEST_SOCKET_PATH = 107
SYSTEM_FOLDER = Path("/var/lib")


class EmbeddedError(Exception):
    """The server can't be started; the message is one sentence that says why and what to do."""


class Identity(TypedDict, total=False):
    """What `subprocess` needs to run something as another user."""

    user: int
    group: int
    extra_groups: list[int]


@dataclass(frozen=True)
class Place:
    """One server's folders and user (None: the one who starts it)."""

    home: Path
    run: Path
    user: pwd.struct_passwd | None

    @property
    def data(self) -> Path:
        return self.home / "data"

    @property
    def log(self) -> Path:
        return self.home / "postgres.log"

    @property
    def url(self) -> str:
        return f"postgresql://postgres@/{DATABASE}?host={quote(str(self.run))}"

    @property
    def identity(self) -> Identity:
        if self.user is None:
            return {}
        return {"user": self.user.pw_uid, "group": self.user.pw_gid, "extra_groups": []}

    def make_folders(self) -> None:
        """Make home and socket folder; only the server's user (and root) may look into the latter.

        Raises EmbeddedError if somebody else's folder is in the way or the user can't get there.
        """
        for folder in (self.home, self.run):
            if not folder.exists():
                folder.mkdir(parents=True, exist_ok=True)
                folder.chmod(0o711)  # Whatever the umask: the server's user must pass.
        if self.user is not None and not can_enter(self.home, self.user):
            raise EmbeddedError(
                f"The user {self.user.pw_name}, as whom Postgres runs, can't enter {self.home}: "
                "let others pass through the folders above it (chmod o+x), or set DATABASE_URL."
            )
        self.take(self.run)

    def take(self, folder: Path) -> None:
        """Give the folder to the server's user alone."""
        owner = self.user.pw_uid if self.user else os.geteuid()
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid not in (owner, os.geteuid()):
            raise EmbeddedError(
                f"{folder} belongs to somebody else: remove it, or set DATABASE_URL."
            )
        folder.chmod(0o700)
        if self.user is not None:
            os.chown(folder, self.user.pw_uid, self.user.pw_gid)


def find(base: Path) -> Place:
    """The place of this base folder's server; the same at every call once it has data."""
    base = base.resolve()
    key = hashlib.sha256(os.fsencode(base)).hexdigest()[:12]
    home, user = base, None
    if os.geteuid() == 0:
        elsewhere = SYSTEM_FOLDER / f"stoker-{key}"
        if (elsewhere / "data").exists() and not (base / "data").exists():
            home = elsewhere
        user = _unprivileged(home / "data")
        if not (home / "data").exists() and not can_enter(base, user):
            home = elsewhere
    run = home / "run"
    if len(os.fsencode(run / SOCKET)) > LONGEST_SOCKET_PATH:
        # Not TMPDIR: every process must find the same folder. `take` refuses somebody else's.
        run = Path("/run" if user else "/tmp") / f"stoker-{key}"  # noqa: S108
    return Place(home=home, run=run, user=user)


def _unprivileged(data: Path) -> pwd.struct_passwd:
    """The data's owner; for new data the user `stoker`, where there is one, else `nobody`."""
    try:
        owner = data.stat().st_uid
        if owner:
            return pwd.getpwuid(owner)
    except (FileNotFoundError, KeyError):
        pass
    try:
        return pwd.getpwnam("stoker")
    except KeyError:
        return pwd.getpwnam("nobody")


def can_enter(folder: Path, user: pwd.struct_passwd) -> bool:
    """By the permission bits of the folder and all above it; access lists count as absent."""
    groups = os.getgrouplist(user.pw_name, user.pw_gid)
    for part in (folder, *folder.parents):
        try:
            found = part.stat()
        except FileNotFoundError:
            continue  # Will be made, with rights to pass.
        if found.st_uid == user.pw_uid:
            needed = stat.S_IXUSR
        elif found.st_gid in groups:
            needed = stat.S_IXGRP
        else:
            needed = stat.S_IXOTH
        if not found.st_mode & needed:
            return False
    return True
