"""All jobs in figures: how many of each status and type, and how long they take and wait."""

from __future__ import annotations

from flask import Blueprint, g, render_template, request

from app.core import job_stats
from app.extensions import db

blueprint = Blueprint("job_stats", __name__, url_prefix="/jobs")


@blueprint.get("/stats")
def show() -> str:
    """A page, or the inside of the list's dialog."""
    return render_template(
        "jobs/_stats.html" if "HX-Request" in request.headers else "jobs/stats.html",
        found=job_stats.overview(db.session(), g.actor.owner_name),
    )
