"""The OpenAI-compatible dialect under /v1: files, batches, models, and what an operator asks."""

from __future__ import annotations

from flask import Blueprint

blueprint = Blueprint("v1", __name__, url_prefix="/v1")
