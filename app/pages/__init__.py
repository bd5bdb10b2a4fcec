"""HTML, one module per noun."""

from __future__ import annotations

from flask import Flask

from app.pages import (
    alerts,
    audit,
    batch_actions,
    batch_requests,
    bulk_actions,
    changes,
    dead_letters,
    display,
    events,
    failures,
    files,
    fragments,
    history,
    history_compare,
    history_exports,
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
    preferences,
    queue,
    refresh,
    schedules,
    sign_in,
    stats,
    storage,
    tasks,
    timeline,
    typed_times,
    views,
    webhooks,
    workers,
)


def register(app: Flask) -> None:
    """Attach the pages and the words their templates use."""
    preferences.register(app)
    display.register(app)
    fragments.register(app)
    typed_times.register(app)
    navigation.register(app)
    refresh.register(app)
    for module in (
        home,
        timeline,
        history,
        history_compare,
        history_exports,
        batch_requests,
        batch_actions,
        queue,
        failures,
        schedules,
        events,
        stats,
        tasks,
        alerts,
        webhooks,
        dead_letters,
        storage,
        audit,
        jobs,
        job_actions,
        job_bulk,
        bulk_actions,
        job_export,
        job_log,
        job_stats,
        job_values,
        platform,
        files,
        sign_in,
        preferences,
        views,
        changes,
        workers,
    ):
        app.register_blueprint(module.blueprint)
