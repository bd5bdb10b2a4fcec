"""The Flask extensions, made once and bound to an application by its factory."""

from __future__ import annotations

from flask import current_app
from flask_migrate import Migrate
from flask_sqlalchemy import SQLAlchemy
from flask_wtf.csrf import CSRFProtect

from app.core.models import Base
from app.core.settings import Settings

# Our models are plain SQLAlchemy classes that the worker shares; Flask-SQLAlchemy gives the web
# its engine and one session per request.
db = SQLAlchemy(metadata=Base.metadata)
migrate = Migrate()
csrf = CSRFProtect()


def current_settings() -> Settings:
    """The settings of the application that handles this request."""
    settings = current_app.extensions["stoker"]
    assert isinstance(settings, Settings)
    return settings
