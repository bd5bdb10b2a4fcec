"""The local administrator's way in: an API key, kept in the data folder, and a one-time link."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.orm import Session

from app.cli.up.preflight import UpError
from app.core import keys, sessions, users
from app.core.db import make_engine
from app.core.kept import kept_variables
from app.core.settings import Settings

KEY_NAME = "flask up"


@dataclass(frozen=True)
class Access:
    """How to reach this server, and as whom."""

    base_url: str
    api_key: str
    sign_in_link: str

    @property
    def exports(self) -> list[str]:
        """Two lines to paste into a shell."""
        return [
            f"export OPENAI_BASE_URL={self.base_url}/v1",
            f"export OPENAI_API_KEY={self.api_key}",
        ]


def grant(settings: Settings, base_url: str) -> Access:
    """The administrator's kept key, or a new one if it is no longer valid, and a new link.

    Writes the data folder's `env` file. Raises UpError when the administrator is disabled.
    """
    kept = settings.var_path / "env"
    engine = make_engine(settings, "up")
    try:
        with Session(engine) as session:
            admin = users.ensure_admin(session)
            if admin.disabled_at is not None:
                raise UpError(
                    f"The user {admin.name} is disabled, so there is no way in: "
                    f"`flask users enable {admin.name}` lets it in again."
                )
            plain = kept_variables(settings.var_path).get("OPENAI_API_KEY", "")
            if not plain or keys.verify(session, plain) is None:
                _, plain = keys.create(session, admin, KEY_NAME)
            token = sessions.create_sign_in_link(session, admin, settings.sign_in_link_minutes)
            session.commit()
    finally:
        engine.dispose()
    access = Access(base_url, plain, f"{base_url}{settings.url_prefix}/sign-in/{token}")
    database = f"export DATABASE_URL={shlex.quote(settings.database_url)}"
    _write(kept, "\n".join([*access.exports, database]) + "\n")
    return access


def _write(file: Path, text: str) -> None:
    """Whole or not at all, and never readable by others."""
    draft = file.with_name(".env.draft")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as out:
        out.write(text)
    draft.rename(file)
