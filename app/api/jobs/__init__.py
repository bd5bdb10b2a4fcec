"""/api/jobs: jobs of any kind, listed, searched, one by one, and what may be done to them."""

from __future__ import annotations

from flask import Blueprint

from app.api.jobs import actions, bulk_actions, listing, one, surroundings

blueprint = Blueprint("api_jobs", __name__, url_prefix="/api/jobs")
blueprint.register_blueprint(listing.blueprint)
blueprint.register_blueprint(one.blueprint)
blueprint.register_blueprint(actions.blueprint)
blueprint.register_blueprint(bulk_actions.blueprint)
blueprint.register_blueprint(surroundings.blueprint)
