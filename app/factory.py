"""Builds the web application from the settings: extensions, hooks, blueprints, commands."""

from __future__ import annotations

import importlib
import os
import secrets
from pathlib import Path
from typing import Any

import psycopg
from flask import Flask
from werkzeug.middleware.proxy_fix import ProxyFix

from app import auth, description, errors, metrics, operation, request_hooks
from app.api import register as register_api
from app.cli import register as register_commands
from app.core import db as database
from app.core import job_types
from app.core.errors import Unavailable
from app.core.kept import kept_variables
from app.core.logging import configure_logging
from app.core.settings import Settings, SettingsError, load_settings
from app.extensions import csrf, db, migrate
from app.prefix import Prefix

ROOT = Path(__file__).resolve().parents[1]

# What a request other than an upload may weigh.
_MAX_BODY_BYTES = 1024**2


class DatabaseUnset(Unavailable, RuntimeError):
    """No database was named. (A RuntimeError too: Flask-Migrate shows those as one sentence.)"""


def create_app(settings: Settings | None = None) -> Flask:
    """The application; `settings` default to what the environment and stoker.toml say.

    Raises SettingsError when a setting can't be used.
    """
    settings = settings or load_settings()
    configure_logging(settings)
    job_types.use(settings)
    app = Flask(
        "app",
        template_folder=str(ROOT / "templates"),
        static_folder=str(ROOT / "static"),
    )
    app.config.from_mapping(_flask_config(settings))
    app.extensions["stoker"] = settings
    if settings.url_prefix:
        app.wsgi_app = Prefix(app.wsgi_app, settings.url_prefix)  # type: ignore[method-assign]
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.url_map.strict_slashes = False
    if settings.proxy_hops:
        hops = settings.proxy_hops
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=hops, x_proto=0, x_host=0)  # type: ignore[method-assign]

    db.init_app(app)
    migrate.init_app(app, db, directory=str(ROOT / "migrations"))
    csrf.init_app(app)
    request_hooks.register(app)
    errors.register(app)
    auth.register(app)
    operation.register(app)
    metrics.register(app)
    description.register(app)
    register_api(app)
    _register_pages(app)
    register_commands(app)
    return app


def _register_pages(app: Flask) -> None:
    pages = importlib.import_module("app.pages")
    if hasattr(pages, "register"):
        pages.register(app)


def _flask_config(settings: Settings) -> dict[str, Any]:
    suffix = f"_{settings.port}"  # browsers share cookies between the ports of one host
    prefix = settings.url_prefix
    # `__Host-` is for the whole host alone; below a prefix others share it and must not get ours.
    secure_name = "__Secure-session" if prefix else "__Host-session"
    return {
        "SECRET_KEY": settings.secret_key or _secret_of(settings.var_path),
        "SESSION_COOKIE_NAME": f"stoker_form{suffix}",
        "SESSION_COOKIE_SAMESITE": "Lax",
        "SESSION_COOKIE_SECURE": settings.secure_cookies,
        "APPLICATION_ROOT": prefix or "/",
        "SESSION_COOKIE_PATH": prefix or "/",
        "STOKER_COOKIE_NAME": secure_name if settings.secure_cookies else f"stoker_session{suffix}",
        "MAX_CONTENT_LENGTH": _MAX_BODY_BYTES,
        "MAX_FORM_MEMORY_SIZE": _MAX_BODY_BYTES,
        "TEMPLATES_AUTO_RELOAD": False,
        "WTF_CSRF_CHECK_DEFAULT": False,  # app.auth decides which requests need the token
        "WTF_CSRF_TIME_LIMIT": None,  # the token lives as long as the browser's session
        **_database_config(settings),
    }


def _database_config(settings: Settings) -> dict[str, Any]:
    url = settings.database_url or kept_variables(settings.var_path).get("DATABASE_URL")
    options = database.web_options(
        url or "",
        pool_size=settings.pool_size,
        statement_timeout_seconds=settings.page_timeout_seconds,
    )
    if not url:
        url = "postgresql://"
        options["creator"] = _no_database
    return {
        "SQLALCHEMY_DATABASE_URI": database.sqlalchemy_url(url),
        "SQLALCHEMY_ENGINE_OPTIONS": options,
    }


def _no_database() -> psycopg.Connection[Any]:
    raise DatabaseUnset(
        "No database is named: set DATABASE_URL, or start the embedded server with `flask up`."
    )


def _secret_of(var: Path) -> str:
    try:
        return _kept_secret(var)
    except OSError as fault:
        raise SettingsError(f"The data folder {var} can't be used: {fault.strerror}.") from fault


def _kept_secret(var: Path) -> str:
    """A secret made at the first start and kept, readable by its owner alone.

    Several processes may start at once: the first to link its file in place wins.
    """
    file = var / "secret_key"
    if not file.exists():
        var.mkdir(parents=True, exist_ok=True)
        draft = var / f".secret_key.{secrets.token_hex(8)}"
        with os.fdopen(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as out:
            out.write(secrets.token_urlsafe(48))
        try:
            os.link(draft, file)
        except FileExistsError:
            pass  # another process was quicker: use its secret
        finally:
            draft.unlink()
    return file.read_text()
