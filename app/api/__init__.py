"""JSON for programs: one blueprint per dialect."""

from __future__ import annotations

from flask import Flask


def register(app: Flask) -> None:
    """Attach the dialects."""
    # Not at the top: the handlers need app.auth, and that needs app.api.errors.
    from app.api import (
        admin,
        alerts,
        audit,
        defer,
        events,
        jobs,
        overview,
        platform,
        queue,
        schedules,
        stats,
        storage,
        streams,
        timeline,
        up_next,
        views,
        window,
        workers,
    )
    from app.api.v1 import blueprint as v1

    app.register_blueprint(v1)
    app.register_blueprint(jobs.blueprint)
    app.register_blueprint(streams.blueprint)
    app.register_blueprint(defer.blueprint)
    app.register_blueprint(events.blueprint)
    app.register_blueprint(window.blueprint)
    app.register_blueprint(timeline.blueprint)
    app.register_blueprint(stats.blueprint)
    app.register_blueprint(workers.blueprint)
    app.register_blueprint(views.blueprint)
    app.register_blueprint(platform.blueprint)
    app.register_blueprint(queue.blueprint)
    app.register_blueprint(schedules.blueprint)
    app.register_blueprint(admin.blueprint)
    app.register_blueprint(alerts.blueprint)
    app.register_blueprint(audit.blueprint)
    app.register_blueprint(overview.blueprint)
    app.register_blueprint(up_next.blueprint)
    app.register_blueprint(storage.blueprint)
