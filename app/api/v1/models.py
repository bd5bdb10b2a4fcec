"""/v1/models: what this server serves."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, current_app

from app.api.openapi import describe
from app.api.v1 import answers
from app.auth import needs
from app.core.engines import ModelSpec, Registry, RegistryFile
from app.extensions import current_settings

blueprint = Blueprint("models", __name__, url_prefix="/models")


@blueprint.get("")
@needs("read")
@describe(answer=answers.ModelList)
def index() -> dict[str, Any]:
    """All models of the registry."""
    models = registry().models.values()
    return {"object": "list", "data": [_described(spec) for spec in models]}


@blueprint.get("/<path:name>")
@needs("read")
@describe(answer=answers.Model)
def show(name: str) -> dict[str, Any]:
    """One model; its name may have slashes."""
    return _described(registry().get(name))


def registry() -> Registry:
    """The models registry as its file says now."""
    file = current_app.extensions.get("stoker_registry")
    if file is None:
        file = current_app.extensions["stoker_registry"] = RegistryFile(
            current_settings().models_path
        )
    assert isinstance(file, RegistryFile)
    return file.read()


def require_served(endpoint: str) -> None:
    """Raises Invalid when `endpoint` is one that batches know but that no model here serves."""
    registry().require_served(endpoint)


def _described(spec: ModelSpec) -> dict[str, Any]:
    return {
        "id": spec.name,
        "object": "model",
        "created": 0,
        "owned_by": "stoker",
        "endpoints": list(spec.endpoints),
    }
