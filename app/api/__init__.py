"""JSON for programs: one blueprint per dialect."""

from __future__ import annotations

from flask import Flask

from app.api.v1 import blueprint as v1
from app.extensions import csrf


def register(app: Flask) -> None:
    """Attach the dialects."""
    app.register_blueprint(v1)
    csrf.exempt(v1)  # app.auth asks for the token itself, from cookies and never from keys
