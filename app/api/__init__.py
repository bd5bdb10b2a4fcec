"""JSON for programs: one blueprint per dialect."""

from __future__ import annotations

from flask import Flask


def register(app: Flask) -> None:
    """Attach the dialects."""
    # Not at the top: the handlers need app.auth, and that needs app.api.errors.
    from app.api import defer, events, jobs, streams
    from app.api.v1 import blueprint as v1

    app.register_blueprint(v1)
    app.register_blueprint(jobs.blueprint)
    app.register_blueprint(streams.blueprint)
    app.register_blueprint(defer.blueprint)
    app.register_blueprint(events.blueprint)
