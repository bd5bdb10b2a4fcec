"""The WSGI application: what gunicorn serves and what the `flask` command loads."""

from __future__ import annotations

from app.core.settings import SettingsError
from app.factory import create_app

try:
    app = create_app()
except SettingsError as fault:
    raise SystemExit(str(fault)) from None
