"""The OpenAI-compatible dialect under /v1: files, batches, models, and what an operator asks."""

from __future__ import annotations

from flask import Blueprint

from app.api.v1 import batches, files, jobs, models, queue

blueprint = Blueprint("v1", __name__, url_prefix="/v1")

for noun in (files, batches, models, queue, jobs):
    blueprint.register_blueprint(noun.blueprint)
