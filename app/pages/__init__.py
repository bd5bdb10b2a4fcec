"""HTML, one module per noun."""

from __future__ import annotations

from flask import Flask

from app.pages import (
    changes,
    display,
    failures,
    files,
    fragments,
    history,
    home,
    job_actions,
    job_bulk,
    job_export,
    job_log,
    job_stats,
    job_values,
    jobs,
    navigation,
    platform,
    queue,
    sign_in,
    tasks,
    timeline,
)


def register(app: Flask) -> None:
    """Attach the pages and the words their templates use."""
    display.register(app)
    fragments.register(app)
    navigation.register(app)
    for module in (
        home,
        timeline,
        history,
        queue,
        failures,
        tasks,
        jobs,
        job_actions,
        job_bulk,
        job_export,
        job_log,
        job_stats,
        job_values,
        platform,
        files,
        sign_in,
        changes,
    ):
        app.register_blueprint(module.blueprint)
