"""/api/jobs: jobs of any kind, listed, searched and one by one."""

from __future__ import annotations

from flask import Blueprint

from app.api.jobs import listing, one

blueprint = Blueprint("api_jobs", __name__, url_prefix="/api/jobs")
blueprint.register_blueprint(listing.blueprint)
blueprint.register_blueprint(one.blueprint)
