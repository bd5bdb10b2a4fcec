"""The OpenAI-compatible dialect under /v1: files, batches, models, and what an operator asks."""

from __future__ import annotations

from flask import Blueprint

from app.api.v1 import (
    batches,
    comparison,
    dead_letters,
    deliveries,
    files,
    jobs,
    models,
    queue,
    requests,
    webhook_endpoints,
)

blueprint = Blueprint("v1", __name__, url_prefix="/v1")

for noun in (files, batches, requests, models, queue, jobs, comparison):
    blueprint.register_blueprint(noun.blueprint)
for noun in (webhook_endpoints, deliveries, dead_letters):
    blueprint.register_blueprint(noun.blueprint)
