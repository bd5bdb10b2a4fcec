"""/openapi.json describes what programs may ask; /openapi shows it to people."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Flask, Response, current_app, jsonify, render_template

from app.api.openapi import document
from app.auth import public
from app.extensions import current_settings

blueprint = Blueprint("description", __name__)


def register(app: Flask) -> None:
    """Attach the routes."""
    app.register_blueprint(blueprint)


@blueprint.get("/openapi.json")
@public
def describe() -> Response:
    """The description; it tells nothing of what the server holds."""
    return jsonify(_document())


@blueprint.get("/openapi")
def index() -> str:
    """The same as a page: every route with its parameters and the shapes of its answers."""
    described = _document()
    routes = [
        {"path": path, "method": method.upper(), **operation}
        for path, operations in described["paths"].items()
        for method, operation in operations.items()
    ]
    schemas = described["components"]["schemas"]
    return render_template("description/index.html", routes=routes, schemas=schemas, words=_words)


def _document() -> dict[str, Any]:
    kept = current_app.extensions.get("stoker_openapi")
    if kept is None:
        kept = current_app.extensions["stoker_openapi"] = document(current_app)
        prefix = current_settings().url_prefix
        if prefix:
            kept["servers"] = [{"url": prefix}]
    assert isinstance(kept, dict)
    return kept


def _words(schema: dict[str, Any]) -> str:
    """A schema as people write types: `string or null`, `list of Batch`."""
    if "$ref" in schema:
        return str(schema["$ref"].rsplit("/", 1)[1])
    if "anyOf" in schema:
        return " or ".join(_words(each) for each in schema["anyOf"])
    if "enum" in schema:
        return " or ".join(f"“{word}”" for word in schema["enum"])
    if "const" in schema:
        return f"“{schema['const']}”"
    kind = schema.get("type", "anything")
    if isinstance(kind, list):
        return " or ".join(kind)
    if kind == "array":
        return f"list of {_words(schema.get('items', {}))}"
    if kind == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"object of {_words(schema['additionalProperties'])}"
    return str(kind)
